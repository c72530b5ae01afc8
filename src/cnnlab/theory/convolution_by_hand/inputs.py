"""The image, kernels and options of a convolution by hand, checked."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

from cnnlab.errors import UsageError, comma_separated, did_you_mean
from cnnlab.render.formatting import format_shape, pluralize, shorten
from cnnlab.theory.output_size import OutputSize, output_size

Number: TypeAlias = int | float
Exact: TypeAlias = int | Fraction
Pair: TypeAlias = tuple[int, int]
Map: TypeAlias = list[list[Exact]]
PaddingMode = Literal["zeros", "reflect", "replicate"]

# A whole number that a float holds exactly is shown without its point.
_MAX_EXACT_INT = 2**53


class ProductTerm(NamedTuple):
    """A pixel under the window and the weight that it meets; `row` and `column` lie outside the image in padding."""

    channel: int
    row: int
    column: int
    weight_row: int
    weight_column: int
    pixel: Exact
    weight: Exact


@dataclass(frozen=True)
class ConvolutionSetup:
    """What slides over what, and how; pairs are (vertical, horizontal), margins (in front, behind) of each."""

    image: list[Map]
    kernels: list[list[Map]]
    bias: list[Exact] | None
    several: bool
    stride: Pair
    padding: Pair | Literal["same"]
    margins: tuple[Pair, Pair]
    dilation: Pair
    padding_mode: PaddingMode
    flip: bool

    @property
    def operation(self) -> str:
        """Which of the two it is."""
        return "true convolution" if self.flip else "cross-correlation"

    @property
    def channels(self) -> int:
        return len(self.image)

    @property
    def image_size(self) -> Pair:
        return len(self.image[0]), len(self.image[0][0])

    @property
    def padded_size(self) -> Pair:
        high, wide = (sum((size, *self.margins[axis])) for axis, size in enumerate(self.image_size))
        return high, wide

    @property
    def kernel_size(self) -> Pair:
        return len(self.kernels[0][0]), len(self.kernels[0][0][0])

    @property
    def kernel_extent(self) -> Pair:
        """How many rows and columns a window spans, the gaps of its dilation included."""
        high, wide = (step * (size - 1) + 1 for size, step in zip(self.kernel_size, self.dilation, strict=True))
        return high, wide

    def axis_size(self, axis: int) -> OutputSize:
        """How the windows fit along one axis."""
        around = sum(self.margins[axis])
        sizes = self.image_size[axis], self.kernel_size[axis]
        return output_size(*sizes, self.stride[axis], around, self.dilation[axis])

    @property
    def output_size(self) -> Pair:
        return self.axis_size(0).size, self.axis_size(1).size

    @property
    def num_products(self) -> int:
        """How many there are in all."""
        return len(self.kernels) * math.prod((*self.output_size, self.channels, *self.kernel_size))

    def window_start(self, axis: int, at: int) -> int:
        """The row (column) of the image on which the window of one output row (column) begins."""
        return at * self.stride[axis] - self.margins[axis][0]

    def source_index(self, axis: int, at: int) -> int | None:
        """The row (column) of the image whose pixels stand at a place in or around it; None: zeros."""
        size = self.image_size[axis]
        if 0 <= at < size:
            return at
        if self.padding_mode == "zeros":
            return None
        if self.padding_mode == "replicate":
            return min(max(at, 0), size - 1)
        return -at if at < 0 else 2 * (size - 1) - at

    def pixel(self, channel: int, row: int, column: int) -> Exact:
        """The pixel at a place of the padded image, which begins above and left of (0, 0)."""
        high, wide = self.source_index(0, row), self.source_index(1, column)
        return 0 if high is None or wide is None else self.image[channel][high][wide]

    def oriented_kernel(self, kernel: int, channel: int) -> Map:
        """A kernel's channel as it lies on the image: flipped in both directions for a true convolution."""
        written = self.kernels[kernel][channel]
        return [row[::-1] for row in written[::-1]] if self.flip else written

    def terms(self, kernel: int, row: int, column: int) -> Iterator[ProductTerm]:
        """What is multiplied for one output element: channel by channel, in the window's reading order."""
        high, wide = self.kernel_size
        rows, columns = self._window_axis(0, row), self._window_axis(1, column)
        for channel, pixels in enumerate(self.image):
            weights = self.kernels[kernel][channel]
            for m, at_row, source_row in rows:
                from_row = high - 1 - m if self.flip else m
                for n, at_column, source_column in columns:
                    from_column = wide - 1 - n if self.flip else n
                    outside = source_row is None or source_column is None
                    pixel = 0 if outside else pixels[cast(int, source_row)][cast(int, source_column)]
                    weight = weights[from_row][from_column]
                    yield ProductTerm(channel, at_row, at_column, from_row, from_column, pixel, weight)

    def _window_axis(self, axis: int, at: int) -> list[tuple[int, int, int | None]]:
        """A window's rows (columns): its own number, that on the image, and that of the pixels there."""
        first, step = self.window_start(axis, at), self.dilation[axis]
        places = [(number, first + number * step) for number in range(self.kernel_size[axis])]
        return [(number, place, self.source_index(axis, place)) for number, place in places]


def to_python_number(value: Exact) -> Number:
    """An exact number as Python's own, to the 17 digits that a float has; a whole one has no point.

    Raises:
        UsageError: not 0, and smaller than any float that has its digits.
    """
    if isinstance(value, int):
        return value
    if value.denominator == 1 and abs(value) < _MAX_EXACT_INT:
        return value.numerator
    if 0 < abs(value) < sys.float_info.min:
        # Sums of fractions can cancel to next to nothing.
        raise UsageError(
            "a result is too small to be written, and not 0",
            received=f"one below {sys.float_info.min:.0e}",
            next_step="round the numbers that go in",
        )
    return float(value)


# A worksheet, not an engine: what can be worked out in seconds.
MAX_PRODUCTS = 1_000_000
MAX_PIXELS = 1_000_000
# Keep every product and sum far within what a float holds: one that is too small for it would be written as 0.
MAX_MAGNITUDE = 10**100
MIN_MAGNITUDE = Fraction(1, MAX_MAGNITUDE)
# One level more than any input has, so that one too many is seen.
_LEVELS = 5
_DIMENSION_NAMES = {2: "rows", 3: "channels", 4: "kernels"}
_SHAPE_LETTERS = {2: "H×W", 3: "C×H×W", 4: "F×C×H×W"}


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
    """The setting that these make; arguments and errors as of `cnnlab.theory.convolution_by_hand.result.convolve`."""
    pixels, depth = _nested(image, "image", (2, 3))
    weights, levels = _nested(kernel, "kernel", (2, 3, 4))
    channels: list[Map] = [pixels] if depth == 2 else pixels
    kernels = {2: [[weights]], 3: [weights], 4: weights}[levels]
    if len(kernels[0]) != len(channels):
        raise _channel_mismatch(len(kernels[0]), len(channels), levels)
    if padding_mode not in get_args(PaddingMode):
        modes = get_args(PaddingMode)
        hint = did_you_mean(padding_mode, modes) if isinstance(padding_mode, str) else ""
        raise UsageError(
            "there is no such padding",
            where="padding_mode",
            received=str(padding_mode),
            allowed=comma_separated(modes),
            next_step=hint,
        )
    steps, gaps = _pair(stride, "stride", 1), _pair(dilation, "dilation", 1)
    around = "same" if padding == "same" else _pair(padding, "padding", 0)
    setup = ConvolutionSetup(
        image=channels,
        kernels=kernels,
        bias=_biases(bias, len(kernels)),
        several=levels == 4,
        stride=steps,
        padding=cast(Any, around),
        margins=_margins(around, (len(kernels[0][0]), len(kernels[0][0][0])), steps, gaps),
        dilation=gaps,
        padding_mode=cast(PaddingMode, padding_mode),
        flip=flip,
    )
    _check_fit(setup)
    return setup


def _nested(value: Any, where: str, depths: Sequence[int]) -> tuple[Any, int]:
    """Nested lists of exact numbers, and how deep they are."""
    lists = _lists(value, _LEVELS)
    depth, first = 0, lists
    while isinstance(first, list):
        depth, first = depth + 1, first[0] if first else None
    if depth not in depths:
        raise UsageError(
            f"the {where} is not nested as it should be",
            where=where,
            received="a single value" if not depth else f"a list {pluralize(depth, 'level')} deep",
            allowed=" or ".join(f"{_SHAPE_LETTERS[form]} ({form} levels)" for form in depths),
            next_step="write rows of numbers, as in [[1, 2], [3, 4]]",
        )
    return _numbers(lists, where, depth), depth


def _lists(value: Any, levels: int) -> Any:
    """Arrays and tuples as lists; what lies deeper than any input does is left as it is."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, list | tuple):
        return value
    return [_lists(item, levels - 1) for item in value] if levels else []


def _numbers(value: Any, where: str, depth: int) -> Any:
    if not depth:
        return _number(value, where)
    if not isinstance(value, list) or not value:
        received = "an empty list" if isinstance(value, list) else _short_text(value)
        raise UsageError("a list of numbers is missing", where=where, received=received, allowed="at least one number")
    found = [_numbers(item, f"{where}[{index}]", depth - 1) for index, item in enumerate(value)]
    for index, item in enumerate(found if depth > 1 else []):
        if _shape(item) != _shape(found[0]):
            raise UsageError(
                f"not all {_DIMENSION_NAMES[depth]} are of one size",
                where=f"{where}[{index}]",
                received=_size_text(item),
                allowed=f"{_size_text(found[0])}, as in {where}[0]",
            )
    return found


def _shape(value: Any) -> tuple[int, ...]:
    return (len(value), *_shape(value[0])) if isinstance(value, list) else ()


def _size_text(value: Any) -> str:
    shape = _shape(value)
    return format_shape(shape) if len(shape) > 1 else pluralize(shape[0], "number")


def _number(value: Any, where: str) -> Exact:
    """The number itself; a float is the decimal that it is written as, so that 0.1 is a tenth."""
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
        raise UsageError("this is not a number", where=where, received=_short_text(value), allowed="a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(
            "this number can't be computed with", where=where, received=str(value), allowed="a finite number"
        )
    exact: Exact = Fraction(repr(value)) if isinstance(value, float) else value
    if not -MAX_MAGNITUDE <= exact <= MAX_MAGNITUDE:
        raise UsageError("this number is too large", where=where, received=_short_text(value), allowed="up to 1e100")
    if isinstance(exact, Fraction) and exact and -MIN_MAGNITUDE < exact < MIN_MAGNITUDE:
        raise UsageError(
            "this number is too small", where=where, received=_short_text(value), allowed="0, or from 1e-100 on"
        )
    return exact.numerator if isinstance(exact, Fraction) and exact.denominator == 1 else exact


def _biases(bias: Any, kernels: int) -> list[Exact] | None:
    if bias is None:
        return None
    lists = _lists(bias, 1)
    found = [_number(item, f"bias[{index}]") for index, item in enumerate(lists)] if isinstance(lists, list) else None
    found = [_number(lists, "bias")] if found is None else found
    if len(found) != kernels:
        raise UsageError(
            "each kernel has one bias",
            where="bias",
            received=pluralize(len(found), "number"),
            allowed=pluralize(kernels, "number"),
        )
    return found


def _pair(value: Any, where: str, least: int) -> Pair:
    value = value.tolist() if hasattr(value, "tolist") else value
    items = list(value) if isinstance(value, list | tuple) else [value, value]
    try:
        if any(isinstance(item, bool) for item in items):
            raise TypeError
        high, wide = (operator.index(item) for item in items)
    except (TypeError, ValueError):
        high = wide = least - 1
    if min(high, wide) < least:
        kept = ", or 'same'" if where == "padding" else ""
        raise UsageError(
            f"this is no {where}",
            where=where,
            received=_short_text(value),
            allowed=f"a whole number from {least} on, or two (vertical, horizontal){kept}",
        )
    return high, wide


def _margins(padding: Any, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """Padding in front and behind; of an odd sum, torch's 'same' puts the larger half behind."""
    if padding != "same":
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
    padded, reach = setup.padded_size, setup.kernel_extent
    for axis in (0, 1):
        widest, size = max(setup.margins[axis]), setup.image_size[axis]
        if setup.padding_mode == "reflect" and widest >= size:
            raise UsageError(
                "reflected padding must be smaller than the image: there are no more pixels to reflect",
                where="padding",
                received=f"{widest} {('above or below', 'left or right')[axis]} of {size} {('rows', 'columns')[axis]}",
                allowed=f"up to {size - 1}",
                next_step="pad less, or take the mode 'replicate'",
            )
    if any(reach[axis] > padded[axis] for axis in (0, 1)):
        spread = f" (spread to {format_shape(reach)} by its dilation)" if reach != setup.kernel_size else ""
        raise UsageError(
            "the kernel is larger than the padded image",
            where="kernel",
            received=format_shape(setup.kernel_size) + spread,
            allowed=f"up to {format_shape(padded)}, padding included",
            next_step="make the kernel smaller, or pad more",
        )
    for number, most, what in (
        (setup.num_products, MAX_PRODUCTS, "products"),
        (math.prod(padded) * setup.channels, MAX_PIXELS, "pixels"),
    ):
        if number > most:
            raise UsageError(
                "this is too much to be worked out by hand",
                where="image",
                received=f"{number:,} {what}",
                allowed=f"up to {most:,}",
                next_step="cut out a part of the image, or compute it with torch.nn.functional.conv2d",
            )


def _channel_mismatch(received: int, channels: int, levels: int) -> UsageError:
    several = "; several kernels for one channel are F×1×H×W" if channels == 1 and levels == 3 else ""
    return UsageError(
        "the kernel and the image have different channels",
        where="kernel",
        received=pluralize(received, "channel"),
        allowed=pluralize(channels, "channel"),
        next_step=f"give the kernel as many channels as the image has{several}",
    )


def _short_text(value: Any) -> str:
    return shorten(repr(value) if not isinstance(value, int) or abs(value) <= MAX_MAGNITUDE else "a very long number")
