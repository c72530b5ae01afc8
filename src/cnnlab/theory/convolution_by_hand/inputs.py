"""Validated input of a convolution by hand, as exact numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, cast, get_args

from cnnlab.errors import UsageError, comma_separated, did_you_mean
from cnnlab.render.formatting import format_shape, pluralize, shorten
from cnnlab.theory.convolution_by_hand.result import PaddingMode, Pair
from cnnlab.theory.output_size import output_size

Exact: TypeAlias = int | Fraction
Map: TypeAlias = list[list[Exact]]

# All products are kept and shown; more are no work for a hand.
MAX_PRODUCTS = 100_000
MAX_PIXELS = 100_000
# Keep every product and sum far within the range of a float.
MAX_MAGNITUDE = 10**100
_LEVEL_NAMES = {1: "numbers", 2: "rows", 3: "channels", 4: "kernels"}
_SHAPE_LETTERS = {2: "H×W", 3: "C×H×W", 4: "F×C×H×W"}


@dataclass(frozen=True)
class ConvolutionSetup:
    """The input of a convolution; pairs are (vertical, horizontal), margins (in front, behind) of each.

    `image` is C×H×W, `kernels` F×C×H×W; `several` tells whether F was given.
    """

    image: list[Map]
    kernels: list[list[Map]]
    several: bool
    bias: list[Exact] | None
    stride: Pair
    padding: Pair | str
    margins: tuple[Pair, Pair]
    dilation: Pair
    padding_mode: PaddingMode
    flip: bool

    @property
    def image_size(self) -> Pair:
        return len(self.image[0]), len(self.image[0][0])

    @property
    def padded_size(self) -> Pair:
        high, wide = (size + sum(around) for size, around in zip(self.image_size, self.margins, strict=True))
        return high, wide

    @property
    def kernel_size(self) -> Pair:
        return len(self.kernels[0][0]), len(self.kernels[0][0][0])

    @property
    def output_size(self) -> Pair:
        """(height, width); below 1 where the kernel does not fit."""
        high, wide = (
            output_size(
                self.image_size[axis],
                self.kernel_size[axis],
                self.stride[axis],
                sum(self.margins[axis]),
                self.dilation[axis],
            ).size
            for axis in (0, 1)
        )
        return high, wide


def validated_setup(
    image: Any,
    kernel: Any,
    bias: Any,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
    padding_mode: str,
    flip: bool,
) -> ConvolutionSetup:
    """Check the arguments of `convolve`; errors as there."""
    pixels, depth = _nested_numbers(image, "image", (2, 3))
    weights, levels = _nested_numbers(kernel, "kernel", (2, 3, 4))
    channels: list[Map] = [pixels] if depth == 2 else pixels
    kernels = {2: [[weights]], 3: [weights], 4: weights}[levels]
    if len(kernels[0]) != len(channels):
        several = "; several kernels for one channel are F×1×H×W" if len(channels) == 1 and levels == 3 else ""
        raise UsageError(
            "the kernel and the image have different channels",
            where="kernel",
            received=pluralize(len(kernels[0]), "channel"),
            allowed=pluralize(len(channels), "channel"),
            next_step=f"give the kernel as many channels as the image has{several}",
        )
    modes = get_args(PaddingMode)
    if padding_mode not in modes:
        raise UsageError(
            "there is no such padding mode",
            where="padding_mode",
            received=str(padding_mode),
            allowed=comma_separated(modes),
            next_step=did_you_mean(str(padding_mode), modes),
        )
    steps, gaps = _pair(stride, "stride", 1), _pair(dilation, "dilation", 1)
    around = "same" if padding == "same" else _pair(padding, "padding", 0)
    setup = ConvolutionSetup(
        image=channels,
        kernels=kernels,
        several=levels == 4,
        bias=_validated_bias(bias, len(kernels)),
        stride=steps,
        padding=around,
        margins=_margins(around, (len(kernels[0][0]), len(kernels[0][0][0])), steps, gaps),
        dilation=gaps,
        padding_mode=cast(PaddingMode, padding_mode),
        flip=flip,
    )
    _check_fit(setup)
    return setup


def _nested_numbers(value: Any, where: str, depths: Sequence[int]) -> tuple[Any, int]:
    """Nested lists of exact numbers, and how deep they are."""
    numbers = _exact(value, where, max(depths) + 1)
    depth = len(_shape(numbers))
    if depth not in depths:
        raise UsageError(
            f"the {where} is not nested as it should be",
            where=where,
            received=f"a list {pluralize(depth, 'level')} deep" if depth else "a single value",
            allowed=" or ".join(f"{_SHAPE_LETTERS[form]} ({form} levels)" for form in depths),
            next_step="write rows of numbers, as in [[1, 2], [3, 4]]",
        )
    return numbers, depth


def _exact(value: Any, where: str, levels: int) -> Any:
    """Lists, tuples and arrays as lists of one size each, and their numbers as exact ones."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, list | tuple) or not levels:
        return _exact_number(value, where)
    items = [_exact(item, f"{where}[{index}]", levels - 1) for index, item in enumerate(value)]
    if not items:
        raise UsageError("a list of numbers is missing", where=where, received="[]", allowed="at least one number")
    for index, item in enumerate(items):
        if _shape(item) != _shape(items[0]):
            name = _LEVEL_NAMES.get(len(_shape(items)), "lists")
            raise UsageError(
                f"not all {name} are of one size",
                where=f"{where}[{index}]",
                received=_size_text(item),
                allowed=f"{_size_text(items[0])}, as in {where}[0]",
            )
    return items


def _exact_number(value: Any, where: str) -> Exact:
    """An exact number; a float is the decimal that it is written as, so that 0.1 is a tenth."""
    is_number = isinstance(value, int | float | Fraction) and not isinstance(value, bool)
    exact = None
    if is_number and math.isfinite(value):
        exact = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    if exact is None or abs(exact) > MAX_MAGNITUDE or 0 < abs(exact) * MAX_MAGNITUDE < 1:
        too_long = isinstance(value, int) and abs(value) > MAX_MAGNITUDE
        raise UsageError(
            "this number is out of range" if is_number else "this is not a number",
            where=where,
            received="a very long number" if too_long else shorten(repr(value)),
            allowed="0, or a finite number from 1e-100 to 1e100 or below 0" if is_number else "a number",
        )
    return exact.numerator if exact.denominator == 1 else exact


def _shape(value: Any) -> tuple[int, ...]:
    return (len(value), *_shape(value[0])) if isinstance(value, list) else ()


def _size_text(value: Any) -> str:
    shape = _shape(value)
    return format_shape(shape) if len(shape) > 1 else pluralize(shape[0], "number") if shape else "a single value"


def _validated_bias(bias: Any, kernels: int) -> list[Exact] | None:
    if bias is None:
        return None
    numbers = _exact(bias, "bias", 1)
    numbers = numbers if isinstance(numbers, list) else [numbers]
    if len(numbers) != kernels:
        raise UsageError(
            "each kernel has one bias",
            where="bias",
            received=pluralize(len(numbers), "number"),
            allowed=pluralize(kernels, "number"),
        )
    return numbers


def _pair(value: Any, where: str, least: int) -> Pair:
    value = value.tolist() if hasattr(value, "tolist") else value
    items = list(value) if isinstance(value, list | tuple) else [value, value]
    try:
        high, wide = (least - 1 if isinstance(item, bool) else operator.index(item) for item in items)
    except (TypeError, ValueError):
        high = wide = least - 1
    if min(high, wide) < least:
        raise UsageError(
            f"this is no {where}",
            where=where,
            received=shorten(repr(value)),
            allowed=f"a whole number from {least} on, or two (vertical, horizontal)"
            + (", or 'same'" if where == "padding" else ""),
        )
    return high, wide


def _margins(padding: Pair | str, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """Padding in front and behind; of an odd sum, torch's 'same' puts the larger half behind."""
    if not isinstance(padding, str):
        return (padding[0], padding[0]), (padding[1], padding[1])
    if stride != (1, 1):
        raise UsageError(
            "padding 'same' needs stride 1",
            where="padding",
            received=f"stride {format_shape(stride)}",
            next_step="give the padding as a number",
        )
    high, wide = (dilation[axis] * (kernel[axis] - 1) for axis in (0, 1))
    return (high // 2, high - high // 2), (wide // 2, wide - wide // 2)


def _check_fit(setup: ConvolutionSetup) -> None:
    for axis, name in ((0, "rows"), (1, "columns")):
        widest, size = max(setup.margins[axis]), setup.image_size[axis]
        if setup.padding_mode == "reflect" and widest >= size:
            raise UsageError(
                "reflected padding must be smaller than the image",
                where="padding",
                received=f"{widest} for {size} {name}",
                allowed=f"up to {size - 1}",
                next_step="pad less, or use the mode 'replicate'",
            )
    if min(setup.output_size) < 1:
        spread = f", dilation {format_shape(setup.dilation)}" if setup.dilation != (1, 1) else ""
        raise UsageError(
            "the kernel is larger than the padded image",
            where="kernel",
            received=format_shape(setup.kernel_size) + spread,
            allowed=f"up to {format_shape(setup.padded_size)}, padding and the gaps of a dilation included",
            next_step="make the kernel smaller, or pad more",
        )
    products = len(setup.kernels) * math.prod((*setup.output_size, len(setup.image), *setup.kernel_size))
    pixels = math.prod(setup.padded_size) * len(setup.image)
    for number, most, name in ((products, MAX_PRODUCTS, "products"), (pixels, MAX_PIXELS, "pixels")):
        if number > most:
            raise UsageError(
                "this is too much to be worked out by hand",
                where="image",
                received=f"{number:,} {name}",
                allowed=f"up to {most:,}",
                next_step="cut out a piece of the image, or compute it with torch.nn.functional.conv2d",
            )
