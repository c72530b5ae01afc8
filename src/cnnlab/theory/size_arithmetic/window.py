"""A window that slides along one dimension, and one of its quantities from the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any, Literal

from cnnlab.theory.output_size import MAX_SIZE, output_size

Unknown = Literal["output", "padding", "kernel", "stride"]
Change = Literal["output", "size", "kernel", "stride", "padding", "output_padding"]

# How far a quantity is changed in search of one that fits.
MAX_DISTANCE = 1000


@dataclass(frozen=True)
class Window:
    """The window of a convolution, a pooling or a transposed convolution along one dimension, in pixels.

    `padding` is on each side, `output_padding` at the end only. A transposed convolution is seen from its output: one
    window for each input pixel slides over the output, and the padding is cut off.
    """

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
    def kind(self) -> str:
        """The layer's kind in words."""
        return "pool" if self.pool else "transposed convolution" if self.transposed else "convolution"

    @property
    def extent(self) -> int:
        """How many pixels the window spans, the gaps of its dilation included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def exact(self) -> Fraction:
        """The output size by the formula, before rounding.

        Source: V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, 2016, relationships 6 and
        14, with dilation as in section 5.1.
        """
        if self.transposed:
            return Fraction((self.size - 1) * self.stride + self.extent - 2 * self.padding + self.output_padding)
        return output_size(self.size, self.kernel, self.stride, 2 * self.padding, self.dilation).exact

    @property
    def output(self) -> int | None:
        """The output size in torch; None where torch refuses the window or nothing comes out."""
        if self.output_padding and self.output_padding >= max(self.stride, self.dilation):
            return None
        if self.pool and 2 * self.padding > self.kernel:
            return None
        whole = ceil(self.exact) if self.ceil else floor(self.exact)
        # The last window of a pool that rounds up has to begin inside the image or the padding before it.
        if self.ceil and (whole - 1) * self.stride >= self.size + self.padding:
            whole -= 1
        return whole if whole >= 1 else None

    @property
    def fits(self) -> bool:
        """Whether the last window ends exactly at the border."""
        return self.output is not None and self.exact.denominator == 1

    @property
    def left_over(self) -> int:
        """Pixels of the padded input after the last window; below 0 where the window sticks out."""
        if self.transposed:
            return 0
        return self.size + 2 * self.padding - self.extent - ((self.output or 1) - 1) * self.stride

    @property
    def num_windows(self) -> int:
        """How many windows there are: one for each output pixel, or input pixel of a transposed convolution."""
        return self.size if self.transposed else self.output or 0

    @property
    def num_pixels(self) -> int:
        """How many pixels the windows slide over: of the input, or of a transposed convolution's output."""
        return self.output or 0 if self.transposed else self.size

    def pixels(self, number: int) -> range:
        """The pixels under a window, counted from the first that is no padding."""
        first = number * self.stride - self.padding
        return range(first, first + self.extent, self.dilation)

    def uncovered(self) -> list[int]:
        """The pixels, padding included, that no window covers."""
        end = self.num_pixels + 2 * self.padding
        covered = bytearray(max(end, (self.num_windows - 1) * self.stride + self.extent))
        for number in range(self.num_windows):
            first = number * self.stride
            covered[first : first + self.extent : self.dilation] = b"\x01" * self.kernel
        return [pixel - self.padding for pixel in range(end) if not covered[pixel]]


def runs(positions: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The first and last of each run of neighbours among rising positions.

    >>> runs([1, 2, 4, 7, 8])
    ((1, 2), (4, 4), (7, 8))
    """
    spans: list[tuple[int, int]] = []
    for pixel in positions:
        if spans and spans[-1][1] == pixel - 1:
            spans[-1] = (spans[-1][0], pixel)
        else:
            spans.append((pixel, pixel))
    return tuple(spans)


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

    def formula(self) -> tuple[str, Fraction | None]:
        """The formula solved for the unknown, and its value; None where every value gives the same output.

        W is the image's size, F the kernel's, S the stride, P the padding on each side, D the dilation, A the output
        padding, O the output's size.
        """
        window = self.window
        dilated = window.dilation > 1
        extent = "(D·(F − 1) + 1)" if dilated else "F"
        if self.unknown == "output":
            if window.transposed:
                return f"O = (W − 1)·S − 2·P + {extent}{' + A' if window.output_padding else ''}", window.exact
            return f"O = (W − {extent} + 2·P) / S + 1", window.exact
        size, output, w, o = window.size, self.output, "W", "O"
        if window.transposed:  # the same formula with input and output exchanged
            size, output, w, o = self.output - window.output_padding, window.size, "O", "W"
            w = "(O − A)" if window.output_padding else "O"
        padded = size + 2 * window.padding
        if self.unknown == "padding":
            value = Fraction((output - 1) * window.stride + window.extent - size, 2)
            if size == output and not window.transposed:
                return f"P = ((S − 1)·W − S + {extent}) / 2", value
            return f"P = (({o} − 1)·S + {extent} − {w}) / 2", value
        if self.unknown == "stride":
            text = f"S = ({w} + 2·P − {extent}) / ({o} − 1)"
            return text, Fraction(padded - window.extent, output - 1) if output > 1 else None
        if self.tied:
            value = Fraction(padded + window.dilation - 1, output - 1 + window.dilation)
            return f"F = ({w} + 2·P + D − 1) / ({o} − 1 + D)" if dilated else f"F = ({w} + 2·P) / {o}", value
        value = Fraction(padded - (output - 1) * window.stride - 1, window.dilation) + 1
        above = f"{w} + 2·P − ({o} − 1)·S"
        return f"F = ({above} + D − 1) / D" if dilated else f"F = {above}", value

    def substituted(self) -> str:
        """The formula with its numbers put in."""
        window = self.window
        values = (window.size, window.kernel, window.stride, window.padding, window.dilation, window.output_padding)
        numbers = dict(zip("WFSPDAO", (*values, self.output), strict=True))
        symbol, expression = self.formula()[0].split(" = ")
        return f"{symbol} = " + re.sub("[WFSPDAO]", lambda letter: str(numbers[letter[0]]), expression)

    def with_value(self, value: int) -> Window:
        """The window with a value for the unknown."""
        if self.unknown == "output":
            return self.window
        window = _changed(self.window, self.unknown, value)
        return replace(window, stride=value) if self.tied else window

    def values(self) -> list[int]:
        """Every value with which torch gives the wanted output; kernels and strides up to the padded size."""
        window = self.window
        if self.unknown == "output":
            return [] if window.output is None else [window.output]
        candidates = range(1, (self.output if window.transposed else window.size) + 2 * window.padding + 1)
        if self.unknown == "padding":
            # Rounding accounts for less than a stride.
            exact = floor(self.formula()[1] or 0)
            candidates = range(max(exact - window.stride, 0), min(exact + window.stride, MAX_SIZE) + 1)
        return [value for value in candidates if self.with_value(value).output == self.output]

    def nearest(self) -> Iterator[tuple[Change, Window]]:
        """Windows that fit exactly, each with one known quantity changed by as little as possible."""
        changes: list[Change] = ["output", "size", "kernel", "stride", "padding"]
        changes += ["output_padding"] if self.window.transposed else []
        for change in changes:
            if change == self.unknown or (change == "stride" and self.tied):
                continue
            for distance in range(1, MAX_DISTANCE):
                solved = [self._fitting_window(change, sign * distance) for sign in (-1, 1)]
                # A window over padding alone is no advice.
                fitting = [window for window in solved if window and window.padding < window.extent]
                yield from ((change, window) for window in fitting)
                if fitting:
                    break

    def _fitting_window(self, change: Change, distance: int) -> Window | None:
        """The window that fits exactly when one quantity is changed by a distance; None if there is none."""
        value = distance + (self.output if change == "output" else getattr(self.window, change))
        if value < (0 if "padding" in change else 1):
            return None
        if change == "output":
            changed = replace(self, output=value)
        else:
            changed = replace(self, window=_changed(self.window, change, value))
        if self.unknown == "output":
            return changed.window if changed.window.fits else None
        lowest = 0 if self.unknown == "padding" else 1
        exact = changed.formula()[1]
        exact = Fraction(lowest) if exact is None else exact
        if exact.denominator > 1 or not lowest <= exact <= MAX_SIZE:
            return None
        window = changed.with_value(int(exact))
        return window if window.fits and window.output == changed.output else None


def _changed(window: Window, name: str, value: int) -> Window:
    changed: dict[str, Any] = {name: value}
    return replace(window, **changed)
