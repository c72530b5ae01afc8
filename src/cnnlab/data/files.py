"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from cnnlab.errors import RunError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, even when the power goes.

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
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(
            f"this file can't be written: {error.strerror}",
            where=str(path),
            next_step="free some space, or choose another folder with --runs",
        ) from None


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
