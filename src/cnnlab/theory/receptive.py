"""How much of the input one output node sees, along one dimension.

Source: A. Araujo, W. Norris, J. Sim: Computing receptive fields of convolutional neural networks, Distill, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Field:
    """A node's view of the input, in input pixels.

    `size` is how many pixels it sees, `jump` how far apart the views of two neighbours are.
    """

    size: Fraction = Fraction(1)
    jump: Fraction = Fraction(1)

    def through(self, kernel: int, stride: int = 1, dilation: int = 1) -> Field:
        """The view after one more sliding window.

        >>> Field().through(5).through(3).size
        Fraction(7, 1)
        """
        return Field(self.size + dilation * (kernel - 1) * self.jump, self.jump * stride)

    def upsampled(self, scale: int, kernel: int = 1) -> Field:
        """The view after enlarging by `scale`, where each new node mixes `kernel` old ones."""
        return Field(self.size + (kernel - 1) * self.jump, self.jump / scale)

    @property
    def pixels(self) -> int:
        """The size as whole pixels, rounded up."""
        return -(-self.size.numerator // self.size.denominator)


def widest(fields: list[Field]) -> Field:
    """The view of a node that several paths lead to: the widest of theirs."""
    return max(fields, key=lambda field: (field.size, field.jump))
