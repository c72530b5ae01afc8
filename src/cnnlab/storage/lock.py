"""The lock of a run folder: one process writes to it at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnlab.errors import RunError


class LockedError(RunError):
    """Another process holds the lock."""


@contextmanager
def locked(folder: Path, log: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a folder; it is released when the process ends, however it ends.

    On a file system without locks the folder is not locked, and `log` is called with a warning.

    Raises:
        LockedError: another process holds it; its process id is given.
        RunError: the folder can't be written to.
    """
    try:
        file = (folder / "lock").open("a+")
    except OSError as error:
        what, step = f"this run can't be written to: {error.strerror}", "make its folder writable, or copy the run"
        raise RunError(what, where=str(folder), next_step=step) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            what = f"process {file.read().strip()} is working in this run"
            raise LockedError(what, where=str(folder), next_step="wait for it to end") from None
        except OSError as error:  # some network file systems have no locks
            log(f"{folder} can't be locked ({error.strerror}): make sure that no other process writes to this run")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
