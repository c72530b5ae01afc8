"""The rule by which a size follows from another, along one dimension: of one window, and of a map from the image."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd

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
