"""One quantity of a sliding window, solved for from the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import Any, Literal

from cnnlab.theory.size_arithmetic.window import Window

Unknown = Literal["output", "padding", "kernel", "stride"]
Change = Literal["output", "size", "kernel", "stride", "padding", "output_padding"]

# More than any image has, and few enough to go through pixel by pixel.
MAX_SIZE = 65_536
# How far a quantity is changed in search of one that fits.
MAX_DISTANCE = 1000


@dataclass(frozen=True)
class SizeSolver:
    """A window with an unknown quantity, whose value in `window` does not count.

    `output` is the wanted output size; it is not used where the output is the unknown. `tied`: the stride equals the
    kernel, as a pool's does by default.
    """

    window: Window
    unknown: Unknown
    output: int = 0
    tied: bool = False

    def with_value(self, value: int) -> Window:
        """The window with a value for the unknown."""
        if self.unknown == "kernel" and self.tied:
            return replace(self.window, kernel=value, stride=value)
        return _changed(self.window, self.unknown, value)

    @property
    def exact(self) -> Fraction | None:
        """The value by the formula solved for the unknown; None where every value gives the same output."""
        window = self.window
        if self.unknown == "output":
            return window.exact
        # A transposed convolution follows the same formula with input and output exchanged.
        size, output = (
            (self.output - window.output_padding, window.size) if window.transposed else (window.size, self.output)
        )
        padded = size + 2 * window.padding
        if self.unknown == "padding":
            return Fraction((output - 1) * window.stride + window.extent - size, 2)
        if self.unknown == "stride":
            return Fraction(padded - window.extent, output - 1) if output > 1 else None
        if self.tied:
            return Fraction(padded + window.dilation - 1, output - 1 + window.dilation)
        return Fraction(padded - (output - 1) * window.stride - 1, window.dilation) + 1

    @property
    def min_value(self) -> int:
        """The smallest value that the unknown may have."""
        return 0 if self.unknown == "padding" else 1

    @property
    def exact_window(self) -> Window | None:
        """The window that gives exactly the wanted output, with the smallest value; None where there is none."""
        if self.unknown == "output":
            return self.window if self.window.fits else None
        exact = self.exact
        value = Fraction(self.min_value) if exact is None else exact
        if value.denominator > 1 or not self.min_value <= value <= MAX_SIZE:
            return None
        window = self.with_value(int(value))
        return window if window.fits and window.output == self.output else None

    def values(self) -> list[int]:
        """Every value with which torch gives the wanted output; kernels and strides up to the padded size."""
        return [value for value in self._candidates() if self.with_value(value).output == self.output]

    def nearest(self) -> Iterator[tuple[Change, Window]]:
        """Windows that fit exactly, each with one known quantity changed by as little as possible."""
        changes: list[Change] = ["output", "size", "kernel", "stride", "padding"]
        changes += ["output_padding"] if self.window.transposed else []
        for change in changes:
            if change == self.unknown or (change == "stride" and self.tied):
                continue
            for distance in range(1, MAX_DISTANCE):
                solved = [near.exact_window for near in self._neighbours(change, distance)]
                # A window over padding alone is no advice.
                fitting = [window for window in solved if window and window.padding < window.extent]
                yield from ((change, window) for window in fitting)
                if fitting:
                    break

    def _candidates(self) -> range:
        window = self.window
        if self.unknown == "padding":
            # Rounding accounts for less than a stride.
            exact = floor(self.exact or 0)
            last = window.kernel // 2 if window.pool else MAX_SIZE
            return range(max(exact - window.stride, 0), min(exact + window.stride, last) + 1)
        return range(1, (self.output if window.transposed else window.size) + 2 * window.padding + 1)

    def _neighbours(self, change: Change, distance: int) -> Iterator[SizeSolver]:
        lowest = 0 if change in ("padding", "output_padding") else 1
        value = self.output if change == "output" else getattr(self.window, change)
        for near in (value - distance, value + distance):
            if near < lowest:
                continue
            if change == "output":
                yield replace(self, output=near)
            else:
                yield replace(self, window=_changed(self.window, change, near))


def _changed(window: Window, name: str, value: int) -> Window:
    changed: dict[str, Any] = {name: value}
    return replace(window, **changed)
