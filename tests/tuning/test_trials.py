"""How trials are counted: as many as were asked for, whoever asks, and none lost with its process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import log10
from pathlib import Path
from typing import Any

import optuna
import pytest
import sklearn  # noqa: F401  (sets environment variables when it is first imported, as by Optuna where it is there)

from cnnlab.config.recipe import Recipe
from cnnlab.config.search import Search
from cnnlab.storage.lock import locked
from cnnlab.tuning import trials as tuning_trials
from cnnlab.tuning.trials import MAX_RETRIES, PendingTrial, TrialOutcome, TrialStore

States = optuna.trial.TrialState


@pytest.fixture
def search(recipe: Callable[..., Recipe]) -> Callable[..., Search]:
    """Makes a search of two parameters, of which only the first matters to what the tests tell it."""

    def make(**fields: Any) -> Search:
        usual: dict[str, Any] = {
            "search": {"lr": "log(1e-4, 1e-1)", "train.batch_size": [4, 8]},
            "use": {"train.optimizer": "sgd(lr)"},
        }
        return Search(base=recipe(), **{**usual, **fields})

    return make


@contextmanager
def doomed(search: Search, folder: Path) -> Iterator[TrialStore]:
    """A process that is killed at the end: its lock is free then, and nothing else has been done."""
    trials = TrialStore(search, "search", folder)
    place = folder / "workers" / trials.workers.own_name
    place.mkdir(parents=True)
    with locked(place, print):
        yield trials
    trials.close()


def always() -> bool:
    return True


def finish(trials: TrialStore, value: Callable[[PendingTrial], float] = lambda asked: asked.values["lr"]) -> None:
    """Ask for all trials, and tell a value of each without a run."""
    while (asked := trials.ask(always)) is not None:
        trials.tell(asked, TrialOutcome("finished", value=value(asked)))


@pytest.mark.full
@pytest.mark.parametrize("locks", [True, pytest.param(False, marks=pytest.mark.full)], ids=["locks", "no locks"])
def test_many_that_ask_at_once_get_exactly_the_trials(
    search: Callable[..., Search], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    """Without locks, as on a file system that has none, the numbers of the storage alone keep the count."""
    wanted = search(trials=7, sampler="random")  # to keep quiet is not for threads
    TrialStore(wanted, "race", tmp_path).close()

    @contextmanager
    def unlocked(*_: object) -> Iterator[None]:
        yield

    if not locks:
        monkeypatch.setattr(TrialStore, "lock", unlocked)
    numbers, ready = list[int](), threading.Barrier(4)

    def work() -> None:
        with TrialStore(wanted, "race", tmp_path) as trials:
            ready.wait()
            while (asked := trials.ask(always)) is not None:
                numbers.append(asked.number)
                trials.tell(asked, TrialOutcome("finished", value=asked.values["lr"]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with TrialStore(wanted, "race", tmp_path) as trials:
        assert len(numbers) == len(set(numbers)) == 7
        assert sorted(numbers) == [trial.number for trial in trials.records()]
        assert trials.ask(always) is None
        surplus = [trial for trial in trials.study.trials if trial.state == States.FAIL]
        assert all(not trial.params for trial in surplus), "nothing is drawn for a trial too many"


@pytest.mark.full
def test_who_saw_room_a_moment_too_early_gets_no_trial(
    search: Callable[..., Search], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = search(trials=2)
    with TrialStore(wanted, "search", tmp_path) as trials, TrialStore(wanted, "search", tmp_path) as late:
        monkeypatch.setattr(late, "_enqueue_next", always)  # it looked when there was none
        assert trials.ask(always) is not None
        assert late.ask(always) is not None
        assert late.ask(always) is None
        assert [trial.number for trial in late.records()] == [0, 1]
        (surplus,) = [trial for trial in late.study.trials if trial.user_attrs.get("surplus")]
        assert (surplus.state, surplus.params) == (States.FAIL, {})
    with TrialStore(search(trials=3), "search", tmp_path) as more:
        assert more.ask(always) is not None, "one that was too many takes no place later"
        assert len(more.records()) == 3


def test_a_trial_whose_process_has_ended_is_made_again_with_its_values(
    search: Callable[..., Search], tmp_path: Path
) -> None:
    wanted = search(trials=2)
    with TrialStore(wanted, "search", tmp_path) as trials:
        with doomed(wanted, tmp_path) as dying:
            lost = dying.ask(always)
            assert lost is not None
            assert trials.others_running()
            other = trials.ask(always)
            assert other is not None
            assert other.number == 1, "a process that lives keeps its trial"
        again = trials.ask(always)
        assert again is not None
        assert again.values == lost.values
        for asked in (other, again):
            trials.tell(asked, TrialOutcome("finished", value=1.0))
        assert trials.ask(always) is None
        assert not trials.others_running()
        assert [(trial.number, trial.again) for trial in trials.records()] == [(1, 0), (again.number, 1)]


@pytest.mark.full
def test_one_that_always_dies_has_failed_at_last(search: Callable[..., Search], tmp_path: Path) -> None:
    wanted = search(trials=1)
    for _ in range(MAX_RETRIES + 1):
        with doomed(wanted, tmp_path) as dying:
            assert dying.ask(always) is not None
    with TrialStore(wanted, "search", tmp_path) as trials:
        assert trials.ask(always) is None
        (record,) = trials.records()
        assert (record.status, record.again) == ("failed", MAX_RETRIES)
        assert record.message == f"its process was ended {MAX_RETRIES + 1} times"


@pytest.mark.full
def test_one_whose_process_was_told_to_end_costs_no_try(search: Callable[..., Search], tmp_path: Path) -> None:
    values = []

    def interrupted() -> None:
        with TrialStore(search(trials=1), "search", tmp_path) as trials:
            asked = trials.ask(always)
            assert asked is not None
            values.append(asked.values)
            raise KeyboardInterrupt

    for _ in range(MAX_RETRIES + 2):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    with TrialStore(search(trials=1), "search", tmp_path) as trials:
        finish(trials)
        assert [trial.status for trial in trials.records()] == ["finished"]
        assert [trial.params for trial in trials.records()] == values[:1]
    assert values == [values[0]] * (MAX_RETRIES + 2)


def test_one_that_nobody_has_put_a_name_to_is_made_again(
    search: Callable[..., Search], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TrialStore(search(trials=1), "search", tmp_path) as trials:
        trials.study.ask()  # and here the process has died
        assert trials.ask(always) is None, "it may be a moment old, and of another machine"
        monkeypatch.setattr(tuning_trials, "UNNAMED_TIMEOUT_S", -1)
        finish(trials)
        assert [trial.status for trial in trials.records()] == ["finished"]


def test_of_a_process_elsewhere_nothing_is_known(search: Callable[..., Search], tmp_path: Path) -> None:
    """One of another machine, with a runs folder of its own, on the same storage."""
    wanted, storage = search(trials=1), f"sqlite:///{tmp_path}/shared.db"
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    with TrialStore(wanted, "search", tmp_path / "there", storage) as there:
        assert there.ask(always) is not None
        with TrialStore(wanted, "search", tmp_path / "here", storage) as here:
            assert here.ask(always) is None
            assert not here.others_running()
            assert [trial.status for trial in here.records()] == ["running"]


@pytest.mark.full
def test_importance_is_with_the_parameter_that_matters(search: Callable[..., Search], tmp_path: Path) -> None:
    with TrialStore(search(trials=40, sampler="random"), "search", tmp_path) as trials:
        finish(trials)
        first, second = trials.param_importances()
    assert (first.name, second.name) == ("lr", "train.batch_size")
    assert first.share > 0.8
    assert first.share + second.share == pytest.approx(1)
    assert first.best == 5


@pytest.mark.full
def test_of_few_trials_no_importance_is_told(search: Callable[..., Search], tmp_path: Path) -> None:
    with TrialStore(search(trials=9), "search", tmp_path) as trials:
        finish(trials)
        assert trials.param_importances() == ()


@pytest.mark.full
def test_tpe_comes_closer_to_a_known_best_than_chance(search: Callable[..., Search], tmp_path: Path) -> None:
    """On (log10 lr + 2.3)² and a batch of 8: the mean of the last ten trials, over two seeds."""

    def loss(asked: PendingTrial) -> float:
        return (log10(asked.values["lr"]) + 2.3) ** 2 + (asked.values["train.batch_size"] != 8)

    means = dict[str, float]()
    for sampler in ("tpe", "random"):
        last = []
        for seed in range(2):
            wanted = search(trials=24, sampler=sampler, seed=seed, metric="validation_loss")
            with TrialStore(wanted, f"{sampler}{seed}", tmp_path) as trials:
                finish(trials, loss)
                last += [trial.value for trial in trials.records()[-10:]]
        means[sampler] = sum(last) / len(last)
    assert means["tpe"] < means["random"] / 2
