"""Changes of colours and levels, as torchvision's functional operations on uint8 tensors, N×C×H×W.

Each step is one multiplication or addition, never both in one instruction: where that is left to the processor, it
may round otherwise at the end of a batch than in its middle.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cnnlab.data.augmentation.batches import FloatArray, IntArray, per_image, to_uint8

# The weights of red, green and blue in grey (ITU-R BT.601), in torchvision's digits.
_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114


def brightness(images: Tensor, factors: FloatArray) -> Tensor:
    """Multiply each image by its factor."""
    return to_uint8(images * per_image(factors, images))


def contrast(images: Tensor, factors: FloatArray) -> Tensor:
    """Blend each image with its mean grey; a factor of 0 leaves the mean grey only."""
    flat = luma(images).flatten(1)
    # Added up as whole numbers, whose sum does not depend on the order.
    means = flat.sum(1, dtype=torch.int64).to(torch.float32) / flat.shape[1]
    return _blend(images, means[:, None, None, None], factors)


def saturation(images: Tensor, factors: FloatArray) -> Tensor:
    """Blend each image with its greyscale version; a factor of 0 leaves grey only. Grey images do not change."""
    return images if images.shape[1] == 1 else _blend(images, luma(images), factors)


def greyscale(images: Tensor) -> Tensor:
    """Replace each channel by the luma."""
    return luma(images).expand_as(images)


def luma(images: Tensor) -> Tensor:
    """Luma of each pixel: uint8, N×1×H×W."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.chunk(3, dim=1)
    return (red * _RED + green * _GREEN).add_(blue * _BLUE).to(torch.uint8)


def hue(images: Tensor, shifts: FloatArray) -> Tensor:
    """Shift the hue of each pixel by its image's shift, in turns of the hue circle; grey images do not change.

    In hue, saturation and value a channel is value - range · min(max(min(k, 4 - k), 0), 1) with k = (n + 6·hue) mod 6
    and n = 5, 3, 1 for red, green and blue; range is the largest less the smallest channel, and value the largest.
    """
    if images.shape[1] == 1:
        return images
    value, extent, sixths = _hue_in_sixths(images)
    # Twice the circle keeps the sum positive, for which a remainder is cheaper than a modulus.
    moved = sixths.add_(per_image(shifts * 6 + 12, images))
    channels = []
    for n in (5, 3, 1):
        k = (moved + n).fmod_(6)
        channels.append(value - torch.minimum(k, 4 - k).clamp_(0, 1).mul_(extent))
    # As torchvision makes levels of numbers from 0 to 1: times 255.999, and cut off.
    return to_uint8(torch.cat(channels, 1).mul_(255.999 / 255))


def invert(images: Tensor) -> Tensor:
    """Replace each value by 255 minus itself."""
    return images.bitwise_not()


def posterize(images: Tensor, bits: IntArray) -> Tensor:
    """Keep the upper bits of each value; the number of bits (0 to 8) is given for each image."""
    masks = (256 - 2 ** (8 - bits)).astype("uint8")
    return images & per_image(masks, images)


def solarize(images: Tensor, thresholds: IntArray) -> Tensor:
    """Invert all values of at least the image's threshold (0 to 255)."""
    return torch.where(images >= per_image(thresholds.astype("uint8"), images), invert(images), images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel to the range from 0 to 255; a constant channel does not change."""
    low, high = (edge.to(torch.float32) for edge in (images.amin((2, 3), keepdim=True), images.amax((2, 3), True)))
    flat = high == low
    scale = 255 / torch.where(flat, torch.full_like(low, 255), high - low)
    return (images - low.masked_fill(flat, 0)).mul_(scale).clamp_(0, 255).to(torch.uint8)


def equalize(images: Tensor) -> Tensor:
    """Equalize the histogram of each channel, as Pillow does it."""
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


def _hue_in_sixths(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value and range (0 to 255), and hue (-1 to 5, in sixths of the circle); each N×1×H×W, 32-bit floats."""
    red, green, blue = images.to(torch.float32).chunk(3, dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    extent = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = extent.clamp(min=1)  # levels are whole: below 1 there is only 0, where no hue matters
    from_red = (green - blue).div_(divisor)
    from_green = (blue - red).div_(divisor).add_(2)
    from_blue = (red - green).div_(divisor).add_(4)
    sixths = torch.where(value == red, from_red, torch.where(value == green, from_green, from_blue))
    return value, extent, sixths


def _blend(images: Tensor, others: Tensor, factors: FloatArray) -> Tensor:
    factor = per_image(factors, images)
    return to_uint8((images * factor).add_(others * (1 - factor)))
