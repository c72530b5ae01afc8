"""RandAugment and TrivialAugment: a random operation for each image, with torchvision's ranges of magnitudes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnlab.data.augmentation import color, filters, geometry
from cnnlab.data.augmentation.batches import FloatArray, IntArray, apply_where
from cnnlab.data.augmentation.geometry import AffineParams

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
_INDEX = {name: index for index, name in enumerate(OPERATIONS)}
_GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_ENHANCEMENTS = ("Brightness", "Color", "Contrast", "Sharpness")


def randaugment(images: Tensor, uniforms: Uniforms, magnitude: int) -> Tensor:
    """RandAugment (Cubuk et al., 2020): one of 14 operations for each image, several times, all of one magnitude.

    Args:
        uniforms: N×2S for S steps: of each step the operation and its direction.
        magnitude: 0 to 30.
    """
    bins = np.full(len(uniforms), magnitude)
    for operation, sign in zip(uniforms.T[::2], uniforms.T[1::2], strict=True):
        images = apply_operations(images, _choose_operations(operation), sign < 0.5, bins, wide=False)
    return images


def trivialaugment(images: Tensor, uniforms: Uniforms) -> Tensor:
    """TrivialAugment (Müller, Hutter, 2021): one operation for each image, with a magnitude from a wide range.

    Args:
        uniforms: N×3: the operation, its direction, the magnitude.
    """
    operation, sign, magnitude = uniforms.T
    bins = (magnitude * BINS).astype(np.int64)
    return apply_operations(images, _choose_operations(operation), sign < 0.5, bins, wide=True)


def magnitudes(name: str, wide: bool, height: int, width: int) -> FloatArray:
    """The 31 magnitudes of an operation: RandAugment's, or TrivialAugment's wide ones.

    In degrees for Rotate, tangents for the shears, pixels for the translations, bits for Posterize, fractions of 255
    for Solarize; for the others the amount that is added to a factor of 1.
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
        **dict.fromkeys(_ENHANCEMENTS, (0, 0.9, 0.99)),
    }
    begin, narrow_end, wide_end = ends.get(name, (0, 0, 0))
    # torch's own spacing, in 32 bits: with another rounding a threshold or a pixel may fall on the other side.
    spaced: FloatArray = torch.linspace(begin, wide_end if wide else narrow_end, BINS).double().numpy()
    return spaced


def apply_operations(
    images: Tensor, operations: IntArray, negative: npt.NDArray[np.bool_], bins: IntArray, *, wide: bool
) -> Tensor:
    """Apply one operation to each image.

    Args:
        operations: indices into `OPERATIONS`, shape N.
        negative: whether the direction is reversed, for operations that have two.
        bins: indices into the 31 magnitudes, shape N.
    """
    height, width = images.shape[2:]
    table = np.stack([magnitudes(name, wide, height, width) for name in OPERATIONS])
    unsigned = table[operations, bins]
    signed = np.where(negative, -unsigned, unsigned)

    moved = np.isin(operations, [_INDEX[name] for name in _GEOMETRIC])
    images = apply_where(moved, images, lambda some, at: _apply_geometric(some, operations[at], signed[at]))
    for name, change in _TRANSFORMS.items():
        values = signed if name in _ENHANCEMENTS else unsigned
        images = apply_where(operations == _INDEX[name], images, partial(_apply_each, change, values))
    return images


def _apply_each(change: Callable[..., Tensor], values: FloatArray, images: Tensor, indices: IntArray) -> Tensor:
    return change(images, values[indices])


def _choose_operations(operation_uniforms: Uniforms) -> IntArray:
    return (operation_uniforms * len(OPERATIONS)).astype(np.int64)


def _apply_geometric(images: Tensor, operations: IntArray, magnitudes: FloatArray) -> Tensor:
    """Apply the five operations that move pixels, as one affine map."""

    def where(name: str, values: FloatArray) -> FloatArray:
        return np.where(operations == _INDEX[name], values, 0.0)

    params = AffineParams(
        angle=where("Rotate", -magnitudes),
        translate_x=where("TranslateX", np.trunc(magnitudes)),
        translate_y=where("TranslateY", np.trunc(magnitudes)),
        shear_x=where("ShearX", np.degrees(np.arctan(magnitudes))),
        shear_y=where("ShearY", np.degrees(np.arctan(magnitudes))),
        # Shears keep the upper left corner fixed, as in AutoAugment's own code.
        from_corner=np.isin(operations, [_INDEX["ShearX"], _INDEX["ShearY"]]).astype(np.float64),
    )
    return geometry.affine(images, params, "nearest")


def _solarize_thresholds(shares: FloatArray) -> IntArray:
    """The lowest level that is inverted, compared in 32 bits as torch does: 238.0000007 is 238."""
    return np.ceil((255 * shares).astype(np.float32)).astype(np.int64)


_TRANSFORMS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "Brightness": lambda images, values: color.brightness(images, 1 + values),
    "Color": lambda images, values: color.saturation(images, 1 + values),
    "Contrast": lambda images, values: color.contrast(images, 1 + values),
    "Sharpness": lambda images, values: filters.sharpness(images, 1 + values),
    "Posterize": lambda images, values: color.posterize(images, values.astype(np.int64)),
    "Solarize": lambda images, values: color.solarize(images, _solarize_thresholds(values)),
    "AutoContrast": lambda images, _: color.autocontrast(images),
    "Equalize": lambda images, _: color.equalize(images),
}
