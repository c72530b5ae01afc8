"""The tasks of a study carried out in other processes, which may die; by hand, and side by side."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnlab.config.study import Study
from cnnlab.context import RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.storage.lock import locked
from cnnlab.storage.run_folder import list_runs
from cnnlab.studies.plan import StudyTask, make_plan
from cnnlab.studies.tasks import LOCKS_FOLDER, TaskResult, exclusive, run_task
from cnnlab.studies.worker_pool import in_process, processes

Studies = Callable[..., Study]
Tables = Callable[..., str]
forked = pytest.mark.usefixtures("forked")
# Long enough that a report of each run reaches the parent while it goes on.
LONG = {"epochs": 60}


def kill() -> None:
    """End the workers at once."""
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGKILL)


def assert_nobody_is_left() -> None:
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.full)])
def test_who_carries_a_study_out_changes_nothing(
    study: Studies, lab: Any, table: Tables, tmp_path: Path, count: int
) -> None:
    """Nor does Ctrl-C in the terminal, which reaches them all: the parent alone answers it."""
    arms = {"plain": {}, "slow": {"train.optimizer": "sgd(0.001)"}, "wild": {"train.optimizer": "sgd(1e30)"}}
    expected = table(lab.carry_out(study(arms), in_process))
    lab.runs = tmp_path / "others"
    seen: set[int] = set()

    def heard(*_: object) -> None:
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGINT)
            seen.add(worker.pid)

    assert table(lab.carry_out(study(arms), processes(count), heard=heard)) == expected
    assert 0 < len(seen) <= count
    assert lab.counts() == {"done": 6}
    assert len(list_runs(lab.runs)) == 6
    assert_nobody_is_left()


@pytest.mark.full
@forked
def test_a_run_whose_process_dies_is_gone_on_with_by_another(study: Studies, lab: Any, table: Tables) -> None:
    """The second process finds the first one's epochs, and does not train them again."""
    long = study(base=LONG, seeds=1)
    kept: list[Any] = []

    def heard(task: StudyTask, images: int, _: str) -> None:
        if task.arm == "slow" and images > 24 * 3 and not kept:
            kill()
            kept.extend(lab.run_of("slow", 0).epochs())

    killed = lab.carry_out(long, processes(1), heard=heard)
    assert lab.counts() == {"done": 2}
    assert lab.run_of("slow", 0).epochs()[: len(kept) - 1] == kept[:-1]
    assert 0 < len(kept) < 60
    lab.assert_each_once(2, epochs=60)
    lab.runs = lab.runs.with_name("straight")
    assert table(killed) == table(lab.carry_out(long))


@pytest.mark.full
@forked
def test_a_run_whose_processes_always_die_has_failed_and_the_others_go_on(study: Studies, lab: Any) -> None:
    def heard(task: StudyTask, *_: object) -> None:
        if task.arm == "slow":
            kill()

    result = lab.carry_out(study(base=LONG, seeds=1), processes(1), heard=heard)
    assert lab.counts() == {"done": 1, "failed": 1}
    said = "its process was ended 2 times (exit code -9, as when the memory is full)"
    assert lab.failures() == {("slow", 0): said}
    assert [seed.status for seed in result.arm("slow").seeds] == ["failed"]
    assert result.notes == (f"'slow': {said}",)
    assert [seed.status for seed in result.arm("plain").seeds] == ["finished"]
    assert_nobody_is_left()


@forked
@pytest.mark.full
def test_a_process_that_dies_between_two_runs_takes_none_with_it(study: Studies, lab: Any) -> None:
    """It is found dead when it is given its next run."""
    plan = make_plan(study(seeds=1), "colours", RunContext(device="cpu"))
    place = RunContext(lab.runs, device="cpu")
    outcomes = processes(1)(plan.tasks(), place, plan.dataset_cache, lambda *_: None, lambda: True)
    ended = [next(outcomes).status]
    [worker] = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    ended += [outcome.status for outcome in outcomes]
    assert ended == ["done", "done"]
    lab.assert_each_once(2)


@pytest.mark.full
@forked
def test_an_executor_that_is_closed_ends_its_processes(study: Studies, lab: Any) -> None:
    """Whatever ends a study ends what it started, at once."""

    def heard(*_: object) -> None:
        raise lab.Cut

    with pytest.raises(lab.Cut):
        lab.carry_out(study(base={"epochs": 100_000}), processes(2), heard=heard)
    assert_nobody_is_left()


def test_a_run_that_another_process_is_at_is_waited_for(study: Studies, lab: Any) -> None:
    """It is asked for again after all others, and found when the other is done."""
    tasks = make_plan(study(), "colours", RunContext(device="cpu")).tasks()
    place, shelf = RunContext(lab.runs, device="cpu"), DatasetCache()
    claim = lab.runs / LOCKS_FOLDER / tasks[0].id
    claim.mkdir(parents=True)
    ended: list[TaskResult] = []
    with locked(claim, print):
        assert run_task(tasks[0], place, shelf, lambda *_: None).status == "busy"
        outcomes = in_process(tasks, place, shelf, lambda *_: None, lambda: True)
        ended += [next(outcomes) for _ in tasks[1:]]
    ended += outcomes
    assert [outcome.id for outcome in ended] == [task.id for task in (*tasks[1:], tasks[0])]
    assert run_task(tasks[0], place, shelf, lambda *_: None).status == "found"


def test_one_name_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    told: list[str] = []

    def hold(what: str) -> None:
        with exclusive(tmp_path, what, print):
            told.append(what)

    # A lock is of an opened file: threads wait for each other as processes do.
    others = [threading.Thread(target=hold, args=(what,)) for what in ("test", "another")]
    with exclusive(tmp_path, "test", print):
        for other in others:
            other.start()
        others[1].join(600)
        time.sleep(0.5)
        told.append("ours is over")
    others[0].join(600)
    assert told == ["another", "ours is over", "test"]
