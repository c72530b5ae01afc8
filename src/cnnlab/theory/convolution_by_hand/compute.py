"""Convolution by hand.

Source: V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

import numpy as np

from cnnlab.errors import UsageError, comma_separated, did_you_mean
from cnnlab.render.formatting import format_shape, pluralize, shorten
from cnnlab.theory.convolution_by_hand.result import (
    Convolution,
    ConvolutionStep,
    Number,
    PaddingMode,
    Pair,
    Product,
    format_factor,
)
from cnnlab.theory.output_size import output_size, validated_size

# All products are kept and shown; more are no work for a hand.
_MAX_PRODUCTS, _MAX_PIXELS = 100_000, 100_000
# Keeps every product and sum far within the range of a float.
_MAX_MAGNITUDE = 1e100
# The padding modes, by numpy's names.
_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge"}
_SHAPES = {0: "a number", 1: "a list of numbers", 2: "H×W", 3: "C×H×W", 4: "F×C×H×W"}


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
    pixels, weights = _exact_array(image, "image", (2, 3)), _exact_array(kernel, "kernel", (2, 3, 4))
    channels, kernels = pixels[(None,) * (3 - pixels.ndim)], weights[(None,) * (4 - weights.ndim)]
    biases = None if bias is None else _exact_array(bias, "bias", (0, 1)).reshape(-1)
    step, gap = _pair("stride", stride), _pair("dilation", dilation)
    around = "same" if isinstance(padding, str) and padding == "same" else _pair("padding", padding)
    _check_options(channels, kernels, biases, step, around, padding_mode)
    margins = _margins(around, kernels.shape[2:], gap)
    size = _output_size(channels.shape, kernels.shape, step, gap, margins, padding_mode)
    padded = np.pad(channels, ((0, 0), *margins), mode=_PAD_MODES[padding_mode])  # type: ignore[call-overload]
    used = kernels[..., ::-1, ::-1] if flip else kernels
    steps = []
    for number, row, column in np.ndindex(len(kernels), *size):
        top, left = row * step[0], column * step[1]
        window = padded[:, top :: gap[0], left :: gap[1]][:, : kernels.shape[2], : kernels.shape[3]]
        corner = (top - margins[0][0], left - margins[1][0])
        products = _products(window, kernels[number], corner, gap, channels.shape[1:], flip)
        constant = None if biases is None else _number(biases[number])
        terms = [product.text for product in products]
        terms += [] if constant is None else [f"{format_factor(constant)} (bias)"]
        total = _number((window * used[number]).sum() + (0 if biases is None else biases[number]))
        steps.append(
            ConvolutionStep(
                kernel=number,
                row=row,
                column=column,
                products=products,
                bias=constant,
                sum=total,
                text=f"{' + '.join(terms)} = {total}",
            )
        )
    sums = np.array([one.sum for one in steps], dtype=object).reshape(len(kernels), *size).tolist()
    return Convolution(
        operation="true convolution" if flip else "cross-correlation",
        flip=flip,
        stride=step,
        padding=around,
        margins=margins,
        padding_mode=cast(PaddingMode, padding_mode),
        dilation=gap,
        bias=None if biases is None else _numbers(biases),
        image=_numbers(channels),
        padded=_numbers(padded),
        kernels=_numbers(kernels),
        output=sums if weights.ndim == 4 else sums[0],
        steps=tuple(steps),
    )


def _products(window: Any, kernel: Any, corner: Pair, dilation: Pair, image: Pair, flip: bool) -> tuple[Product, ...]:
    """The products of a window, C×H×W, with a kernel as written.

    Args:
        corner: row and column of the window's first pixel, from the image's first.
        image: height and width without padding.
    """
    high, wide = kernel.shape[1:]
    products = []
    for channel, m, n in np.ndindex(kernel.shape):
        row, column = corner[0] + m * dilation[0], corner[1] + n * dilation[1]
        weight_row, weight_column = (high - 1 - m, wide - 1 - n) if flip else (m, n)
        pixel, weight = window[channel, m, n], kernel[channel, weight_row, weight_column]
        products.append(
            Product(
                channel=channel,
                row=row,
                column=column,
                padding=not (0 <= row < image[0] and 0 <= column < image[1]),
                pixel=_number(pixel),
                weight_row=weight_row,
                weight_column=weight_column,
                weight=_number(weight),
                product=_number(pixel * weight),
            )
        )
    return tuple(products)


def _exact_array(value: Any, where: str, dimensions: tuple[int, ...]) -> Any:
    """An array of fractions; a float is the decimal that it is written as, so that 0.1 is a tenth.

    Raises:
        UsageError: another number of dimensions, rows of different lengths, or values that are no finite numbers.
    """
    array = np.array(value.tolist() if hasattr(value, "tolist") else value, dtype=object)
    if array.ndim not in dimensions or not array.size or not all(map(_is_finite_number, array.flat)):
        raise UsageError(
            "this is not a grid of numbers",
            where=where,
            received=shorten(repr(value)),
            allowed=f"{' or '.join(_SHAPES[number] for number in dimensions)}, rows of one length, of finite numbers "
            "from -1e100 to 1e100",
            next_step="write rows of numbers, as in [[1, 2], [3, 4]]",
        )
    return np.vectorize(lambda number: Fraction(str(number)), otypes=[object])(array)


def _is_finite_number(value: Any) -> bool:
    is_number = isinstance(value, int | float | Fraction | np.number) and not isinstance(value, bool)
    return is_number and abs(value) <= _MAX_MAGNITUDE  # NaN is not


def _number(value: Fraction) -> Number:
    """An exact number as Python's own, to the 17 digits that a float has; a whole one has no point."""
    return int(value) if value.denominator == 1 else float(value)


def _numbers(array: Any) -> Any:
    return np.vectorize(_number, otypes=[object])(array).tolist()


def _pair(name: str, value: Any) -> Pair:
    size = validated_size(name, value, "; or 'same'" if name == "padding" else "")
    return size if isinstance(size, tuple) else (size, size)


def _margins(padding: Pair | str, kernel: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """The padding before and after each dimension; of an odd sum, torch's 'same' puts the larger half after it."""
    if not isinstance(padding, str):
        return (padding[0], padding[0]), (padding[1], padding[1])
    high, wide = (dilation[axis] * (kernel[axis] - 1) for axis in (0, 1))
    return (high // 2, high - high // 2), (wide // 2, wide - wide // 2)


def _check_options(image: Any, kernels: Any, biases: Any, stride: Pair, padding: Pair | str, padding_mode: str) -> None:
    if kernels.shape[1] != len(image):
        raise UsageError(
            "the kernel and the image have different channels",
            where="kernel",
            received=pluralize(kernels.shape[1], "channel"),
            allowed=pluralize(len(image), "channel"),
            next_step="give each kernel the image's channels; several kernels for one channel are F×1×H×W",
        )
    if padding_mode not in _PAD_MODES:
        raise UsageError(
            "there is no such padding mode",
            where="padding_mode",
            received=str(padding_mode),
            allowed=comma_separated(_PAD_MODES),
            next_step=did_you_mean(str(padding_mode), _PAD_MODES),
        )
    if biases is not None and len(biases) != len(kernels):
        raise UsageError(
            "each kernel has one bias",
            where="bias",
            received=pluralize(len(biases), "number"),
            allowed=pluralize(len(kernels), "number"),
        )
    if padding == "same" and stride != (1, 1):
        raise UsageError(
            "padding 'same' needs stride 1",
            where="padding",
            received=f"stride {format_shape(stride)}",
            next_step="give the padding as a number",
        )


def _output_size(
    image: tuple[int, ...],
    kernels: tuple[int, ...],
    stride: Pair,
    dilation: Pair,
    margins: tuple[Pair, Pair],
    padding_mode: str,
) -> Pair:
    """The output's height and width, from the shapes C×H×W and F×C×H×W.

    Raises:
        UsageError: the kernel does not fit, the padding reflects more than there is, or it is too much to keep.
    """
    for margin, size in zip(margins, image[1:], strict=True):
        if padding_mode == "reflect" and max(margin) >= size:
            raise UsageError(
                "reflected padding must be smaller than the image",
                where="padding",
                received=f"{max(margin)} for {pluralize(size, 'pixel')}",
                allowed=f"up to {size - 1}",
                next_step="pad less, or use the mode 'replicate'",
            )
    padded = [size + sum(margin) for size, margin in zip(image[1:], margins, strict=True)]
    high, wide = (
        output_size(padded[axis], kernels[2 + axis], stride[axis], dilation=dilation[axis]).size for axis in (0, 1)
    )
    if min(high, wide) < 1:
        raise UsageError(
            "the kernel is larger than the padded image",
            where="kernel",
            received=f"{format_shape(kernels[2:])}, dilation {format_shape(dilation)}",
            allowed=f"up to {format_shape(tuple(padded))}, padding and the gaps of a dilation included",
            next_step="make the kernel smaller, or pad more",
        )
    products, pixels = math.prod(kernels) * high * wide, math.prod(padded) * image[0]
    if products > _MAX_PRODUCTS or pixels > _MAX_PIXELS:
        raise UsageError(
            "this is too much to be worked out by hand",
            where="image",
            received=f"{products:,} products, {pixels:,} pixels",
            allowed=f"up to {_MAX_PRODUCTS:,} of each",
            next_step="cut out a piece of the image, or compute it with torch.nn.functional.conv2d",
        )
    return high, wide
