"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from cnnlab.errors import RunError

# Most files are a run's.
_NEXT_STEP = "free some space, or choose another folder with --runs"
# Some file systems can't sync a folder, and one that may be written to need not be readable. A failing disk is EIO.
_IGNORED_FSYNC_ERRNOS = {
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EBADF,
    errno.EACCES,
    errno.EPERM,
}


def atomic_write(path: Path, content: bytes, next_step: str = _NEXT_STEP) -> None:
    """Write a file so that a reader sees the old one or the new one, even when the power goes.

    Args:
        next_step: the next step of a person whose file can't be written.

    Raises:
        RunError: the disk is full, or the folder can't be written to; an older file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise _write_error(path, error, next_step) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def append_line(path: Path, text: str) -> None:
    """Add a line to a journal; one that was cut off in writing does not swallow it.

    Raises:
        RunError: as `atomic_write`.
    """
    try:
        with path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            first = "" if file.read(1) in (b"", b"\n") else "\n"
            # One write to a file opened for appending: lines of two processes do not mix.
            file.write(f"{first}{text}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _write_error(path, error) from None


def _write_error(path: Path, error: OSError, next_step: str = _NEXT_STEP) -> RunError:
    return RunError(
        f"this file can't be written: {error.strerror}",
        where=str(path),
        next_step=next_step,
    )


def _fsync_folder(path: Path) -> None:
    """Write a folder's names to the disk, where that is possible: the file has its place already."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _IGNORED_FSYNC_ERRNOS:
            raise
