"""Whoever wants to see a run while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnnlab.data.sources.base import ProgressCallback, no_progress
from cnnlab.records import EpochRecord
from cnnlab.training.loop import StepCallback


def no_op(*_: object) -> None:
    """What a caller does with a report that it does not want."""


@dataclass(frozen=True)
class RunCallbacks:
    """Whoever wants to see a run while it goes on; by default nobody."""

    progress: ProgressCallback = no_progress
    on_step: StepCallback = no_op
    on_validation: Callable[[EpochRecord], None] = no_op
    log: Callable[[str], None] = no_op


NO_CALLBACKS = RunCallbacks()
