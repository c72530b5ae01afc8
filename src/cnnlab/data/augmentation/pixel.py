"""Operations on each number by itself, or by the numbers of its image and channel."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnlab.data.augmentation.batches import IntArray, per_image


def invert(images: Tensor) -> Tensor:
    """255 less each number."""
    return images.bitwise_not()


def posterize(images: Tensor, bits: IntArray) -> Tensor:
    """The upper bits of each number, as many as its image is given (0 to 8)."""
    masks = (256 - 2 ** (8 - bits)).astype("uint8")
    return images & per_image(masks, images)


def solarize(images: Tensor, thresholds: IntArray) -> Tensor:
    """Numbers from their image's threshold (0 to 255) on inverted."""
    return torch.where(images >= per_image(thresholds.astype("uint8"), images), invert(images), images)


def autocontrast(images: Tensor) -> Tensor:
    """The numbers of each channel stretched from 0 to 255; a channel that is the same everywhere stays."""
    low, high = (edge.to(torch.float32) for edge in (images.amin((2, 3), keepdim=True), images.amax((2, 3), True)))
    flat = high == low
    scale = 255 / torch.where(flat, torch.full_like(low, 255), high - low)
    return (images - low.masked_fill(flat, 0)).mul_(scale).clamp_(0, 255).to(torch.uint8)


def equalize(images: Tensor) -> Tensor:
    """The numbers of each channel spread so that all are about as frequent, as Pillow does it."""
    flat = images.flatten(2).long()
    counts = flat.new_zeros((*flat.shape[:2], 256))
    counts.scatter_add_(2, flat, flat.new_ones(1).expand_as(flat))
    # Pillow's step: a 255th of all pixels but those of the channel's largest number.
    largest = flat.amax(2, keepdim=True)
    step = (flat.shape[2] - counts.gather(2, largest)).div_(255, rounding_mode="floor")
    divisor = step.clamp(min=1)
    before = counts.cumsum(2).sub_(counts)
    table = before.add_(divisor // 2).div_(divisor, rounding_mode="floor").clamp_(max=255)
    return torch.where(step > 0, table.gather(2, flat), flat).to(torch.uint8).view_as(images)
