"""Receptive fields along one dimension.

Source: A. Araujo, W. Norris, J. Sim: Computing receptive fields of convolutional neural networks, Distill, 2019. Nodes
of an enlarged map have views of different sizes, which are traced back one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

NodeRange: TypeAlias = tuple[int, int]
# Views repeat with the product of all scales; the most nodes that are compared.
MAX_PHASES = 256


@dataclass(frozen=True)
class ReceptiveField1d:
    """A node's view of the input, in input pixels. The default is a node of the input itself.

    `jump` is the mean distance between the views of neighbouring nodes.
    """

    jump: Fraction = Fraction(1)
    _phases: int = 1
    _previous: ReceptiveField1d | None = None
    _step: Callable[[NodeRange], NodeRange] = field(default=lambda span: span, compare=False)
    _growth: Fraction = Fraction(1)
    _start: Fraction = Fraction(0)

    @cached_property
    def size(self) -> int:
        """How many pixels a node sees; where nodes differ, the most."""
        if self._phases == 1:
            return int(self._growth)
        views = (self.view(node) for node in range(min(self._phases, MAX_PHASES)))
        return max(last - first + 1 for first, last in views)

    @cached_property
    def first_centre(self) -> Fraction:
        """The middle of the first node's view, in pixels from the middle of the first pixel; padding is below 0."""
        if self._phases == 1:  # all nodes are alike
            return self._start + (self._growth - 1) / 2
        return Fraction(sum(self.view(0)), 2)

    def view(self, node: int) -> NodeRange:
        """The first and last pixel of the input that a node sees; below 0 in the padding.

        >>> ReceptiveField1d().after_window(5).after_window(3).view(0)
        (0, 6)
        """
        span, at = (node, node), self
        while at._previous is not None:
            span, at = at._step(span), at._previous
        return span

    def input_range(self, span: NodeRange) -> NodeRange:
        """The view of a span of nodes on the input of the last layer, as its first and last node.

        >>> ReceptiveField1d().after_window(3, stride=2, padding=1).input_range((0, 1))
        (-1, 3)
        """
        return self._step(span)

    def after_window(self, kernel: int, stride: int = 1, dilation: int = 1, padding: int = 0) -> ReceptiveField1d:
        """The view after one more sliding window; `padding` is before the first pixel.

        >>> ReceptiveField1d().after_window(5).after_window(3).size
        7
        """
        reach = dilation * (kernel - 1)
        grown, start = self._growth + reach * self.jump, self._start - padding * self.jump

        def step(span: NodeRange) -> NodeRange:
            return span[0] * stride - padding, span[1] * stride - padding + reach

        return ReceptiveField1d(self.jump * stride, self._phases, self, step, grown, start)

    def after_upsample(self, scale: int, mode: str = "nearest") -> ReceptiveField1d:
        """The view after enlarging by `scale`: "nearest" copies a node, "bilinear" takes the two nearest."""

        def step(span: NodeRange) -> NodeRange:
            if mode == "nearest":
                return span[0] // scale, span[1] // scale
            return (2 * span[0] + 1 - scale) // (2 * scale), -(-(2 * span[1] + 1 - scale) // (2 * scale))

        return ReceptiveField1d(self.jump / scale, self._phases * scale, self, step, self._growth, self._start)


def widest(fields: Sequence[ReceptiveField1d]) -> ReceptiveField1d:
    """The view of a node that several paths lead to: the largest."""
    return max(fields, key=lambda field: (field.size, field.jump))
