"""One process writes to a run folder at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cnnlab.errors import RunError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder; the lock goes with the process, however that ends.

    Raises:
        RunError: another process holds it; its process id is told. Or the folder can't be written to.
    """
    with _opened(folder / "lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunError(
                f"process {file.read().strip()} is working in this run",
                where=str(folder),
                next_step="wait for it to end",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a+")
    except OSError as error:
        raise RunError(
            f"this run can't be written to: {error.strerror}",
            where=str(path.parent),
            next_step="make its folder writable, or copy it to one that is",
        ) from None
