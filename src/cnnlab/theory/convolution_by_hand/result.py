"""A convolution by hand as records: every output element with its products."""

from __future__ import annotations

from typing import Literal, TypeAlias

from cnnlab.errors import UsageError
from cnnlab.records import Record
from cnnlab.render.result import Result

Number: TypeAlias = int | float
NumberGrid: TypeAlias = list[list[Number]]
Pair: TypeAlias = tuple[int, int]
PaddingMode = Literal["zeros", "reflect", "replicate"]


class Product(Record):
    """One pixel times one weight.

    `row` and `column` count from the image's first pixel; with `padding` they lie outside it. `weight_row` and
    `weight_column` locate the weight in the kernel as written.
    """

    channel: int
    row: int
    column: int
    padding: bool
    pixel: Number
    weight_row: int
    weight_column: int
    weight: Number
    product: Number

    @property
    def text(self) -> str:
        """The product as it is written: `(-1)·2`."""
        return f"{format_factor(self.weight)}·{format_factor(self.pixel)}"


class ConvolutionStep(Record):
    """One output element: its products channel by channel in the window's reading order, the bias, and the sum.

    `text` is all of it on one line: `1·0 + (-2)·1 + 1 (bias) = -1`.
    """

    kernel: int
    row: int
    column: int
    products: tuple[Product, ...]
    bias: Number | None
    sum: Number
    text: str


class Convolution(Result):
    """A convolution with its steps; pairs are (vertical, horizontal).

    Attributes:
        margins: padding (before, after) of each dimension.
        image: C×H×W.
        padded: the image with its padding.
        kernels: F×C×H×W, as written.
        output: H×W; F×H×W where the kernels were given as F×C×H×W.
        steps: all output elements, kernel by kernel, row by row; or the one that `at` selects.
    """

    operation: Literal["true convolution", "cross-correlation"]
    flip: bool
    stride: Pair
    padding: Pair | Literal["same"]
    margins: tuple[Pair, Pair]
    padding_mode: PaddingMode
    dilation: Pair
    bias: list[Number] | None
    image: list[NumberGrid]
    padded: list[NumberGrid]
    kernels: list[list[NumberGrid]]
    output: NumberGrid | list[NumberGrid]
    steps: tuple[ConvolutionStep, ...]

    @property
    def several(self) -> bool:
        """Whether the output is F×H×W."""
        return isinstance(self.output[0][0], list)

    @property
    def outputs(self) -> list[NumberGrid]:
        """The output of each kernel, F×H×W."""
        return self.output if self.several else [self.output]  # type: ignore[list-item,return-value]

    @property
    def image_size(self) -> Pair:
        """Height and width, without padding."""
        return len(self.image[0]), len(self.image[0][0])

    @property
    def kernel_size(self) -> Pair:
        return len(self.kernels[0][0]), len(self.kernels[0][0][0])

    @property
    def output_size(self) -> Pair:
        return len(self.outputs[0]), len(self.outputs[0][0])

    @property
    def used_kernels(self) -> list[list[NumberGrid]]:
        """The kernels as they lie on the image: flipped in both directions for a true convolution."""
        if not self.flip:
            return self.kernels
        return [[[row[::-1] for row in channel[::-1]] for channel in kernel] for kernel in self.kernels]

    def step_at(self, row: int, column: int, kernel: int = 0) -> ConvolutionStep:
        """The step of one output element, counted from 0.

        Raises:
            UsageError: outside the output.
        """
        for step in self.steps:
            if (step.kernel, step.row, step.column) == (kernel, row, column):
                return step
        count, (high, wide) = len(self.outputs), self.output_size
        raise UsageError(
            "the output has no such element",
            where="at",
            received=f"row {row}, column {column}, kernel {kernel}",
            allowed=f"rows 0 to {high - 1}, columns 0 to {wide - 1}, kernels 0 to {count - 1}",
        )

    def at(self, row: int, column: int, kernel: int = 0) -> Convolution:
        """The same with the step of one output element only, which its document and drawing show.

        Raises:
            UsageError: outside the output.
        """
        return self.model_copy(update={"steps": (self.step_at(row, column, kernel),)})


def format_factor(value: Number) -> str:
    """A number within a product: negative ones in parentheses."""
    return f"({value})" if value < 0 else str(value)
