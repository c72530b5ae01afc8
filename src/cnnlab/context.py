"""What all work needs beside its recipe: where it computes, where its files are, and who hears of its progress.

It is made once, by a command or a public function, and passed on whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

from cnnlab.distributed import SINGLE_PROCESS, ProcessGroup
from cnnlab.records import EpochRecord, StepMeans

# (what is being done, how much is done, how much there is in all, its unit: "images" or "bytes")
ProgressCallback: TypeAlias = Callable[[str, int, int, str], None]
LogFn: TypeAlias = Callable[[str], None]
# (images so far, images in all, running means; None while the device has not sent any)
StepCallback: TypeAlias = Callable[[int, int, StepMeans | None], None]


def no_op(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Callbacks:
    """Callbacks for the progress of runs, studies and searches; the defaults do nothing.

    Attributes:
        progress: called during long work beside training: downloads, decoding, evaluation.
        log: called with each message for the user.
        on_run_start: called with the `RunFolder` of a run as soon as there is one.
        on_step: called after each training step.
        on_validation: called after each validation.
        on_stage_start: called before each stage of a study with its `StudyPlan`, all its tasks and those still to run.
        on_task_progress: called while a `StudyTask` runs, with its images so far and its metrics as text.
        on_task_end: called with a `StudyTask` and its `TaskResult`.
        on_search_start: called with a `TuningPlan` and the records of the trials that earlier calls made.
        on_trial_progress: called while a trial runs, with its number, its images so far and its metrics as text.
        on_trial_end: called with the `TrialRecord` of each trial that ends.
    """

    progress: ProgressCallback = no_op
    log: LogFn = no_op
    on_run_start: Callable[[Any], None] = no_op
    on_step: StepCallback = no_op
    on_validation: Callable[[EpochRecord], None] = no_op
    on_stage_start: Callable[[Any, Sequence[Any], Sequence[Any]], None] = no_op
    on_task_progress: Callable[[Any, int, str], None] = no_op
    on_task_end: Callable[[Any, Any], None] = no_op
    on_search_start: Callable[[Any, Sequence[Any]], None] = no_op
    on_trial_progress: Callable[[int, int, str], None] = no_op
    on_trial_end: Callable[[Any], None] = no_op


NO_CALLBACKS = Callbacks()


@dataclass(frozen=True)
class RunContext:
    """Where work is done, and who hears of its progress.

    Attributes:
        runs: the folder of run folders.
        data_root: where catalogue data lives; None: CNNLAB_DATA, then the cache folder.
        device: auto, cpu, cuda or mps.
        download: whether data sets may be downloaded.
        threads: torch's threads in this process; None: as many as torch takes.
        process_group: the processes that train one network together.
        callbacks: called during the work.
    """

    runs: Path = Path("runs")
    data_root: Path | None = None
    device: str = "auto"
    download: bool = True
    threads: int | None = None
    process_group: ProcessGroup = SINGLE_PROCESS
    callbacks: Callbacks = NO_CALLBACKS

    @classmethod
    def of(
        cls,
        data: str | Path | None = None,
        device: str = "auto",
        callbacks: Callbacks = NO_CALLBACKS,
        runs: str | Path = "runs",
    ) -> Self:
        """The context that the arguments of a public function name."""
        return cls(Path(runs), Path(data) if data is not None else None, device, callbacks=callbacks)

    def with_callbacks(self, callbacks: Callbacks = NO_CALLBACKS) -> Self:
        """The same context with other callbacks; by default with none, as it is sent to another process."""
        return replace(self, callbacks=callbacks)


LOCAL = RunContext()
