"""What loses detail: JPEG, and fewer pixels."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cnnlab.data.augmentation.batches import to_device_of


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Each image stored as JPEG and read again, by Pillow, with its usual subsampling of colours."""
    pixels = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    found = np.empty_like(pixels)
    for place, image in enumerate(pixels):
        stored = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(stored, format="JPEG", quality=quality)
        found[place] = np.asarray(Image.open(stored)).reshape(image.shape)
    return to_device_of(found.transpose(0, 3, 1, 2), images)


def downsample(images: Tensor, side: int) -> Tensor:
    """Shrunk until the shorter side has `side` pixels, each the mean of those it stands for, and enlarged again.

    An image that is not larger stays as it is.
    """
    height, width = images.shape[2:]
    share = side / min(height, width)
    if share >= 1:
        return images
    small = max(1, round(height * share)), max(1, round(width * share))
    shrunk = F.interpolate(images.to(torch.float32), small, mode="bilinear", antialias=True)
    return F.interpolate(shrunk, (height, width), mode="bilinear").round_().clamp_(0, 255).to(torch.uint8)
