"""The lock of a run folder: one process writes to it at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cnnlab.errors import RunError

# The errors of file systems without locks: some network ones, and those that are mounted without a lock service.
NO_LOCK_ERRNOS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


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
    with _open_lock_file(folder / "lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LockedError(
                f"process {file.read().strip()} is working in this run",
                where=str(folder),
                next_step="wait for it to end",
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCK_ERRNOS:
                raise _unwritable_error(folder, error) from None
            log(f"{folder} can't be locked ({error.strerror}): make sure that no other process writes to this run")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _open_lock_file(path: Path) -> TextIO:
    try:
        return path.open("a+")
    except OSError as error:
        raise _unwritable_error(path.parent, error) from None


def _unwritable_error(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"this run can't be written to: {error.strerror}",
        where=str(folder),
        next_step="make its folder writable, or copy it to one that is",
    )
