"""Two processes at one study, and one that is killed again and again; the command: tests/e2e/test_study_faults.py."""

from __future__ import annotations

import multiprocessing
import random
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from cnnlab.config.study import Study
from cnnlab.storage.test_ledger import LEDGER
from cnnlab.studies.folder import read_result, study_folder

pytestmark = pytest.mark.usefixtures("forked")
CARRIER = str(Path(__file__).with_name("task_process.py"))
Studies = Callable[..., Study]
Tables = Callable[..., str]


@contextmanager
def carried_out(file: Path, runs: Path, journal: Path) -> Iterator[BaseProcess]:
    """A process of its own that carries out a study, ended with the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [CARRIER, str(file), str(runs), str(journal)])  # which the process is given too
        target, arguments = runpy.run_path, (CARRIER, None, "carrier")
        process = multiprocessing.get_context("forkserver").Process(target=target, args=arguments)
        process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def endings(*journals: Path) -> list[list[str]]:
    """Pairs of a run's id and how it ended."""
    return [line.split() for path in journals if path.exists() for line in path.read_text().splitlines()]


@pytest.fixture
def written(study: Studies, tmp_path: Path) -> Callable[..., Path]:
    """Writes a study to a file."""

    def make(**fields: Any) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(study(**fields).to_toml())
        return path

    return make


@pytest.mark.full
def test_two_processes_at_one_study_share_its_runs(
    study: Studies, written: Callable[..., Path], lab: Any, table: Tables, tmp_path: Path
) -> None:
    """Each run is made by one of them; the other finds it. Both say the same, and one opens the test set."""
    arms = {"plain": {"train.optimizer": "sgd(1e-9)"}, "fast": {}}
    fields = {"arms": arms, "base": {"epochs": 8}, "seeds": 3, "confirm": 2}
    file, journals = written(**fields), [tmp_path / "first", tmp_path / "second"]
    with carried_out(file, lab.runs, journals[0]) as first, carried_out(file, lab.runs, journals[1]) as second:
        first.join(600)
        second.join(600)
    assert (first.exitcode, second.exitcode) == (0, 0)
    lab.assert_each_once(10, epochs=8)
    made = [task for task, how in endings(*journals) if how == "done"]
    assert len(made) == len({*made}) == 10
    assert {how for _, how in endings(*journals)} <= {"done", "found"}
    assert len((lab.runs / LEDGER).read_text().splitlines()) == 1
    found = table(read_result(study_folder(lab.runs, "colours")))
    lab.runs = tmp_path / "straight"
    assert found == table(lab.carry_out(study(**fields)))


@pytest.mark.slow
def test_a_study_that_is_killed_again_and_again_ends_like_an_undisturbed_one(
    study: Studies, written: Callable[..., Path], lab: Any, table: Tables, tmp_path: Path
) -> None:
    """At its start, or so many files and a moment later."""
    fields = {"base": {"epochs": 10}, "seeds": 3}
    file, drawn = written(**fields), random.Random(0)
    made: dict[str, str] = {}
    for _ in range(8):
        with carried_out(file, lab.runs, tmp_path / "journal") as killed:
            before, more = changes(lab.runs), drawn.randrange(8)
            while more and killed.is_alive() and changes(lab.runs) < before + more:
                time.sleep(0.002)
            time.sleep(drawn.uniform(0, 0.03 if more else 1))
            killed.kill()
            killed.join()
        now = {path.parent.name: path.read_text() for path in lab.runs.glob("*/result.json")}
        assert made.items() <= now.items(), "a finished run was made again, or lost"
        made = now
    assert 0 < len(made) < 6, "the study was over, or had not begun, when it was killed for the last time"
    with carried_out(file, lab.runs, tmp_path / "journal") as last:
        last.join(600)
    assert last.exitcode == 0
    lab.assert_each_once(6, epochs=10)
    done = [task for task, how in endings(tmp_path / "journal") if how == "done"]
    assert len(done) == len({*done})
    found = table(read_result(study_folder(lab.runs, "colours")))
    lab.runs = tmp_path / "straight"
    assert found == table(lab.carry_out(study(**fields)))


def changes(runs: Path) -> int:
    """How far a study is: the lines of all learning curves, and the files of all runs."""
    return sum(path.read_bytes().count(b"\n") for path in runs.glob("*/metrics.jsonl")) + len([*runs.glob("*/*")])
