"""The document and the drawing of a convolution by hand."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from cnnlab.render.document import Formula
from cnnlab.theory.convolution_by_hand.compute import convolve

IMAGE = [[2, 1, 2, 3, 1], [3, 9, 1, 1, 4], [4, 5, 0, 7, 0]]
KERNEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
FOUND = convolve(IMAGE, KERNEL, padding=1)


def test_the_definition_has_the_operations_sign() -> None:
    plus, minus = (convolve(IMAGE, KERNEL, flip=flip).document().lines[1] for flip in (False, True))
    assert (plus.text, minus.text) == (
        "(w ⋆ x)(i, j) = Σm Σn w(m, n)·x(i + m, j + n)",
        "(w ∗ x)(i, j) = Σm Σn w(m, n)·x(i − m, j − n)",
    )
    assert "x(i + m, j + n)" in plus.latex
    assert "x(i - m, j - n)" in minus.latex


def test_the_document_has_image_kernels_output_and_every_sum() -> None:
    tables = dict(FOUND.document().tables)
    assert tables["image, padding in parentheses"].rows[1] == ("0", "(0)", "2", "1", "2", "3", "1", "(0)")
    assert [row[1:] for row in tables["kernel, as written"].rows] == [tuple(map(str, row)) for row in KERNEL]
    assert [row[1:] for row in tables["kernel, flipped"].rows] == [tuple(map(str, row[::-1])) for row in KERNEL[::-1]]
    assert [row[1:] for row in tables["output"].rows] == [tuple(map(str, row)) for row in FOUND.output]
    assert tables["every output element: weight·pixel, row by row"].rows[1] == ("y[0, 1]", FOUND.step_at(0, 1).text)
    sizes = [line.text for line in FOUND.document().lines[2:]]
    assert sizes[1] == "output width = ⌊(5 + 1 + 1 − 1·(3 − 1) − 1) / 1⌋ + 1 = 5"


def test_unequal_margins_are_in_the_order_of_the_rows() -> None:
    heights = convolve([[1, 2, 3]] * 3, [[1], [1]], padding="same").document().lines[2]
    assert heights.text == "output height = ⌊(3 + 0 + 1 − 1·(2 − 1) − 1) / 1⌋ + 1 = 3"


def test_one_element_has_a_table_of_its_products() -> None:
    document = FOUND.at(0, 1).document()
    (table,) = dict(document.tables).values()
    assert table.rows[0] == ("-1, 0 (padding)", "0", "2, 2", "1", "0")
    assert table.rows[5] == ("0, 2", "2", "1, 0", "-2", "-4")
    last = document.lines[-1]
    assert isinstance(last, Formula)
    assert last.text == f"y[0, 1] = {FOUND.step_at(0, 1).text}"
    assert last.latex.count("\\\\") == 3  # three rows of the window, and the sum
    assert document.notes == ("9 products, 3 of them with padding.",)


def test_the_title_names_sizes_and_options() -> None:
    found = convolve([IMAGE] * 2, [[KERNEL] * 2] * 3, bias=[0, 1, 2], stride=(2, 1), padding=1)
    assert found.document().title == "True convolution: image 2×3×5, 3 kernels 2×3×3, padding 1 (zeros), stride 2×1"


def test_large_tables_are_left_out() -> None:
    document = convolve([[1] * 30] * 30, [[1]], stride=2).document()
    assert not [title for title, _ in document.tables if title.startswith(("every output", "image"))]
    assert "225 output elements: --at ROW,COLUMN shows one, --json all." in document.notes


def test_documents_are_written_in_every_form() -> None:
    found = convolve([[1e-07, 2]], [[-3]], bias=0.5)
    assert r"(-3) \cdot 1 \cdot 10^{-7}" in found.at(0, 0).document().to_markdown()
    assert r"\begin{tabular}{lrr}" in found.document().to_latex()
    assert "data:image/svg+xml;base64," in found._repr_html_()


def _drawn(svg: str) -> tuple[list[str], list[ElementTree.Element]]:
    root = ElementTree.fromstring(svg)
    name = "{http://www.w3.org/2000/svg}"
    return [text.text or "" for text in root.iter(f"{name}text")], list(root.iter(f"{name}rect"))


def test_the_picture_shows_the_step() -> None:
    texts, rectangles = _drawn(FOUND.at(1, 2).svg())
    assert "True convolution: y[1, 2]" in texts
    assert f"y[1, 2] = {FOUND.step_at(1, 2).text}" in " ".join(texts)
    start = texts.index("kernel, flipped") + 1  # its column numbers, then each row's number and weights
    assert texts[start + 3 : start + 15] == ["0", "1", "0", "-1", "1", "2", "0", "-2", "2", "1", "0", "-1"]
    tinted = [rectangle.get("style", "") for rectangle in rectangles if "opacity: 0.22" in rectangle.get("style", "")]
    counts = {name: sum(name in style for style in tinted) for name in ("--train", "--validation", "--test")}
    # Nine pixels, nine weights; nine products and the output's element.
    assert counts == {"--train": 9, "--validation": 9, "--test": 10}


def test_a_large_image_is_drawn_around_the_window_and_nothing_leaves_the_picture() -> None:
    found = convolve([[list(range(50))] * 40] * 2, [[[-1.25] * 5] * 3] * 2, bias=1000, dilation=2)
    svg = found.at(30, 41).svg()
    texts, rectangles = _drawn(svg)
    assert {"image, channel 0, cropped", "image, channel 1, cropped", "output, cropped"} <= set(texts)
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
    for shape in rectangles[1:]:
        x, y, wide, high = (float(shape.get(name, "")) for name in ("x", "y", "width", "height"))
        assert x >= 0 <= y
        assert x + wide <= width
        assert y + high <= height
    assert "49" in texts
    assert "0" not in [text for text in texts if text.isdigit()][:14]
