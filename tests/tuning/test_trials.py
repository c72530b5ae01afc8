"""How trials are counted: as many as were asked for, whichever process runs them, and none lost with its process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from math import log10
from pathlib import Path
from typing import Any

import optuna
import pytest
import sklearn  # noqa: F401  (sets environment variables when it is first imported, as by Optuna where it is there)

from cnnlab.config.recipe import Recipe
from cnnlab.config.search import ParameterValues, Search
from cnnlab.tuning import optuna_backend
from cnnlab.tuning import trials as tuning_trials
from cnnlab.tuning.result import TrialRecord
from cnnlab.tuning.trials import MAX_RETRIES, TrialOutcome, TrialStore

States = optuna.trial.TrialState


@pytest.fixture
def search(recipe: Callable[..., Recipe]) -> Callable[..., Search]:
    """Makes a search of two parameters, of which only the first matters to the objectives here."""

    def make(**fields: Any) -> Search:
        usual: dict[str, Any] = {
            "search": {"lr": "log(1e-4, 1e-1)", "train.batch_size": [4, 8]},
            "use": {"train.optimizer": "sgd(lr)"},
        }
        return Search(base=recipe(), **{**usual, **fields})

    return make


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process counts as dead without a heartbeat for a second."""
    monkeypatch.setattr(optuna_backend, "GRACE_PERIOD_S", 1)
    monkeypatch.setattr(tuning_trials, "POLL_INTERVAL_S", 0.1)


def rate(_: optuna.Trial, values: ParameterValues) -> TrialOutcome:
    """An objective without a run: the learning rate."""
    return TrialOutcome("finished", value=float(values["lr"]))


class Killed(BaseException):
    """The process ends here, and nothing else is done."""


def kill(search: Search, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ParameterValues:
    """Run a trial in a process that is killed: its trial keeps running, without heartbeats."""
    seen: list[ParameterValues] = []

    def die(_: optuna.Trial, values: ParameterValues) -> TrialOutcome:
        seen.append(values)
        raise Killed

    with monkeypatch.context() as patch, closing(TrialStore(search, "search", folder)) as trials:
        patch.setattr(tuning_trials, "requeue", lambda *_, **__: None)
        patch.setattr(trials.study, "tell", lambda *_, **__: None)
        with pytest.raises(Killed):
            trials.run_next(die)
    return seen[0]


@pytest.mark.full
def test_processes_at_the_same_time_run_exactly_the_trials(search: Callable[..., Search], tmp_path: Path) -> None:
    wanted = search(trials=7, sampler="random")
    TrialStore(wanted, "race", tmp_path).close()
    records, ready = list[TrialRecord](), threading.Barrier(4)

    def work() -> None:
        with closing(TrialStore(wanted, "race", tmp_path)) as trials:
            ready.wait()
            trials.run_all(rate, records.append)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(TrialStore(wanted, "race", tmp_path)) as trials:
        assert len(records) == 7
        assert sorted(record.number for record in records) == [trial.number for trial in trials.records()]
        assert trials.run_next(rate) is None


@pytest.mark.usefixtures("_impatient")
def test_a_trial_whose_process_has_died_is_run_again_with_its_values(
    search: Callable[..., Search], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = search(trials=2)
    values = kill(wanted, tmp_path, monkeypatch)
    with closing(TrialStore(wanted, "search", tmp_path)) as trials:
        assert [record.status for record in trials.records()] == ["running"]
        trials.run_all(rate)
        # Which of the two runs first depends on when the lost heartbeat is noticed.
        other, repeated = sorted(trials.records(), key=lambda record: record.again)
        assert sorted((other.number, repeated.number)) == [1, 2]
        assert [(record.again, record.status) for record in (other, repeated)] == [(0, "finished"), (1, "finished")]
        assert repeated.params == values


@pytest.mark.full
@pytest.mark.usefixtures("_impatient")
def test_a_trial_whose_process_always_dies_has_failed(
    search: Callable[..., Search], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = search(trials=1)
    for _ in range(MAX_RETRIES + 1):
        kill(wanted, tmp_path, monkeypatch)
        time.sleep(2.5)
    with closing(TrialStore(wanted, "search", tmp_path)) as trials:
        trials.run_all(rate)
        (record,) = trials.records()
        assert (record.status, record.again) == ("failed", MAX_RETRIES)
        assert record.message == f"its process was ended {MAX_RETRIES + 1} times"


@pytest.mark.full
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_costs_no_retry(
    search: Callable[..., Search], tmp_path: Path, interruption: type[BaseException]
) -> None:
    seen: list[ParameterValues] = []

    def interrupted(_: optuna.Trial, values: ParameterValues) -> TrialOutcome:
        seen.append(values)
        raise interruption

    for _ in range(MAX_RETRIES + 2):
        with closing(TrialStore(search(trials=1), "search", tmp_path)) as trials, pytest.raises(interruption):
            trials.run_next(interrupted)
    with closing(TrialStore(search(trials=1), "search", tmp_path)) as trials:
        trials.run_all(rate)
        assert [(trial.status, trial.params) for trial in trials.records()] == [("finished", seen[0])]
    assert seen == [seen[0]] * (MAX_RETRIES + 2)


def test_a_trial_of_an_earlier_version_is_run_again(
    search: Callable[..., Search], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no heartbeat, and the name of its process instead."""
    with closing(TrialStore(search(trials=1), "search", tmp_path)) as trials:
        running = optuna.create_trial(state=States.RUNNING, user_attrs={"worker": "0123456789ab"})
        trials.study.add_trial(running)
        assert trials.run_next(rate) is None, "it may have just begun"
        monkeypatch.setattr(tuning_trials, "UNMARKED_TIMEOUT_S", -1)
        trials.run_all(rate)
        assert [trial.status for trial in trials.records()] == ["finished"]


@pytest.mark.full
def test_importance_is_with_the_parameter_that_matters(search: Callable[..., Search], tmp_path: Path) -> None:
    with closing(TrialStore(search(trials=40, sampler="random"), "search", tmp_path)) as trials:
        trials.run_all(rate)
        first, second = trials.param_importances()
    assert (first.name, second.name) == ("lr", "train.batch_size")
    assert first.share > 0.8
    assert first.share + second.share == pytest.approx(1)
    assert first.best == 5


@pytest.mark.full
def test_tpe_comes_closer_to_a_known_best_than_chance(search: Callable[..., Search], tmp_path: Path) -> None:
    """On (log10 lr + 2.3)² and a batch of 8: the mean of the last ten trials, over two seeds."""

    def loss(_: optuna.Trial, values: ParameterValues) -> TrialOutcome:
        distance = (log10(values["lr"]) + 2.3) ** 2
        return TrialOutcome("finished", value=distance + (values["train.batch_size"] != 8))

    means = dict[str, float]()
    for sampler in ("tpe", "random"):
        last = []
        for seed in range(2):
            wanted = search(trials=24, sampler=sampler, seed=seed, metric="validation_loss")
            with closing(TrialStore(wanted, f"{sampler}{seed}", tmp_path)) as trials:
                trials.run_all(loss)
                last += [trial.value for trial in trials.records()[-10:]]
        means[sampler] = sum(last) / len(last)
    assert means["tpe"] < means["random"] / 2
