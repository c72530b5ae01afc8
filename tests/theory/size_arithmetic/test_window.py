"""Windows in their places, against torch: what comes out, and which pixels none of them touches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as functional
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cnnlab.theory.size_arithmetic.window import Window, runs


@given(st.from_type(Window))
# Its third window would begin behind the image.
@example(Window(5, kernel=1, stride=3, pool=True, ceil=True))
def test_torch_makes_the_same_size(torch_size: Callable[[Window], int | None], window: Window) -> None:
    assert window.output == torch_size(window)


@given(st.from_type(Window))
def test_uncovered_pixels_are_those_without_a_gradient(window: Window) -> None:
    assume(window.output is not None)
    uncovered = [pixel for pixel in window.uncovered() if 0 <= pixel < window.num_pixels]
    if window.pool:
        # A maximum's gradient reaches one pixel only, so its windows are counted.
        covered = {pixel for step in range(window.num_windows) for pixel in window.pixels(step)}
        assert uncovered == [pixel for pixel in range(window.size) if pixel not in covered]
        return
    image = torch.ones(1, 1, window.size, 1, requires_grad=True)
    kernel = torch.ones(1, 1, window.kernel, 1)
    stride, padding, dilation = (window.stride, 1), (window.padding, 0), (window.dilation, 1)
    if window.transposed:
        more = (window.output_padding, 0)
        reached = functional.conv_transpose2d(image, kernel, None, stride, padding, more, 1, dilation)
    else:
        output = functional.conv2d(image, kernel, None, stride, padding, dilation)
        (reached,) = torch.autograd.grad(output.sum(), image)
    assert uncovered == [pixel for pixel, value in enumerate(reached.flatten().tolist()) if value == 0]


@given(st.sets(st.integers(-20, 60)))
def test_runs_hold_exactly_their_pixels(places: set[int]) -> None:
    found = runs(sorted(places))
    assert [place for first, last in found for place in range(first, last + 1)] == sorted(places)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))
