"""One unknown of a sliding window from the others, along one dimension, and the nearest settings that fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from cnnlab.records import Record
from cnnlab.theory.sizes.geometry import Slide

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
