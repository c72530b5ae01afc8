"""Write files that are complete or absent."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from cnnlab.errors import RunError

# Most files belong to a run.
_NEXT_STEP = "free some space, or choose another folder with --runs"


def atomic_write(path: Path, content: bytes, next_step: str = _NEXT_STEP) -> None:
    """Write a file so that readers see the old or the new content, even after a power failure.

    Args:
        next_step: what the user can do if the file can't be written.

    Raises:
        RunError: the disk is full, or the folder can't be written to; an existing file is unchanged.
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
    """Append a line to a journal; an incomplete last line does not swallow it.

    Raises:
        RunError: as in `atomic_write`.
    """
    try:
        with path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            first = "" if file.read(1) in (b"", b"\n") else "\n"
            # A single write in append mode, so lines of two processes do not mix.
            file.write(f"{first}{text}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _write_error(path, error) from None


def _write_error(path: Path, error: OSError, next_step: str = _NEXT_STEP) -> RunError:
    return RunError(f"this file can't be written: {error.strerror}", where=str(path), next_step=next_step)


def _fsync_folder(path: Path) -> None:
    """Sync a folder's entries to disk where the file system supports it; a folder need not be readable."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno == errno.EIO:  # the disk is failing
            raise
