"""What a search found: frozen records, JSON in and out. No torch, no Optuna."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self, TypeAlias

from cnnlab.records import Record, SafeFilename
from cnnlab.render.result import Result
from cnnlab.studies.result import UNCONFIRMED, UNTESTED, Confirmation

ParamValue: TypeAlias = int | float | bool | str
# `diverged` and `failed` have no figure; `pruned` was ended early and has only that of its last validation.
TrialStatus: TypeAlias = Literal["finished", "pruned", "diverged", "failed", "running"]


class ParameterRecord(Record):
    """A parameter and the values that it may take; `options` are those of a choice, in the order of the file."""

    name: str
    space: str
    log: bool
    options: tuple[str, ...] = ()


class TrialRecord(Record):
    """One trial: its values, and what came out.

    Attributes:
        number: from 0, in the order in which trials were started.
        value: the metric's mean over the seeds; only a finished trial has one.
        last: the metric at the last validation that was made; what a pruned trial was judged by.
        epochs: that were trained, over all its runs.
        seconds: of training, over all its runs; those that another trial has made before are counted there.
        runs: the names of its run folders.
        found: whether all of them were there already.
        code: the digest of the code that made them.
        again: how many times it was restarted because its process had ended.
    """

    number: int
    params: dict[str, ParamValue]
    changes: dict[str, str]
    status: TrialStatus
    value: float | None = None
    last: float | None = None
    epochs: float = 0.0
    seconds: float = 0.0
    runs: tuple[SafeFilename, ...] = ()
    found: bool = False
    code: str = ""
    again: int = 0
    message: str = ""


class BaselineRecord(Record):
    """The base recipe as it is, with the seeds of the trials."""

    status: TrialStatus
    value: float | None
    seconds: float
    runs: tuple[SafeFilename, ...]
    message: str = ""


class ImportanceRecord(Record):
    """How much of what sets the best trials, `best` of them, apart is one parameter's; all shares make 1."""

    name: str
    share: float
    best: int


class TuningPlanSummary(Result):
    """A search before it runs.

    Attributes:
        runs: of the trials, of the baseline, and of both with fresh seeds.
        seconds: for all of them, one after the other, if none is ended early; None where no speed was measured.
        basis: where the seconds come from.
        detectable: the smallest true difference on the test set that the fresh seeds find in 80 % of searches; None
            where nothing is confirmed, or the metric is no share of images.
    """

    study: str
    question: str
    parameters: tuple[ParameterRecord, ...]
    trials: int
    seeds: int
    confirm: int
    sampler: str
    pruner: str
    runs: int
    images: int
    seconds: float | None
    basis: str
    detectable: float | None


class TuningResult(Result):
    """All that a search found.

    Attributes:
        metric: part_figure, such as validation_accuracy; `higher_is_better` says how it is read.
        seeds: runs in a trial.
        wanted: how many trials were asked for; `trials` has those that were started.
        best: the finished trial with the best value; chosen from `chosen_from` finished trials.
        confirmation: the best trial against the baseline with fresh seeds, on the test set.
        importance: empty where there are too few finished trials to tell.
        notes: what a reader must know.
    """

    study: str
    question: str
    metric: str
    higher_is_better: bool
    smallest_difference: float | None
    alpha: float
    data: str
    images: int
    sampler: str
    pruner: str
    seeds: int
    wanted: int
    parameters: tuple[ParameterRecord, ...]
    trials: tuple[TrialRecord, ...]
    best: TrialRecord | None
    chosen_from: int
    baseline: BaselineRecord
    importance: tuple[ImportanceRecord, ...] = ()
    confirmation: Confirmation | None = None
    notes: tuple[str, ...] = ()
    precision: str
    memory_format: str
    device: str
    seconds: float
    complete: bool

    @property
    def result(self) -> Self:
        """The result itself: earlier versions returned it within a view."""
        return self

    @property
    def is_untested(self) -> bool:
        """Whether the search asks for a confirmation that could not be had."""
        return any(note.startswith((UNCONFIRMED, UNTESTED)) for note in self.notes)

    def with_status(self, status: TrialStatus) -> tuple[TrialRecord, ...]:
        """The trials that ended so."""
        return tuple(trial for trial in self.trials if trial.status == status)

    def best_so_far(self) -> Iterator[tuple[int, float]]:
        """(trial, value) at each trial that was better than all before it."""
        best: float | None = None
        for trial in self.trials:
            if trial.value is not None and (best is None or is_better(trial.value, best, self.higher_is_better)):
                best = trial.value
                yield trial.number, best


def is_better(one: float, other: float, higher_is_better: bool) -> bool:
    """Whether a figure beats another."""
    return one > other if higher_is_better else one < other
