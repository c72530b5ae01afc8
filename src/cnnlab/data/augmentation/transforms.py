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
from cnnlab.data.augmentation.batches import Numbers, Whole, changed_where
from cnnlab.data.augmentation.geometry import Move

Uniforms: TypeAlias = npt.NDArray[np.float32]

# As in torchvision: a rectangle of an area and an aspect ratio, drawn anew where it does not fit.
ERASING_TRIES = 10
ERASING_ASPECT = 3.3


def draws_needed(choice: Any) -> int:
    """How many numbers an image needs for an augmentation, without those of the augmentations within it."""
    needed = _NEEDED.get(type(choice), 1)
    return needed(choice) if callable(needed) else needed


def _between(numbers: Uniforms, low: float, high: float) -> Numbers:
    return low + (high - low) * numbers.astype(np.float64)


def _factors(numbers: Uniforms, strength: float) -> Numbers:
    return _between(numbers, max(0.0, 1 - strength), 1 + strength)


def _whole(numbers: Uniforms, count: int | Whole) -> Whole:
    """Whole numbers from 0 to below `count`, each as likely as the others."""
    # In 32 bits below 2²⁴ no product with a number below 1 reaches the count.
    return (numbers * np.asarray(count, dtype=np.float32)).astype(np.int64)


def _crop(images: Tensor, choice: augmentations.Crop, numbers: Uniforms) -> Tensor:
    tops, lefts = _whole(numbers, 2 * choice.padding + 1).T
    return geometry.windows(
        geometry.padded(images, choice.padding, choice.fill), tops, lefts, images.shape[2], images.shape[3]
    )


def _flip(images: Tensor, choice: augmentations.Flip, numbers: Uniforms) -> Tensor:
    return changed_where(numbers[:, 0] < choice.p, images, lambda some, _: some.flip(3))


def _alternating_flip(images: Tensor, _choice: augmentations.AlternatingFlip, numbers: Uniforms) -> Tensor:
    return changed_where(numbers[:, 0] < 0.5, images, lambda some, _: some.flip(3))


def _vertical_flip(images: Tensor, choice: augmentations.VerticalFlip, numbers: Uniforms) -> Tensor:
    return changed_where(numbers[:, 0] < choice.p, images, lambda some, _: some.flip(2))


def _rotation(images: Tensor, choice: augmentations.Rotation, numbers: Uniforms) -> Tensor:
    # Against the clock where the draw is large, as torchvision's `rotate` counts degrees.
    how = Move(angle=-_between(numbers[:, 0], -choice.degrees, choice.degrees))
    return geometry.move(images, how, choice.interpolation)


def _moved(images: Tensor, fraction: float, numbers: Uniforms) -> tuple[Numbers, Numbers]:
    """Whole pixels to the right and down, up to a fraction of the width and the height."""
    height, width = images.shape[2:]
    shares = _between(numbers, -fraction, fraction)
    return np.rint(shares[:, 0] * width), np.rint(shares[:, 1] * height)


def _translation(images: Tensor, choice: augmentations.Translation, numbers: Uniforms) -> Tensor:
    right, down = _moved(images, choice.fraction, numbers)
    return geometry.move(images, Move(right=right, down=down), "nearest")


def _scale(images: Tensor, choice: augmentations.Scale, numbers: Uniforms) -> Tensor:
    how = Move(scale=_between(numbers[:, 0], choice.low, choice.high))
    return geometry.move(images, how, choice.interpolation)


def _affine(images: Tensor, choice: augmentations.Affine, numbers: Uniforms) -> Tensor:
    right, down = _moved(images, choice.translate, numbers[:, 1:3])
    how = Move(
        angle=_between(numbers[:, 0], -choice.degrees, choice.degrees),
        right=right,
        down=down,
        scale=_between(numbers[:, 3], choice.scale_low, choice.scale_high),
        shear_x=_between(numbers[:, 4], -choice.shear, choice.shear),
    )
    return geometry.move(images, how, choice.interpolation)


def _brightness(images: Tensor, choice: augmentations.Brightness, numbers: Uniforms) -> Tensor:
    return color.brightness(images, _factors(numbers[:, 0], choice.strength))


def _contrast(images: Tensor, choice: augmentations.Contrast, numbers: Uniforms) -> Tensor:
    return color.contrast(images, _factors(numbers[:, 0], choice.strength))


def _saturation(images: Tensor, choice: augmentations.Saturation, numbers: Uniforms) -> Tensor:
    return color.saturation(images, _factors(numbers[:, 0], choice.strength))


def _hue(images: Tensor, choice: augmentations.Hue, numbers: Uniforms) -> Tensor:
    return color.hue(images, _between(numbers[:, 0], -choice.strength, choice.strength))


def _jitter(images: Tensor, choice: augmentations.Jitter, numbers: Uniforms) -> Tensor:
    steps = (
        (choice.brightness, color.brightness),
        (choice.contrast, color.contrast),
        (choice.saturation, color.saturation),
    )
    for place, (strength, change) in enumerate(steps):
        if strength:
            images = change(images, _factors(numbers[:, place], strength))
    return color.hue(images, _between(numbers[:, 3], -choice.hue, choice.hue)) if choice.hue else images


def _greyscale(images: Tensor, choice: augmentations.Greyscale, numbers: Uniforms) -> Tensor:
    return changed_where(numbers[:, 0] < choice.p, images, lambda some, _: color.greyscale(some))


def _invert(images: Tensor, choice: augmentations.Invert, numbers: Uniforms) -> Tensor:
    return changed_where(numbers[:, 0] < choice.p, images, lambda some, _: pixel.invert(some))


def _blur(images: Tensor, choice: augmentations.Blur, numbers: Uniforms) -> Tensor:
    return filters.blur(images, _between(numbers[:, 0], choice.low, choice.high), choice.kernel)


def _noise(images: Tensor, choice: augmentations.Noise, numbers: Uniforms) -> Tensor:
    upper, lower = _whole(numbers, 2**16).T
    return filters.noise(images, upper * 2**16 + lower, choice.std)


def _erasing(images: Tensor, choice: augmentations.Erasing, numbers: Uniforms) -> Tensor:
    rectangles = erasing_rectangles(numbers[:, 1:], choice.low, choice.high, images.shape[2], images.shape[3])
    return changed_where(
        numbers[:, 0] < choice.p,
        images,
        lambda some, places: geometry.erase(some, *(numbers[places] for numbers in rectangles)),
    )


def erasing_rectangles(
    numbers: Uniforms, low: float, high: float, height: int, width: int
) -> tuple[Whole, Whole, Whole, Whole]:
    """A rectangle for each image, as torchvision's RandomErasing draws it: tops, lefts, heights, widths.

    Where none of ten tries is lower than the image and narrower, nothing is erased: the height and width are 0.

    Args:
        numbers: two for the place and two for each try, N×22.
        low, high: the smallest and the largest share of the area.
    """
    areas = _between(numbers[:, 2::2], low, high) * (height * width)
    aspects = np.exp(_between(numbers[:, 3::2], -1, 1) * np.log(ERASING_ASPECT))
    heights, widths = np.rint(np.sqrt(areas * aspects)), np.rint(np.sqrt(areas / aspects))
    fits = (heights < height) & (widths < width)
    first = fits.argmax(1)[:, None]
    chosen = (np.take_along_axis(np.where(fits, sizes, 0), first, 1)[:, 0] for sizes in (heights, widths))
    tall, wide = (sizes.astype(np.int64) for sizes in chosen)
    return _whole(numbers[:, 0], height - tall + 1), _whole(numbers[:, 1], width - wide + 1), tall, wide


def _cutout(images: Tensor, choice: augmentations.Cutout, numbers: Uniforms) -> Tensor:
    height, width = images.shape[2:]
    sizes = np.full(len(images), choice.size, dtype=np.int64)
    tops, lefts = (_whole(numbers[:, place], size) - choice.size // 2 for place, size in ((0, height), (1, width)))
    return geometry.erase(images, tops, lefts, sizes, sizes)


def _posterize(images: Tensor, choice: augmentations.Posterize, numbers: Uniforms) -> Tensor:
    return changed_where(
        numbers[:, 0] < choice.p,
        images,
        lambda some, places: pixel.posterize(some, np.full(len(places), choice.bits)),
    )


def _solarize(images: Tensor, choice: augmentations.Solarize, numbers: Uniforms) -> Tensor:
    return changed_where(
        numbers[:, 0] < choice.p,
        images,
        lambda some, places: pixel.solarize(some, np.full(len(places), choice.threshold)),
    )


def _randaugment(images: Tensor, choice: augmentations.RandAugment, numbers: Uniforms) -> Tensor:
    for step in range(choice.operations):
        images = randaugment(images, numbers[:, 2 * step], numbers[:, 2 * step + 1], choice.magnitude)
    return images


def _trivialaugment(images: Tensor, _choice: augmentations.TrivialAugment, numbers: Uniforms) -> Tensor:
    return trivialaugment(images, numbers[:, 0], numbers[:, 1], numbers[:, 2])


# Numbers that an image needs, where it is not one.
_NEEDED: dict[type, int | Callable[[Any], int]] = {
    augmentations.Crop: 2,
    augmentations.Translation: 2,
    augmentations.Affine: 5,
    augmentations.Jitter: 4,
    augmentations.Noise: 2,
    augmentations.Erasing: 3 + 2 * ERASING_TRIES,
    augmentations.Cutout: 2,
    augmentations.RandAugment: lambda choice: 2 * choice.operations,
    augmentations.TrivialAugment: 3,
}

CHANGES: dict[type, Callable[[Tensor, Any, Uniforms], Tensor]] = {
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
