"""Batches with a parameter for each image. Masks stay on the host, so that nothing waits for the device."""

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
    """Copy a host array to the device of `like`; floats become 32-bit, since some devices have no others.

    The copy to a CUDA device is from pinned memory and asynchronous.
    """
    array = np.ascontiguousarray(array, dtype=np.float32 if array.dtype.kind == "f" else array.dtype)
    tensor = torch.from_numpy(array)
    if like.device.type == "cuda":
        return tensor.pin_memory().to(like.device, non_blocking=True)
    return tensor.to(like.device)


def per_image(numbers: npt.NDArray[Any], images: Tensor) -> Tensor:
    """Copy one value per image to the images' device, shape N×1×1×1."""
    return to_device_of(numbers, images)[:, None, None, None]


def apply_where(mask: BoolArray, images: Tensor, transform: Callable[[Tensor, IntArray], Tensor]) -> Tensor:
    """Transform the images where `mask` is true; `images` itself does not change.

    Args:
        mask: shape N.
        transform: called with the selected images and their indices in the batch.
    """
    indices = np.flatnonzero(mask)
    if not len(indices):
        return images
    if len(indices) == len(mask):
        return transform(images, indices)
    on_device = to_device_of(indices, images)
    return images.index_copy(0, on_device, transform(images.index_select(0, on_device), indices))


def to_uint8(values: Tensor) -> Tensor:
    """Clamp floats to 0…255 in place, and truncate them to uint8, as torchvision does."""
    return values.clamp_(0, 255).to(torch.uint8)
