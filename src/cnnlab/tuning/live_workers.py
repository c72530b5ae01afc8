"""Processes that share a folder: they take turns, and each knows which of the others live."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cnnlab.errors import RunError
from cnnlab.storage.lock import HeldError, locked

WORKERS = "workers"
# The turn in which those that have ended are looked for.
ASKING = "asking"
PATIENCE_S = 0.05


class Workers:
    """The processes at work in a folder; `own` is this one's name. A lock goes with its process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = uuid.uuid4().hex[:12]

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Within it this process is known to live."""
        place = self._place(self.own)
        with ExitStack() as stack:
            with self.holding(ASKING):  # between folder and lock it would be taken for one that has died
                place.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(place, _unsaid))
            yield
            shutil.rmtree(place, ignore_errors=True)

    @contextmanager
    def holding(self, what: str) -> Iterator[None]:
        """Only one process at a time does this; the others wait."""
        place = self.folder / f".{what}"
        place.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(place, _unsaid))
                    break
                except HeldError:
                    time.sleep(PATIENCE_S)
            yield

    def live(self, name: str) -> bool:
        """Whether a process is known to live."""
        return bool(name) and self._place(name).is_dir() and not self.died(name)

    def died(self, name: str) -> bool:
        """Whether a process is known to have ended; of one with another folder nothing is known."""
        place, sure = self._place(name), True

        def unsure(_: str) -> None:
            nonlocal sure
            sure = False

        if not place.is_dir():
            return False
        try:
            with locked(place, unsure):
                return sure
        except RunError:
            return False

    def sweep(self) -> None:
        """Forget those that have ended: nothing of theirs is left to find. Call it while ASKING is held."""
        for place in (self.folder / WORKERS).glob("*"):
            if self.died(place.name):
                shutil.rmtree(place, ignore_errors=True)

    def _place(self, name: str) -> Path:
        return self.folder / WORKERS / name


def _unsaid(_: str) -> None:
    """On a file system without locks nobody waits, and nobody is known to have ended."""
