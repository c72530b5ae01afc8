"""Large arrays in the cache that can be made again: each made by one process, those that nobody uses removed. No torch.

They stand beside decoded images, in a folder of their own, and are files of the same form (see `cnnlab.data.cache`).
"""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from cnnlab.data.cache import UNFINISHED, Fill, cache_dir, kept_array, make_array

# What the folder may hold; beyond it what has not been used for longest goes, but never what is in use.
MOST_BYTES = 20 * 2**30
# What a process that was killed had half written is left for so long.
LEFT_OVER_S = 24 * 3600
_LOCK = ".lock"

Array = npt.NDArray[Any]


@dataclass
class Kept:
    """An array, as a read-only memory map; as long as this object lives nobody removes its file.

    Attributes:
        made: whether it had to be made.
    """

    array: Array
    name: str
    made: bool
    _held: IO[bytes] | None = None

    def __del__(self) -> None:
        if self._held is not None:
            self._held.close()


def features_dir() -> Path:
    """Where features are kept."""
    return cache_dir() / "features"


def found_or_made(
    key: str, shape: tuple[int, ...], dtype: npt.DTypeLike, fill: Fill, agrees: Callable[[Array], bool]
) -> Kept:
    """The array of that name; `fill` makes it where it is absent, damaged, or not what `agrees` expects.

    Another process that wants the same one waits, and finds it.

    Raises:
        CnnlabError: the cache can't be written.
    """
    path = features_dir() / f"{key}.npy"
    with _alone(path):
        held = _held(path)
        array = kept_array(path, shape, dtype)
        if array is not None and agrees(array):
            with suppress(OSError):
                os.utime(path)
            return Kept(array, path.name, made=False, _held=held)
        if held is not None:
            held.close()
        _make_room_for(math.prod(shape) * np.dtype(dtype).itemsize)
        array = make_array(path, shape, fill, dtype, "features")
        kept = Kept(array, path.name, made=True, _held=_held(path))
    make_room(MOST_BYTES)
    return kept


def make_room(most: int) -> None:
    """Remove the files that have not been used for longest until the rest has at most so many bytes.

    What is being written counts; what a process that has ended left half written goes.
    """
    found, total = [], 0
    for path in features_dir().glob("*"):
        with suppress(OSError):
            about = path.stat()
            if path.suffix == ".npy":
                found.append((about.st_mtime, about.st_size, path))
                total += about.st_size
            elif path.suffix == UNFINISHED and not (_has_ended(path) and _removed(path)):
                if time.time() - about.st_mtime > LEFT_OVER_S:
                    path.unlink()
                else:
                    total += about.st_size
            elif path.suffix == _LOCK and time.time() - about.st_mtime > LEFT_OVER_S:
                path.unlink()
    for _, size, path in sorted(found):
        if total <= most:
            return
        if _removed(path):
            total -= size


def kept_bytes() -> int:
    """What the folder of features holds."""
    total = 0
    for path in features_dir().glob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def free_bytes() -> int:
    """What is free on the disk of the cache."""
    place = cache_dir()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _make_room_for(size: int) -> None:
    with suppress(OSError):
        make_room(min(MOST_BYTES, kept_bytes() + free_bytes()) - size)


def _has_ended(path: Path) -> bool:
    """Whether the process that a half written file names is gone from here; a lock says so of other machines' ones."""
    try:
        os.kill(int(path.name[1:].partition("-")[0]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):  # another user's, or no name of ours
        return False
    return False


def _removed(path: Path) -> bool:
    """Whether a file is gone now; one that a process uses stays, and so does one that can't be locked."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:
        return False
    return True


def _held(path: Path) -> IO[bytes] | None:
    """The file, marked as in use as long as it is open; None where there is none."""
    try:
        file = path.open("rb")
    except OSError:
        return None
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_SH)
    return file


@contextmanager
def _alone(path: Path) -> Iterator[None]:
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


def as_bits(dtype: str) -> np.dtype[Any]:
    """How numbers lie in a file; NumPy has no bf16, whose bits are kept as they are.

    >>> as_bits("bf16")
    dtype('int16')
    """
    return np.dtype(np.int16 if dtype == "bf16" else np.float32)
