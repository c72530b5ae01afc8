"""Convolution by hand.

Source: V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as all_pairs
from typing import Any

from cnnlab.theory.convolution_by_hand.inputs import ConvolutionSetup, Exact, Map, validated_setup
from cnnlab.theory.convolution_by_hand.result import Convolution, ConvolutionStep, Number, Product, format_factor

# A whole number that a float holds exactly is written without a point.
_MAX_EXACT_INT = 2**53


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
        flip: True for a true convolution; False for a cross-correlation, which deep-learning libraries call a
            convolution.

    Returns:
        The output, H×W, or F×H×W for a kernel given as F×C×H×W, with its steps.

    Raises:
        UsageError: values that are no numbers, ragged rows, sizes that do not go together, or over 100,000 products.

    >>> result = convolve([[1, 2, 3], [4, 5, 6]], [[10, 1]])
    >>> result.output
    [[21, 32], [54, 65]]
    >>> result.step_at(0, 1).text
    '1·2 + 10·3 = 32'
    """
    setup = validated_setup(image, kernel, bias, stride, padding, dilation, padding_mode, flip)
    padded = [_padded(setup, channel) for channel in setup.image]
    high, wide = setup.output_size
    places = all_pairs(range(len(setup.kernels)), range(high), range(wide))
    steps = tuple(_step(setup, padded, *index) for index in places)
    sums = [step.sum for step in steps]
    rows = [sums[start : start + wide] for start in range(0, len(sums), wide)]
    maps = [rows[start : start + high] for start in range(0, len(rows), high)]
    return Convolution(
        operation="true convolution" if flip else "cross-correlation",
        flip=flip,
        stride=setup.stride,
        padding=setup.padding,
        margins=setup.margins,
        padding_mode=setup.padding_mode,
        dilation=setup.dilation,
        bias=None if setup.bias is None else _numbers(setup.bias),
        image=_numbers(setup.image),
        padded=_numbers(padded),
        kernels=_numbers(setup.kernels),
        output=maps if setup.several else maps[0],
        steps=steps,
    )


def _padded(setup: ConvolutionSetup, channel: Map) -> Map:
    """A channel with its padding."""
    rows, columns = (
        [_source(index, size, setup.padding_mode) for index in range(-before, size + behind)]
        for size, (before, behind) in zip(setup.image_size, setup.margins, strict=True)
    )
    return [[0 if row is None or column is None else channel[row][column] for column in columns] for row in rows]


def _source(index: int, size: int, padding_mode: str) -> int | None:
    """The row (column) of the image whose pixels an index in or around it has; None for zeros."""
    if 0 <= index < size:
        return index
    if padding_mode == "zeros":
        return None
    if padding_mode == "replicate":
        return min(max(index, 0), size - 1)
    return -index if index < 0 else 2 * (size - 1) - index


def _step(setup: ConvolutionSetup, padded: list[Map], kernel: int, row: int, column: int) -> ConvolutionStep:
    """One output element; `padded` holds the channels with their padding."""
    (high, wide), (image_high, image_wide) = setup.kernel_size, setup.image_size
    (top, _), (left, _) = setup.margins
    products = []
    total: Exact = 0 if setup.bias is None else setup.bias[kernel]
    for channel, m, n in ((c, m, n) for c in range(len(padded)) for m in range(high) for n in range(wide)):
        at_row = row * setup.stride[0] + m * setup.dilation[0]
        at_column = column * setup.stride[1] + n * setup.dilation[1]
        from_row, from_column = (high - 1 - m, wide - 1 - n) if setup.flip else (m, n)
        pixel, weight = padded[channel][at_row][at_column], setup.kernels[kernel][channel][from_row][from_column]
        total += pixel * weight
        products.append(
            Product(
                channel=channel,
                row=at_row - top,
                column=at_column - left,
                padding=not (0 <= at_row - top < image_high and 0 <= at_column - left < image_wide),
                pixel=_number(pixel),
                weight_row=from_row,
                weight_column=from_column,
                weight=_number(weight),
                product=_number(pixel * weight),
            )
        )
    bias = None if setup.bias is None else _number(setup.bias[kernel])
    terms = [product.text for product in products] + ([] if bias is None else [f"{format_factor(bias)} (bias)"])
    return ConvolutionStep(
        kernel=kernel,
        row=row,
        column=column,
        products=tuple(products),
        bias=bias,
        sum=_number(total),
        text=f"{' + '.join(terms)} = {_number(total)}",
    )


def _number(value: Exact) -> Number:
    """An exact number as Python's own, to the 17 digits that a float has; a whole one has no point."""
    if isinstance(value, int):
        return value
    if value.denominator == 1 and abs(value) < _MAX_EXACT_INT:
        return value.numerator
    return float(value)


def _numbers(value: Any) -> Any:
    return [_numbers(item) for item in value] if isinstance(value, list) else _number(value)
