"""What is convolved with what, and which pixel meets which weight."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias, cast

from cnnlab.errors import UsageError
from cnnlab.theory.sizes.rule import OutputSize, output_size

Number: TypeAlias = int | float
Exact: TypeAlias = int | Fraction
Pair: TypeAlias = tuple[int, int]
Map: TypeAlias = list[list[Exact]]
PaddingMode = Literal["zeros", "reflect", "replicate"]

# A whole number that a float holds exactly is shown without its point.
_WHOLE = 2**53


class Term(NamedTuple):
    """A pixel under the window and the weight that it meets; `row` and `column` lie outside the image in padding."""

    channel: int
    row: int
    column: int
    weight_row: int
    weight_column: int
    pixel: Exact
    weight: Exact


@dataclass(frozen=True)
class Setting:
    """What slides over what, and how; pairs are (vertical, horizontal), margins (in front, behind) of each."""

    image: list[Map]
    kernels: list[list[Map]]
    bias: list[Exact] | None
    several: bool
    stride: Pair
    padding: Pair | Literal["same"]
    margins: tuple[Pair, Pair]
    dilation: Pair
    padding_mode: PaddingMode
    flip: bool

    @property
    def operation(self) -> str:
        """Which of the two it is."""
        return "true convolution" if self.flip else "cross-correlation"

    @property
    def channels(self) -> int:
        return len(self.image)

    @property
    def image_size(self) -> Pair:
        return len(self.image[0]), len(self.image[0][0])

    @property
    def padded_size(self) -> Pair:
        high, wide = (sum((size, *self.margins[axis])) for axis, size in enumerate(self.image_size))
        return high, wide

    @property
    def kernel_size(self) -> Pair:
        return len(self.kernels[0][0]), len(self.kernels[0][0][0])

    @property
    def reach(self) -> Pair:
        """How many rows and columns a window spans, the gaps of its dilation included."""
        high, wide = (step * (size - 1) + 1 for size, step in zip(self.kernel_size, self.dilation, strict=True))
        return high, wide

    def fit(self, axis: int) -> OutputSize:
        """How the windows fit along one axis."""
        around = sum(self.margins[axis])
        sizes = self.image_size[axis], self.kernel_size[axis]
        return output_size(*sizes, self.stride[axis], around, self.dilation[axis])

    @property
    def output_size(self) -> Pair:
        return self.fit(0).size, self.fit(1).size

    @property
    def products(self) -> int:
        """How many there are in all."""
        return len(self.kernels) * math.prod((*self.output_size, self.channels, *self.kernel_size))

    def start(self, axis: int, at: int) -> int:
        """The row (column) of the image on which the window of one output row (column) begins."""
        return at * self.stride[axis] - self.margins[axis][0]

    def source(self, axis: int, at: int) -> int | None:
        """The row (column) of the image whose pixels stand at a place in or around it; None: zeros."""
        size = self.image_size[axis]
        if 0 <= at < size:
            return at
        if self.padding_mode == "zeros":
            return None
        if self.padding_mode == "replicate":
            return min(max(at, 0), size - 1)
        return -at if at < 0 else 2 * (size - 1) - at

    def pixel(self, channel: int, row: int, column: int) -> Exact:
        """The pixel at a place of the padded image, which begins above and left of (0, 0)."""
        high, wide = self.source(0, row), self.source(1, column)
        return 0 if high is None or wide is None else self.image[channel][high][wide]

    def used(self, kernel: int, channel: int) -> Map:
        """A kernel's channel as it lies on the image: flipped in both directions for a true convolution."""
        written = self.kernels[kernel][channel]
        return [row[::-1] for row in written[::-1]] if self.flip else written

    def terms(self, kernel: int, row: int, column: int) -> Iterator[Term]:
        """What is multiplied for one output element: channel by channel, in the window's reading order."""
        high, wide = self.kernel_size
        rows, columns = self._line(0, row), self._line(1, column)
        for channel, pixels in enumerate(self.image):
            weights = self.kernels[kernel][channel]
            for m, at_row, source_row in rows:
                from_row = high - 1 - m if self.flip else m
                for n, at_column, source_column in columns:
                    from_column = wide - 1 - n if self.flip else n
                    outside = source_row is None or source_column is None
                    pixel = 0 if outside else pixels[cast(int, source_row)][cast(int, source_column)]
                    weight = weights[from_row][from_column]
                    yield Term(channel, at_row, at_column, from_row, from_column, pixel, weight)

    def _line(self, axis: int, at: int) -> list[tuple[int, int, int | None]]:
        """A window's rows (columns): its own number, that on the image, and that of the pixels there."""
        first, step = self.start(axis, at), self.dilation[axis]
        places = [(number, first + number * step) for number in range(self.kernel_size[axis])]
        return [(number, place, self.source(axis, place)) for number, place in places]


def plain(value: Exact) -> Number:
    """An exact number as Python's own, to the 17 digits that a float has; a whole one has no point.

    Raises:
        UsageError: not 0, and smaller than any float that has its digits.
    """
    if isinstance(value, int):
        return value
    if value.denominator == 1 and abs(value) < _WHOLE:
        return value.numerator
    if 0 < abs(value) < sys.float_info.min:
        # Sums of fractions can cancel to next to nothing.
        raise UsageError(
            "a result is too small to be written, and not 0",
            received=f"one below {sys.float_info.min:.0e}",
            next_step="round the numbers that go in",
        )
    return float(value)
