"""The result of a search: frozen records, read from and written to JSON. No torch, no Optuna."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self, TypeAlias

from cnnlab.records import Record, SafeFilename
from cnnlab.render.result import Result
from cnnlab.studies.result import UNCONFIRMED, UNTESTED, Confirmation

ParamValue: TypeAlias = int | float | bool | str
# `diverged` and `failed` have no metric; `pruned` was ended early, and has that of its last validation.
TrialStatus: TypeAlias = Literal["finished", "pruned", "diverged", "failed", "running"]


class ParameterRecord(Record):
    """A parameter and its space; `options` are those of a choice, in the order of the file."""

    name: str
    space: str
    log: bool
    options: tuple[str, ...] = ()


class TrialRecord(Record):
    """One trial: its values and its outcome.

    Attributes:
        number: from 0, in the order in which trials were started.
        value: the metric's mean over the seeds; only a finished trial has one.
        last: the metric at the last validation; a pruned trial was judged by it.
        epochs: trained in all its runs.
        seconds: of training in all its runs, without runs that another trial had made before.
        runs: the names of its run folders.
        found: whether another trial had made all of them before.
        code: the digest of the code that made them.
        again: how often it was restarted.
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
    """The unchanged base recipe with the seeds of the trials."""

    status: TrialStatus
    value: float | None
    seconds: float
    runs: tuple[SafeFilename, ...]
    message: str = ""


class ImportanceRecord(Record):
    """The importance of a parameter for the best trials, `best` of them; all shares add up to 1."""

    name: str
    share: float
    best: int


class TuningPlanSummary(Result):
    """A search before it runs.

    Attributes:
        runs: of the trials, of the baseline, and of both with fresh seeds.
        seconds: for all of them, one after the other, if none is ended early; None where no speed was measured.
        basis: where the seconds come from.
        detectable: the smallest true difference on the test set that the fresh seeds find with a power of 80 %; None
            without a confirmation, or where the metric is no accuracy.
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
    """The result of a search.

    Attributes:
        metric: SPLIT_METRIC, such as validation_accuracy.
        seeds: runs in a trial.
        wanted: the number of requested trials; `trials` has those that were started.
        best: the finished trial with the best value; chosen from `chosen_from` finished trials.
        confirmation: the best trial against the baseline with fresh seeds, on the test set.
        importance: empty where there are too few finished trials.
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
        """Whether the requested confirmation could not be made."""
        return any(note.startswith((UNCONFIRMED, UNTESTED)) for note in self.notes)

    def with_status(self, status: TrialStatus) -> tuple[TrialRecord, ...]:
        """The trials with a status."""
        return tuple(trial for trial in self.trials if trial.status == status)

    def best_so_far(self) -> Iterator[tuple[int, float]]:
        """(trial, value) at each trial that was better than all before it."""
        best: float | None = None
        for trial in self.trials:
            if trial.value is not None and (best is None or is_better(trial.value, best, self.higher_is_better)):
                best = trial.value
                yield trial.number, best


def is_better(one: float, other: float, higher_is_better: bool) -> bool:
    """Whether one metric is better than another."""
    return one > other if higher_is_better else one < other
