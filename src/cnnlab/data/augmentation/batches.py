"""Batches and their parameters: which images are touched is known on the host, so nothing waits for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# A parameter per image, shape N, or a row of them, N×D.
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


def to_device_of(array: npt.NDArray[Any], like: Tensor) -> Tensor:
    """A host array where `like` lies; numbers as 32-bit floats, since some devices have no others.

    The copy to a CUDA device is from pinned memory, so that the host goes on at once.
    """
    array = np.ascontiguousarray(array, dtype=np.float32 if array.dtype.kind == "f" else array.dtype)
    found = torch.from_numpy(array)
    if like.device.type == "cuda":
        return found.pin_memory().to(like.device, non_blocking=True)
    return found.to(like.device)


def per_image(numbers: npt.NDArray[Any], images: Tensor) -> Tensor:
    """A number per image on the images' device, shape N×1×1×1."""
    return to_device_of(numbers, images)[:, None, None, None]


def apply_where(mask: BoolArray, images: Tensor, transform: Callable[[Tensor, IntArray], Tensor]) -> Tensor:
    """The batch, with what `transform` makes of the chosen images in their places. `images` itself stays.

    Args:
        mask: for each image whether it is; shape N.
        transform: gets the chosen images and where they stand in the batch.
    """
    places = np.flatnonzero(mask)
    if not len(places):
        return images
    if len(places) == len(mask):
        return transform(images, places)
    there = to_device_of(places, images)
    return images.index_copy(0, there, transform(images.index_select(0, there), places))


def to_uint8(values: Tensor) -> Tensor:
    """Floats as uint8, without their fractions, as torchvision cuts them off; what is out of range at the nearer end.

    Works in place.
    """
    return values.clamp_(0, 255).to(torch.uint8)
