"""Convolution by hand, against torch's, and its sums against Python's own arithmetic."""

from __future__ import annotations

import ast
import json
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.errors import UsageError
from cnnlab.theory.convolution_by_hand.compute import convolve

# T1 of the reference systems: the assignment's image and kernel, with the answer that is marked as right.
IMAGE = [[2, 1, 2, 3, 1], [3, 9, 1, 1, 4], [4, 5, 0, 7, 0]]
KERNEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
ANSWER = [[-11, 2, 4, -1, 7], [-24, 8, 12, -5, 12], [-19, 10, 4, -3, 15]]
TORCH_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate"}


def grids(*sizes: int) -> st.SearchStrategy[Any]:
    """Nested lists of small whole numbers of these sizes."""
    numbers: st.SearchStrategy[Any] = st.integers(-9, 9)
    for size in reversed(sizes):
        numbers = st.lists(numbers, min_size=size, max_size=size)
    return numbers


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """An image and kernels that go together."""
    mode = draw(st.sampled_from(sorted(TORCH_MODES)))
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    dilation = [draw(st.integers(1, 2)) for _ in range(2)]
    reach = [gap * (size - 1) + 1 for size, gap in zip(kernel, dilation, strict=True)]
    padding = [draw(st.integers(0, 3)) for _ in reach]
    least = [
        max(1, span - 2 * around, around + 1 if mode == "reflect" else 1)
        for span, around in zip(reach, padding, strict=True)
    ]
    size = [draw(st.integers(low, low + 4)) for low in least]
    channels, kernels = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return {
        "image": draw(grids(channels, *size)),
        "kernel": draw(grids(kernels, channels, *kernel)),
        "bias": draw(st.none() | grids(kernels)),
        "stride": [draw(st.integers(1, 3)) for _ in range(2)],
        "padding": padding,
        "dilation": dilation,
        "padding_mode": mode,
        "flip": draw(st.booleans()),
    }


def test_the_assignments_question_has_the_assignments_answer() -> None:
    found = convolve(IMAGE, KERNEL, padding=1)
    assert found.output == ANSWER
    assert found.step_at(0, 1).text == "1·0 + 0·0 + (-1)·0 + 2·2 + 0·1 + (-2)·2 + 1·3 + 0·9 + (-1)·1 = 2"
    # The kernel is its own mirror image but for the sign, so that its cross-correlation is the answer's negative.
    assert convolve(IMAGE, KERNEL, padding=1, flip=False).output == [[-value for value in row] for row in ANSWER]


@given(cases())
def test_channels_and_kernels_are_what_torch_computes(case: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    image, kernel = (torch.tensor(case[name], dtype=torch.float64) for name in ("image", "kernel"))
    bias = None if case["bias"] is None else torch.tensor(case["bias"], dtype=torch.float64)
    high, wide = case["padding"]
    padded = functional.pad(image[None], (wide, wide, high, high), TORCH_MODES[case["padding_mode"]])
    used = kernel.flip(2, 3) if case["flip"] else kernel
    expected = functional.conv2d(padded, used, bias, stride=case["stride"], dilation=case["dilation"])
    found = convolve(**case)
    assert found.output == expected[0].tolist()
    assert all(isinstance(value, int) for output in found.output for row in output for value in row)


@given(cases())
def test_every_sum_is_arithmetic_that_holds(case: dict[str, Any]) -> None:
    found = convolve(**case)
    assert len(found.steps) == np.size(found.output)
    for step in found.steps:
        sum_text, _, result = step.text.replace("(bias)", "").replace("·", "*").partition(" = ")
        assert eval(compile(ast.parse(sum_text, mode="eval"), "", "eval")) == int(result)
        assert int(result) == step.sum == found.output[step.kernel][step.row][step.column]
        for product in step.products:
            weight = case["kernel"][step.kernel][product.channel][product.weight_row][product.weight_column]
            assert (product.weight, product.product) == (weight, weight * product.pixel)
            high, wide = len(case["image"][0]), len(case["image"][0][0])
            assert product.padding == (product.row not in range(high) or product.column not in range(wide))
            if not product.padding:
                assert product.pixel == case["image"][product.channel][product.row][product.column]


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_same_pads_as_torch_does(high: int, wide: int, dilation: int, flip: bool) -> None:
    torch = pytest.importorskip("torch")
    image, kernel = np.arange(42).reshape(6, 7) % 11, np.arange(high * wide).reshape(high, wide) + 1
    used = torch.tensor(kernel[::-1, ::-1].copy() if flip else kernel)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same'")
        expected = torch.nn.functional.conv2d(
            torch.tensor(image)[None, None].double(), used[None, None].double(), padding="same", dilation=dilation
        )
    assert convolve(image, kernel, padding="same", dilation=dilation, flip=flip).output == expected[0, 0].tolist()


def test_decimals_are_exact() -> None:
    # In binary floats 0.1 + 0.2 is 0.30000000000000004, and 3·0.1 is 0.30000000000000004.
    found = convolve([[0.1, 0.2]], [[1, 1]])
    assert found.output == [[0.3]]
    assert convolve([[3, 1]], [[0.5, 0.1]], flip=False).step_at(0, 0).text == "0.5·3 + 0.1·1 = 1.6"
    assert convolve([[0.1]], [[3]]).step_at(0, 0).products[0].product == 0.3
    assert repr(convolve([[0.5]], [[4.0]]).output) == "[[2]]"


@given(st.lists(st.decimals(-100, 100, places=3), min_size=3, max_size=3))
def test_sums_of_decimals_are_the_nearest_floats(values: list[Any]) -> None:
    found = convolve([[float(value) for value in values]], [[1, 0.1, -2]], flip=False)
    exact = Fraction(values[0]) + Fraction(values[1]) / 10 - 2 * Fraction(values[2])
    assert found.output == [[float(exact)]]


def test_a_bias_is_written_even_where_it_adds_nothing() -> None:
    assert convolve([[2]], [[3]], bias=0).step_at(0, 0).text == "3·2 + 0 (bias) = 6"
    assert convolve([[2]], [[3]]).step_at(0, 0).text == "3·2 = 6"


def test_the_output_has_the_kernels_axis_where_the_kernel_has_it() -> None:
    assert convolve(IMAGE, KERNEL).output == [[ANSWER[1][1], ANSWER[1][2], ANSWER[1][3]]]
    assert convolve([IMAGE], [KERNEL]).output == convolve(IMAGE, KERNEL).output
    assert convolve(IMAGE, [[KERNEL]]).output == [convolve(IMAGE, KERNEL).output]


def test_reflected_and_replicated_padding_say_what_they_copy() -> None:
    reflected = convolve([[1, 2, 3]], [[1]], padding=(0, 2), padding_mode="reflect")
    assert reflected.output == [[3, 2, 1, 2, 3, 2, 1]]
    first = reflected.step_at(0, 0).products[0]
    assert (first.row, first.column, first.padding, first.pixel) == (0, -2, True, 3)
    assert convolve([[1, 2, 3]], [[1]], padding=(0, 2), padding_mode="replicate").output == [[1, 1, 1, 2, 3, 3, 3]]


def test_json_has_what_was_put_in_and_every_step() -> None:
    found = convolve(IMAGE, KERNEL, padding=1, bias=2)
    message = json.loads(found.to_json())
    assert message["output"] == [[value + 2 for value in row] for row in ANSWER]
    assert (message["image"], message["kernels"], message["bias"]) == ([IMAGE], [[KERNEL]], [2])
    assert [step["sum"] for step in message["steps"]] == [value + 2 for row in ANSWER for value in row]
    assert message["steps"][1]["products"][8] == {
        "channel": 0, "row": 1, "column": 2, "padding": False, "pixel": 1,
        "weight_row": 0, "weight_column": 0, "weight": -1, "product": -1,
    }  # fmt: skip
    assert [step["text"] for step in json.loads(found.at(1, 2).to_json())["steps"]] == [found.step_at(1, 2).text]


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"image": [[1, 2], [3]]}, ["image: this is not a grid of numbers", "[[1, 2], [3]]", "H×W or C×H×W, rows of one"]),
    ({"image": [[[1]], [[1, 2]]]}, ["image: this is not a grid of numbers"]),
    ({"image": 5}, ["image: this is not a grid of numbers", "received: 5"]),
    ({"kernel": [[[[[1]]]]]}, ["kernel: this is not a grid of numbers", "F×C×H×W"]),
    ({"image": [[1, "2"]]}, ["image: this is not a grid of numbers", "'2'"]),
    ({"image": [[1, True]]}, ["image: this is not a grid of numbers", "True"]),
    ({"image": [[1, float("nan")]]}, ["image: this is not a grid of numbers", "nan", "finite numbers"]),
    ({"image": [[10**101]]}, ["image: this is not a grid of numbers", "to 1e100"]),
    ({"kernel": [[[1]], [[2]]]}, ["the kernel and the image have different channels", "2 channels", "F×1×H×W"]),
    ({"kernel": [[1] * 6]}, ["kernel: the kernel is larger than the padded image", "1×6", "up to 3×5"]),
    ({"kernel": [[1, 1]], "dilation": 5}, ["1×2, dilation 5×5"]),
    ({"bias": [1, 2]}, ["bias: each kernel has one bias", "2 numbers", "1 number"]),
    ({"stride": 0}, ["stride must be a whole number, or two", "received: 0", "1 to 65,536"]),
    ({"dilation": (1, 2, 3)}, ["dilation must be a whole number, or two", "(1, 2, 3)", "(vertical, horizontal)"]),
    ({"padding": -1}, ["padding must be a whole number, or two", "0 to 65,536", "or 'same'"]),
    ({"padding": "same", "stride": 2}, ["padding 'same' needs stride 1", "stride 2×2"]),
    ({"padding": 3, "padding_mode": "reflect"}, ["reflected padding must be smaller", "3 for 3 pixels"]),
    (
        {"padding_mode": "zero"},
        ["padding_mode: there is no such padding mode", "reflect, replicate, zeros", "'zeros'?"],
    ),
    (
        {"image": [[1] * 400] * 400, "kernel": [[1] * 3] * 3},
        ["too much to be worked out by hand", "1,425,636 products", "up to 100,000", "cut out a piece"],
    ),
    ({"padding": 60_000, "stride": 60_000}, ["too much to be worked out by hand", "pixels", "up to 100,000"]),
]


@pytest.mark.parametrize(("changed", "told"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_told(changed: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        convolve(**{"image": IMAGE, "kernel": [[1]], **changed})
    for words in told:
        assert words in str(caught.value)


def test_no_product_and_no_sum_vanishes() -> None:
    found = convolve([[1e-100, 1e100, 1]], [[1e-100, 0, 3]], flip=False, bias=-3)
    assert (found.output, found.step_at(0, 0).products[0].product) == ([[1e-200]], 1e-200)


def test_an_element_outside_is_refused() -> None:
    found = convolve(IMAGE, [[KERNEL]])
    for place in ((1, 0), (0, -1), (0, 0, 1)):
        with pytest.raises(UsageError, match=r"no such element(.|\n)*rows 0 to 0, columns 0 to 2, kernels 0 to 0"):
            found.step_at(*place)


def test_arrays_are_taken_as_they_are() -> None:
    assert convolve(np.array(IMAGE), np.array(KERNEL, dtype=np.float32), padding=np.int64(1)).output == ANSWER
    assert convolve([np.array(row) for row in IMAGE], KERNEL, padding=(1, 1)).output == ANSWER
