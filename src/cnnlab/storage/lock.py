"""One process writes to a run folder at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cnnlab.errors import RunError

# What file systems without locks answer: some network ones, and those that are mounted without a lock service.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class HeldError(RunError):
    """Another process works there."""


@contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a run folder; the lock goes with the process, however that ends.

    On a file system without locks the folder is not held, and `say` is told.

    Raises:
        HeldError: another process holds it; its process id is told.
        RunError: the folder can't be written to.
    """
    with _opened(folder / "lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise HeldError(
                f"process {file.read().strip()} is working in this run",
                where=str(folder),
                next_step="wait for it to end",
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise _unwritable(folder, error) from None
            say(f"{folder} can't be locked ({error.strerror}): take care that no other process works in this run")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a+")
    except OSError as error:
        raise _unwritable(path.parent, error) from None


def _unwritable(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"this run can't be written to: {error.strerror}",
        where=str(folder),
        next_step="make its folder writable, or copy it to one that is",
    )
