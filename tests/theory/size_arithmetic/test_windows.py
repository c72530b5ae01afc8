"""Windows in their places, against torch: what comes out, and which pixels none of them touches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
import torch.nn.functional as functional
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cnnlab.theory.size_arithmetic.arithmetic import Slide, Stretch, stretches


@given(st.from_type(Slide))
# Its third window would begin behind the image.
@example(Slide(5, kernel=1, stride=3, pool=True, ceil=True))
def test_torch_makes_the_same_size(torch_size: Callable[[Slide], int | None], slide: Slide) -> None:
    assert slide.output == torch_size(slide)


@given(st.from_type(Slide))
@example(Slide(2, kernel=2, padding=2, dilation=3, transposed=True))
def test_unseen_pixels_are_those_without_a_gradient(
    listed: Callable[[Iterable[Stretch]], list[int]], slide: Slide
) -> None:
    assume(slide.output is not None)
    if slide.pool:
        # A maximum's gradient reaches one pixel only; where the pixels of a window lie is the same as a convolution's.
        covered = torch.zeros(slide.size)
        for window in range(slide.output or 0):
            for tap in range(slide.kernel):
                place = window * slide.stride - slide.padding + tap * slide.dilation
                if 0 <= place < slide.size:
                    covered[place] = 1
    else:
        image = torch.ones(1, 1, slide.size, 1, requires_grad=True)
        kernel = torch.ones(1, 1, slide.kernel, 1)
        stride, padding, dilation = (slide.stride, 1), (slide.padding, 0), (slide.dilation, 1)
        if slide.transposed:
            more = (slide.output_padding, 0)
            made = functional.conv_transpose2d(image, kernel, None, stride, padding, more, 1, dilation)
            empty = [place for place, reached in enumerate(made[0, 0, :, 0].tolist()) if reached == 0]
            assert listed(slide.strip.untouched()[1]) == empty
        else:
            made = functional.conv2d(image, kernel, None, stride, padding, dilation)
        (covered,) = torch.autograd.grad(made.sum(), image)
    lost = [place for place, seen in enumerate(covered.flatten().tolist()) if seen == 0]
    found = slide.strip.idle() if slide.transposed else slide.strip.untouched()[1]
    assert listed(found) == lost


@given(st.from_type(Slide))
def test_unseen_padding_is_that_of_a_padded_image(
    listed: Callable[[Iterable[Stretch]], list[int]], slide: Slide
) -> None:
    slide = replace(slide, pool=False, ceil=False, transposed=False, output_padding=0)
    assume(slide.output is not None)
    padded = torch.ones(1, 1, slide.size + 2 * slide.padding, 1, requires_grad=True)
    kernel = torch.ones(1, 1, slide.kernel, 1)
    made = functional.conv2d(padded, kernel, None, (slide.stride, 1), 0, (slide.dilation, 1))
    (covered,) = torch.autograd.grad(made.sum(), padded)
    lost = [place - slide.padding for place, seen in enumerate(covered.flatten().tolist()) if seen == 0]
    front, _, behind = slide.strip.untouched()
    assert listed([*front, *behind]) == [place for place in lost if not 0 <= place < slide.size]


@given(st.sets(st.integers(-20, 60)))
def test_stretches_hold_exactly_their_pixels(
    listed: Callable[[Iterable[Stretch]], list[int]], places: set[int]
) -> None:
    found = stretches(sorted(places))
    assert listed(found) == sorted(places)
    assert {place for place in range(-30, 70) if any(stretch.holds(place) for stretch in found)} == places
    assert sum(stretch.count for stretch in found) == len(places)
