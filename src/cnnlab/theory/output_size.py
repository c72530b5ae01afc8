"""Output sizes along one dimension: of one sliding window, and of a map as a function of the image's size."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from operator import index
from typing import Any, TypeAlias

from cnnlab.errors import UsageError
from cnnlab.render.formatting import shorten

# One number for both dimensions, or (vertical, horizontal).
SizeOrPair: TypeAlias = int | tuple[int, int]
# More than any image has, and few enough to go through pixel by pixel.
MAX_SIZE = 65_536


def validated_size(name: str, value: Any, also: str = "") -> SizeOrPair:
    """One whole number of pixels, or two (vertical, horizontal), from 0 on for a padding and from 1 on otherwise.

    Args:
        also: what else the caller accepts, for the message.

    Raises:
        UsageError: something else.
    """
    lowest = 0 if "padding" in name else 1
    items = value if isinstance(value, list | tuple) else (value,)
    try:
        numbers = [lowest - 1 if isinstance(item, bool) else index(item) for item in items]
    except TypeError:
        numbers = []
    if len(numbers) not in (1, 2) or not lowest <= min(numbers) <= max(numbers) <= MAX_SIZE:
        raise UsageError(
            f"{name.replace('_', ' ')} must be a whole number, or two",
            where=name,
            received=shorten(str(value)),
            allowed=f"{lowest} to {MAX_SIZE:,}: one for both dimensions, or (vertical, horizontal){also}",
        )
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


@dataclass(frozen=True)
class OutputSize:
    """The output size of a sliding window, in pixels.

    Attributes:
        size: the formula's value rounded down, as in torch.
        exact: the formula's value.
        unseen: rows of the padded input after the last window.
    """

    size: int
    exact: Fraction
    unseen: int

    @property
    def fits(self) -> bool:
        """True when the windows end exactly at the border."""
        return self.unseen == 0


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> OutputSize:
    """Compute `(size + padding - dilation·(kernel - 1) - 1) / stride + 1`, where `padding` counts both sides together.

    Source: V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, 2016, relationship 6,
    with dilation as in section 5.1.

    >>> output_size(32, kernel=5, padding=4, stride=2)
    OutputSize(size=16, exact=Fraction(33, 2), unseen=1)
    """
    steps = Fraction(size + padding - dilation * (kernel - 1) - 1, stride)
    whole = steps.numerator // steps.denominator
    return OutputSize(size=whole + 1, exact=steps + 1, unseen=int((steps - whole) * stride))


@dataclass(frozen=True)
class SizeExpression:
    """The size of a map as a function of A, the size of the image: ⌊(multiplier·A + offset)/divisor⌋, A by default.

    Rounding down twice is rounding down once, ⌊(⌊(A + a)/s⌋ + b)/t⌋ = ⌊(A + a + s·b)/(s·t)⌋ (R. Graham, D. Knuth,
    O. Patashnik: Concrete mathematics, equation 3.11), so this holds until a rounded size is enlarged.
    """

    multiplier: int = 1
    offset: int = 0
    divisor: int = 1

    def after_window(self, kernel: int, stride: int = 1, dilation: int = 1, padding: int = 0) -> SizeExpression:
        """The size after a sliding window; `padding` counts both sides together, as in `output_size`.

        >>> SizeExpression().after_window(5).after_window(3).text()
        'A − 6'
        """
        offset = self.offset + (padding - dilation * (kernel - 1) - 1 + stride) * self.divisor
        divisor = self.divisor * stride
        common = gcd(self.multiplier, divisor)
        return SizeExpression(self.multiplier // common, offset // common, divisor // common)

    def after_upsample(self, scale: int) -> SizeExpression | None:
        """The size after enlarging by `scale`; None for a rounded size, of which there is no such function."""
        if self.divisor > 1:
            return None
        return SizeExpression(self.multiplier * scale, self.offset * scale)

    @classmethod
    def fixed(cls, size: int) -> SizeExpression:
        """A size that does not depend on the image's.

        >>> SizeExpression.fixed(7).text()
        '7'
        """
        return cls(0, size)

    def size(self, side: int) -> int:
        """The size for an image of `side` pixels; below 1 where a window does not fit.

        >>> SizeExpression().after_window(3, stride=2).size(9)
        4
        """
        return (self.multiplier * side + self.offset) // self.divisor

    def text(self, letter: str = "A") -> str:
        """The expression as text.

        >>> SizeExpression().after_window(5).after_window(2, stride=2).text()
        '⌊(A − 4)/2⌋'
        """
        if self.multiplier == 0:
            return str(self.offset)
        inner = letter if self.multiplier == 1 else f"{self.multiplier}{letter}"
        if self.offset:
            inner = f"{inner} {'+' if self.offset > 0 else '−'} {abs(self.offset)}"
        if self.divisor == 1:
            return inner
        return f"⌊{f'({inner})' if self.offset else inner}/{self.divisor}⌋"
