"""Whoever wants to see a run while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnnlab.data.sources.base import Progress, silent
from cnnlab.records import EpochRecord
from cnnlab.training.loop import Watch


def nothing(*_: object) -> None:
    """What a caller does with a report that it does not want."""


@dataclass(frozen=True)
class Listener:
    """Whoever wants to see a run while it goes on; by default nobody."""

    progress: Progress = silent
    watch: Watch = nothing
    point: Callable[[EpochRecord], None] = nothing
    say: Callable[[str], None] = nothing


NOBODY = Listener()
