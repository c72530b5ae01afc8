"""The trials of a search, kept in an Optuna study that several processes may work on at the same time.

Optuna samples the values, decides on pruning, and finds trials whose process has died by their heartbeats. Such a
trial is *lost*: another one with its values is queued, which names it in `again` and continues its runs. All other
trials that have been started count.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from cnnlab.config.arms import format_override
from cnnlab.config.search import ParameterValues, Search
from cnnlab.config.search_space import ScalarValue
from cnnlab.context import no_op
from cnnlab.errors import UsageError
from cnnlab.studies.tasks import exclusive
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

# Fields that may differ between two calls for one search; any other difference makes its trials incomparable.
MUTABLE_FIELDS = frozenset(
    ("question", "trials", "sampler", "pruner", "budget", "seed", "confirm", "smallest_difference", "alpha")
)
# A trial whose process dies is retried this many times: the machine's memory may have been full for a moment.
MAX_RETRIES = 2
# A trial is marked when its heartbeat has begun. One without the mark died before that, or is of an earlier version.
UNMARKED_TIMEOUT_S = 60
POLL_INTERVAL_S = 0.5


@dataclass
class TrialOutcome:
    """How a trial ended, by its runs."""

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


# Runs a trial with these values.
Objective: TypeAlias = "Callable[[optuna.Trial, ParameterValues], TrialOutcome]"


class NoResultError(Exception):
    """Raised to Optuna for a trial that failed."""


class TrialStore:
    """The trials of one search."""

    def __init__(self, search: Search, name: str, folder: Path, storage: str | None = None) -> None:
        """Open the storage, or create it.

        Args:
            name: the study's name in the storage.
            folder: the search's folder; the database is there unless `storage` is given.
            storage: an Optuna storage URL.

        Raises:
            UsageError: Optuna is not installed, the storage can't be opened, or it has trials of another search.
        """
        self.search, self.name, self.folder = search, name, folder
        self.num_trials = search.num_trials
        self.optuna = load_optuna()
        with self.lock("opening"), silence_warnings():
            self.storage = open_storage(storage, folder, requeue)
            self.study = self.optuna.create_study(
                storage=self.storage,
                study_name=self.name,
                direction="maximize" if search.higher_is_better else "minimize",
                load_if_exists=True,
                pruner=new_pruner(search),
            )
            self._check_same_search()
            if search.sampler == "grid":
                self._queue_grid()

    def close(self) -> None:
        """Close the storage's connections."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def lock(self, name: str) -> AbstractContextManager[None]:
        """A named lock among the processes that share the folder."""
        return exclusive(self.folder, name, no_op)

    def get_attr(self, key: str) -> str | None:
        """A text that was kept beside the trials."""
        found = self.study.user_attrs.get(key)
        return None if found is None else str(found)

    def set_attr(self, key: str, text: str) -> None:
        """Keep a text beside the trials, for all processes and later calls."""
        self.study.set_user_attr(key, text)

    def run_all(self, objective: Objective, on_end: Callable[[TrialRecord], None] = no_op) -> None:
        """Run trials until all have ended or the budget is spent; trials of other processes are waited for."""
        while True:
            record = self.run_next(objective)
            if record is not None:
                on_end(record)
            elif not self._trials(self.optuna.trial.TrialState.RUNNING):
                return
            else:
                time.sleep(POLL_INTERVAL_S)

    def run_next(self, objective: Objective) -> TrialRecord | None:
        """Run one trial; None where no trial is left to start."""
        self._requeue_lost()
        records: list[TrialRecord] = []
        with ExitStack() as starting, silence_warnings():
            # Until the trial counts, so that no other process starts one in its place.
            starting.enter_context(self.lock("starting"))
            if not self._has_room():
                return None
            self.study.optimize(
                lambda trial: self._run(trial, objective, starting),
                n_trials=1,
                catch=NoResultError,
                callbacks=[lambda _, trial: records.append(self._record(trial))],
            )
        return records[0]

    def records(self) -> tuple[TrialRecord, ...]:
        """The trials that count, by number."""
        return tuple(map(self._record, self._counted_trials()))

    def budget_used(self) -> tuple[int, float]:
        """The images and the seconds that all trials were trained for."""
        outcomes = [_read_outcome(trial) for trial in self._counted_trials() if trial.state.is_finished()]
        return sum(one.images for one in outcomes), math.fsum(one.seconds for one in outcomes)

    def param_importances(self) -> tuple[ImportanceRecord, ...]:
        """The importance of each parameter, the highest first; empty where there are too few finished trials."""
        finished = sum(trial.status == "finished" for trial in self.records())
        return param_importances(self.study, finished) if len(self.search.search) > 1 else ()

    def _run(self, trial: optuna.Trial, objective: Objective, starting: ExitStack) -> float | None:
        """The objective as Optuna takes it; it closes `starting` once the trial has begun."""
        trial.set_user_attr("started", True)
        starting.close()
        # A sampler of its own for each trial: its values depend on (seed, number) and the trials before it, and not on
        # which process samples, nor on whether the search was interrupted in between.
        self.study.sampler = new_sampler(self.search, trial.number)
        try:
            outcome = objective(trial, self.search.sample(lambda name, space: suggest(trial, name, space)))
        except BaseException as error:
            requeue(self.study, trial, counted=False)
            if not isinstance(error, (Exception, KeyboardInterrupt)):  # Optuna lets others through
                self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
            raise
        # At once: each attribute is a write to the disk.
        trial.set_user_attr("ended", vars(outcome))
        if outcome.status == "failed":
            raise NoResultError
        if outcome.status != "finished":
            # A diverged trial is pruned for Optuna: samplers ignore failed trials, and would suggest its values again.
            raise self.optuna.TrialPruned
        return outcome.value

    def _has_room(self) -> bool:
        is_spent = self.search.budget.is_exhausted(*self.budget_used())
        return not is_spent and len(self._counted_trials()) < self.num_trials

    def _requeue_lost(self) -> None:
        """Fail the trials whose process has died, so that another process continues them."""
        states = self.optuna.trial.TrialState
        with silence_warnings():
            self.optuna.storages.fail_stale_trials(self.study)
            for trial in self._trials(states.RUNNING):
                if "started" not in trial.user_attrs and _age_s(trial) > UNMARKED_TIMEOUT_S:
                    self.study.tell(trial.number, state=states.FAIL, skip_if_finished=True)
                    requeue(self.study, trial)

    def _check_same_search(self) -> None:
        """Trials of another search are no trials of this one."""
        ours = self.search.model_dump_json(exclude=set(MUTABLE_FIELDS))
        theirs = self.get_attr("search")
        if theirs is None:
            self.set_attr("search", ours)
        elif _without_claims(theirs) != _without_claims(ours):
            self.close()
            step = "give this search another name: --name NAME"
            what = f"'{self.name}' has trials of another search: its base, parameters, seeds or metric were different"
            raise UsageError(what, where=str(self.folder), next_step=step)

    def _queue_grid(self) -> None:
        """Queue the combinations of the grid that have no trial yet."""
        queued = {trial.user_attrs.get("combination") for trial in self._trials()}
        for number, values in enumerate(islice(self.search.grid_values(), self.num_trials)):
            if number not in queued:
                self.study.enqueue_trial(values, user_attrs={"combination": number})

    def _trials(self, *states: optuna.trial.TrialState) -> list[optuna.trial.FrozenTrial]:
        trials: list[optuna.trial.FrozenTrial] = self.study.get_trials(deepcopy=False, states=states or None)
        return trials

    def _counted_trials(self) -> list[optuna.trial.FrozenTrial]:
        """The trials that have been started and are not lost."""
        trials, waiting = self._trials(), self.optuna.trial.TrialState.WAITING
        lost = {number for trial in trials for number in trial.user_attrs.get("again", ())}
        # Earlier versions marked trials that two processes began at the same moment as surplus.
        started = [trial for trial in trials if trial.state != waiting and "surplus" not in trial.user_attrs]
        return [trial for trial in started if trial.number not in lost]

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


def requeue(study: optuna.Study, trial: optuna.Trial | optuna.trial.FrozenTrial, counted: bool = True) -> None:
    """Queue another trial with the values of one that is lost, unless it was retried before too often.

    Args:
        counted: whether it counts as a retry; an interrupted trial does not.
    """
    tries = int(trial.user_attrs.get("tries", 0)) + counted
    if tries <= MAX_RETRIES:
        again = {"again": [*trial.user_attrs.get("again", ()), trial.number], "tries": tries}
        combination = {key: value for key, value in trial.user_attrs.items() if key == "combination"}
        study.enqueue_trial(trial.params, user_attrs={**again, **combination})


def describe_changes(search: Search, values: Mapping[str, ScalarValue]) -> dict[str, str]:
    """What a trial changes of the base, by dotted key, as `--set` takes it."""
    try:
        changes = search.changes(values)
    except KeyError:  # its process ended while the values were sampled
        return {}
    return {key: format_override(key, value).partition("=")[2] for key, value in changes.items()}


def _age_s(trial: optuna.trial.FrozenTrial) -> float:
    start = trial.datetime_start
    return 0.0 if start is None else (datetime.now() - start).total_seconds()


def _read_outcome(trial: optuna.trial.FrozenTrial) -> TrialOutcome:
    """How a finished trial ended."""
    if "ended" in trial.user_attrs:
        return TrialOutcome(**trial.user_attrs["ended"])
    tries = int(trial.user_attrs.get("tries", 0)) + 1
    return TrialOutcome("failed", message=f"its process was ended {tries} times")


def _without_claims(search: str) -> dict[str, Any]:
    """A search's JSON without the claims of its base, which no trial depends on."""
    tables: dict[str, Any] = json.loads(search)
    tables["base"].pop("claims", None)
    return tables
