"""Sizes of a sliding window as records.

A `SizeOrPair` is one number for both dimensions or (vertical, horizontal); results are given as the question was
asked. Positions count from 0 at the image's first pixel; padding before it is below 0.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from cnnlab.records import Record
from cnnlab.render.result import Result
from cnnlab.theory.size_arithmetic.window import Change, SizeSolver, Unknown, Window

SizeOrPair: TypeAlias = int | tuple[int, int]
Axis = Literal["both", "rows", "columns"]
# The first and last of neighbouring pixels.
Run: TypeAlias = tuple[int, int]


class SizeQuery(Record):
    """The given quantities, in pixels; `padding` is on each side, and None stands for the unknown.

    `output` is the wanted size. `tied`: the stride is the kernel.
    """

    size: SizeOrPair
    kernel: SizeOrPair | None = None
    stride: SizeOrPair | None = None
    padding: SizeOrPair | None = None
    dilation: SizeOrPair = 1
    output: SizeOrPair | None = None
    pool: bool = False
    ceil: bool = False
    transposed: bool = False
    output_padding: SizeOrPair = 0
    tied: bool = False

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The dimensions that differ: "both" unless some quantity has two numbers."""
        names = ("size", "kernel", "stride", "padding", "dilation", "output", "output_padding")
        pairs = any(isinstance(getattr(self, name), tuple) for name in names)
        return ("rows", "columns") if pairs else ("both",)

    @property
    def kind(self) -> str:
        """The layer's kind in words."""
        return "pool" if self.pool else "transposed convolution" if self.transposed else "convolution"

    def along(self, name: str, axis: Axis) -> int | None:
        """A quantity along one dimension."""
        value: SizeOrPair | None = getattr(self, name)
        return value[axis == "columns"] if isinstance(value, tuple) else value

    def window(self, axis: Axis) -> Window:
        """The window along one dimension; 1 stands for an unknown kernel or stride, 0 for an unknown padding."""
        lowest = {"kernel": 1, "stride": 1, "padding": 0}
        names = ("size", "kernel", "stride", "padding", "dilation", "output_padding")
        sizes = {name: self.along(name, axis) for name in names}
        known = {name: lowest[name] if size is None else size for name, size in sizes.items()}
        return Window(**known, pool=self.pool, ceil=self.ceil, transposed=self.transposed)

    def solver(self, axis: Axis, unknown: Unknown) -> SizeSolver:
        """The question along one dimension."""
        return SizeSolver(self.window(axis), unknown, self.along("output", axis) or 0, self.tied)


class NearbySetting(Record):
    """A setting that fits exactly, with one quantity changed; `size` is the image's, `output` what comes out."""

    change: Change
    size: int
    kernel: int
    stride: int
    padding: int
    output: int
    output_padding: int = 0


class AxisOutput(Record):
    """The output along one dimension.

    Attributes:
        exact: the formula's value, a fraction as text.
        left_over: rows of the padded input after the last window; below 0 where the window sticks out.
        unseen: rows of the image that no window covers; of a transposed convolution, rows of its input that are cut
            off.
        unseen_padding: rows of the padding that no window covers.
        empty: rows of a transposed convolution's output that no input reaches.
        nearest: settings that fit, where this one does not.
    """

    axis: Axis
    exact: str
    size: int
    fits: bool
    left_over: int
    unseen: tuple[Run, ...] = ()
    unseen_padding: tuple[Run, ...] = ()
    empty: tuple[Run, ...] = ()
    nearest: tuple[NearbySetting, ...] = ()


class OutputSizeResult(Result):
    """The output of a window that slides over an image.

    `size` is `exact` rounded as torch rounds it. `shape` is (channels, height, width); it, `weights`, `biases` and
    `parameters` are None where the channels were not given.
    """

    size: SizeOrPair
    exact: str | tuple[str, str]
    fits: bool
    shape: tuple[int, int, int] | None = None
    weights: int | None = None
    biases: int | None = None
    parameters: int | None = None
    channels: int | None = None
    filters: int | None = None
    question: SizeQuery
    axes: tuple[AxisOutput, ...]


class SolverValue(Record):
    """A value that gives the wanted output; `left_over` as in `AxisOutput`."""

    value: int
    fits: bool
    left_over: int


class AxisSolution(Record):
    """The unknown along one dimension.

    Attributes:
        value: the smallest that fits exactly, or else the smallest with which torch gives the wanted output, or None.
        exact: the value by the formula solved for the unknown, a fraction as text; None where it drops out.
        answers: every value with which torch gives the wanted output; kernels and strides up to the padded size.
        unequal: the padding (before, after) that would fit where no equal one does.
        nearest: settings that fit, where none fits with what is given.
    """

    axis: Axis
    value: int | None
    exact: str | None
    fits: bool
    answers: tuple[SolverValue, ...]
    unequal: tuple[int, int] | None = None
    nearest: tuple[NearbySetting, ...] = ()


class SizeSolution(Result):
    """The unknown of a sliding window, under its own name beside what was given.

    `output` is the wanted size, `size` the image's; `fits` tells whether the last window ends exactly at the border.
    """

    unknown: Unknown
    size: SizeOrPair
    output: SizeOrPair
    padding: int | tuple[int | None, int | None] | None
    kernel: int | tuple[int | None, int | None] | None
    stride: int | tuple[int | None, int | None] | None
    exact: str | tuple[str | None, str | None] | None
    fits: bool
    question: SizeQuery
    axes: tuple[AxisSolution, ...]
