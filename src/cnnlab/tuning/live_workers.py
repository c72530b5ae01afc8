"""Processes that share a folder: they take turns, and each knows which of the others live."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cnnlab.errors import RunError
from cnnlab.storage.lock import LockedError, locked

WORKERS = "workers"
# The turn in which those that have ended are looked for.
ASK_LOCK = "asking"
POLL_INTERVAL_S = 0.05


class WorkerRegistry:
    """The processes at work in a folder; `own_name` is this one's. A lock goes with its process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own_name = uuid.uuid4().hex[:12]

    @contextmanager
    def register(self) -> Iterator[None]:
        """Within it this process is known to live."""
        place = self._worker_folder(self.own_name)
        with ExitStack() as stack:
            with self.lock(ASK_LOCK):  # between folder and lock it would be taken for one that has died
                place.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(place, _discard))
            yield
            shutil.rmtree(place, ignore_errors=True)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Only one process at a time does this; the others wait."""
        place = self.folder / f".{name}"
        place.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(place, _discard))
                    break
                except LockedError:
                    time.sleep(POLL_INTERVAL_S)
            yield

    def is_alive(self, name: str) -> bool:
        """Whether a process is known to live."""
        return bool(name) and self._worker_folder(name).is_dir() and not self.is_dead(name)

    def is_dead(self, name: str) -> bool:
        """Whether a process is known to have ended; of one with another folder nothing is known."""
        place, sure = self._worker_folder(name), True

        def mark_unsure(_: str) -> None:
            nonlocal sure
            sure = False

        if not place.is_dir():
            return False
        try:
            with locked(place, mark_unsure):
                return sure
        except RunError:
            return False

    def remove_dead(self) -> None:
        """Forget those that have ended: nothing of theirs is left to find. Call it while ASKING is held."""
        for place in (self.folder / WORKERS).glob("*"):
            if self.is_dead(place.name):
                shutil.rmtree(place, ignore_errors=True)

    def _worker_folder(self, name: str) -> Path:
        return self.folder / WORKERS / name


def _discard(_: str) -> None:
    """On a file system without locks nobody waits, and nobody is known to have ended."""
