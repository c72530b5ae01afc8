"""Output, padding, kernel and stride: the exercises that are to be solved, and what torch computes."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as functional

from cnnlab.theory.size_arithmetic.compute import solve_kernel, solve_output, solve_padding, solve_stride
from cnnlab.theory.size_arithmetic.result import OutputSizeResult, SizeSolution


@pytest.mark.parametrize("kernel", [2, 4, 7, 10])
@pytest.mark.parametrize("dilation", [1, 3])
def test_unequal_padding_is_that_of_torchs_same(kernel: int, dilation: int) -> None:
    answer = solve_padding(16, kernel, dilation=dilation)
    image = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(1, 1, kernel, kernel, generator=torch.Generator().manual_seed(1))
    front, behind = answer.axes[0].unequal or (answer.padding, answer.padding)
    by_hand = functional.pad(image, (front, behind, front, behind))
    with warnings.catch_warnings():
        # Once in a process torch warns that an odd padding costs a copy.
        warnings.simplefilter("ignore")
        same = functional.conv2d(image, weight, padding="same", dilation=dilation)
    assert torch.allclose(functional.conv2d(by_hand, weight, dilation=dilation), same, atol=1e-5)
    assert (answer.axes[0].unequal is not None) == (dilation * (kernel - 1) % 2 == 1)


def test_exercise_padding_that_keeps_the_size() -> None:
    answer = solve_padding(32, 7)
    assert (answer.padding, answer.exact, answer.fits) == (3, "3", True)
    assert "P = ((S − 1)·W − S + F) / 2" in _text(answer)


def test_exercise_kernel() -> None:
    answer = solve_kernel(512, 508, stride=1, padding=0)
    assert (answer.kernel, answer.fits) == (5, True)


def test_exercises_one_layer_after_another() -> None:
    assert solve_output(508, 2, pool=True).size == 254
    assert solve_output(254, 3).size == 252


def test_exercise_parameters() -> None:
    answer = solve_output(32, 4, padding=2, stride=2, channels=3, filters=32)
    assert (answer.shape, answer.weights, answer.biases, answer.parameters) == ((32, 17, 17), 1536, 32, 1568)
    assert "parameters = 32·3·4·4 + 32 = 1,536 + 32 = 1,568" in _text(answer)
    layer = torch.nn.Conv2d(3, 32, 4, 2, 2, device="meta")
    assert sum(weights.numel() for weights in layer.parameters()) == answer.parameters


def test_exercise_that_does_not_fit() -> None:
    answer = solve_output(32, 5, padding=2, stride=2, channels=3, filters=32)
    (axis,) = answer.axes
    assert (answer.size, answer.exact, answer.fits, axis.left_over) == (16, "33/2", False, 1)
    assert axis.uncovered == ((33, 33),)
    tables = dict(answer.document().tables)
    coverage = tables["Covered by no window, counted from 0 (others are padding); left over: after the last window"]
    assert coverage.rows == (("33", "1"),)
    assert ("kernel", "32", "4", "2", "2", "17") in tables["The nearest that fit exactly"].rows


def test_long_lists_are_shortened_in_documents_only() -> None:
    gaps = solve_output(32, 1, stride=3)
    assert len(gaps.axes[0].uncovered) == 11
    (coverage, *_) = (table for _, table in gaps.document().tables)
    assert coverage.rows[0][0] == "1 to 2, 4 to 5, 7 to 8, 10 to 11, … (21)"
    kernels = solve_kernel(100, 4, stride=25)
    assert kernels.axes[0].answers == tuple(range(1, 26))
    assert "with a kernel of 1 to 25 torch gives this output" in _text(kernels)


def test_the_smallest_that_fits_exactly_is_the_answer() -> None:
    answer = solve_kernel(16, 7, stride=2)
    assert answer.axes[0].answers == (3, 4)  # a kernel of 3 leaves a pixel over
    assert (answer.kernel, answer.fits) == (4, True)
    assert solve_padding(32, 5, stride=2, output=16).padding == 2
    assert solve_stride(32, 20, 3).stride is None


def test_the_largest_numbers_are_answered_at_once() -> None:
    answer = solve_output(65_536, 20_000, stride=3, dilation=3)
    assert answer.size == (65_536 - 3 * 19_999 - 1) // 3 + 1
    assert solve_padding(32, 7, stride=60_000, output=60_000).padding is None


def test_two_dimensions_are_told_apart() -> None:
    answer = solve_output((32, 30), 5, padding=(2, 0), stride=2)
    image = torch.empty(1, 1, 32, 30, device="meta")
    made = functional.conv2d(image, torch.empty(1, 1, 5, 5, device="meta"), stride=2, padding=(2, 0))
    assert answer.size == tuple(made.shape[2:])
    assert (answer.exact, [axis.axis for axis in answer.axes]) == (("33/2", "27/2"), ["rows", "columns"])
    assert solve_stride((32, 64), 16, 4, padding=(1, 0)).stride == (2, 4)
    assert solve_padding(32, (7, 4)).padding == (3, None)
    assert OutputSizeResult.from_json(answer.to_json()) == answer


def test_a_pool_keeps_its_channels() -> None:
    answer = solve_output(8, 2, pool=True, channels=5)
    assert (answer.shape, answer.parameters) == ((5, 4, 4), 0)


def test_notebooks_show_the_sheet_and_its_picture() -> None:
    html = solve_output(9, 3, stride=2)._repr_html_()
    assert "data:image/svg+xml" in html
    assert "(9 − 3 + 2·0) / 2 + 1 = 4" in html
    assert "Padding of a convolution, 32 → 32: 3" in solve_padding(32, 7)._repr_html_()


def _text(answer: OutputSizeResult | SizeSolution) -> list[str]:
    return [line if isinstance(line, str) else line.text for line in answer.document().lines]
