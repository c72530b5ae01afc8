"""Blur, sharpness, noise, JPEG compression and lower resolution, on uint8 tensors, N×C×H×W.

Sums are written out tap by tap: a convolution may choose its algorithm by the batch size, and round differently.
"""

from __future__ import annotations

import functools
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cnnlab.data.augmentation.batches import FloatArray, IntArray, per_image, to_device_of
from cnnlab.data.augmentation.geometry import reflect_pad

# Noise is looked up by 16 bits: 65,536 equally likely values of the normal distribution, up to 4.3.
_NOISE_BITS = 16


def blur(images: Tensor, sigmas: FloatArray, kernel: int) -> Tensor:
    """Gaussian blur over `kernel` pixels with a standard deviation for each image; the border is reflected."""
    half = kernel // 2
    offsets = np.arange(-half, half + 1)
    weights = np.exp(-0.5 * (offsets / np.asarray(sigmas, dtype=np.float64)[:, None]) ** 2)
    taps = to_device_of(weights / weights.sum(1, keepdims=True), images)[:, :, None, None, None].unbind(1)
    blurred = reflect_pad(images, half).to(torch.float32)
    for dim, size in ((2, images.shape[2]), (3, images.shape[3])):
        blurred = _weighted_sum([blurred.narrow(dim, start, size) for start in range(kernel)], list(taps))
    return blurred.round_().to(torch.uint8)


def _weighted_sum(tensors: list[Tensor], weights: list[Tensor]) -> Tensor:
    total = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total += tensor * weight
    return total


def sharpness(images: Tensor, factors: FloatArray) -> Tensor:
    """Sharpen (a factor above 1) or smooth (below 1) each image; the border does not change."""
    height, width = images.shape[2:]
    if height <= 2 or width <= 2:
        return images
    values = images.to(torch.float32)
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    inner = values[:, :, 1:-1, 1:-1]
    # 1 for each neighbour and 5 for the pixel itself, over 13.
    smooth = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]).add_(inner * 4).div_(13).round_()
    inner.add_(smooth.sub_(inner).mul_(1 - per_image(factors, images)))
    return values.clamp_(0, 255).to(torch.uint8)


def noise(images: Tensor, seeds: IntArray, std: float) -> Tensor:
    """Add Gaussian noise, a function of the image's seed (32 bits) and of the position in the image.

    Args:
        std: on a scale of values from 0 to 1.
    """
    table = _normal_table(images.device) * (std * 255)
    size = images[0].numel()
    positions = to_device_of(np.arange((size + 1) // 2, dtype=np.int64), images)
    hashed = _hash_32bit(_hash_32bit(positions)[None, :] ^ to_device_of(seeds, images)[:, None])
    table_indices = torch.cat((hashed >> _NOISE_BITS, hashed & (2**_NOISE_BITS - 1)), 1)[:, :size]
    added = table.index_select(0, table_indices.flatten()).view(images.shape)
    return added.add_(images).round_().clamp_(0, 255).to(torch.uint8)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Compress each image as JPEG and decode it again, by Pillow, with its default chroma subsampling."""
    pixels = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    compressed = np.empty_like(pixels)
    for index, image in enumerate(pixels):
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="JPEG", quality=quality)
        compressed[index] = np.asarray(Image.open(buffer)).reshape(image.shape)
    return to_device_of(compressed.transpose(0, 3, 1, 2), images)


def downsample(images: Tensor, side: int) -> Tensor:
    """Shrink the shorter side to `side` pixels, with antialiasing, and enlarge again; smaller images do not change."""
    height, width = images.shape[2:]
    share = side / min(height, width)
    if share >= 1:
        return images
    small = max(1, round(height * share)), max(1, round(width * share))
    shrunk = F.interpolate(images.to(torch.float32), small, mode="bilinear", antialias=True)
    return F.interpolate(shrunk, (height, width), mode="bilinear").round_().clamp_(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=8)
def _normal_table(device: torch.device) -> Tensor:
    count = 2**_NOISE_BITS
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    quantiles: Tensor = torch.special.ndtri(middles)
    return quantiles.to(torch.float32).to(device)


def _hash_32bit(state: Tensor) -> Tensor:
    """A 32-bit hash in 64-bit integers (C. Wellons' lowbias32): whole numbers are the same on every device."""
    state = ((state ^ (state >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    state = ((state ^ (state >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return state ^ (state >> 16)
