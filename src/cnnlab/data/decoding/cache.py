"""Arrays that take long to make, kept on disk and found again by name: decoded images and features. No torch.

A file is a NumPy array (.npy) followed by a checksum. It is written under another name and then renamed, so that a
reader sees a whole file or none, and of several processes that want the same one, one makes it. Where a folder grows
beyond its limit, the files that were not used for longest are removed; never those in use.
"""

from __future__ import annotations

import fcntl
import io
import json
import math
import os
import secrets
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import PIL

from cnnlab.data.decoding.images import DECODER_VERSION
from cnnlab.data.sources.base import ImageSpec, Pixels
from cnnlab.errors import CnnlabError
from cnnlab.settings import cache_dir

# What each folder may hold.
MAX_CACHE_BYTES = 20 * 2**30
# Locks, and files that a killed process left half written where files can't be locked, are removed after so long.
STALE_AFTER_S = 24 * 3600
# A file that was touched within this time may be about to be locked.
GRACE_S = 60

# How the name of a file ends that is being written.
TEMP_SUFFIX = ".new"
_LOCK_SUFFIX = ".lock"
_TRAILER = struct.Struct("<8sQ")
_MAGIC = b"cnnlab-1"
_BLOCK = 64 * 2**20

Array = npt.NDArray[Any]
# Writes every row into (file, from this byte on).
FillFunction = Callable[[Path, int], None]


@dataclass(frozen=True)
class CachedArray:
    """An array, as a read-only memory map; as long as it is in use its file is not removed.

    Attributes:
        created: whether it had to be made.
    """

    array: Array
    name: str
    created: bool


def images_dir() -> Path:
    """Where decoded images are kept."""
    return cache_dir() / "images"


def features_dir() -> Path:
    """Where features are kept."""
    return cache_dir() / "features"


def pixels_key(content: str, image_spec: ImageSpec) -> str:
    """The name of decoded images: their content's digest, the image spec, and what decodes them."""
    size = f"{image_spec.channels}x{image_spec.height}x{image_spec.width}-{image_spec.interpolation}"
    size += "-crop" if image_spec.fit == "crop" else ""
    return f"{content[:40]}-{size}-d{DECODER_VERSION}-pillow{PIL.__version__}"


def storage_dtype(dtype: str) -> np.dtype[Any]:
    """The dtype of features in a file; NumPy has no bf16, whose bits are stored as int16.

    >>> storage_dtype("bf16")
    dtype('int16')
    """
    return np.dtype(np.int16 if dtype == "bf16" else np.float32)


def cached_pixels(key: str, count: int, image_spec: ImageSpec, fill: FillFunction) -> Pixels:
    """The images N×C×H×W named `key`, as a read-only memory map; `fill` makes them where they are absent or damaged.

    Raises:
        CnnlabError: the cache can't be written.
    """
    return get_or_create(images_dir() / f"{key}.npy", (count, *image_spec.shape), np.uint8, fill).array


def get_or_create(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, fill: FillFunction) -> CachedArray:
    """The array in a file; `fill` makes it where it is absent or damaged.

    Another process that wants the same one waits, and finds it.

    Raises:
        CnnlabError: the cache can't be written.
    """
    with _exclusive(path):
        array = load_array(path, shape, dtype)
        if array is not None:
            return CachedArray(array, path.name, created=False)
        return CachedArray(create_array(path, shape, fill, dtype), path.name, created=True)


def load_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> Array | None:
    """The array in a whole file, as a read-only memory map; None where there is none, or a damaged one."""
    header, dtype = _header(shape, np.dtype(dtype)), np.dtype(dtype)
    start, length = len(header), math.prod(shape) * dtype.itemsize
    try:
        with path.open("rb") as file:
            _lock_shared(file)  # the memory map keeps the lock: it has a copy of the file's descriptor
            # Compared, not parsed: NumPy's reader answers a damaged header with exceptions of many kinds.
            if file.read(start) != header or path.stat().st_size != start + length + _TRAILER.size:
                return None
            file.seek(start + length)
            magic, checksum = _TRAILER.unpack(file.read())
            if magic != _MAGIC or checksum != _checksum(path, start, length):
                return None
            array = np.memmap(file, dtype=dtype, mode="r", offset=start, shape=shape)
        with suppress(OSError):
            os.utime(path)
        return array
    except OSError:
        return None


def create_array(path: Path, shape: tuple[int, ...], fill: FillFunction, dtype: npt.DTypeLike = np.uint8) -> Array:
    """Make a file that `load_array` finds, in place of one of that name; older files of its folder may be removed.

    Raises:
        CnnlabError: the file can't be written.
    """
    header = _header(shape, np.dtype(dtype))
    start, length = len(header), math.prod(shape) * np.dtype(dtype).itemsize
    _make_room(path.parent, length)
    with _atomic_file(path) as new, new.open("wb") as file:
        _lock_shared(file)  # so that no process removes it to make room
        file.write(header)
        _preallocate(file, length)
        file.flush()
        fill(new, start)
        file.seek(start + length)
        file.write(_TRAILER.pack(_MAGIC, _checksum(new, start, length)))
    array = load_array(path, shape, dtype)
    if array is None:
        raise _unwritable_error(path, "what was written reads back differently")
    evict(path.parent, MAX_CACHE_BYTES)
    return array


def save_array(path: Path, array: Array) -> Array:
    """Write an array as `create_array` does; it comes back as a read-only memory map."""

    def fill(file: Path, start: int) -> None:
        with file.open("r+b") as opened:
            opened.seek(start)
            opened.write(np.ascontiguousarray(array).data)

    return create_array(path, array.shape, fill, array.dtype)


def cached_json(key: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A value that JSON can hold and that takes long to compute, cached by name.

    It is computed where the file is absent or damaged, and each time where the file can't be written.
    """
    path = cache_dir() / "facts" / f"{key}.json"
    with suppress(OSError, ValueError):
        return dict(json.loads(path.read_bytes()))
    value = compute()
    with suppress(CnnlabError), _atomic_file(path) as new:
        new.write_text(json.dumps(value))
    return value


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _preallocate(file: IO[bytes], length: int) -> None:
    """Allocate this many bytes of the disk: a process whose memory map meets a full disk is killed.

    Raises:
        OSError: there is not so much room.
    """
    file.flush()
    if length and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), file.tell(), length)
        return
    for done in range(0, length, _BLOCK):
        file.write(bytes(min(_BLOCK, length - done)))


def _checksum(path: Path, start: int, length: int) -> int:
    checksum = 0
    with path.open("rb") as file:
        file.seek(start)
        while length > 0 and (block := file.read(min(_BLOCK, length))):
            checksum = zlib.crc32(block, checksum)
            length -= len(block)
    return checksum


@contextmanager
def _atomic_file(path: Path) -> Iterator[Path]:
    """A file to write that replaces `path` at the end; nothing is left behind when that fails."""
    new = path.with_name(f".{secrets.token_hex(8)}{TEMP_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield new
        new.replace(path)
    except OSError as error:
        raise _unwritable_error(path, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _unwritable_error(path: Path, received: str) -> CnnlabError:
    what = path.parent.name
    return CnnlabError(
        f"{'decoded ' if what == 'images' else ''}{what} can't be kept",
        where=str(path.parent),
        received=received,
        allowed=f"a folder that can be written, with room for the {what}",
        next_step="make room, or set CNNLAB_CACHE to another folder",
    )


def evict(folder: Path, max_bytes: int) -> None:
    """Remove the arrays of a folder that were not used for longest, until its files have at most this many bytes.

    What is in use or being written stays and counts; what a killed process left half written is removed.
    """
    arrays = []
    for path in folder.glob("*"):
        with suppress(OSError):
            used_at = path.stat().st_mtime
            if path.suffix == ".npy":
                arrays.append((used_at, path))
            elif used_at < time.time() - STALE_AFTER_S:
                path.unlink()
            elif path.suffix == TEMP_SUFFIX and used_at < time.time() - GRACE_S:
                _remove_unused(path)
    for _, path in sorted(arrays):
        if cache_size(folder) <= max_bytes:
            return
        _remove_unused(path)


def cache_size(folder: Path) -> int:
    """How many bytes the files of a folder have."""
    total = 0
    for path in folder.glob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def free_disk_bytes() -> int:
    """What is free on the disk of the cache."""
    folder = cache_dir()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _make_room(folder: Path, size: int) -> None:
    with suppress(OSError):
        evict(folder, min(MAX_CACHE_BYTES, cache_size(folder) + free_disk_bytes()) - size)


def _remove_unused(path: Path) -> None:
    """Remove a file, unless a process uses it or it can't be locked."""
    with suppress(OSError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _lock_shared(file: IO[bytes]) -> None:
    """Mark a file as in use, as long as its descriptor or a copy of it is open."""
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_SH)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Within it no other process makes this file; where nothing can be locked, several may."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(_LOCK_SUFFIX).open("wb")
    except OSError:
        yield
        return
    with lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
