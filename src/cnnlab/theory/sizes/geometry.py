"""A window that slides along one dimension: what comes out, and which pixels no window touches.

Positions are counted from 0 at the image's first pixel; padding in front of it is below 0. A transposed convolution is
read backwards: its windows slide over the output, one for each input pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from cnnlab.records import Record
from cnnlab.theory.sizes.rule import output_size


class Stretch(Record):
    """Neighbouring pixels, `first` to `last`; with `times` above 1 there is such a stretch every `every` pixels."""

    first: int
    last: int
    every: int = 0
    times: int = 1

    @property
    def count(self) -> int:
        """How many pixels in all."""
        return (self.last - self.first + 1) * self.times

    @property
    def end(self) -> int:
        """The last pixel of the last stretch."""
        return self.last + self.every * (self.times - 1)

    def holds(self, place: int) -> bool:
        """True where a pixel is one of them."""
        if not self.first <= place <= self.end:
            return False
        return self.times == 1 or (place - self.first) % self.every <= self.last - self.first


@dataclass(frozen=True)
class Slide:
    """A window along one dimension, in pixels; `padding` counts each side, `output_padding` the end only."""

    size: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    pool: bool = False
    ceil: bool = False
    transposed: bool = False
    output_padding: int = 0

    @property
    def reach(self) -> int:
        """How many pixels a window spans, its gaps with it."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def exact(self) -> Fraction:
        """The formula's own value.

        Source: V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, 2016, relationships 6 and
        14, with dilation as in section 5.1.
        """
        if self.transposed:
            grown = (self.size - 1) * self.stride + self.reach
            return Fraction(grown - 2 * self.padding + self.output_padding)
        return output_size(self.size, self.kernel, self.stride, 2 * self.padding, self.dilation).exact

    @property
    def output(self) -> int | None:
        """What torch makes of it; None where torch refuses or leaves nothing."""
        if self.output_padding and self.output_padding >= max(self.stride, self.dilation):
            return None
        if self.pool and 2 * self.padding > self.kernel:
            return None
        exact = self.exact
        if not self.ceil:
            whole = exact.numerator // exact.denominator
        else:
            whole = -(-exact.numerator // exact.denominator)
            if (whole - 1) * self.stride >= self.size + self.padding:
                whole -= 1  # the last window has to begin inside the image or the padding in front of it
        return whole if whole >= 1 else None

    @property
    def fits(self) -> bool:
        """True when torch takes it and the last window ends exactly at the border."""
        return self.output is not None and self.exact.denominator == 1

    @property
    def left_over(self) -> int:
        """How many pixels of the padded input lie behind the last window; below 0: so many stick out behind it."""
        if self.transposed:
            return 0
        return self.size + 2 * self.padding - self.reach - ((self.output or 1) - 1) * self.stride

    @property
    def strip(self) -> Strip:
        """Its windows in their places; only where torch takes it."""
        count = self.output or 0
        if self.transposed:
            return Strip(count, self.padding, self.padding, self.size, self.stride, self.kernel, self.dilation)
        return Strip(self.size, self.padding, self.padding, count, self.stride, self.kernel, self.dilation)


@dataclass(frozen=True)
class Strip:
    """`windows` windows over `inner` pixels with `front` and `behind` more on the sides.

    The inner pixels are the image, those on the sides its padding; of a transposed convolution the inner ones are the
    output, and those on the sides are cut off. A window may stick out at the end (ceil mode).
    """

    inner: int
    front: int
    behind: int
    windows: int
    stride: int
    kernel: int
    dilation: int

    def window(self, number: int) -> range:
        """The pixels that a window touches."""
        first = number * self.stride - self.front
        return range(first, first + self.dilation * (self.kernel - 1) + 1, self.dilation)

    def untouched(self) -> tuple[list[Stretch], list[Stretch], list[Stretch]]:
        """The pixels that no window touches: in front, inner, behind."""
        touched = bytearray(self.front + self.inner + self.behind)
        last = (self.windows - 1) * self.stride
        # The shorter loop: over the windows, or over the places within a window; either is a slice with a step.
        if self.windows <= self.kernel:
            starts, step, span = range(0, last + 1, self.stride), self.dilation, self.dilation * (self.kernel - 1) + 1
        else:
            starts, step, span = range(0, self.dilation * self.kernel, self.dilation), self.stride, last + 1
        for start in starts:
            here = range(start, min(start + span, len(touched)), step)
            touched[start : start + span : step] = b"\x01" * len(here)
        left = [place - self.front for place, seen in enumerate(touched) if not seen]
        return (
            stretches(place for place in left if place < 0),
            stretches(place for place in left if 0 <= place < self.inner),
            stretches(place for place in left if place >= self.inner),
        )

    def idle(self) -> list[Stretch]:
        """The windows that touch no inner pixel: of a transposed convolution, the input pixels that are lost."""
        inner = range(self.inner)
        return stretches(number for number in range(self.windows) if not _meets(self.window(number), inner))


def stretches(places: Iterable[int]) -> list[Stretch]:
    """Places in rising order as few stretches: neighbours joined, and what repeats evenly told once.

    >>> stretches([1, 2, 4, 5, 7, 8, 20])
    [Stretch(first=1, last=2, every=3, times=3), Stretch(first=20, last=20, every=0, times=1)]
    """
    found: list[Stretch] = []
    for first, last in _joined(places):
        before = found[-1] if found else None
        if before is None or last - first != before.last - before.first:
            found.append(Stretch(first=first, last=last))
        elif before.times == 1:
            found[-1] = Stretch(first=before.first, last=before.last, every=first - before.first, times=2)
        elif first == before.first + before.every * before.times:
            found[-1] = before.model_copy(update={"times": before.times + 1})
        else:
            found.append(Stretch(first=first, last=last))
    return found


def _joined(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = None
    for place in places:
        if first is None or last is None:
            first = place
        elif place != last + 1:
            yield first, last
            first = place
        last = place
    if first is not None and last is not None:
        yield first, last


def _meets(window: range, inner: range) -> bool:
    """True where a window's places, which may have gaps, hit the inner pixels."""
    first = window.start if window.start >= 0 else window.start % window.step
    return first < inner.stop and first < window.stop
