"""Convolution by hand: every output element with the products that make it.

Source: V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, 2016.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from cnnlab.errors import UsageError
from cnnlab.render.document import Document
from cnnlab.theory.convolution_by_hand.inputs import (
    ConvolutionSetup,
    Exact,
    Number,
    ProductTerm,
    to_python_number,
    validated_setup,
)
from cnnlab.theory.convolution_by_hand.view import convolution_document, draw_step

Output: TypeAlias = list[list[Number]] | list[list[list[Number]]]

# With all its fields, each takes more than a hundred letters of JSON.
MAX_STEPS_IN_JSON = 100_000


@dataclass(frozen=True, slots=True)
class Product:
    """One pixel times one weight.

    `row` and `column` count from the image's first pixel; with `padding` they lie outside it. `weight_row` and
    `weight_column` are the weight's place in the kernel as written.
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
        return f"{_factor(self.weight)}·{_factor(self.pixel)}"


@dataclass(frozen=True, slots=True)
class ConvolutionStep:
    """One output element: its products channel by channel in the window's reading order, the bias, and the sum."""

    kernel: int
    row: int
    column: int
    products: tuple[Product, ...]
    bias: Number | None
    sum: Number

    @property
    def text(self) -> str:
        """All of it on one line: `1·0 + (-2)·1 + 1 (bias) = -1`."""
        parts = [product.text for product in self.products]
        if self.bias is not None:
            parts.append(f"{_factor(self.bias)} (bias)")
        return f"{' + '.join(parts)} = {self.sum}"


@dataclass(frozen=True)
class Convolution:
    """A convolution worked out: what was put in (`setup`), what comes out, and how."""

    setup: ConvolutionSetup
    output: Output

    @cached_property
    def steps(self) -> tuple[ConvolutionStep, ...]:
        """Every output element: kernel by kernel, row by row."""
        high, wide = self.setup.output_size
        kernels = range(len(self.setup.kernels))
        return tuple(
            self.step_at(row, column, kernel) for kernel in kernels for row in range(high) for column in range(wide)
        )

    def step_at(self, row: int, column: int, kernel: int = 0) -> ConvolutionStep:
        """One output element.

        Args:
            row: of the output, from 0.
            column: of the output, from 0.
            kernel: which of several, from 0.

        Raises:
            UsageError: outside the output.
        """
        high, wide = self.setup.output_size
        for what, number, size in (("row", row, high), ("column", column, wide)):
            if not 0 <= number < size:
                raise UsageError(
                    f"the output has no {what} {number}",
                    where="at",
                    received=f"{row},{column}",
                    allowed=f"rows 0 to {high - 1}, columns 0 to {wide - 1}",
                )
        if not 0 <= kernel < len(self.setup.kernels):
            raise UsageError(
                f"there is no kernel {kernel}",
                where="kernel",
                received=str(kernel),
                allowed=f"0 to {len(self.setup.kernels) - 1}",
            )
        terms = list(self.setup.terms(kernel, row, column))
        bias = self.setup.bias
        return ConvolutionStep(
            kernel=kernel,
            row=row,
            column=column,
            products=tuple(_product(term, self.setup) for term in terms),
            bias=None if bias is None else to_python_number(bias[kernel]),
            sum=to_python_number(_sum(terms, bias, kernel)),
        )

    def map(self, kernel: int = 0) -> list[list[Number]]:
        """The output of one kernel, H×W."""
        return self.output[kernel] if self.setup.several else self.output  # type: ignore[return-value]

    def document(self, at: ConvolutionStep | None = None) -> Document:
        """The worked answer: of one element, or of all where they are few."""
        return convolution_document(self, at)

    def svg(self, at: ConvolutionStep | None = None) -> str:
        """The picture of one step, the first unless given, standing alone."""
        return draw_step(self, at or self.step_at(0, 0)).to_svg(standalone=True)

    def page(self) -> str:
        """One HTML page, which needs nothing else, on which the window moves.

        Raises:
            UsageError: more products than a page can hold.
        """
        from cnnlab.theory.convolution_by_hand.page import render_page

        return render_page(self)

    def to_json(self, indent: int | None = None, at: ConvolutionStep | None = None) -> str:
        """What was put in, `output` and `steps` as JSON; with `at`, that step alone.

        Raises:
            UsageError: more products than a file should hold.
        """
        setup = self.setup
        if at is None and setup.num_products > MAX_STEPS_IN_JSON:
            raise UsageError(
                "these are too many products to write them all out",
                received=f"{setup.num_products:,} products",
                allowed=f"up to {MAX_STEPS_IN_JSON:,}",
                next_step="ask for one element (--at ROW,COLUMN; in Python, `output` holds them all)",
            )
        fields = {
            "operation": setup.operation,
            "flip": setup.flip,
            "stride": setup.stride,
            "padding": setup.padding,
            "margins": setup.margins,
            "padding_mode": setup.padding_mode,
            "dilation": setup.dilation,
            "bias": None if setup.bias is None else [to_python_number(value) for value in setup.bias],
            "image": _numbers(setup.image),
            "kernels": _numbers(setup.kernels),
            "output": self.output,
            "steps": [_step_dict(step) for step in ([at] if at else self.steps)],
        }
        return json.dumps(fields, indent=indent, ensure_ascii=False)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())


def convolve(
    image: Any,
    kernel: Any,
    *,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    padding_mode: str = "zeros",
    flip: bool = True,
) -> Convolution:
    """Convolve an image with one kernel or several, exactly, keeping every product.

    Whole numbers stay whole, and decimals are the decimals that they are written as: 0.1 + 0.2 is 0.3. A result is
    written with up to 17 digits.

    Args:
        image: H×W or C×H×W numbers: nested lists, or an array.
        kernel: H×W or C×H×W numbers for one kernel, F×C×H×W for several.
        bias: one number for each kernel, or none.
        stride: steps of the window in pixels, from 1 on; one number, or (vertical, horizontal).
        padding: pixels around the image on each side, from 0 on; or "same", which keeps the size at stride 1.
        dilation: pixels from one weight to the next, from 1 on.
        padding_mode: "zeros"; "reflect", without the border pixel itself; or "replicate", the border pixel.
        flip: True for a true convolution; False for a cross-correlation, which is what deep-learning libraries call
            a convolution.

    Returns:
        The output, H×W, or F×H×W for a kernel given as F×C×H×W, with its steps.

    Raises:
        UsageError: numbers that are none, ragged rows, sizes that do not go together, or more than a million products.

    >>> found = convolve([[1, 2, 3], [4, 5, 6]], [[10, 1]])
    >>> found.output
    [[21, 32], [54, 65]]
    >>> found.step_at(0, 1).text
    '1·2 + 10·3 = 32'
    """
    setup = validated_setup(image, kernel, bias, stride, padding, dilation, padding_mode, flip)
    high, wide = setup.output_size
    maps = [
        [
            [to_python_number(_sum(setup.terms(number, row, column), setup.bias, number)) for column in range(wide)]
            for row in range(high)
        ]
        for number in range(len(setup.kernels))
    ]
    return Convolution(setup, maps if setup.several else maps[0])


def _sum(terms: Iterable[ProductTerm], bias: list[Exact] | None, kernel: int) -> Exact:
    return sum((term.pixel * term.weight for term in terms), 0 if bias is None else bias[kernel])


def _product(term: ProductTerm, setup: ConvolutionSetup) -> Product:
    high, wide = setup.image_size
    return Product(
        channel=term.channel,
        row=term.row,
        column=term.column,
        padding=not (0 <= term.row < high and 0 <= term.column < wide),
        pixel=to_python_number(term.pixel),
        weight_row=term.weight_row,
        weight_column=term.weight_column,
        weight=to_python_number(term.weight),
        product=to_python_number(term.pixel * term.weight),
    )


def _factor(value: Number) -> str:
    return f"({value})" if value < 0 else str(value)


def _numbers(value: Any) -> Any:
    return [_numbers(item) for item in value] if isinstance(value, list) else to_python_number(value)


def _step_dict(step: ConvolutionStep) -> dict[str, Any]:
    products = [{name: getattr(product, name) for name in Product.__slots__} for product in step.products]
    place = {"kernel": step.kernel, "row": step.row, "column": step.column}
    return {**place, "products": products, "bias": step.bias, "sum": step.sum, "text": step.text}
