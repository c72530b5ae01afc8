"""Input images for a network: from a file, or generated."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cnnlab.data.decoding.images import ImageFault, try_decode
from cnnlab.data.sources import shapes
from cnnlab.data.sources.base import ImageSpec, Pixels
from cnnlab.data.sources.formats import convert_pixels
from cnnlab.errors import SourceError

# A generated image is a mosaic of tiles of about this size, each 32×32 before it is enlarged.
TILE = 64


@dataclass(frozen=True)
class InputImage:
    """An input image.

    Attributes:
        pixels: before normalization, uint8, C×H×W.
        values: after normalization, floats on the CPU, C×H×W.
        name: for titles.
        label: class index; None where it is unknown.
    """

    pixels: Pixels
    values: Tensor
    name: str
    label: int | None = None


def generated_image(image_spec: ImageSpec) -> tuple[Pixels, str]:
    """Generate a mosaic of images of the built-in data set, uint8, C×H×W; returned with a name for it."""
    down, right = (max(1, round(size / TILE)) for size in (image_spec.height, image_spec.width))
    tiles = shapes.render("train", np.arange(down * right, dtype=np.int64))
    rows = [np.concatenate(list(tiles[row * right : (row + 1) * right]), axis=2) for row in range(down)]
    mosaic = convert_pixels(np.concatenate(rows, axis=1)[None], image_spec)[0]
    count = down * right
    return mosaic, "built-in shape" if count == 1 else f"{count} built-in shapes"


def load_image(file: Path, image_spec: ImageSpec) -> tuple[Pixels, str]:
    """Decode an image file, uint8, C×H×W; returned with its name, and its own size where that was changed."""
    # Path.exists() raises an OSError for a name that is too long; os.path.exists() returns False.
    exists = os.path.exists(file)  # noqa: PTH110
    decoded = try_decode(file, image_spec) if exists else ImageFault("missing", "there is no file of this name")
    if isinstance(decoded, ImageFault):
        raise SourceError(
            f"this image can't be used: {decoded.kind}",
            where=str(file),
            received=decoded.message,
            allowed="a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file; or SPLIT:NUMBER, such as validation:12, an image "
            "of the data of a recipe or a run, from 0",
            next_step="check the path, or leave --image out for the default image",
        )
    with Image.open(file) as opened:
        width, height = ImageOps.exif_transpose(opened).size
    if (height, width) == (image_spec.height, image_spec.width):
        return decoded, file.name
    return decoded, f"{file.name} (resized from {height} high × {width} wide)"


def normalize_pixels(pixels: Pixels, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Tensor:
    """Normalize uint8 pixels, …×C×H×W; without mean and std by those of the image itself, C×H×W."""
    scaled = torch.from_numpy(pixels.astype(np.float32)) / 255
    if mean is None or std is None:
        # Constant channels are shifted only: there is nothing to scale.
        own = scaled.std(dim=(1, 2), keepdim=True)
        return (scaled - scaled.mean(dim=(1, 2), keepdim=True)) / own.where(own > 0, torch.ones(()))
    shift, scale = (torch.tensor(numbers)[:, None, None] for numbers in (mean, std))
    return (scaled - shift) / scale
