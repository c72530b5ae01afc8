"""One process writes to a run folder at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnlab.errors import RunError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder; the lock goes with the process, however that ends.

    Raises:
        RunError: another process holds it; its process id is told.
    """
    with (folder / "lock").open("a+") as file:
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
