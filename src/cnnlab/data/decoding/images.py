"""Decode one image file to pixels, in training and in prediction alike. No torch.

Bytes are untrusted: formats are an allow-list, and size is capped before anything is decoded.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnlab.data.sources.base import ImageSpec, Pixels

# Part of every cache key: raise it when the same file would give other pixels.
DECODER_VERSION = 1

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000

# What transparent pixels are laid over: white, as on a page.
BACKGROUND = (255, 255, 255, 255)

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
EXTENSIONS = tuple(ending for endings in FORMATS.values() for ending in endings)

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_GRAYSCALE_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_EXIF_ORIENTATION = 0x0112
_EXIF_ROTATED = (5, 6, 7, 8)

ImageFile = bytes | Path
T = TypeVar("T")


@dataclass(frozen=True)
class ImageFault:
    """Why a file can't be decoded. `kind` is one of "empty", "too large", "not an image", "truncated", "unreadable",
    and, of a path that a person gave, "missing" or "no image".
    """

    kind: str
    message: str


@dataclass(frozen=True)
class ImageHeader:
    """A file's header: the size as it is shown (after EXIF rotation), 1 or 3 channels, the format."""

    width: int
    height: int
    channels: int
    format: str


def try_decode(file: ImageFile, image_spec: ImageSpec) -> Pixels | ImageFault:
    """Decode an image to uint8, C×H×W, in the size and channels of `image_spec`; a fault where that fails.

    EXIF rotation is applied, transparency is laid over white, 16 bits are scaled to 8, an animation gives its first
    frame, and grey is ITU-R 601 luma as Pillow computes it. A fault is returned, not raised: many can be collected.

    Args:
        file: its bytes, or its path.
    """
    return _open_and_use(file, lambda image: to_pixels(image, image_spec))


def try_header(file: ImageFile) -> ImageHeader | ImageFault:
    """Read the header; nothing is decoded."""
    return _open_and_use(file, image_header)


def try_inspect(file: ImageFile) -> tuple[ImageHeader, Pixels] | ImageFault:
    """Read the header, and the pixels in RGB at the image's own size, which are equal for equal images."""
    return _open_and_use(file, lambda image: (image_header(image), to_pixels(image)))


def to_pixels(image: Image.Image, image_spec: ImageSpec | None = None) -> Pixels:
    """An opened image as uint8, C×H×W; without a spec as RGB in its own size."""
    channels, size = (image_spec.channels, (image_spec.width, image_spec.height)) if image_spec else (3, None)
    flat = _to_opaque_8bit(ImageOps.exif_transpose(image))
    flat = flat.convert("L" if channels == 1 else "RGB")
    if image_spec and size and flat.size != size:
        resize = ImageOps.fit if image_spec.fit == "crop" else Image.Image.resize
        flat = resize(flat, size, _FILTERS[image_spec.interpolation])
    array = np.asarray(flat)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def image_header(image: Image.Image) -> ImageHeader:
    """The header of an opened image."""
    width, height = image.size
    # Pillow has turned a TIFF's size already when it is opened.
    if image.format != "TIFF" and image.getexif().get(_EXIF_ORIENTATION) in _EXIF_ROTATED:
        width, height = height, width
    return ImageHeader(width, height, _channels(image), image.format or "")


def _channels(image: Image.Image) -> int:
    if image.mode == "P":
        palette = image.getpalette("RGB") or []
        return 1 if palette[0::3] == palette[1::3] == palette[2::3] else 3
    return 1 if image.mode in _GRAYSCALE_MODES else 3


def _to_opaque_8bit(image: Image.Image) -> Image.Image:
    """The image with 8 bits a channel and without transparency."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"32-bit values from {values.min()} to {values.max()}, where 0 to 65535 is understood")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point values, whose range is not known")
    if not image.has_transparency_data:
        return image
    page = Image.new("RGBA", image.size, BACKGROUND)
    page.alpha_composite(image.convert("RGBA"))
    return page


def _open_and_use(file: ImageFile, use: Callable[[Image.Image], T]) -> T | ImageFault:
    """Call `use` with the opened image, whose header has been read and whose size is allowed."""
    head = b""
    try:
        with file.open("rb") if isinstance(file, Path) else io.BytesIO(file) as opened, warnings.catch_warnings():
            size = opened.seek(0, os.SEEK_END)
            if size == 0:
                return ImageFault("empty", "0 bytes")
            if size > MAX_BYTES:
                return ImageFault("too large", f"{size:,} bytes, where {MAX_BYTES:,} are allowed")
            opened.seek(0)
            head = opened.read(16)
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(opened, formats=tuple(FORMATS)) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    return ImageFault("too large", f"{width:,}×{height:,} pixels, where {MAX_PIXELS:,} are allowed")
                return use(image)
    except UnidentifiedImageError:
        return ImageFault("not an image", f"it is of no known format; its first bytes are {head!r}")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return ImageFault("too large", f"its header promises more than {MAX_PIXELS:,} pixels")
    # Pillow's readers raise almost any exception for damaged bytes.
    except Exception as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ImageFault("truncated" if "truncated" in text.lower() else "unreadable", text)
