"""What a worked convolution says and draws."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from cnnlab.render.document import Formula
from cnnlab.theory.convolution_by_hand.result import convolve

IMAGE = [[2, 1, 2, 3, 1], [3, 9, 1, 1, 4], [4, 5, 0, 7, 0]]
KERNEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
FOUND = convolve(IMAGE, KERNEL, padding=1)


def test_the_operation_and_the_reason_are_said() -> None:
    first, why = FOUND.document().lines[:2]
    assert first.startswith("True convolution: each kernel is flipped")
    assert "Deep-learning libraries do the other one, cross-correlation" in why
    first, why = convolve(IMAGE, KERNEL, flip=False).document().lines[:2]
    assert first.startswith("Cross-correlation: each kernel slides over the image as it is written")
    assert "This is what deep-learning libraries call convolution" in why


def test_the_textbooks_definition_has_the_operations_sign() -> None:
    plus, minus = (convolve(IMAGE, KERNEL, flip=flip).document().lines[2] for flip in (False, True))
    assert (plus.text, minus.text) == (
        "(w ⋆ x)(i, j) = Σm Σn w(m, n)·x(i + m, j + n)",
        "(w ∗ x)(i, j) = Σm Σn w(m, n)·x(i − m, j − n)",
    )
    assert "x(i + m, j + n)" in plus.latex
    assert "x(i - m, j - n)" in minus.latex


def test_the_sheet_has_image_kernels_output_and_every_sum() -> None:
    tables = dict(FOUND.document().tables)
    assert tables["image, with its padding in parentheses"].rows[1] == ("0", "(0)", "2", "1", "2", "3", "1", "(0)")
    assert [row[1:] for row in tables["kernel, as written"].rows] == [tuple(map(str, row)) for row in KERNEL]
    assert [row[1:] for row in tables["kernel, flipped as it is used"].rows] == [
        tuple(map(str, row[::-1])) for row in KERNEL[::-1]
    ]
    assert [row[1:] for row in tables["output"].rows] == [tuple(map(str, row)) for row in FOUND.output]
    assert tables["every output element: weight·pixel, in the window's reading order"].rows[1] == (
        "y[0, 1]",
        FOUND.step_at(0, 1).text,
    )


def test_one_element_is_laid_out_as_its_window() -> None:
    document = FOUND.document(FOUND.step_at(0, 1))
    tables = dict(document.tables)
    assert tables["weight·pixel"].rows[1] == ("0", "2·2 = 4", "0·1 = 0", "(-2)·2 = -4")
    assert tables["pixels under the window"].rows[0] == ("-1", "(0)", "(0)", "(0)")
    last = document.lines[-1]
    assert isinstance(last, Formula)
    assert last.text == f"y[0, 1] = {FOUND.step_at(0, 1).text}"
    assert last.latex.count("\\\\") == 3  # three rows of the window, and the sum
    assert document.notes == ("9 products, 3 of them with padding.",)
    # In the corner five are padding, and two zeros are pixels.
    assert FOUND.document(FOUND.step_at(2, 4)).notes == ("9 products, 5 of them with padding.",)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "y[i, j] = Σm=0..2 Σn=0..2 w[2−m, 2−n]·x[i + m, j + n]"),
        ({"flip": False, "padding": 1}, "y[i, j] = Σm=0..2 Σn=0..2 w[m, n]·x[i − 1 + m, j − 1 + n]"),
        (
            {"stride": (2, 1), "padding": (2, 0), "dilation": (1, 2), "bias": 1},
            "y[i, j] = Σm=0..2 Σn=0..2 w[2−m, 2−n]·x[2·i − 2 + m, j + 2·n] + b",
        ),
    ],
)
def test_the_formula_has_the_indices_of_this_image(options: dict, text: str) -> None:
    assert convolve(IMAGE, KERNEL, **options).document().lines[3].text == text


def test_the_formula_of_several_channels_and_kernels() -> None:
    found = convolve([IMAGE] * 2, [[KERNEL] * 2] * 3, bias=[0, 1, 2])
    formula = found.document().lines[3]
    assert isinstance(formula, Formula)
    assert formula.text == "y[k, i, j] = Σc=0..1 Σm=0..2 Σn=0..2 w[k, c, 2−m, 2−n]·x[c, i + m, j + n] + b[k]"
    assert "w_{k, c, 2-m, 2-n}" in formula.latex
    assert found.document().title == "True convolution of a 2×3×5 image with 3 kernels of 2×3×3"


def test_much_is_left_out_and_said_so() -> None:
    found = convolve([[1] * 30] * 30, [[1]], stride=2)
    document = found.document()
    assert not [title for title, _ in document.tables if title.startswith(("every output", "image"))]
    notes = " ".join(document.notes)
    assert "225 output elements are too many to write out here" in notes
    assert "the JSON has all numbers" in notes
    assert "No window reaches the last row of the padded image." in notes


def test_sheets_are_written_in_every_form() -> None:
    found = convolve([[1e-07, 2]], [[-3]], bias=0.5)
    at = found.step_at(0, 0)
    assert r"(-3) \cdot 1 \cdot 10^{-7}" in found.document(at).to_markdown()
    assert r"\begin{tabular}{lrr}" in found.document().to_latex()
    assert "data:image/svg+xml;base64," in found._repr_html_()


def _drawn(svg: str) -> tuple[list[str], list[ElementTree.Element]]:
    root = ElementTree.fromstring(svg)
    name = "{http://www.w3.org/2000/svg}"
    return [text.text or "" for text in root.iter(f"{name}text")], list(root.iter(f"{name}rect"))


def test_the_picture_shows_the_step() -> None:
    texts, rectangles = _drawn(FOUND.svg(FOUND.step_at(1, 2)))
    assert "True convolution: the element in row 1, column 2" in texts
    assert f"y[1, 2] = {FOUND.step_at(1, 2).text}" in texts
    tinted = [rectangle.get("style", "") for rectangle in rectangles if "opacity: 0.22" in rectangle.get("style", "")]
    counts = {name: sum(name in style for style in tinted) for name in ("--train", "--validation", "--test")}
    # Nine pixels, nine weights; nine products and the output's element.
    assert counts == {"--train": 9, "--validation": 9, "--test": 10}


def test_a_large_image_is_drawn_around_the_window_and_nothing_leaves_the_picture() -> None:
    found = convolve([[list(range(50))] * 40] * 2, [[[-1.25] * 5] * 3] * 2, bias=1000, dilation=2)
    svg = found.svg(found.step_at(30, 41))
    texts, rectangles = _drawn(svg)
    assert {"image, channel 0, a part", "image, channel 1, a part", "output, a part"} <= set(texts)
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
    for shape in rectangles[1:]:
        x, y, wide, high = (float(shape.get(name, "")) for name in ("x", "y", "width", "height"))
        assert x >= 0 <= y
        assert x + wide <= width
        assert y + high <= height
    assert "49" in texts
    assert "0" not in [text for text in texts if text.isdigit()][:14]
