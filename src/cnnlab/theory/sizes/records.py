"""What is asked about a sliding window's sizes, and what is found along one dimension.

A `Sized` is one number for both dimensions or (vertical, horizontal); answers are given as the question was asked.
Positions count from 0 at the image's first pixel; padding in front of it is below 0.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from cnnlab.records import Record
from cnnlab.theory.sizes.geometry import Slide, Stretch
from cnnlab.theory.sizes.solvers import Fit, Nearby, Puzzle, Unknown

Sized: TypeAlias = int | tuple[int, int]
Axis = Literal["both", "rows", "columns"]


class Question(Record):
    """What was asked: sizes in pixels, `padding` on each side, None for what is unknown.

    `output` is the wanted one; None where it is what is asked for. `tied`: the stride is the kernel.
    """

    size: Sized
    kernel: Sized | None = None
    stride: Sized | None = None
    padding: Sized | None = None
    dilation: Sized = 1
    output: Sized | None = None
    pool: bool = False
    ceil: bool = False
    transposed: bool = False
    output_padding: Sized = 0
    tied: bool = False

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The dimensions that are told apart: one for both, unless some quantity has two numbers."""
        told = (self.size, self.kernel, self.stride, self.padding, self.dilation, self.output, self.output_padding)
        return ("rows", "columns") if any(isinstance(value, tuple) for value in told) else ("both",)

    @property
    def kind(self) -> str:
        """What slides, in words."""
        return "pool" if self.pool else "transposed convolution" if self.transposed else "convolution"

    def slide(self, axis: Axis) -> Slide:
        """The window along one dimension; 1 stands for an unknown kernel or stride, 0 for an unknown padding."""

        def of(value: Sized | None, default: int = 1) -> int:
            if value is None:
                return default
            return value[axis == "columns"] if isinstance(value, tuple) else value

        return Slide(
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

    def puzzle(self, axis: Axis, unknown: Unknown) -> Puzzle:
        """The question along one dimension, with an unknown."""
        wanted = self.size if self.output is None else self.output
        output = wanted[axis == "columns"] if isinstance(wanted, tuple) else wanted
        return Puzzle(self.slide(axis), unknown, output, self.tied)


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
    unseen: tuple[Stretch, ...] = ()
    unseen_padding: tuple[Stretch, ...] = ()
    empty: tuple[Stretch, ...] = ()
    nearest: tuple[Nearby, ...] = ()
    notes: tuple[str, ...] = ()


class Attempt(Record):
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
    answers: tuple[Fit, ...]
    any_from: int | None = None
    unequal: tuple[int, int] | None = None
    attempts: tuple[Attempt, ...] = ()
    result: AxisOutput | None = None
    nearest: tuple[Nearby, ...] = ()
    notes: tuple[str, ...] = ()


def together(values: list[Any]) -> Any:
    """One value of both dimensions, or a pair, as the question was asked."""
    return values[0] if len(values) == 1 else tuple(values)
