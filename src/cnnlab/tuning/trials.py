"""The trials of a search, kept in an Optuna study: ask, tell, and recover those whose process has died.

Optuna draws the values and judges whether a trial goes on. What is counted is ours: several processes, on one machine
or many, make exactly as many trials as were asked for. A trial is

- *surplus* where, of all trials with a number up to its own that count, there are more than were asked for. Numbers
  are given out by the storage, so that of two processes that ask at the same moment one sees this; it has no values.
- *lost* where its process has ended. Another trial with its values takes its place, and names it in `again`; its runs
  are gone on with.

All others count. A process holds a lock for as long as it lives, by which the others know that it does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cnnlab.config.arms import format_override
from cnnlab.config.search import ParameterValues, Search
from cnnlab.config.search_space import ScalarValue
from cnnlab.errors import UsageError
from cnnlab.tuning.live_workers import ASK_LOCK, WorkerRegistry
from cnnlab.tuning.optuna_backend import (
    load_optuna,
    new_pruner,
    new_sampler,
    open_storage,
    param_importances,
    silence_warnings,
    suggest,
)
from cnnlab.tuning.result import ImportanceRecord, TrialRecord, TrialStatus

if TYPE_CHECKING:
    import optuna

# What may differ between two calls for one study; everything else makes its trials incomparable.
MUTABLE_FIELDS = frozenset(
    ("question", "trials", "sampler", "pruner", "budget", "seed", "confirm", "smallest_difference", "alpha")
)
# A process that dies in a trial gives it up to so many more tries: the memory may be full for a moment.
MAX_RETRIES = 2
# A process writes its name into a trial at once; one that died before it could has left none.
UNNAMED_TIMEOUT_S = 60


@dataclass
class TrialOutcome:
    """How a trial ended, as its runs say it."""

    status: TrialStatus
    value: float | None = None
    last: float | None = None
    epochs: float = 0.0
    seconds: float = 0.0
    images: int = 0
    runs: list[str] = field(default_factory=list)
    found: bool = False
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class PendingTrial:
    """A trial to run."""

    number: int
    values: ParameterValues
    optuna_trial: optuna.Trial

    def report(self, value: float, step: int) -> None:
        """Report the metric at a step; a step that was reported before is skipped."""
        if step not in self.optuna_trial.storage.get_trial(self.optuna_trial._trial_id).intermediate_values:
            self.optuna_trial.report(value, step)

    def should_prune(self) -> bool:
        """Whether the pruner ends it, by what has been reported."""
        return bool(self.optuna_trial.should_prune())


class TrialStore:
    """The trials of one search. Within `with`, this process counts as one that works on it."""

    def __init__(self, search: Search, name: str, folder: Path, storage: str | None = None) -> None:
        """Args:
        name: what the study is called in the storage.
        folder: where the tuning's own files lie, the database among them unless `storage` is given.
        storage: an Optuna storage URL.
        """
        self.search, self.name, self.folder = search, name, folder
        self.workers = WorkerRegistry(folder)
        self.exit_stack = ExitStack()
        self.optuna = load_optuna()
        with self.lock("opening"), silence_warnings():
            self.storage = open_storage(storage, folder)
            self.study = self._load_study()
        self._check_same_search()

    def __enter__(self) -> Self:
        self.exit_stack.enter_context(self.workers.register())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._release_running()
        self.exit_stack.close()
        self.close()

    def close(self) -> None:
        """Let go of the storage."""
        self.storage.remove_session()
        engine = getattr(getattr(self.storage, "_backend", self.storage), "engine", None)
        if engine is not None:
            engine.dispose()

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Only one process at a time does this, of those that share the folder; the others wait."""
        return self.workers.lock(name)

    def get_attr(self, key: str) -> str | None:
        """What the study keeps beside its trials."""
        found = self.study.user_attrs.get(key)
        return None if found is None else str(found)

    def set_attr(self, key: str, text: str) -> None:
        """Keep something beside the trials, for all processes and later calls."""
        self.study.set_user_attr(key, text)

    def ask(self, should_continue: Callable[[], bool]) -> PendingTrial | None:
        """The next trial; None where all have been started, or `should_continue` says that the budget is spent."""
        with self.lock(ASK_LOCK), silence_warnings():
            self.requeue_lost()
            if not should_continue() or not self._enqueue_next():
                return None
            trial = self.study.ask()
            trial.set_user_attr("worker", self.workers.own_name)
            if self._is_surplus(trial.number):
                trial.set_user_attr("surplus", True)
                self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
                return None
            # A sampler of its own for each trial: what is drawn depends on (seed, number) and the trials before it,
            # and not on which process draws, nor on whether the search was cut off in between.
            self.study.sampler = new_sampler(self.search, trial.number)
            return PendingTrial(
                trial.number, self.search.sample(lambda name, space: suggest(trial, name, space)), trial
            )

    def tell(self, pending: PendingTrial, outcome: TrialOutcome) -> None:
        """Keep how a trial ended."""
        states = self.optuna.trial.TrialState
        # At once: each attribute is a write to the disk.
        pending.optuna_trial.set_user_attr("ended", vars(outcome))
        # One that diverged counts as pruned: a sampler ignores failed trials, and would suggest the same values again.
        state = {"finished": states.COMPLETE, "failed": states.FAIL}.get(outcome.status, states.PRUNED)
        with silence_warnings():
            value = outcome.value if state == states.COMPLETE else None
            self.study.tell(pending.optuna_trial, value, state=state, skip_if_finished=True)

    def requeue_lost(self, counted: bool = True) -> None:
        """Find the trials whose process has ended, and have them made again.

        Args:
            counted: whether they had it of themselves: one whose process always dies has failed at last.
        """
        running = self.optuna.trial.TrialState.RUNNING
        for trial in self.study.get_trials(deepcopy=False, states=(running,)):
            worker = trial.user_attrs.get("worker")
            if self.workers.is_dead(worker) if worker is not None else _is_old(trial):
                self._requeue(trial, tries=1 if counted else 0)
        self.workers.remove_dead()

    def others_running(self) -> bool:
        """Whether a process that is known to live is at a trial."""
        running = self.optuna.trial.TrialState.RUNNING
        trials = self.study.get_trials(deepcopy=False, states=(running,))
        return any(self.workers.is_alive(trial.user_attrs.get("worker", "")) for trial in trials)

    def records(self) -> tuple[TrialRecord, ...]:
        """The trials that count and have been started, in that order."""
        waiting = self.optuna.trial.TrialState.WAITING
        return tuple(self._record(trial) for trial in self._counted_trials() if trial.state != waiting)

    def budget_used(self) -> tuple[int, float]:
        """What all trials have taken: images trained on, and seconds of training."""
        outcomes = [_read_outcome(trial) for trial in self._counted_trials() if trial.state.is_finished()]
        return sum(one.images for one in outcomes), math.fsum(one.seconds for one in outcomes)

    def param_importances(self) -> tuple[ImportanceRecord, ...]:
        """How much each parameter matters, the most important first; empty with too few finished trials to tell."""
        finished = sum(trial.status == "finished" for trial in self.records())
        return param_importances(self.study, finished) if len(self.search.search) > 1 else ()

    def _load_study(self) -> optuna.Study:
        return self.optuna.create_study(
            storage=self.storage,
            study_name=self.name,
            direction="maximize" if self.search.higher_is_better else "minimize",
            load_if_exists=True,
            sampler=self.optuna.samplers.RandomSampler(seed=self.search.seed),
            pruner=new_pruner(self.search),
        )

    def _check_same_search(self) -> None:
        """Trials of another search are no trials of this one."""
        ours = Search.model_dump_json(self.search, exclude=set(MUTABLE_FIELDS))
        theirs = self.get_attr("search")
        if theirs is None:
            self.set_attr("search", ours)
        elif json.loads(theirs) != json.loads(ours):
            self.close()
            step = "give this search another name: --name NAME"
            what = f"'{self.name}' has trials of another search: its base, parameters, seeds or metric were different"
            raise UsageError(what, where=str(self.folder), next_step=step)

    def _enqueue_next(self) -> bool:
        """Whether a trial is left to begin; for a grid, its next combination is queued."""
        waiting = self.optuna.trial.TrialState.WAITING
        counted = self._counted_trials()
        if any(trial.state == waiting for trial in counted):
            return True
        if len(counted) >= self.search.trials:
            return False
        if self.search.sampler != "grid":
            return True
        taken = {trial.user_attrs.get("combination") for trial in counted}
        for number, values in enumerate(self.search.grid_values()):
            if number not in taken:
                self.study.enqueue_trial(values, user_attrs={"combination": number})
                return True
        return False

    def _release_running(self) -> None:
        """Leave the trial that this process is at to whoever goes on: it was told to end, and did not die of it."""
        running = self.optuna.trial.TrialState.RUNNING
        with self.lock(ASK_LOCK), silence_warnings():
            for trial in self.study.get_trials(deepcopy=False, states=(running,)):
                if trial.user_attrs.get("worker") == self.workers.own_name:
                    self._requeue(trial, tries=0)

    def _is_surplus(self, number: int) -> bool:
        return self.search.trials < len([trial for trial in self._counted_trials() if trial.number <= number])

    def _counted_trials(self) -> list[optuna.trial.FrozenTrial]:
        """The trials that are neither surplus nor lost."""
        trials = self.study.get_trials(deepcopy=False)
        lost = {number for trial in trials for number in trial.user_attrs.get("again", ())}
        return [trial for trial in trials if trial.number not in lost and not trial.user_attrs.get("surplus")]

    def _requeue(self, trial: optuna.trial.FrozenTrial, tries: int) -> None:
        """Let another trial with the same values take the place of one that is lost; it fails after many tries."""
        states = self.optuna.trial.TrialState
        total_tries = int(trial.user_attrs.get("tries", 0)) + tries
        if total_tries > MAX_RETRIES:
            outcome = TrialOutcome("failed", message=f"its process was ended {total_tries} times")
            self.storage.set_trial_user_attr(trial._trial_id, "ended", vars(outcome))
        elif trial.number not in {old for one in self.study.get_trials() for old in one.user_attrs.get("again", ())}:
            before = trial.user_attrs.get("again", [])
            kept = {key: trial.user_attrs[key] for key in ("combination",) if key in trial.user_attrs}
            again = {"again": [*before, trial.number], "tries": total_tries, **kept}
            self.study.enqueue_trial(trial.params, user_attrs=again)
        self.study.tell(trial.number, state=states.FAIL, skip_if_finished=True)

    def _record(self, trial: optuna.trial.FrozenTrial) -> TrialRecord:
        outcome = _read_outcome(trial) if trial.state.is_finished() else TrialOutcome("running")
        return TrialRecord(
            number=trial.number,
            params=trial.params,
            changes=describe_changes(self.search, trial.params),
            status=outcome.status,
            value=outcome.value if outcome.status == "finished" else None,
            last=outcome.last,
            epochs=outcome.epochs,
            seconds=outcome.seconds,
            runs=tuple(outcome.runs),
            found=outcome.found,
            code=outcome.code,
            again=len(trial.user_attrs.get("again", ())),
            message=outcome.message,
        )


def _is_old(trial: optuna.trial.FrozenTrial) -> bool:
    began = trial.datetime_start
    return began is not None and (datetime.now() - began).total_seconds() > UNNAMED_TIMEOUT_S


def _read_outcome(trial: optuna.trial.FrozenTrial) -> TrialOutcome:
    """What was kept of how a trial ended."""
    return TrialOutcome(**trial.user_attrs.get("ended", {"status": "failed", "message": "it was ended from outside"}))


def describe_changes(search: Search, values: Mapping[str, ScalarValue]) -> dict[str, str]:
    """What a trial changes of the base, as `--set` says it."""
    try:
        changes = search.changes(values)
    except KeyError:  # its process ended while the values were drawn
        return {}
    return {key: format_override(key, value).partition("=")[2] for key, value in changes.items()}
