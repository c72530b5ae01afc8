"""Questions about sizes along one dimension, and padding, kernel or stride solved for a given output.

A `SizeOrPair` is one number for both dimensions or (vertical, horizontal); answers are given as the question was asked.
Positions are counted from 0 at the image's first pixel; padding in front of it is below 0. A transposed convolution is
read backwards: its windows slide over the output, one for each input pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from cnnlab.records import Record
from cnnlab.theory.size_arithmetic.arithmetic import output_size

SizeOrPair: TypeAlias = int | tuple[int, int]


Axis = Literal["both", "rows", "columns"]


class SizeQuery(Record):
    """What was asked: sizes in pixels, `padding` on each side, None for what is unknown.

    `output` is the wanted one; None where it is what is asked for. `tied`: the stride is the kernel.
    """

    size: SizeOrPair
    kernel: SizeOrPair | None = None
    stride: SizeOrPair | None = None
    padding: SizeOrPair | None = None
    dilation: SizeOrPair = 1
    output: SizeOrPair | None = None
    pool: bool = False
    ceil: bool = False
    transposed: bool = False
    output_padding: SizeOrPair = 0
    tied: bool = False

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The dimensions that differ: one for both, unless some quantity has two numbers."""
        quantities = (
            self.size,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.output,
            self.output_padding,
        )
        return ("rows", "columns") if any(isinstance(value, tuple) for value in quantities) else ("both",)

    @property
    def kind(self) -> str:
        """What slides, in words."""
        return "pool" if self.pool else "transposed convolution" if self.transposed else "convolution"

    def window(self, axis: Axis) -> Window:
        """The window along one dimension; 1 stands for an unknown kernel or stride, 0 for an unknown padding."""

        def of(value: SizeOrPair | None, default: int = 1) -> int:
            if value is None:
                return default
            return value[axis == "columns"] if isinstance(value, tuple) else value

        return Window(
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

    def solver(self, axis: Axis, unknown: Unknown) -> SizeSolver:
        """The question along one dimension, with an unknown."""
        wanted = self.size if self.output is None else self.output
        output = wanted[axis == "columns"] if isinstance(wanted, tuple) else wanted
        return SizeSolver(self.window(axis), unknown, output, self.tied)


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
    unseen: tuple[Span, ...] = ()
    unseen_padding: tuple[Span, ...] = ()
    empty: tuple[Span, ...] = ()
    nearest: tuple[NearbySetting, ...] = ()
    notes: tuple[str, ...] = ()


class RoundedValue(Record):
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
    answers: tuple[SolverValue, ...]
    any_from: int | None = None
    unequal: tuple[int, int] | None = None
    attempts: tuple[RoundedValue, ...] = ()
    result: AxisOutput | None = None
    nearest: tuple[NearbySetting, ...] = ()
    notes: tuple[str, ...] = ()


def merge_axes(values: list[Any]) -> Any:
    """One value of both dimensions, or a pair, as the question was asked."""
    return values[0] if len(values) == 1 else tuple(values)


class Span(Record):
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

    def contains(self, position: int) -> bool:
        """True where a pixel is one of them."""
        if not self.first <= position <= self.end:
            return False
        return self.times == 1 or (position - self.first) % self.every <= self.last - self.first


@dataclass(frozen=True)
class Window:
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
    def extent(self) -> int:
        """How many pixels a window spans, its gaps with it."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def exact(self) -> Fraction:
        """The formula's own value.

        Source: V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, 2016, relationships 6 and
        14, with dilation as in section 5.1.
        """
        if self.transposed:
            grown = (self.size - 1) * self.stride + self.extent
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
        return self.size + 2 * self.padding - self.extent - ((self.output or 1) - 1) * self.stride

    @property
    def layout(self) -> WindowLayout:
        """Its windows in their places; only where torch takes it."""
        count = self.output or 0
        if self.transposed:
            return WindowLayout(count, self.padding, self.padding, self.size, self.stride, self.kernel, self.dilation)
        return WindowLayout(self.size, self.padding, self.padding, count, self.stride, self.kernel, self.dilation)


@dataclass(frozen=True)
class WindowLayout:
    """`num_windows` windows over `num_pixels` pixels with `padding_before` and `padding_after` more on the sides.

    The inner pixels are the image, those on the sides its padding; of a transposed convolution the inner ones are the
    output, and those on the sides are cut off. A window may stick out at the end (ceil mode).
    """

    num_pixels: int
    padding_before: int
    padding_after: int
    num_windows: int
    stride: int
    kernel: int
    dilation: int

    def window_pixels(self, number: int) -> range:
        """The pixels that a window touches."""
        first = number * self.stride - self.padding_before
        return range(first, first + self.dilation * (self.kernel - 1) + 1, self.dilation)

    def untouched_pixels(self) -> tuple[list[Span], list[Span], list[Span]]:
        """The pixels that no window touches: in front, inner, behind."""
        touched = bytearray(self.padding_before + self.num_pixels + self.padding_after)
        last = (self.num_windows - 1) * self.stride
        # The shorter loop: over the windows, or over the places within a window; either is a slice with a step.
        if self.num_windows <= self.kernel:
            starts, step, span = range(0, last + 1, self.stride), self.dilation, self.dilation * (self.kernel - 1) + 1
        else:
            starts, step, span = range(0, self.dilation * self.kernel, self.dilation), self.stride, last + 1
        for start in starts:
            here = range(start, min(start + span, len(touched)), step)
            touched[start : start + span : step] = b"\x01" * len(here)
        left = [place - self.padding_before for place, seen in enumerate(touched) if not seen]
        return (
            to_spans(place for place in left if place < 0),
            to_spans(place for place in left if 0 <= place < self.num_pixels),
            to_spans(place for place in left if place >= self.num_pixels),
        )

    def idle_windows(self) -> list[Span]:
        """The windows that touch no inner pixel: of a transposed convolution, the input pixels that are lost."""
        inner = range(self.num_pixels)
        return to_spans(
            number for number in range(self.num_windows) if not _overlaps(self.window_pixels(number), inner)
        )


def to_spans(positions: Iterable[int]) -> list[Span]:
    """Positions in rising order as few spans: neighbours joined, and what repeats evenly written once.

    >>> to_spans([1, 2, 4, 5, 7, 8, 20])
    [Span(first=1, last=2, every=3, times=3), Span(first=20, last=20, every=0, times=1)]
    """
    found: list[Span] = []
    for first, last in _consecutive_ranges(positions):
        before = found[-1] if found else None
        if before is None or last - first != before.last - before.first:
            found.append(Span(first=first, last=last))
        elif before.times == 1:
            found[-1] = Span(first=before.first, last=before.last, every=first - before.first, times=2)
        elif first == before.first + before.every * before.times:
            found[-1] = before.model_copy(update={"times": before.times + 1})
        else:
            found.append(Span(first=first, last=last))
    return found


def _consecutive_ranges(positions: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = None
    for place in positions:
        if first is None or last is None:
            first = place
        elif place != last + 1:
            yield first, last
            first = place
        last = place
    if first is not None and last is not None:
        yield first, last


def _overlaps(window: range, inner: range) -> bool:
    """True where a window's places, which may have gaps, hit the inner pixels."""
    first = window.start if window.start >= 0 else window.start % window.step
    return first < inner.stop and first < window.stop


Unknown = Literal["padding", "kernel", "stride"]


Change = Literal["size", "kernel", "stride", "padding", "output_padding", "output"]


# A setting further away than this is no neighbour.
MAX_DISTANCE = 1000


# Numbers that a setting may hold: more than any image has, and few enough to look at pixel by pixel.
MAX_SIZE = 65_536


class SolverValue(Record):
    """A value that gives the wanted output; `left_over` counts the rows behind the last window (below 0: it sticks
    out by so many)."""

    value: int
    fits: bool
    left_over: int


class NearbySetting(Record):
    """A setting that fits exactly, one quantity away; `size` is the image's, `output` what comes out."""

    change: Change
    size: int
    kernel: int
    stride: int
    padding: int
    output: int
    output_padding: int = 0


@dataclass(frozen=True)
class SizeSolver:
    """A window whose `unknown` is to be found, so that `output` comes out of `window`.

    The unknown's value in `window` does not count. `tied`: the stride is the kernel, as of a pool unless given.
    """

    window: Window
    unknown: Unknown
    output: int
    tied: bool = False

    def with_value(self, value: int) -> Window:
        """The window with a value for the unknown."""
        if self.unknown == "padding":
            return replace(self.window, padding=value)
        if self.unknown == "stride":
            return replace(self.window, stride=value)
        return replace(self.window, kernel=value, stride=value if self.tied else self.window.stride)

    @property
    def exact(self) -> Fraction | None:
        """What the formula, solved for the unknown, gives; None where every value gives the same output."""
        window, output = self.window, self.output
        padded, steps = window.size + 2 * window.padding, output - 1
        if window.transposed:
            # The same formula with input and output in each other's place.
            padded, steps = output + 2 * window.padding - window.output_padding, window.size - 1
        if self.unknown == "padding":
            return Fraction(steps * window.stride + window.extent - (padded - 2 * window.padding), 2)
        if self.unknown == "stride":
            return Fraction(padded - window.extent, steps) if steps else None
        if self.tied:
            return Fraction(padded + window.dilation - 1, steps + window.dilation)
        return Fraction(padded - steps * window.stride - 1, window.dilation) + 1

    @property
    def exact_window(self) -> Window | None:
        """The window that gives exactly the wanted output, with the smallest value."""
        exact = self.exact
        value = self.min_value if exact is None else exact.numerator if exact.denominator == 1 else -1
        if not self.min_value <= value <= MAX_SIZE:
            return None
        found = self.with_value(value)
        return found if found.fits and found.output == self.output else None

    @property
    def min_value(self) -> int:
        """The smallest value that the unknown may have."""
        return 0 if self.unknown == "padding" else 1

    def solutions(self) -> tuple[list[SolverValue], int | None]:
        """Every value that gives the wanted output, and from where on any does; of those only the first is listed."""
        candidates = self._candidates()
        values = [value for value in candidates if self.with_value(value).output == self.output]
        any_from = None
        if self.unknown != "padding" and values and values[-1] == candidates[-1]:
            any_from = values[-1]
            while len(values) > 1 and values[-2] == any_from - 1:
                any_from = values.pop() - 1
        found = [(value, self.with_value(value)) for value in values]
        return [
            SolverValue(value=value, fits=window.fits, left_over=window.left_over) for value, window in found
        ], any_from

    def _candidates(self) -> range:
        """Values outside of which none gives the output; from the last one of a kernel or a stride on all give the
        same, as the window is larger than the image or the step leads out of it."""
        window = self.window
        if self.unknown == "padding":
            if window.pool:
                return range(window.kernel // 2 + 1)
            total = (self.exact or Fraction(0)) * 2
            spare = 0 if window.transposed else window.stride - 1
            last = min(int((total + spare) // 2), MAX_SIZE)
            return range(max(int(-(-total // 2)), 0), max(last, -1) + 1)
        if window.transposed:
            return range(1, self.output + 2 * window.padding + 2)
        room = window.size + 2 * window.padding
        beside = window.extent if self.unknown == "stride" else 0 if self.tied else window.stride
        return range(1, room + beside + 2)


def nearest_fits(window: Window) -> list[NearbySetting]:
    """The settings that fit exactly, each with one of size, kernel, stride and padding changed by as little as can be.

    >>> [(found.change, found.output) for found in nearest_fits(Window(32, kernel=5, stride=2, padding=2))]
    [('size', 16), ('size', 17), ('kernel', 17), ('kernel', 16), ('stride', 32)]
    """
    found: list[NearbySetting] = []
    quantities: tuple[tuple[Change, int], ...] = (("size", 1), ("kernel", 1), ("stride", 1), ("padding", 0))
    for change, lowest in quantities:
        value = getattr(window, change)
        # What is left over repeats with the stride: a fit that is further away is one of these, too.
        for distance in range(1, window.stride):
            near = [_replace_value(window, change, at) for at in (value - distance, value + distance) if at >= lowest]
            fitting = [
                setting for setting in near if setting.fits and (_is_sensible(setting) or not _is_sensible(window))
            ]
            found += [_nearby(change, setting) for setting in fitting]
            if fitting:
                break
    return found


def nearest_solutions(solver: SizeSolver) -> list[NearbySetting]:
    """The settings that fit exactly where a solver has no exact solution, each with one known quantity changed."""
    found: list[NearbySetting] = []
    changes: list[Change] = ["output", "size", "kernel", "padding"]
    changes += [] if solver.tied else ["stride"]
    changes += ["output_padding"] if solver.window.transposed else []
    for change in changes:
        if change == solver.unknown:
            continue
        for distance in range(1, MAX_DISTANCE):
            solved = [near.exact_window for near in _neighbours(solver, change, distance)]
            sound = [window for window in solved if window and _is_sensible(window)]
            found += [_nearby(change, window) for window in sound]
            if sound:
                break
    return found


def _neighbours(solver: SizeSolver, change: Change, distance: int) -> Iterator[SizeSolver]:
    lowest = 0 if change in ("padding", "output_padding") else 1
    value = solver.output if change == "output" else getattr(solver.window, change)
    for at in (value - distance, value + distance):
        if at < lowest:
            continue
        if change == "output":
            yield replace(solver, output=at)
        else:
            yield replace(solver, window=_replace_value(solver.window, change, at))


def _replace_value(window: Window, change: Change, value: int) -> Window:
    changed: dict[str, Any] = {change: value}
    return replace(window, **changed)


def _is_sensible(window: Window) -> bool:
    """True where every window has a place on the image: one over padding alone is no advice."""
    return window.padding < window.extent


def _nearby(change: Change, window: Window) -> NearbySetting:
    return NearbySetting(
        change=change,
        size=window.size,
        kernel=window.kernel,
        stride=window.stride,
        padding=window.padding,
        output=window.output or 0,
        output_padding=window.output_padding,
    )
