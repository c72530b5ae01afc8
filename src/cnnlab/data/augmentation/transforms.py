"""The transforms of the image changes: how each is applied, and how its parameters follow from random numbers.

An augmentation samples its strength for each image; a corruption has a fixed strength, and samples only what a strength
leaves open, such as a direction. Both apply the same function.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cnnlab.data.augmentation import color, filters, geometry
from cnnlab.data.augmentation.auto_augment import randaugment, trivialaugment
from cnnlab.data.augmentation.batches import BoolArray, FloatArray, IntArray, apply_where
from cnnlab.data.augmentation.geometry import AffineParams

# Uniform in [0, 1), N×D: 32-bit floats for augmentations, 64-bit floats for corruptions.
Uniforms: TypeAlias = npt.NDArray[Any]
Params: TypeAlias = dict[str, Any]
# Height and width.
Size: TypeAlias = tuple[int, int]

# As in torchvision: a rectangle of an area and an aspect ratio, sampled anew where it does not fit.
ERASING_ATTEMPTS = 10
ERASING_ASPECT = 3.3
# Beyond three standard deviations a Gaussian has a 400th of its weight.
BLUR_RADIUS_SIGMAS = 3


class Transform(NamedTuple):
    """A change of images, N×C×H×W, uint8.

    Attributes:
        apply: called with the images and the parameters: arrays with one value per image, or one value for all.
        random: the parameters of an augmentation; None for a change that no recipe trains with.
        fixed: the parameters of a corruption of one strength; None for a change that networks are not tested under.
        num_uniforms: how many random numbers an image needs for `random`.
    """

    apply: Callable[..., Tensor]
    random: Callable[[Any, Uniforms, Size], Params] | None = None
    fixed: Callable[[float, Uniforms, Size], Params] | None = None
    num_uniforms: int | Callable[[Any], int] = 1


def apply_augmentation(images: Tensor, augmentation: Any, uniforms: Uniforms) -> Tensor:
    """Apply an augmentation that holds no others, with the random numbers of these images."""
    transform = TRANSFORMS[augmentation.kind]
    assert transform.random is not None
    return transform.apply(images, **transform.random(augmentation, uniforms, _size(images)))


def apply_fixed(images: Tensor, name: str, strength: float, uniforms: Uniforms) -> Tensor:
    """Apply a change at one strength for all images; `uniforms` is N×2."""
    transform = TRANSFORMS[name]
    assert transform.fixed is not None
    return transform.apply(images, **transform.fixed(strength, uniforms, _size(images)))


def num_uniforms(augmentation: Any) -> int:
    """How many random numbers an image needs for an augmentation, without those of the augmentations within it."""
    transform = TRANSFORMS.get(augmentation.kind)
    needed = 1 if transform is None else transform.num_uniforms
    return needed(augmentation) if callable(needed) else needed


def erasing_rectangles(
    uniforms: Uniforms, low: float, high: float, height: int, width: int
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """A rectangle for each image, as torchvision's RandomErasing samples it: tops, lefts, heights, widths.

    Where none of ten attempts is smaller than the image, the height and the width are 0.

    Args:
        uniforms: two for the position and two for each attempt, N×22.
        low, high: the smallest and the largest fraction of the area.
    """
    areas = _between(uniforms[:, 2::2], low, high) * (height * width)
    aspects = np.exp(_between(uniforms[:, 3::2], -1, 1) * np.log(ERASING_ASPECT))
    heights, widths = np.rint(np.sqrt(areas * aspects)), np.rint(np.sqrt(areas / aspects))
    fits = (heights < height) & (widths < width)
    first = fits.argmax(1)[:, None]
    chosen = (np.take_along_axis(np.where(fits, sizes, 0), first, 1)[:, 0] for sizes in (heights, widths))
    tall, wide = (sizes.astype(np.int64) for sizes in chosen)
    tops, lefts = _integers(uniforms[:, 0], height - tall + 1), _integers(uniforms[:, 1], width - wide + 1)
    return tops, lefts, tall, wide


def _size(images: Tensor) -> Size:
    return images.shape[2], images.shape[3]


# Random numbers to parameters.


def _between(uniforms: Uniforms, low: float, high: float) -> FloatArray:
    return low + (high - low) * uniforms.astype(np.float64)


def _random_factors(uniforms: Uniforms, strength: float) -> FloatArray:
    return _between(uniforms, max(0.0, 1 - strength), 1 + strength)


def _integers(uniforms: Uniforms, count: int | IntArray) -> IntArray:
    """Integers from 0 to below `count`, all with equal probability."""
    # In 32 bits below 2²⁴ no product with a number below 1 reaches the count.
    return (uniforms * np.asarray(count, dtype=np.float32)).astype(np.int64)


def _signs(uniforms: Uniforms) -> FloatArray:
    return np.where(uniforms[:, 0] < 0.5, -1.0, 1.0)


def _random_translation(uniforms: Uniforms, fraction: float, size: Size) -> Params:
    """Whole pixels to the right and down, up to a fraction of the width and of the height."""
    height, width = size
    fractions = _between(uniforms, -fraction, fraction)
    return {"translate_x": np.rint(fractions[:, 0] * width), "translate_y": np.rint(fractions[:, 1] * height)}


def _fixed_translation(strength: float, uniforms: Uniforms, _size: Size) -> Params:
    direction = (uniforms[:, 0] * 4).astype(np.int64)
    right, down = np.array([1, -1, 0, 0])[direction], np.array([0, 0, 1, -1])[direction]
    return {"translate_x": strength * right, "translate_y": strength * down, "interpolation": "nearest"}


def _random_affine(augmentation: Any, uniforms: Uniforms, size: Size) -> Params:
    return {
        "angle": _between(uniforms[:, 0], -augmentation.degrees, augmentation.degrees),
        **_random_translation(uniforms[:, 1:3], augmentation.translate, size),
        "scale": _between(uniforms[:, 3], augmentation.scale_low, augmentation.scale_high),
        "shear_x": _between(uniforms[:, 4], -augmentation.shear, augmentation.shear),
        "interpolation": augmentation.interpolation,
    }


def _random_crop(augmentation: Any, uniforms: Uniforms, _size: Size) -> Params:
    tops, lefts = _integers(uniforms, 2 * augmentation.padding + 1).T
    return {"tops": tops, "lefts": lefts, "padding": augmentation.padding, "fill": augmentation.fill}


def _random_jitter(augmentation: Any, uniforms: Uniforms, _size: Size) -> Params:
    names = ("brightness", "contrast", "saturation")
    strengths = {name: getattr(augmentation, name) for name in names}
    factors = {
        name: _random_factors(uniforms[:, column], strength) if strength else None
        for column, (name, strength) in enumerate(strengths.items())
    }
    hue = augmentation.hue
    return {**factors, "hue": _between(uniforms[:, 3], -hue, hue) if hue else None}


def _random_noise(augmentation: Any, uniforms: Uniforms, _size: Size) -> Params:
    upper, lower = _integers(uniforms, 2**16).T
    return {"seeds": upper * 2**16 + lower, "std": augmentation.std}


def _random_erasing(augmentation: Any, uniforms: Uniforms, size: Size) -> Params:
    rectangles = erasing_rectangles(uniforms[:, 1:], augmentation.low, augmentation.high, *size)
    return {"rectangles": rectangles, "mask": uniforms[:, 0] < augmentation.p}


def _random_cutout(augmentation: Any, uniforms: Uniforms, size: Size) -> Params:
    sides = np.full(len(uniforms), augmentation.size, dtype=np.int64)
    tops, lefts = (_integers(uniforms[:, axis], size[axis]) - augmentation.size // 2 for axis in (0, 1))
    return {"tops": tops, "lefts": lefts, "heights": sides, "widths": sides}


def _fixed_occlusion(strength: float, uniforms: Uniforms, size: Size) -> Params:
    height, width = (min(int(strength), extent) for extent in size)
    tops = (uniforms[:, 0] * (size[0] - height + 1)).astype(np.int64)
    lefts = (uniforms[:, 1] * (size[1] - width + 1)).astype(np.int64)
    return {
        "tops": tops, "lefts": lefts, "heights": np.full_like(tops, height), "widths": np.full_like(lefts, width)
    }  # fmt: skip


# Parameters to images.


def _flip(images: Tensor, dim: int) -> Tensor:
    return images.flip(dim)


def _crop(images: Tensor, tops: IntArray, lefts: IntArray, padding: int, fill: Literal["zero", "reflect"]) -> Tensor:
    return geometry.crop(geometry.pad(images, padding, fill), tops, lefts, *_size(images))


def _affine(images: Tensor, interpolation: Literal["nearest", "bilinear"] = "bilinear", **params: Any) -> Tensor:
    return geometry.affine(images, AffineParams(**params), interpolation)


def _jitter(
    images: Tensor,
    brightness: FloatArray | None,
    contrast: FloatArray | None,
    saturation: FloatArray | None,
    hue: FloatArray | None,
) -> Tensor:
    steps = (color.brightness, brightness), (color.contrast, contrast), (color.saturation, saturation), (color.hue, hue)
    for change, values in steps:
        if values is not None:
            images = change(images, values)
    return images


def _erase(images: Tensor, mask: BoolArray, rectangles: tuple[IntArray, ...]) -> Tensor:
    return apply_where(
        mask, images, lambda selected, indices: geometry.erase(selected, *(numbers[indices] for numbers in rectangles))
    )


def _posterize(images: Tensor, bits: int) -> Tensor:
    return color.posterize(images, np.full(len(images), bits))


def _solarize(images: Tensor, threshold: int) -> Tensor:
    return color.solarize(images, np.full(len(images), threshold))


# Transforms that are built alike.


def _blend(change: Callable[..., Tensor]) -> Transform:
    """A change by a factor: random around 1, or fixed."""
    return Transform(
        change,
        lambda choice, uniforms, _: {"factors": _random_factors(uniforms[:, 0], choice.strength)},
        lambda strength, uniforms, _: {"factors": np.full(len(uniforms), strength)},
    )


def _masked(change: Callable[..., Tensor], *fields: str, fixed: bool = False, **params: Any) -> Transform:
    """A change of each image with a probability; at a fixed strength, where it has one, of all images.

    Args:
        fields: of the augmentation, which are passed to `change`, as `params` are.
    """

    def apply(images: Tensor, mask: BoolArray, **params: Any) -> Tensor:
        return apply_where(mask, images, lambda selected, _: change(selected, **params))

    return Transform(
        apply,
        lambda choice, uniforms, _: {
            "mask": uniforms[:, 0] < getattr(choice, "p", 0.5),
            **{field: getattr(choice, field) for field in fields},
            **params,
        },
        (lambda _strength, uniforms, _: {"mask": np.ones(len(uniforms), bool)}) if fixed else None,
    )


TRANSFORMS: dict[str, Transform] = {
    "crop": Transform(_crop, _random_crop, num_uniforms=2),
    "flip": _masked(_flip, dim=3),
    "alternating_flip": _masked(_flip, dim=3),
    "vertical_flip": _masked(_flip, dim=2),
    "translation": Transform(
        _affine,
        lambda choice, uniforms, size: {
            **_random_translation(uniforms, choice.fraction, size),
            "interpolation": "nearest",
        },
        _fixed_translation,
        num_uniforms=2,
    ),
    "rotation": Transform(
        _affine,
        lambda choice, uniforms, _: {
            # Negative, since torchvision's `rotate` counts degrees counterclockwise.
            "angle": -_between(uniforms[:, 0], -choice.degrees, choice.degrees),
            "interpolation": choice.interpolation,
        },
        lambda strength, uniforms, _: {"angle": strength * _signs(uniforms)},
    ),
    "scale": Transform(
        _affine,
        lambda choice, uniforms, _: {
            "scale": _between(uniforms[:, 0], choice.low, choice.high),
            "interpolation": choice.interpolation,
        },
        lambda strength, _uniforms, _: {"scale": strength},
    ),
    "affine": Transform(_affine, _random_affine, num_uniforms=5),
    "brightness": _blend(color.brightness),
    "contrast": _blend(color.contrast),
    "saturation": _blend(color.saturation),
    "hue": Transform(
        color.hue,
        lambda choice, uniforms, _: {"shifts": _between(uniforms[:, 0], -choice.strength, choice.strength)},
        lambda strength, uniforms, _: {"shifts": strength / 360 * _signs(uniforms)},
    ),
    "jitter": Transform(_jitter, _random_jitter, num_uniforms=4),
    "greyscale": _masked(color.greyscale, fixed=True),
    "invert": _masked(color.invert, fixed=True),
    "blur": Transform(
        filters.blur,
        lambda choice, uniforms, _: {
            "sigmas": _between(uniforms[:, 0], choice.low, choice.high),
            "kernel": choice.kernel,
        },
        lambda strength, uniforms, _: {
            "sigmas": np.full(len(uniforms), strength),
            "kernel": 2 * ceil(BLUR_RADIUS_SIGMAS * strength) + 1,
        },
    ),
    "noise": Transform(
        filters.noise,
        _random_noise,
        lambda strength, uniforms, _: {"seeds": (uniforms[:, 0] * 2**32).astype(np.int64), "std": strength},
        num_uniforms=2,
    ),
    "erasing": Transform(_erase, _random_erasing, num_uniforms=3 + 2 * ERASING_ATTEMPTS),
    "cutout": Transform(geometry.erase, _random_cutout, num_uniforms=2),
    "posterize": _masked(_posterize, "bits"),
    "solarize": _masked(_solarize, "threshold"),
    "randaugment": Transform(
        randaugment,
        lambda choice, uniforms, _: {"uniforms": uniforms, "magnitude": choice.magnitude},
        num_uniforms=lambda choice: 2 * choice.operations,
    ),
    "trivialaugment": Transform(trivialaugment, lambda _choice, uniforms, _: {"uniforms": uniforms}, num_uniforms=3),
    "jpeg": Transform(filters.jpeg, fixed=lambda strength, _uniforms, _: {"quality": int(strength)}),
    "occlusion": Transform(geometry.erase, fixed=_fixed_occlusion),
    "resolution": Transform(filters.downsample, fixed=lambda strength, _uniforms, _: {"side": int(strength)}),
}
