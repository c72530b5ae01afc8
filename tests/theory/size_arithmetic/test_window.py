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
@example(Window(2, kernel=2, padding=2, dilation=3, transposed=True))
def test_unseen_pixels_are_those_without_a_gradient(window: Window) -> None:
    assume(window.output is not None)
    if window.pool:
        # A maximum's gradient reaches one pixel only; where the pixels of a window lie is the same as a convolution's.
        covered = torch.zeros(window.size)
        for step in range(window.output or 0):
            for tap in range(window.kernel):
                place = step * window.stride - window.padding + tap * window.dilation
                if 0 <= place < window.size:
                    covered[place] = 1
    else:
        image = torch.ones(1, 1, window.size, 1, requires_grad=True)
        kernel = torch.ones(1, 1, window.kernel, 1)
        stride, padding, dilation = (window.stride, 1), (window.padding, 0), (window.dilation, 1)
        if window.transposed:
            more = (window.output_padding, 0)
            made = functional.conv_transpose2d(image, kernel, None, stride, padding, more, 1, dilation)
            empty = [place for place, reached in enumerate(made[0, 0, :, 0].tolist()) if reached == 0]
            assert [place for place in window.uncovered() if 0 <= place < window.num_pixels] == empty
        else:
            made = functional.conv2d(image, kernel, None, stride, padding, dilation)
        (covered,) = torch.autograd.grad(made.sum(), image)
    lost = [place for place, seen in enumerate(covered.flatten().tolist()) if seen == 0]
    inner = [place for place in window.uncovered() if 0 <= place < window.num_pixels]
    assert (window.cut_off() if window.transposed else inner) == lost


@given(st.sets(st.integers(-20, 60)))
def test_runs_hold_exactly_their_pixels(places: set[int]) -> None:
    found = runs(sorted(places))
    assert [place for first, last in found for place in range(first, last + 1)] == sorted(places)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))
