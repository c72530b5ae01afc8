"""One image file to pixels: the same way in training and in prediction. No torch.

Bytes are untrusted: formats are an allow-list, size is capped before anything is decoded, and what can't be
decoded is named with its reason.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnlab.data.sources.base import ImageForm, Pixels

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
ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)

ImageFile = bytes | Path | IO[bytes]
T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """Why a file gives no image. `kind` is one of "empty", "too large", "not an image", "truncated", "unreadable",
    and, of a path that a person gave, "missing" or "no image".
    """

    kind: str
    message: str


@dataclass(frozen=True)
class Header:
    """What a file says about itself: its size as it is shown (after EXIF rotation), 1 or 3 channels, its format."""

    width: int
    height: int
    channels: int
    format: str


def try_decode(file: ImageFile, form: ImageForm) -> Pixels | Fault:
    """The image as uint8, C×H×W, in the size and channels of `form`; a fault where the file gives none.

    EXIF rotation is applied, transparency is laid over white, 16 bits are scaled to 8, an animation gives its first
    frame, and grey is ITU-R 601 luma as Pillow computes it. A fault is returned, not raised: many can be collected.

    Args:
        file: its bytes, its path, or an open binary file.
    """
    return _with_image(file, lambda image: to_pixels(image, form))


def try_header(file: ImageFile) -> Header | Fault:
    """What the header says; nothing is decoded."""
    return _with_image(file, header_of)


def try_inspect(file: ImageFile) -> tuple[Header, Pixels] | Fault:
    """The header, and the pixels in RGB at the image's own size: what tells whether two files show the same."""
    return _with_image(file, lambda image: (header_of(image), to_pixels(image)))


def to_pixels(image: Image.Image, form: ImageForm | None = None) -> Pixels:
    """An opened image as uint8, C×H×W; without a form as RGB in its own size."""
    channels, size = (form.channels, (form.width, form.height)) if form else (3, None)
    flat = _flattened(ImageOps.exif_transpose(image))
    flat = flat.convert("L" if channels == 1 else "RGB")
    if form and size and flat.size != size:
        flat = flat.resize(size, _FILTERS[form.interpolation])
    array = np.asarray(flat)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def header_of(image: Image.Image) -> Header:
    """The header of an opened image."""
    width, height = image.size
    # Pillow has turned a TIFF's size already when it is opened.
    if image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _SIDEWAYS:
        width, height = height, width
    return Header(width, height, _channels(image), image.format or "")


def _channels(image: Image.Image) -> int:
    if image.mode == "P":
        palette = image.getpalette("RGB") or []
        return 1 if palette[0::3] == palette[1::3] == palette[2::3] else 3
    return 1 if image.mode in _GREY_MODES else 3


def _flattened(image: Image.Image) -> Image.Image:
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


def _with_image(file: ImageFile, use: Callable[[Image.Image], T]) -> T | Fault:
    """What `use` makes of the opened image. Only its header has been read, and its size is allowed."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                return _use_opened(opened, file.stat().st_size, use)
        if isinstance(file, bytes):
            return _use_opened(io.BytesIO(file), len(file), use)
        return _use_opened(file, None, use)
    except UnidentifiedImageError:
        return Fault("not an image", f"it is of no known format; {_first_bytes(file)}")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return Fault("too large", f"its header promises more than {MAX_PIXELS:,} pixels")
    # Pillow's readers answer damaged bytes with almost any exception; each means that this file can't be used.
    except Exception as error:
        text = str(error) or type(error).__name__
        return Fault("truncated" if "truncated" in text.lower() else "unreadable", text)


def _use_opened(opened: IO[bytes], size: int | None, use: Callable[[Image.Image], T]) -> T | Fault:
    if size == 0:
        return Fault("empty", "0 bytes")
    if size is not None and size > MAX_BYTES:
        return Fault("too large", f"{size:,} bytes, where {MAX_BYTES:,} are allowed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(opened, formats=tuple(FORMATS)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                return Fault("too large", f"{width:,}×{height:,} pixels, where {MAX_PIXELS:,} are allowed")
            return use(image)


def _first_bytes(file: ImageFile) -> str:
    if isinstance(file, bytes):
        head = file[:16]
    elif isinstance(file, Path):
        with file.open("rb") as opened:
            head = opened.read(16)
    else:
        file.seek(0)
        head = file.read(16)
    return f"its first bytes are {head!r}"
