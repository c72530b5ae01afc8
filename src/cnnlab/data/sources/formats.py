"""The published data sets' file formats: bytes to uint8 N×C×H×W images and int64 labels. No pickle is executed.

Each reader takes the files of one split, in order, as (name, bytes), and returns (pixels, labels). The formats are
described on the data sets' own pages: CIFAR (A. Krizhevsky, 2009), MNIST (Y. LeCun), SVHN (Y. Netzer et al., 2011) and
STL-10 (A. Coates, 2011).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image

from cnnlab.data.decoding.images import to_pixels
from cnnlab.data.sources.base import ImageSpec, Labels, Pixels
from cnnlab.data.sources.cifar_pickles import read_cifar_pickle
from cnnlab.data.sources.releases import FileFormat
from cnnlab.errors import SourceError

NamedBytes = tuple[str, bytes]
Decoded = tuple[Pixels, Labels]

_CIFAR_PIXELS = 3 * 32 * 32


def decode(file_format: FileFormat, files: Sequence[NamedBytes]) -> Decoded:
    """Decode the images and labels in the files of one split, in the files' order.

    Raises:
        SourceError: a file isn't in the format or is cut short, or images and labels differ in number.
    """
    pixels, labels = _DECODERS[file_format](files)
    if len(pixels) != len(labels):
        raise SourceError(
            "images and labels differ in number",
            where=", ".join(name for name, _ in files),
            received=f"{len(pixels)} images, {len(labels)} labels",
            next_step="get both files again, from one address",
        )
    return pixels, labels


def convert_pixels(pixels: Pixels, image_spec: ImageSpec) -> Pixels:
    """The images with the spec's size and channels; unchanged (not copied) where they have them."""
    if pixels.shape[1:] == image_spec.shape:
        return pixels
    changed = np.empty((len(pixels), *image_spec.shape), np.uint8)
    for index, image in enumerate(pixels):
        rows = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        changed[index] = to_pixels(Image.fromarray(np.ascontiguousarray(rows)), image_spec)
    return changed


def _cifar_binary(files: Sequence[NamedBytes], label_bytes: int) -> Decoded:
    """Records of label bytes (CIFAR-100: coarse, then fine) and 1024 red, 1024 green, 1024 blue bytes."""
    length = label_bytes + _CIFAR_PIXELS
    pixels, labels = [], []
    for name, content in files:
        if not content or len(content) % length:
            raise _format_error(name, f"{len(content):,} bytes", f"a whole number of records of {length} bytes")
        records = np.frombuffer(content, np.uint8).reshape(-1, length)
        pixels.append(records[:, label_bytes:])
        labels.append(records[:, label_bytes - 1].astype(np.int64))
    return np.concatenate(pixels).reshape(-1, 3, 32, 32), np.concatenate(labels)


def _cifar_python(files: Sequence[NamedBytes], label_key: str) -> Decoded:
    pixels, labels = [], []
    for name, content in files:
        batch = read_cifar_pickle(content, name)
        rows, row_labels = batch.get("data"), batch.get(label_key)
        if not (isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == _CIFAR_PIXELS):
            raise _format_error(name, "no 'data' of N×3072 bytes")
        if not (isinstance(row_labels, list) and all(type(label) is int for label in row_labels)):
            raise _format_error(name, f"no list of whole numbers in '{label_key}'")
        pixels.append(rows)
        labels.append(np.array(row_labels, np.int64))
    return np.concatenate(pixels).reshape(-1, 3, 32, 32), np.concatenate(labels)


def _idx(files: Sequence[NamedBytes]) -> Decoded:
    images, labels = (_idx_array(name, content, axes) for (name, content), axes in zip(files, (3, 1), strict=True))
    return images[:, None], labels.astype(np.int64)


def _idx_array(name: str, content: bytes, axes: int) -> Pixels:
    """IDX: two zero bytes, 8 (for bytes), the number of axes, each axis' length (32 bits, big-endian), the values."""
    header = 4 + 4 * axes
    if len(content) < header or content[:4] != bytes((0, 0, 8, axes)):
        raise _format_error(name, f"begins with {content[:4].hex(' ') or 'nothing'}, not with 00 00 08 {axes:02x}")
    shape = tuple(int(length) for length in np.frombuffer(content, ">u4", axes, 4))
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected:
        raise _format_error(name, f"{len(content):,} bytes", f"{header + expected:,} bytes, as its header says")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _svhn(files: Sequence[NamedBytes]) -> Decoded:
    """MATLAB 5: X is H×W×C×N, y is N×1 and calls the digit 0 "10"."""
    from scipy.io import loadmat  # type: ignore[import-untyped, unused-ignore]

    ((name, content),) = files
    try:
        arrays = loadmat(io.BytesIO(content), variable_names=["X", "y"])
        images, labels = arrays["X"], arrays["y"].reshape(-1).astype(np.int64)
    except Exception as broken:  # scipy raises a different type for nearly every kind of damage
        raise _format_error(name, f"{type(broken).__name__}: {broken}") from broken
    if images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3):
        raise _format_error(name, f"X is {images.dtype} of shape {images.shape}, not uint8 of shape (32, 32, 3, N)")
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), labels % 10


def _stl10(files: Sequence[NamedBytes]) -> Decoded:
    """Images of 3×96×96 bytes, each channel column after column; labels count from 1."""
    (name, images), (_, labels) = files
    if not images or len(images) % (3 * 96 * 96):
        raise _format_error(name, f"{len(images):,} bytes", "a whole number of images of 27,648 bytes")
    by_columns = np.frombuffer(images, np.uint8).reshape(-1, 3, 96, 96)
    return np.ascontiguousarray(by_columns.transpose(0, 1, 3, 2)), np.frombuffer(labels, np.uint8).astype(np.int64) - 1


def _format_error(name: str, received: str, allowed: str = "what the data set's own page describes") -> SourceError:
    return SourceError(
        "the file is cut short or isn't in the published format",
        where=name,
        received=received[:300],
        allowed=allowed,
        next_step="get the file again, from the data set's own page",
    )


_DECODERS: dict[FileFormat, Callable[[Sequence[NamedBytes]], Decoded]] = {
    "cifar10-binary": partial(_cifar_binary, label_bytes=1),
    "cifar100-binary": partial(_cifar_binary, label_bytes=2),
    "cifar10-python": partial(_cifar_python, label_key="labels"),
    "cifar100-python": partial(_cifar_python, label_key="fine_labels"),
    "idx": _idx,
    "svhn": _svhn,
    "stl10": _stl10,
}
