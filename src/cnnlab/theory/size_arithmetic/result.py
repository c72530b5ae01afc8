"""Sizes of a sliding window as records.

A `SizeOrPair` is one number for both dimensions or (vertical, horizontal); results are given as the question was
asked. Positions count from 0 at the image's first pixel; padding before it is below 0.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from cnnlab.records import Record
from cnnlab.render.result import Result
from cnnlab.theory.output_size import SizeOrPair
from cnnlab.theory.size_arithmetic.window import Change, Unknown, Window

Axis = Literal["both", "rows", "columns"]
# The first and last of neighbouring pixels.
Run: TypeAlias = tuple[int, int]


class NearbySetting(Record):
    """A setting that fits exactly, with one quantity changed; `size` is the image's, `output` what comes out."""

    change: Change
    size: int
    kernel: int
    stride: int
    padding: int
    output: int
    output_padding: int = 0


class AxisResult(Record):
    """The unknown along one dimension.

    Attributes:
        axis: "both" where the dimensions don't differ.
        window: what was given, with the value found; where there is none, with a padding of 0, or 1.
        formula: solved for the unknown.
        exact: the formula's value, a fraction as text; None where every value gives the same output.
        numbers: the formula with its numbers put in; "" where `exact` is None.
        value: the output's size, as torch rounds it; of another unknown the smallest that fits exactly, or else the
            smallest with which torch gives the wanted output, or None.
        fits: whether the last window ends exactly at the border.
        left_over: rows of the padded input after the last window; below 0 where the window sticks out.
        uncovered: rows that no window covers, of a transposed convolution's output or else of the padded image; those
            below 0 and from its size on are padding.
        answers: every value with which torch gives the wanted output; kernels and strides up to the padded size.
        unequal: the padding (before, after) that would fit where no equal one does.
        nearest: settings that fit, where this one does not.
    """

    axis: Axis
    window: Window
    formula: str
    exact: str | None
    numbers: str
    value: int | None
    fits: bool
    left_over: int = 0
    uncovered: tuple[Run, ...] = ()
    answers: tuple[int, ...] = ()
    unequal: tuple[int, int] | None = None
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
    axes: tuple[AxisResult, ...]


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
    axes: tuple[AxisResult, ...]
