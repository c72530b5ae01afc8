"""The size of a convolution's or a pool's output, along one dimension."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


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
