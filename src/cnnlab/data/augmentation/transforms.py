"""The transforms of the image changes: how images are changed, with the random numbers of each.

An augmentation samples its strength for each image; a corruption has a fixed strength, and samples only what a strength
leaves open, such as a direction. Both call the same operation.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cnnlab.data.augmentation import color, filters, geometry
from cnnlab.data.augmentation.auto_augment import randaugment, trivialaugment
from cnnlab.data.augmentation.batches import FloatArray, IntArray, apply_where
from cnnlab.data.augmentation.geometry import AffineParams

# Uniform in [0, 1), N×D: 32-bit floats for augmentations, 64-bit floats for corruptions.
Uniforms: TypeAlias = npt.NDArray[Any]

# As in torchvision: a rectangle of an area and an aspect ratio, sampled again if it does not fit.
ERASING_ATTEMPTS = 10
ERASING_ASPECT = 3.3
# Beyond three standard deviations a Gaussian has a 400th of its weight.
BLUR_RADIUS_SIGMAS = 3


class Transform(NamedTuple):
    """A change of images, N×C×H×W, uint8.

    Attributes:
        random: applies an augmentation; None for a change that no recipe trains with.
        fixed: applies the change at one strength; None for a change that networks are not tested under.
        num_uniforms: how many random numbers an image needs for `random`; `fixed` has two.
    """

    random: Callable[[Tensor, Any, Uniforms], Tensor] | None = None
    fixed: Callable[[Tensor, float, Uniforms], Tensor] | None = None
    num_uniforms: int | Callable[[Any], int] = 1


def apply_augmentation(images: Tensor, augmentation: Any, uniforms: Uniforms) -> Tensor:
    """Apply an augmentation that holds no others, with the random numbers of these images."""
    change = TRANSFORMS[augmentation.kind].random
    assert change is not None
    return change(images, augmentation, uniforms)


def apply_fixed(images: Tensor, name: str, strength: float, uniforms: Uniforms) -> Tensor:
    """Apply a change at one strength for all images; `uniforms` is N×2."""
    change = TRANSFORMS[name].fixed
    assert change is not None
    return change(images, strength, uniforms)


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


def _random_pixels(uniforms: Uniforms, fraction: float, images: Tensor) -> tuple[FloatArray, FloatArray]:
    """Whole pixels to the right and down, up to a fraction of the width and of the height."""
    height, width = images.shape[2:]
    fractions = _between(uniforms, -fraction, fraction)
    return np.rint(fractions[:, 0] * width), np.rint(fractions[:, 1] * height)


# Changes of several steps.


def _random_crop(images: Tensor, choice: Any, uniforms: Uniforms) -> Tensor:
    tops, lefts = _integers(uniforms, 2 * choice.padding + 1).T
    height, width = images.shape[2:]
    return geometry.crop(geometry.pad(images, choice.padding, choice.fill), tops, lefts, height, width)


def _random_translation(images: Tensor, choice: Any, uniforms: Uniforms) -> Tensor:
    right, down = _random_pixels(uniforms, choice.fraction, images)
    return geometry.affine(images, AffineParams(translate_x=right, translate_y=down), "nearest")


def _fixed_translation(images: Tensor, strength: float, uniforms: Uniforms) -> Tensor:
    direction = (uniforms[:, 0] * 4).astype(np.int64)
    right, down = np.array([1, -1, 0, 0])[direction], np.array([0, 0, 1, -1])[direction]
    return geometry.affine(images, AffineParams(translate_x=strength * right, translate_y=strength * down), "nearest")


def _random_affine(images: Tensor, choice: Any, uniforms: Uniforms) -> Tensor:
    right, down = _random_pixels(uniforms[:, 1:3], choice.translate, images)
    params = AffineParams(
        angle=_between(uniforms[:, 0], -choice.degrees, choice.degrees),
        translate_x=right,
        translate_y=down,
        scale=_between(uniforms[:, 3], choice.scale_low, choice.scale_high),
        shear_x=_between(uniforms[:, 4], -choice.shear, choice.shear),
    )
    return geometry.affine(images, params, choice.interpolation)


def _random_rotation(images: Tensor, choice: Any, uniforms: Uniforms) -> Tensor:
    # Negative, since torchvision's `rotate` counts degrees counterclockwise.
    angles = -_between(uniforms[:, 0], -choice.degrees, choice.degrees)
    return geometry.affine(images, AffineParams(angle=angles), choice.interpolation)


def _random_scale(images: Tensor, choice: Any, uniforms: Uniforms) -> Tensor:
    params = AffineParams(scale=_between(uniforms[:, 0], choice.low, choice.high))
    return geometry.affine(images, params, choice.interpolation)


def _random_hue(images: Tensor, choice: Any, uniforms: Uniforms) -> Tensor:
    return color.hue(images, _between(uniforms[:, 0], -choice.strength, choice.strength))


def _random_jitter(images: Tensor, choice: Any, uniforms: Uniforms) -> Tensor:
    strengths = (choice.brightness, choice.contrast, choice.saturation)
    for column, (change, strength) in enumerate(
        zip((color.brightness, color.contrast, color.saturation), strengths, strict=True)
    ):
        if strength:
            images = change(images, _random_factors(uniforms[:, column], strength))
    return color.hue(images, _between(uniforms[:, 3], -choice.hue, choice.hue)) if choice.hue else images


def _random_noise(images: Tensor, choice: Any, uniforms: Uniforms) -> Tensor:
    upper, lower = _integers(uniforms, 2**16).T
    return filters.noise(images, upper * 2**16 + lower, choice.std)


def _fixed_blur(images: Tensor, strength: float, uniforms: Uniforms) -> Tensor:
    return filters.blur(images, np.full(len(uniforms), strength), 2 * ceil(BLUR_RADIUS_SIGMAS * strength) + 1)


def _random_erasing(images: Tensor, choice: Any, uniforms: Uniforms) -> Tensor:
    height, width = images.shape[2:]
    rectangles = erasing_rectangles(uniforms[:, 1:], choice.low, choice.high, height, width)

    def erase(selected: Tensor, indices: IntArray) -> Tensor:
        return geometry.erase(selected, *(numbers[indices] for numbers in rectangles))

    return apply_where(uniforms[:, 0] < choice.p, images, erase)


def _random_cutout(images: Tensor, choice: Any, uniforms: Uniforms) -> Tensor:
    sides = np.full(len(uniforms), choice.size, dtype=np.int64)
    tops, lefts = (_integers(uniforms[:, axis], images.shape[2 + axis]) - choice.size // 2 for axis in (0, 1))
    return geometry.erase(images, tops, lefts, sides, sides)


def _fixed_occlusion(images: Tensor, strength: float, uniforms: Uniforms) -> Tensor:
    sizes = [min(int(strength), extent) for extent in images.shape[2:]]
    extents = zip(images.shape[2:], sizes, strict=True)
    tops, lefts = (
        (uniforms[:, axis] * (extent - size + 1)).astype(np.int64) for axis, (extent, size) in enumerate(extents)
    )
    return geometry.erase(images, tops, lefts, np.full_like(tops, sizes[0]), np.full_like(lefts, sizes[1]))


# Transforms that are built alike.


def _blend(change: Callable[[Tensor, FloatArray], Tensor]) -> Transform:
    """A change by a factor: random around 1, or fixed."""
    return Transform(
        lambda images, choice, uniforms: change(images, _random_factors(uniforms[:, 0], choice.strength)),
        lambda images, strength, uniforms: change(images, np.full(len(uniforms), strength)),
    )


def _masked(change: Callable[[Tensor, Any], Tensor], *, fixed: bool = False) -> Transform:
    """A change of each image with a probability; at a fixed strength, where it has one, of all images.

    Args:
        change: called with the images and the augmentation, which is None at a fixed strength.
    """
    return Transform(
        lambda images, choice, uniforms: apply_where(
            uniforms[:, 0] < getattr(choice, "p", 0.5), images, lambda selected, _: change(selected, choice)
        ),
        (lambda images, _strength, _uniforms: change(images, None)) if fixed else None,
    )


TRANSFORMS: dict[str, Transform] = {
    "crop": Transform(_random_crop, num_uniforms=2),
    "flip": _masked(lambda images, _: images.flip(3)),
    "alternating_flip": _masked(lambda images, _: images.flip(3)),
    "vertical_flip": _masked(lambda images, _: images.flip(2)),
    "translation": Transform(_random_translation, _fixed_translation, num_uniforms=2),
    "rotation": Transform(
        _random_rotation,
        lambda images, strength, u: geometry.affine(images, AffineParams(angle=strength * _signs(u)), "bilinear"),
    ),
    "scale": Transform(
        _random_scale,
        lambda images, strength, _: geometry.affine(images, AffineParams(scale=strength), "bilinear"),
    ),
    "affine": Transform(_random_affine, num_uniforms=5),
    "brightness": _blend(color.brightness),
    "contrast": _blend(color.contrast),
    "saturation": _blend(color.saturation),
    "hue": Transform(_random_hue, lambda images, strength, u: color.hue(images, strength / 360 * _signs(u))),
    "jitter": Transform(_random_jitter, num_uniforms=4),
    "greyscale": _masked(lambda images, _: color.greyscale(images), fixed=True),
    "invert": _masked(lambda images, _: color.invert(images), fixed=True),
    "blur": Transform(
        lambda images, choice, u: filters.blur(images, _between(u[:, 0], choice.low, choice.high), choice.kernel),
        _fixed_blur,
    ),
    "noise": Transform(
        _random_noise,
        lambda images, strength, u: filters.noise(images, (u[:, 0] * 2**32).astype(np.int64), strength),
        num_uniforms=2,
    ),
    "erasing": Transform(_random_erasing, num_uniforms=3 + 2 * ERASING_ATTEMPTS),
    "cutout": Transform(_random_cutout, num_uniforms=2),
    "posterize": _masked(lambda images, choice: color.posterize(images, np.full(len(images), choice.bits))),
    "solarize": _masked(lambda images, choice: color.solarize(images, np.full(len(images), choice.threshold))),
    "randaugment": Transform(
        lambda images, choice, u: randaugment(images, u, choice.magnitude),
        num_uniforms=lambda choice: 2 * choice.operations,
    ),
    "trivialaugment": Transform(lambda images, _, u: trivialaugment(images, u), num_uniforms=3),
    "jpeg": Transform(fixed=lambda images, strength, _: filters.jpeg(images, int(strength))),
    "occlusion": Transform(fixed=_fixed_occlusion),
    "resolution": Transform(fixed=lambda images, strength, _: filters.downsample(images, int(strength))),
}
