"""An image that a network is shown: from a file, from the data, or drawn by the program."""

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
from cnnlab.render.formatting import pluralize

# A drawn image is a mosaic of pictures of about this size, each 32×32 before it is enlarged.
TILE = 64


@dataclass(frozen=True)
class InputImage:
    """An image that a network is shown.

    Attributes:
        pixels: as they are before the normalisation, uint8, C×H×W.
        values: as the network takes them, floats on the CPU, C×H×W.
        name: what to call it.
        label: its class, an index; None where that is not known.
    """

    pixels: Pixels
    values: Tensor
    name: str
    label: int | None = None


def generated_image(form: ImageSpec) -> tuple[Pixels, str]:
    """Pictures of the built-in data set side by side, as one image of this form (uint8, C×H×W), and what to call it."""
    down, right = (max(1, round(size / TILE)) for size in (form.height, form.width))
    tiles = shapes.render("train", np.arange(down * right, dtype=np.int64))
    rows = [np.concatenate(list(tiles[row * right : (row + 1) * right]), axis=2) for row in range(down)]
    whole = convert_pixels(np.concatenate(rows, axis=1)[None], form)[0]
    count = pluralize(down * right, "picture")
    return whole, f"{count} of the built-in shapes, drawn by the program"


def load_image(file: Path, form: ImageSpec) -> tuple[Pixels, str]:
    """An image file in this form, and its name with what was done to it."""
    pixels = _decoded(file, form)
    with Image.open(file) as opened:
        upright = ImageOps.exif_transpose(opened)
        own_size, bands = (upright.height, upright.width), len(upright.getbands())
    done = [f"resized from {own_size[0]} high × {own_size[1]} wide"] if own_size != (form.height, form.width) else []
    if bands < form.channels:
        done.append("grey in three channels")
    elif form.channels == 1 < bands:
        done.append("turned grey")
    return pixels, file.name + (f" ({', '.join(done)})" if done else "")


def _decoded(file: Path, form: ImageSpec) -> Pixels:
    # os.path's: it says no of a name that is too long for any file, of which Path.exists() raises an OSError.
    found = try_decode(file, form) if os.path.exists(file) else ImageFault("missing", "there is no file of this name")  # noqa: PTH110
    if isinstance(found, ImageFault):
        raise SourceError(
            f"this image can't be used: {found.kind}",
            where=str(file),
            received=found.message,
            allowed="a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file",
            next_step="check the path, or leave --image out for a picture that is drawn",
        )
    return found


def normalize_pixels(pixels: Pixels, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Tensor:
    """uint8 pixels, …×C×H×W, as a network takes them; without mean and std, by those of the image itself, C×H×W."""
    scaled = torch.from_numpy(pixels.astype(np.float32)) / 255
    if mean is None or std is None:
        # Constant channels are only moved: there is nothing to scale.
        own = scaled.std(dim=(1, 2), keepdim=True)
        return (scaled - scaled.mean(dim=(1, 2), keepdim=True)) / own.where(own > 0, torch.ones(()))
    shift, scale = (torch.tensor(numbers)[:, None, None] for numbers in (mean, std))
    return (scaled - shift) / scale
