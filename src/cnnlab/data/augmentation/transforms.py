"""What each augmentation makes of its draws: parameters for the operations, image by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cnnlab.config import augmentations
from cnnlab.data.augmentation import color, filters, geometry, pixel
from cnnlab.data.augmentation.auto_augment import randaugment, trivialaugment
from cnnlab.data.augmentation.batches import FloatArray, IntArray, apply_where
from cnnlab.data.augmentation.geometry import AffineParams

Uniforms: TypeAlias = npt.NDArray[np.float32]

# As in torchvision: a rectangle of an area and an aspect ratio, drawn anew where it does not fit.
ERASING_ATTEMPTS = 10
ERASING_ASPECT = 3.3


def num_uniforms(augmentation: Any) -> int:
    """How many numbers an image needs for an augmentation, without those of the augmentations within it."""
    needed = _NUM_UNIFORMS.get(type(augmentation), 1)
    return needed(augmentation) if callable(needed) else needed


def _scale_to_range(uniforms: Uniforms, low: float, high: float) -> FloatArray:
    return low + (high - low) * uniforms.astype(np.float64)


def _sample_factors(uniforms: Uniforms, strength: float) -> FloatArray:
    return _scale_to_range(uniforms, max(0.0, 1 - strength), 1 + strength)


def _sample_integers(uniforms: Uniforms, count: int | IntArray) -> IntArray:
    """Whole numbers from 0 to below `count`, each as likely as the others."""
    # In 32 bits below 2²⁴ no product with a number below 1 reaches the count.
    return (uniforms * np.asarray(count, dtype=np.float32)).astype(np.int64)


def _crop(images: Tensor, augmentation: augmentations.Crop, uniforms: Uniforms) -> Tensor:
    tops, lefts = _sample_integers(uniforms, 2 * augmentation.padding + 1).T
    return geometry.crop(
        geometry.pad(images, augmentation.padding, augmentation.fill), tops, lefts, images.shape[2], images.shape[3]
    )


def _flip(images: Tensor, augmentation: augmentations.Flip, uniforms: Uniforms) -> Tensor:
    return apply_where(uniforms[:, 0] < augmentation.p, images, lambda some, _: some.flip(3))


def _alternating_flip(images: Tensor, _augmentation: augmentations.AlternatingFlip, uniforms: Uniforms) -> Tensor:
    return apply_where(uniforms[:, 0] < 0.5, images, lambda some, _: some.flip(3))


def _vertical_flip(images: Tensor, augmentation: augmentations.VerticalFlip, uniforms: Uniforms) -> Tensor:
    return apply_where(uniforms[:, 0] < augmentation.p, images, lambda some, _: some.flip(2))


def _rotation(images: Tensor, augmentation: augmentations.Rotation, uniforms: Uniforms) -> Tensor:
    # Against the clock where the draw is large, as torchvision's `rotate` counts degrees.
    how = AffineParams(angle=-_scale_to_range(uniforms[:, 0], -augmentation.degrees, augmentation.degrees))
    return geometry.affine(images, how, augmentation.interpolation)


def _sample_shift(images: Tensor, fraction: float, uniforms: Uniforms) -> tuple[FloatArray, FloatArray]:
    """Whole pixels to the right and down, up to a fraction of the width and the height."""
    height, width = images.shape[2:]
    shares = _scale_to_range(uniforms, -fraction, fraction)
    return np.rint(shares[:, 0] * width), np.rint(shares[:, 1] * height)


def _translation(images: Tensor, augmentation: augmentations.Translation, uniforms: Uniforms) -> Tensor:
    right, down = _sample_shift(images, augmentation.fraction, uniforms)
    return geometry.affine(images, AffineParams(translate_x=right, translate_y=down), "nearest")


def _scale(images: Tensor, augmentation: augmentations.Scale, uniforms: Uniforms) -> Tensor:
    how = AffineParams(scale=_scale_to_range(uniforms[:, 0], augmentation.low, augmentation.high))
    return geometry.affine(images, how, augmentation.interpolation)


def _affine(images: Tensor, augmentation: augmentations.Affine, uniforms: Uniforms) -> Tensor:
    right, down = _sample_shift(images, augmentation.translate, uniforms[:, 1:3])
    how = AffineParams(
        angle=_scale_to_range(uniforms[:, 0], -augmentation.degrees, augmentation.degrees),
        translate_x=right,
        translate_y=down,
        scale=_scale_to_range(uniforms[:, 3], augmentation.scale_low, augmentation.scale_high),
        shear_x=_scale_to_range(uniforms[:, 4], -augmentation.shear, augmentation.shear),
    )
    return geometry.affine(images, how, augmentation.interpolation)


def _brightness(images: Tensor, augmentation: augmentations.Brightness, uniforms: Uniforms) -> Tensor:
    return color.brightness(images, _sample_factors(uniforms[:, 0], augmentation.strength))


def _contrast(images: Tensor, augmentation: augmentations.Contrast, uniforms: Uniforms) -> Tensor:
    return color.contrast(images, _sample_factors(uniforms[:, 0], augmentation.strength))


def _saturation(images: Tensor, augmentation: augmentations.Saturation, uniforms: Uniforms) -> Tensor:
    return color.saturation(images, _sample_factors(uniforms[:, 0], augmentation.strength))


def _hue(images: Tensor, augmentation: augmentations.Hue, uniforms: Uniforms) -> Tensor:
    return color.hue(images, _scale_to_range(uniforms[:, 0], -augmentation.strength, augmentation.strength))


def _jitter(images: Tensor, augmentation: augmentations.Jitter, uniforms: Uniforms) -> Tensor:
    steps = (
        (augmentation.brightness, color.brightness),
        (augmentation.contrast, color.contrast),
        (augmentation.saturation, color.saturation),
    )
    for place, (strength, change) in enumerate(steps):
        if strength:
            images = change(images, _sample_factors(uniforms[:, place], strength))
    return (
        color.hue(images, _scale_to_range(uniforms[:, 3], -augmentation.hue, augmentation.hue))
        if augmentation.hue
        else images
    )


def _greyscale(images: Tensor, augmentation: augmentations.Greyscale, uniforms: Uniforms) -> Tensor:
    return apply_where(uniforms[:, 0] < augmentation.p, images, lambda some, _: color.greyscale(some))


def _invert(images: Tensor, augmentation: augmentations.Invert, uniforms: Uniforms) -> Tensor:
    return apply_where(uniforms[:, 0] < augmentation.p, images, lambda some, _: pixel.invert(some))


def _blur(images: Tensor, augmentation: augmentations.Blur, uniforms: Uniforms) -> Tensor:
    return filters.blur(
        images, _scale_to_range(uniforms[:, 0], augmentation.low, augmentation.high), augmentation.kernel
    )


def _noise(images: Tensor, augmentation: augmentations.Noise, uniforms: Uniforms) -> Tensor:
    upper, lower = _sample_integers(uniforms, 2**16).T
    return filters.noise(images, upper * 2**16 + lower, augmentation.std)


def _erasing(images: Tensor, augmentation: augmentations.Erasing, uniforms: Uniforms) -> Tensor:
    rectangles = erasing_rectangles(
        uniforms[:, 1:], augmentation.low, augmentation.high, images.shape[2], images.shape[3]
    )
    return apply_where(
        uniforms[:, 0] < augmentation.p,
        images,
        lambda some, places: geometry.erase(some, *(numbers[places] for numbers in rectangles)),
    )


def erasing_rectangles(
    uniforms: Uniforms, low: float, high: float, height: int, width: int
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """A rectangle for each image, as torchvision's RandomErasing draws it: tops, lefts, heights, widths.

    Where none of ten tries is lower than the image and narrower, nothing is erased: the height and width are 0.

    Args:
        uniforms: two for the place and two for each try, N×22.
        low, high: the smallest and the largest share of the area.
    """
    areas = _scale_to_range(uniforms[:, 2::2], low, high) * (height * width)
    aspects = np.exp(_scale_to_range(uniforms[:, 3::2], -1, 1) * np.log(ERASING_ASPECT))
    heights, widths = np.rint(np.sqrt(areas * aspects)), np.rint(np.sqrt(areas / aspects))
    fits = (heights < height) & (widths < width)
    first = fits.argmax(1)[:, None]
    chosen = (np.take_along_axis(np.where(fits, sizes, 0), first, 1)[:, 0] for sizes in (heights, widths))
    tall, wide = (sizes.astype(np.int64) for sizes in chosen)
    return (
        _sample_integers(uniforms[:, 0], height - tall + 1),
        _sample_integers(uniforms[:, 1], width - wide + 1),
        tall,
        wide,
    )


def _cutout(images: Tensor, augmentation: augmentations.Cutout, uniforms: Uniforms) -> Tensor:
    height, width = images.shape[2:]
    sizes = np.full(len(images), augmentation.size, dtype=np.int64)
    tops, lefts = (
        _sample_integers(uniforms[:, place], size) - augmentation.size // 2 for place, size in ((0, height), (1, width))
    )
    return geometry.erase(images, tops, lefts, sizes, sizes)


def _posterize(images: Tensor, augmentation: augmentations.Posterize, uniforms: Uniforms) -> Tensor:
    return apply_where(
        uniforms[:, 0] < augmentation.p,
        images,
        lambda some, places: pixel.posterize(some, np.full(len(places), augmentation.bits)),
    )


def _solarize(images: Tensor, augmentation: augmentations.Solarize, uniforms: Uniforms) -> Tensor:
    return apply_where(
        uniforms[:, 0] < augmentation.p,
        images,
        lambda some, places: pixel.solarize(some, np.full(len(places), augmentation.threshold)),
    )


def _randaugment(images: Tensor, augmentation: augmentations.RandAugment, uniforms: Uniforms) -> Tensor:
    for step in range(augmentation.operations):
        images = randaugment(images, uniforms[:, 2 * step], uniforms[:, 2 * step + 1], augmentation.magnitude)
    return images


def _trivialaugment(images: Tensor, _augmentation: augmentations.TrivialAugment, uniforms: Uniforms) -> Tensor:
    return trivialaugment(images, uniforms[:, 0], uniforms[:, 1], uniforms[:, 2])


# Numbers that an image needs, where it is not one.
_NUM_UNIFORMS: dict[type, int | Callable[[Any], int]] = {
    augmentations.Crop: 2,
    augmentations.Translation: 2,
    augmentations.Affine: 5,
    augmentations.Jitter: 4,
    augmentations.Noise: 2,
    augmentations.Erasing: 3 + 2 * ERASING_ATTEMPTS,
    augmentations.Cutout: 2,
    augmentations.RandAugment: lambda choice: 2 * choice.operations,
    augmentations.TrivialAugment: 3,
}

TRANSFORMS: dict[type, Callable[[Tensor, Any, Uniforms], Tensor]] = {
    augmentations.Crop: _crop,
    augmentations.Flip: _flip,
    augmentations.AlternatingFlip: _alternating_flip,
    augmentations.VerticalFlip: _vertical_flip,
    augmentations.Rotation: _rotation,
    augmentations.Translation: _translation,
    augmentations.Scale: _scale,
    augmentations.Affine: _affine,
    augmentations.Brightness: _brightness,
    augmentations.Contrast: _contrast,
    augmentations.Saturation: _saturation,
    augmentations.Hue: _hue,
    augmentations.Jitter: _jitter,
    augmentations.Greyscale: _greyscale,
    augmentations.Invert: _invert,
    augmentations.Blur: _blur,
    augmentations.Noise: _noise,
    augmentations.Erasing: _erasing,
    augmentations.Cutout: _cutout,
    augmentations.Posterize: _posterize,
    augmentations.Solarize: _solarize,
    augmentations.RandAugment: _randaugment,
    augmentations.TrivialAugment: _trivialaugment,
}
