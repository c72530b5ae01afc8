"""Convolution arithmetic along one dimension: output size, and padding, kernel or stride solved for a given output.

A `Sized` is one number for both dimensions or (vertical, horizontal); answers are given as the question was asked.
Positions are counted from 0 at the image's first pixel; padding in front of it is below 0. A transposed convolution is
read backwards: its windows slide over the output, one for each input pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd
from typing import Any, Literal, TypeAlias

from cnnlab.records import Record

# What one step makes of a size n: ⌊(times·n + plus) / over⌋.
Step = tuple[int, int, int]


@dataclass(frozen=True)
class OutputSize:
    """What comes out of sliding a window, in pixels.

    `exact` is the formula's own value; `size` is what frameworks make of it (rounded down); `unseen` is how many
    rows of the padded input the last window does not reach.
    """

    size: int
    exact: Fraction
    unseen: int

    @property
    def fits(self) -> bool:
        """True when the windows end exactly at the border."""
        return self.unseen == 0


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> OutputSize:
    """`(size + padding - dilation·(kernel - 1) - 1) / stride + 1`, where `padding` counts both sides together.

    Source: V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, 2016, relationship 6,
    with dilation as in section 5.1.

    >>> output_size(32, kernel=5, padding=4, stride=2)
    OutputSize(size=16, exact=Fraction(33, 2), unseen=1)
    """
    steps = Fraction(size + padding - dilation * (kernel - 1) - 1, stride)
    whole = steps.numerator // steps.denominator
    return OutputSize(size=whole + 1, exact=steps + 1, unseen=int((steps - whole) * stride))


@dataclass(frozen=True)
class SizeRule:
    """How a map's size follows from A, the size of the image: A − 4, or ⌊(A + 1)/2⌋. A fresh one is the image's own.

    Rounding down twice is rounding down once, ⌊(⌊(A + a)/s⌋ + b)/t⌋ = ⌊(A + a + s·b)/(s·t)⌋ (R. Graham, D. Knuth,
    O. Patashnik: Concrete mathematics, equation 3.11), so one step is enough until a rounded size is enlarged.
    """

    steps: tuple[Step, ...] = ((1, 0, 1),)

    def through(self, kernel: int, stride: int = 1, dilation: int = 1, padding: int = 0) -> SizeRule:
        """The rule after a sliding window; `padding` counts both sides together, as in `output_size`.

        >>> SizeRule().through(5).through(3).text()
        'A − 6'
        """
        return self._then((1, padding - dilation * (kernel - 1) - 1 + stride, stride))

    def enlarged(self, scale: int) -> SizeRule:
        """The rule after enlarging by `scale`."""
        return self._then((scale, 0, 1))

    @classmethod
    def fixed(cls, size: int) -> SizeRule:
        """The rule of a map that has one size whatever the image's.

        >>> SizeRule.fixed(7).text()
        '7'
        """
        return cls(((0, size, 1),))

    def size(self, side: int) -> int:
        """The map's size for an image of `side` pixels; below 1 where a window does not fit.

        >>> SizeRule().through(3, stride=2).size(9)
        4
        """
        for times, plus, over in self.steps:
            side = (times * side + plus) // over
        return side

    def text(self, letter: str = "A") -> str:
        """The rule as it is written.

        >>> SizeRule().through(5).through(2, stride=2).text()
        '⌊(A − 4)/2⌋'
        """
        inner = letter
        for times, plus, over in self.steps:
            inner = _written(inner, times, plus, over)
        return inner

    def _then(self, step: Step) -> SizeRule:
        *front, (times, plus, over) = self.steps
        more, add, by = step
        if more == 1:
            return SizeRule((*front, _reduced(times, plus + add * over, over * by)))
        if over == 1:
            return SizeRule((*front, _reduced(more * times, more * plus + add, by)))
        return SizeRule((*self.steps, _reduced(*step)))


def _reduced(times: int, plus: int, over: int) -> Step:
    """The same step in smaller numbers: ⌊(g·m·n + a)/(g·d)⌋ = ⌊(m·n + ⌊a/g⌋)/d⌋."""
    common = gcd(times, over)
    return times // common, plus // common, over // common


def _written(inner: str, times: int, plus: int, over: int) -> str:
    if times == 0:
        return str(plus // over)
    if times != 1:
        inner = f"{times}{inner}" if inner.isalpha() else f"{times}·{inner}"
    if plus:
        inner = f"{inner} {'+' if plus > 0 else '−'} {abs(plus)}"
    if over == 1:
        return inner
    return f"⌊{f'({inner})' if plus else inner}/{over}⌋"


Sized: TypeAlias = int | tuple[int, int]
Axis = Literal["both", "rows", "columns"]


class Question(Record):
    """What was asked: sizes in pixels, `padding` on each side, None for what is unknown.

    `output` is the wanted one; None where it is what is asked for. `tied`: the stride is the kernel.
    """

    size: Sized
    kernel: Sized | None = None
    stride: Sized | None = None
    padding: Sized | None = None
    dilation: Sized = 1
    output: Sized | None = None
    pool: bool = False
    ceil: bool = False
    transposed: bool = False
    output_padding: Sized = 0
    tied: bool = False

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The dimensions that are told apart: one for both, unless some quantity has two numbers."""
        told = (self.size, self.kernel, self.stride, self.padding, self.dilation, self.output, self.output_padding)
        return ("rows", "columns") if any(isinstance(value, tuple) for value in told) else ("both",)

    @property
    def kind(self) -> str:
        """What slides, in words."""
        return "pool" if self.pool else "transposed convolution" if self.transposed else "convolution"

    def slide(self, axis: Axis) -> Slide:
        """The window along one dimension; 1 stands for an unknown kernel or stride, 0 for an unknown padding."""

        def of(value: Sized | None, default: int = 1) -> int:
            if value is None:
                return default
            return value[axis == "columns"] if isinstance(value, tuple) else value

        return Slide(
            size=of(self.size),
            kernel=of(self.kernel),
            stride=of(self.stride),
            padding=of(self.padding, 0),
            dilation=of(self.dilation),
            pool=self.pool,
            ceil=self.ceil,
            transposed=self.transposed,
            output_padding=of(self.output_padding),
        )

    def puzzle(self, axis: Axis, unknown: Unknown) -> Puzzle:
        """The question along one dimension, with an unknown."""
        wanted = self.size if self.output is None else self.output
        output = wanted[axis == "columns"] if isinstance(wanted, tuple) else wanted
        return Puzzle(self.slide(axis), unknown, output, self.tied)


class AxisOutput(Record):
    """What comes out along one dimension.

    `exact` is the formula's value, a fraction as text; `left_over` counts the rows behind the last window, of image
    and padding together (below 0: the last window sticks out by so many). `unseen` are rows of the image that no
    window touches, `unseen_padding` those of its padding. Of a transposed convolution `unseen` are the rows of its
    input of which nothing is left in the output, and `empty` those of the output that no input reaches.
    """

    axis: Axis
    exact: str
    size: int
    fits: bool
    left_over: int
    unseen: tuple[Stretch, ...] = ()
    unseen_padding: tuple[Stretch, ...] = ()
    empty: tuple[Stretch, ...] = ()
    nearest: tuple[Nearby, ...] = ()
    notes: tuple[str, ...] = ()


class Attempt(Record):
    """What torch makes of a value beside the exact one; None: it refuses."""

    value: int
    output: int | None


class AxisSolution(Record):
    """The unknown along one dimension.

    `value` is the smallest that fits exactly, or else the smallest with which torch gives the wanted output, or None.
    `exact` is what the formula solved for it gives, a fraction as text; None where it drops out of the formula.
    `answers` has every value that gives the output; from `any_from` on any does. `unequal` is the padding (front,
    behind) that would fit where no equal one does. `result` is what comes out with `value`; `attempts` are the values
    around `exact` where there is none.
    """

    axis: Axis
    value: int | None
    exact: str | None
    fits: bool
    answers: tuple[Fit, ...]
    any_from: int | None = None
    unequal: tuple[int, int] | None = None
    attempts: tuple[Attempt, ...] = ()
    result: AxisOutput | None = None
    nearest: tuple[Nearby, ...] = ()
    notes: tuple[str, ...] = ()


def together(values: list[Any]) -> Any:
    """One value of both dimensions, or a pair, as the question was asked."""
    return values[0] if len(values) == 1 else tuple(values)


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


Unknown = Literal["padding", "kernel", "stride"]
Change = Literal["size", "kernel", "stride", "padding", "output_padding", "output"]
# A setting further away than this is no neighbour.
FAR = 1000
# Numbers that a setting may hold: more than any image has, and few enough to look at pixel by pixel.
LARGEST = 65_536


class Fit(Record):
    """A value that gives the wanted output; `left_over` counts the rows behind the last window (below 0: it sticks
    out by so many)."""

    value: int
    fits: bool
    left_over: int


class Nearby(Record):
    """A setting that fits exactly, one quantity away; `size` is the image's, `output` what comes out."""

    change: Change
    size: int
    kernel: int
    stride: int
    padding: int
    output: int
    output_padding: int = 0


@dataclass(frozen=True)
class Puzzle:
    """A window whose `unknown` is to be found, so that `output` comes out of `slide`.

    The unknown's value in `slide` does not count. `tied`: the stride is the kernel, as of a pool unless told.
    """

    slide: Slide
    unknown: Unknown
    output: int
    tied: bool = False

    def at(self, value: int) -> Slide:
        """The window with a value for the unknown."""
        if self.unknown == "padding":
            return replace(self.slide, padding=value)
        if self.unknown == "stride":
            return replace(self.slide, stride=value)
        return replace(self.slide, kernel=value, stride=value if self.tied else self.slide.stride)

    @property
    def exact(self) -> Fraction | None:
        """What the formula, solved for the unknown, gives; None where every value gives the same output."""
        slide, output = self.slide, self.output
        padded, steps = slide.size + 2 * slide.padding, output - 1
        if slide.transposed:
            # The same formula with input and output in each other's place.
            padded, steps = output + 2 * slide.padding - slide.output_padding, slide.size - 1
        if self.unknown == "padding":
            return Fraction(steps * slide.stride + slide.reach - (padded - 2 * slide.padding), 2)
        if self.unknown == "stride":
            return Fraction(padded - slide.reach, steps) if steps else None
        if self.tied:
            return Fraction(padded + slide.dilation - 1, steps + slide.dilation)
        return Fraction(padded - steps * slide.stride - 1, slide.dilation) + 1

    @property
    def solved(self) -> Slide | None:
        """The window that gives exactly the wanted output, with the smallest value."""
        exact = self.exact
        value = self.lowest if exact is None else exact.numerator if exact.denominator == 1 else -1
        if not self.lowest <= value <= LARGEST:
            return None
        found = self.at(value)
        return found if found.fits and found.output == self.output else None

    @property
    def lowest(self) -> int:
        """The smallest value that the unknown may have."""
        return 0 if self.unknown == "padding" else 1

    def fits(self) -> tuple[list[Fit], int | None]:
        """Every value that gives the wanted output, and from where on any does; of those only the first is listed."""
        candidates = self._candidates()
        values = [value for value in candidates if self.at(value).output == self.output]
        any_from = None
        if self.unknown != "padding" and values and values[-1] == candidates[-1]:
            any_from = values[-1]
            while len(values) > 1 and values[-2] == any_from - 1:
                any_from = values.pop() - 1
        found = [(value, self.at(value)) for value in values]
        return [Fit(value=value, fits=slide.fits, left_over=slide.left_over) for value, slide in found], any_from

    def _candidates(self) -> range:
        """Values outside of which none gives the output; from the last one of a kernel or a stride on all give the
        same, as the window is larger than the image or the step leads out of it."""
        slide = self.slide
        if self.unknown == "padding":
            if slide.pool:
                return range(slide.kernel // 2 + 1)
            total = (self.exact or Fraction(0)) * 2
            spare = 0 if slide.transposed else slide.stride - 1
            last = min(int((total + spare) // 2), LARGEST)
            return range(max(int(-(-total // 2)), 0), max(last, -1) + 1)
        if slide.transposed:
            return range(1, self.output + 2 * slide.padding + 2)
        room = slide.size + 2 * slide.padding
        beside = slide.reach if self.unknown == "stride" else 0 if self.tied else slide.stride
        return range(1, room + beside + 2)


def nearest_fits(slide: Slide) -> list[Nearby]:
    """The settings that fit exactly, each with one of size, kernel, stride and padding changed by as little as can be.

    >>> [(found.change, found.output) for found in nearest_fits(Slide(32, kernel=5, stride=2, padding=2))]
    [('size', 16), ('size', 17), ('kernel', 17), ('kernel', 16), ('stride', 32)]
    """
    found: list[Nearby] = []
    quantities: tuple[tuple[Change, int], ...] = (("size", 1), ("kernel", 1), ("stride", 1), ("padding", 0))
    for change, lowest in quantities:
        value = getattr(slide, change)
        # What is left over repeats with the stride: a fit that is further away is one of these, too.
        for distance in range(1, slide.stride):
            near = [_with(slide, change, at) for at in (value - distance, value + distance) if at >= lowest]
            fitting = [setting for setting in near if setting.fits and (_sound(setting) or not _sound(slide))]
            found += [_nearby(change, setting) for setting in fitting]
            if fitting:
                break
    return found


def nearest_solutions(puzzle: Puzzle) -> list[Nearby]:
    """The settings that fit exactly where a puzzle has no exact solution, each with one known quantity changed."""
    found: list[Nearby] = []
    changes: list[Change] = ["output", "size", "kernel", "padding"]
    changes += [] if puzzle.tied else ["stride"]
    changes += ["output_padding"] if puzzle.slide.transposed else []
    for change in changes:
        if change == puzzle.unknown:
            continue
        for distance in range(1, FAR):
            solved = [near.solved for near in _moved(puzzle, change, distance)]
            sound = [slide for slide in solved if slide and _sound(slide)]
            found += [_nearby(change, slide) for slide in sound]
            if sound:
                break
    return found


def _moved(puzzle: Puzzle, change: Change, distance: int) -> Iterator[Puzzle]:
    lowest = 0 if change in ("padding", "output_padding") else 1
    value = puzzle.output if change == "output" else getattr(puzzle.slide, change)
    for at in (value - distance, value + distance):
        if at < lowest:
            continue
        if change == "output":
            yield replace(puzzle, output=at)
        else:
            yield replace(puzzle, slide=_with(puzzle.slide, change, at))


def _with(slide: Slide, change: Change, value: int) -> Slide:
    changed: dict[str, Any] = {change: value}
    return replace(slide, **changed)


def _sound(slide: Slide) -> bool:
    """True where every window has a place on the image: one over padding alone is no advice."""
    return slide.padding < slide.reach


def _nearby(change: Change, slide: Slide) -> Nearby:
    return Nearby(
        change=change,
        size=slide.size,
        kernel=slide.kernel,
        stride=slide.stride,
        padding=slide.padding,
        output=slide.output or 0,
        output_padding=slide.output_padding,
    )
