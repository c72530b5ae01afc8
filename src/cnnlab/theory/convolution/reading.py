"""What a person put in to be convolved, checked: numbers, their nesting, and how the sizes go together."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast, get_args

from cnnlab.errors import UsageError, listed, nearest
from cnnlab.render import formatting
from cnnlab.theory.convolution.setting import Exact, Map, PaddingMode, Pair, Setting

# A worksheet, not an engine: what can be worked out in seconds.
MOST_PRODUCTS = 1_000_000
MOST_PIXELS = 1_000_000
# Keep every product and sum far within what a float holds: one that is too small for it would be written as 0.
LARGEST = 10**100
SMALLEST = Fraction(1, LARGEST)
# One level more than any input has, so that one too many is seen.
_LEVELS = 5
_PARTS = {2: "rows", 3: "channels", 4: "kernels"}
_FORMS = {2: "H×W", 3: "C×H×W", 4: "F×C×H×W"}


def checked_setting(
    image: Any,
    kernel: Any,
    bias: Any,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
    padding_mode: str,
    flip: bool,
) -> Setting:
    """The setting that these make; arguments and errors as of `cnnlab.theory.convolution.answer.convolve`."""
    pixels, depth = _nested(image, "image", (2, 3))
    weights, levels = _nested(kernel, "kernel", (2, 3, 4))
    channels: list[Map] = [pixels] if depth == 2 else pixels
    kernels = {2: [[weights]], 3: [weights], 4: weights}[levels]
    if len(kernels[0]) != len(channels):
        raise _other_channels(len(kernels[0]), len(channels), levels)
    if padding_mode not in get_args(PaddingMode):
        modes = get_args(PaddingMode)
        hint = nearest(padding_mode, modes) if isinstance(padding_mode, str) else ""
        raise UsageError(
            "there is no such padding",
            where="padding_mode",
            received=str(padding_mode),
            allowed=listed(modes),
            next_step=hint,
        )
    steps, gaps = _pair(stride, "stride", 1), _pair(dilation, "dilation", 1)
    around = "same" if padding == "same" else _pair(padding, "padding", 0)
    setting = Setting(
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
    _check_fit(setting)
    return setting


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
            received="a single value" if not depth else f"a list {formatting.plural(depth, 'level')} deep",
            allowed=" or ".join(f"{_FORMS[form]} ({form} levels)" for form in depths),
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
        received = "an empty list" if isinstance(value, list) else _shown(value)
        raise UsageError("a list of numbers is missing", where=where, received=received, allowed="at least one number")
    found = [_numbers(item, f"{where}[{index}]", depth - 1) for index, item in enumerate(value)]
    for index, item in enumerate(found if depth > 1 else []):
        if _shape(item) != _shape(found[0]):
            raise UsageError(
                f"not all {_PARTS[depth]} are of one size",
                where=f"{where}[{index}]",
                received=_size_text(item),
                allowed=f"{_size_text(found[0])}, as in {where}[0]",
            )
    return found


def _shape(value: Any) -> tuple[int, ...]:
    return (len(value), *_shape(value[0])) if isinstance(value, list) else ()


def _size_text(value: Any) -> str:
    shape = _shape(value)
    return formatting.sizes(shape) if len(shape) > 1 else formatting.plural(shape[0], "number")


def _number(value: Any, where: str) -> Exact:
    """The number itself; a float is the decimal that it is written as, so that 0.1 is a tenth."""
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
        raise UsageError("this is not a number", where=where, received=_shown(value), allowed="a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(
            "this number can't be computed with", where=where, received=str(value), allowed="a finite number"
        )
    exact: Exact = Fraction(repr(value)) if isinstance(value, float) else value
    if not -LARGEST <= exact <= LARGEST:
        raise UsageError("this number is too large", where=where, received=_shown(value), allowed="up to 1e100")
    if isinstance(exact, Fraction) and exact and -SMALLEST < exact < SMALLEST:
        raise UsageError(
            "this number is too small", where=where, received=_shown(value), allowed="0, or from 1e-100 on"
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
            received=formatting.plural(len(found), "number"),
            allowed=formatting.plural(kernels, "number"),
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
            received=_shown(value),
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
            received=f"stride {formatting.sizes(stride)}",
            next_step="give the padding as a number",
        )
    high, wide = (dilation[axis] * (kernel[axis] - 1) for axis in (0, 1))
    return (high // 2, high - high // 2), (wide // 2, wide - wide // 2)


def _check_fit(setting: Setting) -> None:
    padded, reach = setting.padded_size, setting.reach
    for axis in (0, 1):
        widest, size = max(setting.margins[axis]), setting.image_size[axis]
        if setting.padding_mode == "reflect" and widest >= size:
            raise UsageError(
                "reflected padding must be smaller than the image: there are no more pixels to reflect",
                where="padding",
                received=f"{widest} {('above or below', 'left or right')[axis]} of {size} {('rows', 'columns')[axis]}",
                allowed=f"up to {size - 1}",
                next_step="pad less, or take the mode 'replicate'",
            )
    if any(reach[axis] > padded[axis] for axis in (0, 1)):
        spread = f" (spread to {formatting.sizes(reach)} by its dilation)" if reach != setting.kernel_size else ""
        raise UsageError(
            "the kernel is larger than the padded image",
            where="kernel",
            received=formatting.sizes(setting.kernel_size) + spread,
            allowed=f"up to {formatting.sizes(padded)}, padding included",
            next_step="make the kernel smaller, or pad more",
        )
    for number, most, what in (
        (setting.products, MOST_PRODUCTS, "products"),
        (math.prod(padded) * setting.channels, MOST_PIXELS, "pixels"),
    ):
        if number > most:
            raise UsageError(
                "this is too much to be worked out by hand",
                where="image",
                received=f"{number:,} {what}",
                allowed=f"up to {most:,}",
                next_step="cut out a part of the image, or compute it with torch.nn.functional.conv2d",
            )


def _other_channels(received: int, channels: int, levels: int) -> UsageError:
    several = "; several kernels for one channel are F×1×H×W" if channels == 1 and levels == 3 else ""
    return UsageError(
        "the kernel and the image have different channels",
        where="kernel",
        received=formatting.plural(received, "channel"),
        allowed=formatting.plural(channels, "channel"),
        next_step=f"give the kernel as many channels as the image has{several}",
    )


def _shown(value: Any) -> str:
    return formatting.shown(
        repr(value) if not isinstance(value, int) or abs(value) <= LARGEST else "a very long number"
    )
