"""Callbacks for the progress of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnnlab.data.sources.base import ProgressCallback, no_progress
from cnnlab.records import EpochRecord
from cnnlab.training.loop import StepCallback


def no_op(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class RunCallbacks:
    """Callbacks for the progress of a run; the default does nothing."""

    progress: ProgressCallback = no_progress
    on_step: StepCallback = no_op
    on_validation: Callable[[EpochRecord], None] = no_op
    log: Callable[[str], None] = no_op


NO_CALLBACKS = RunCallbacks()
