"""RandAugment and TrivialAugment: an operation drawn for each image, in torchvision's spaces of magnitudes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnlab.data.augmentation import color, filters, geometry, pixel
from cnnlab.data.augmentation.batches import Numbers, Whole, changed_where
from cnnlab.data.augmentation.geometry import Move

Uniforms: TypeAlias = npt.NDArray[np.float32]

BINS = 31
OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
_PLACES = {name: place for place, name in enumerate(OPERATIONS)}
_MOVES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_STRENGTHS = ("Brightness", "Color", "Contrast", "Sharpness")


def randaugment(images: Tensor, which: Uniforms, signs: Uniforms, magnitude: int) -> Tensor:
    """One step of RandAugment (Cubuk et al., 2020): of 14 operations one for each image, all of one magnitude.

    Args:
        which, signs: uniform in [0, 1), shape N: the operation, and below 0.5 the other way for those that have two.
        magnitude: 0 to 30.
    """
    return operate(images, _chosen(which), signs < 0.5, np.full(len(which), magnitude), wide=False)


def trivialaugment(images: Tensor, which: Uniforms, signs: Uniforms, strengths: Uniforms) -> Tensor:
    """TrivialAugment (Müller, Hutter, 2021): one operation for each image, of a magnitude out of a wide range.

    Args:
        which, signs, strengths: uniform in [0, 1), shape N: the operation, below 0.5 the other way, the magnitude.
    """
    return operate(images, _chosen(which), signs < 0.5, (strengths * BINS).astype(np.int64), wide=True)


def magnitudes(name: str, wide: bool, height: int, width: int) -> Numbers:
    """The 31 magnitudes of an operation: RandAugment's, or TrivialAugment's wide ones.

    Degrees of Rotate, tangents of the shears, pixels of the translations, bits of Posterize, shares of 255 of
    Solarize, and what is added to the factor 1 of the others.
    """
    if name == "Posterize":
        return 8 - np.rint(np.arange(BINS) / (5 if wide else 7.5))
    ends = {
        "ShearX": (0, 0.3, 0.99),
        "ShearY": (0, 0.3, 0.99),
        "TranslateX": (0, 150 / 331 * width, 32),
        "TranslateY": (0, 150 / 331 * height, 32),
        "Rotate": (0, 30, 135),
        "Solarize": (1, 0, 0),
        **dict.fromkeys(_STRENGTHS, (0, 0.9, 0.99)),
    }
    begin, narrow_end, wide_end = ends.get(name, (0, 0, 0))
    # torch's own spacing, in 32 bits: with another rounding a threshold or a pixel may fall on its other side.
    spaced: Numbers = torch.linspace(begin, wide_end if wide else narrow_end, BINS).double().numpy()
    return spaced


def operate(images: Tensor, chosen: Whole, negative: npt.NDArray[np.bool_], bins: Whole, *, wide: bool) -> Tensor:
    """An operation for each image.

    Args:
        chosen: places in `OPERATIONS`, shape N.
        negative: whether it goes the other way, for those that have two.
        bins: which of the 31 magnitudes.
    """
    height, width = images.shape[2:]
    table = np.stack([magnitudes(name, wide, height, width) for name in OPERATIONS])
    found = table[chosen, bins]
    signed = np.where(negative, -found, found)

    moved = np.isin(chosen, [_PLACES[name] for name in _MOVES])
    images = changed_where(moved, images, lambda some, at: _move(some, chosen[at], signed[at]))
    for name, change in _CHANGES.items():
        values = signed if name in _STRENGTHS else found

        def one(
            some: Tensor, at: Whole, change: Callable[..., Tensor] = change, values: npt.NDArray[Any] = values
        ) -> Tensor:
            return change(some, values[at])

        images = changed_where(chosen == _PLACES[name], images, one)
    return images


def _chosen(which: Uniforms) -> Whole:
    return (which * len(OPERATIONS)).astype(np.int64)


def _move(images: Tensor, chosen: Whole, signed: Numbers) -> Tensor:
    """The five operations that move pixels, in one step."""

    def where(name: str, values: Numbers) -> Numbers:
        return np.where(chosen == _PLACES[name], values, 0.0)

    how = Move(
        angle=where("Rotate", -signed),
        right=where("TranslateX", np.trunc(signed)),
        down=where("TranslateY", np.trunc(signed)),
        shear_x=where("ShearX", np.degrees(np.arctan(signed))),
        shear_y=where("ShearY", np.degrees(np.arctan(signed))),
        # Shears leave the upper left corner where it is, as in AutoAugment's own code.
        from_corner=np.isin(chosen, [_PLACES["ShearX"], _PLACES["ShearY"]]).astype(np.float64),
    )
    return geometry.move(images, how, "nearest")


def _thresholds(shares: Numbers) -> Whole:
    """The first level that is inverted. As torch compares them, in 32 bits: 238.0000007 is 238."""
    return np.ceil((255 * shares).astype(np.float32)).astype(np.int64)


_CHANGES: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "Brightness": lambda images, values: color.brightness(images, 1 + values),
    "Color": lambda images, values: color.saturation(images, 1 + values),
    "Contrast": lambda images, values: color.contrast(images, 1 + values),
    "Sharpness": lambda images, values: filters.sharpness(images, 1 + values),
    "Posterize": lambda images, values: pixel.posterize(images, values.astype(np.int64)),
    "Solarize": lambda images, values: pixel.solarize(images, _thresholds(values)),
    "AutoContrast": lambda images, _: pixel.autocontrast(images),
    "Equalize": lambda images, _: pixel.equalize(images),
}
