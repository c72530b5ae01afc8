"""Arrays on disk that take long to make: decoded images and features, found again by content. No torch.

A file is a NumPy array (.npy) with a checksum behind it. It is written beside its place and then renamed, so that
a reader sees a whole file or none, and two processes may make the same one. Features, which are large and can be made
again, stand in a folder of their own: each is made by one process, and those that nobody uses are removed.
"""

from __future__ import annotations

import errno
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

_TRAILER = struct.Struct("<8sQ")
_MAGIC = b"cnnlab-1"
_BLOCK = 64 * 2**20
# A file system that can't set room aside says one of these.
_UNSUPPORTED_ERRNOS = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV)
# How the name of a file ends that is being written.
TEMP_SUFFIX = ".new"

# Writes every row into (file, from this byte on).
FillFunction = Callable[[Path, int], None]


def pixels_key(content: str, image_spec: ImageSpec) -> str:
    """The name of decoded images: their content's digest, the image spec, and what decodes them."""
    size = f"{image_spec.channels}x{image_spec.height}x{image_spec.width}-{image_spec.interpolation}"
    return f"{content[:40]}-{size}-d{DECODER_VERSION}-pillow{PIL.__version__}"


def cached_pixels(key: str, count: int, image_spec: ImageSpec, fill: FillFunction) -> Pixels:
    """The array N×C×H×W named `key`, as a read-only memory map; `fill` makes it where it is absent or damaged.

    Raises:
        CnnlabError: the cache can't be written.
    """
    shape = (count, *image_spec.shape)
    path = cache_dir() / "images" / f"{key}.npy"
    found = load_array(path, shape)
    return found if found is not None else create_array(path, shape, fill)


def load_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any] | None:
    """The array in a whole file, as a read-only memory map; None where there is none, or a damaged one."""
    header, dtype = _header(shape, np.dtype(dtype)), np.dtype(dtype)
    start, length = len(header), math.prod(shape) * dtype.itemsize
    try:
        with path.open("rb") as file:
            # Compared, not parsed: NumPy's reader answers a damaged header with exceptions of many kinds.
            if file.read(start) != header or path.stat().st_size != start + length + _TRAILER.size:
                return None
            file.seek(start + length)
            magic, checksum = _TRAILER.unpack(file.read())
        if magic != _MAGIC or checksum != _checksum(path, start, length):
            return None
        return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)
    except OSError:
        return None


def create_array(
    path: Path,
    shape: tuple[int, ...],
    fill: FillFunction,
    dtype: npt.DTypeLike = np.uint8,
    description: str = "decoded images",
) -> npt.NDArray[Any]:
    """Make a file that `load_array` finds; it takes the place of one of that name.

    Args:
        description: what the array holds, for an error.

    Raises:
        CnnlabError: the file can't be written.
    """
    header = _header(shape, np.dtype(dtype))
    start, length = len(header), math.prod(shape) * np.dtype(dtype).itemsize
    with _atomic_file(path, description) as new, new.open("wb") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_SH)  # as long as it is written: whoever makes room leaves it
        file.write(header)
        _preallocate(file, length)
        file.flush()
        fill(new, start)
        file.seek(start + length)
        file.write(_TRAILER.pack(_MAGIC, _checksum(new, start, length)))
    made = load_array(path, shape, dtype)
    if made is None:
        raise _unwritable_error(path, "what was written reads back differently", description)
    return made


def save_array(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Write an array that `load_array` finds; it comes back as a read-only memory map. Errors as `create_array`."""

    def fill(file: Path, start: int) -> None:
        with file.open("r+b") as opened:
            opened.seek(start)
            opened.write(np.ascontiguousarray(array).data)

    return create_array(path, array.shape, fill, array.dtype)


def cached_json(key: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A value that JSON can hold and that takes long to compute, cached by name.

    They are found anew where the file is absent or damaged, and each time where it can't be written.
    """
    path = cache_dir() / "facts" / f"{key}.json"
    try:
        text, _, checksum = path.read_text().rpartition("\n")
        if checksum == f"{zlib.crc32(text.encode()):08x}":
            return dict(json.loads(text))
    except (OSError, ValueError):
        pass
    value = compute()
    text = json.dumps(value)
    with suppress(CnnlabError), _atomic_file(path) as new:
        new.write_text(f"{text}\n{zlib.crc32(text.encode()):08x}")
    return value


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _preallocate(file: IO[bytes], length: int) -> None:
    """Take so many bytes of the disk from here on: where a memory map meets a full disk, its process is killed.

    Raises:
        OSError: there is not so much room.
    """
    file.flush()
    if length and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), file.tell(), length)
            return
        except OSError as error:
            if error.errno not in _UNSUPPORTED_ERRNOS:
                raise
    zeros = bytes(min(_BLOCK, length))
    for done in range(0, length, _BLOCK):
        file.write(zeros[: length - done])


def _checksum(path: Path, start: int, length: int) -> int:
    checksum = 0
    with path.open("rb") as file:
        file.seek(start)
        while length > 0 and (block := file.read(min(_BLOCK, length))):
            checksum = zlib.crc32(block, checksum)
            length -= len(block)
    return checksum


@contextmanager
def _atomic_file(path: Path, description: str = "decoded images") -> Iterator[Path]:
    """A file to write that takes `path`'s place at the end; nothing is left behind when that fails."""
    new = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}{TEMP_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield new
        new.replace(path)
    except OSError as error:
        raise _unwritable_error(path, error.strerror or str(error), description) from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _unwritable_error(path: Path, received: str, description: str = "decoded images") -> CnnlabError:
    return CnnlabError(
        f"{description} can't be kept",
        where=str(path.parent),
        received=received,
        allowed=f"a folder that can be written, with room for the {description.split()[-1]}",
        next_step="make room, or set CNNLAB_CACHE to another folder",
    )


# What the folder may hold; beyond it what has not been used for longest goes, but never what is in use.
MAX_CACHE_BYTES = 20 * 2**30
# What a process that was killed had half written is left for so long.
STALE_AFTER_S = 24 * 3600
_LOCK = ".lock"

Array = npt.NDArray[Any]


@dataclass
class CachedArray:
    """An array, as a read-only memory map; as long as this object lives nobody removes its file.

    Attributes:
        created: whether it had to be made.
    """

    array: Array
    name: str
    created: bool
    _lock_file: IO[bytes] | None = None

    def __del__(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()


def features_dir() -> Path:
    """Where features are kept."""
    return cache_dir() / "features"


def get_or_create(
    key: str, shape: tuple[int, ...], dtype: npt.DTypeLike, fill: FillFunction, is_valid: Callable[[Array], bool]
) -> CachedArray:
    """The array of that name; `fill` makes it where it is absent, damaged, or not what `is_valid` expects.

    Another process that wants the same one waits, and finds it.

    Raises:
        CnnlabError: the cache can't be written.
    """
    path = features_dir() / f"{key}.npy"
    with _exclusive(path):
        held = _open_locked(path)
        array = load_array(path, shape, dtype)
        if array is not None and is_valid(array):
            with suppress(OSError):
                os.utime(path)
            return CachedArray(array, path.name, created=False, _lock_file=held)
        if held is not None:
            held.close()
        _evict_for(math.prod(shape) * np.dtype(dtype).itemsize)
        array = create_array(path, shape, fill, dtype, "features")
        kept = CachedArray(array, path.name, created=True, _lock_file=_open_locked(path))
    evict(MAX_CACHE_BYTES)
    return kept


def evict(max_bytes: int) -> None:
    """Remove the files that have not been used for longest until the others have at most so many bytes.

    What is being written counts; what a process that has ended left half written goes.
    """
    found, total = [], 0
    for path in features_dir().glob("*"):
        with suppress(OSError):
            about = path.stat()
            if path.suffix == ".npy":
                found.append((about.st_mtime, about.st_size, path))
                total += about.st_size
            elif path.suffix == TEMP_SUFFIX and not (_writer_has_exited(path) and _remove_unused(path)):
                if time.time() - about.st_mtime > STALE_AFTER_S:
                    path.unlink()
                else:
                    total += about.st_size
            elif path.suffix == _LOCK and time.time() - about.st_mtime > STALE_AFTER_S:
                path.unlink()
    for _, size, path in sorted(found):
        if total <= max_bytes:
            return
        if _remove_unused(path):
            total -= size


def cache_size() -> int:
    """What the folder of features holds."""
    total = 0
    for path in features_dir().glob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def free_disk_bytes() -> int:
    """What is free on the disk of the cache."""
    place = cache_dir()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _evict_for(size: int) -> None:
    with suppress(OSError):
        evict(min(MAX_CACHE_BYTES, cache_size() + free_disk_bytes()) - size)


def _writer_has_exited(path: Path) -> bool:
    """Whether the process that a half written file names is gone from here; a lock says so of other machines' ones."""
    try:
        os.kill(int(path.name[1:].partition("-")[0]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):  # another user's, or no name of ours
        return False
    return False


def _remove_unused(path: Path) -> bool:
    """Whether a file is gone now; one that a process uses stays, and so does one that can't be locked."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:
        return False
    return True


def _open_locked(path: Path) -> IO[bytes] | None:
    """The file, marked as in use as long as it is open; None where there is none."""
    try:
        file = path.open("rb")
    except OSError:
        return None
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_SH)
    return file


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Within it no other process makes this file; where nothing can be locked, several may."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(_LOCK).open("wb")
    except OSError:
        yield
        return
    with lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def storage_dtype(dtype: str) -> np.dtype[Any]:
    """How numbers lie in a file; NumPy has no bf16, whose bits are kept as they are.

    >>> storage_dtype("bf16")
    dtype('int16')
    """
    return np.dtype(np.int16 if dtype == "bf16" else np.float32)
