"""`cnnlab study` in processes of its own: two at once, killed at any moment, and told to end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cnnlab.api.study import run_study
from cnnlab.cli.main import app
from cnnlab.cli.output.study_progress import StudyProgressBar
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.reports.study.view import arms_json
from cnnlab.storage.run_folder import list_runs
from cnnlab.storage.test_ledger import LEDGER

EPOCHS = 8
CODES = {"SIGINT": 130, "SIGTERM": 143}
STUDY = """
base = "tiny.toml"
baseline = "plain"
seeds = 3
baseline_seeds = 3
metric = "validation_loss"

[arms]
plain = {}
slow = { "train.optimizer" = "sgd(0.001)" }
"""
# `python -m cnnlab`, whose parent process writes down how each run ended.
PROGRAM = """
import runpy, sys
from pathlib import Path
journal = Path(sys.argv[1])
sys.argv = ["cnnlab", *sys.argv[2:]]
if __name__ == "__main__":
    from cnnlab.cli.output.study_progress import StudyProgressBar
    ended = StudyProgressBar.on_task_end
    def told(self, task, outcome):
        with journal.open("a") as file:
            file.write(f"{outcome.id} {outcome.status}\\n")
        ended(self, task, outcome)
    StudyProgressBar.on_task_end = told
    runpy.run_module("cnnlab", run_name="__main__")
"""
NOT_COMPARED = ("seconds", "images_per_second", "report")


@pytest.fixture(scope="module")
def written(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file of six runs."""
    folder = tmp_path_factory.mktemp("studies")
    recipe(opened="sealed", epochs=EPOCHS).write(folder / "tiny.toml")
    (folder / "study.toml").write_text(STUDY)
    return folder / "study.toml"


@pytest.fixture(scope="module")
def undisturbed(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """The table of the study with so many epochs a run, which nothing disturbs."""

    @cache
    def make(epochs: int) -> str:
        study = Study.read(written, {"train.epochs": epochs})
        result = run_study(study, runs=tmp_path_factory.mktemp("runs"), device="cpu")
        return table(json.dumps({**json.loads(result.to_json()), "arms": arms_json(result)}))

    return make


class Started(subprocess.Popen[str]):
    """The command, in a group of processes of its own, all of which are ended with it."""

    def __exit__(self, *_: Any) -> None:
        self.kill_all()
        super().__exit__(*_)

    def kill_all(self) -> None:
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def workers(self) -> list[int]:
        """Those of its processes that train."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        except OSError:  # they have just ended
            return []


def started(file: Path, runs: Path, *words: object, program: tuple[str, ...] = ("-m", "cnnlab")) -> Started:
    command = [sys.executable, *program, "study", str(file), "--runs", str(runs), "--device=cpu", "--json"]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell's background and nohup let their processes ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return Started([*command, *map(str, words)], env=surroundings, start_new_session=True, **pipes)
    finally:
        signal.signal(signal.SIGINT, before)


def table(printed: str) -> str:
    """What the command printed, but for times and the place of its report."""
    return json.dumps(_without_times(json.loads(printed)), indent=1, sort_keys=True)


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(item) for name, item in value.items() if name not in NOT_COMPARED}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def assert_each_once(runs: Path, count: int = 6, epochs: int = EPOCHS) -> None:
    folders = list_runs(runs)
    assert len(folders) == len({folder.recipe().to_toml() for folder in folders}) == count
    others = {path.name for path in runs.iterdir() if path.is_dir()} - {folder.name for folder in folders}
    assert others <= {".locks", "studies"}
    for folder in folders:
        assert folder.result() is not None
        assert [record.epoch for record in folder.epochs()] == list(range(1, epochs + 1))


def wait_until(there: Callable[[], object], process: Started) -> None:
    ends = time.monotonic() + 120
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.mark.slow
def test_two_commands_share_the_runs_of_one_study(
    written: Path, undisturbed: Callable[[int], str], tmp_path: Path
) -> None:
    """Each run is made by one of them; the other finds it. Both say the same."""
    journals = [tmp_path / "first", tmp_path / "second"]
    runs = tmp_path / "runs"
    programs = [("-c", PROGRAM, str(journal)) for journal in journals]
    with started(written, runs, program=programs[0]) as first, started(written, runs, program=programs[1]) as second:
        said = [process.communicate(timeout=300) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert [table(out) for out, _ in said] == [undisturbed(EPOCHS)] * 2
    assert_each_once(runs)
    lines = [line.split() for journal in journals if journal.exists() for line in journal.read_text().splitlines()]
    made = [task for task, how in lines if how == "done"]
    assert len(made) == len({*made}) == 6
    assert {how for _, how in lines} <= {"done", "found"}


@pytest.mark.slow
def test_two_commands_open_the_test_set_once(written: Path, tmp_path: Path) -> None:
    file = written.with_name("confirmed.toml")
    file.write_text(STUDY.replace("seeds = 3", "seeds = 3\nconfirm = 2", 1).replace('"plain"', '"slow"', 1))
    with started(file, tmp_path) as first, started(file, tmp_path) as second:
        said = [process.communicate(timeout=300) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert table(said[0][0]) == table(said[1][0])
    assert json.loads(said[0][0])["confirmation"]["winner"] == "plain"
    assert_each_once(tmp_path, 10)
    assert len((tmp_path / LEDGER).read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("sent", "to_all"),
    [
        pytest.param("SIGINT", True, marks=pytest.mark.full),
        pytest.param("SIGTERM", False, marks=pytest.mark.slow),
        pytest.param("SIGINT", False, marks=pytest.mark.slow),
        pytest.param("SIGTERM", True, marks=pytest.mark.slow),
    ],
)
def test_a_study_that_is_told_to_end_says_how_to_go_on(written: Path, tmp_path: Path, sent: str, to_all: bool) -> None:
    """Ctrl-C in a terminal reaches the workers too; a termination by its process id does not."""
    with started(written, tmp_path, "--jobs=2", "--set=train.epochs=10000") as told:
        wait_until(lambda: any(tmp_path.glob("*/metrics.jsonl")), told)
        workers = told.workers()
        (os.killpg if to_all else os.kill)(told.pid, getattr(signal, sent))
        out, err = told.communicate(timeout=60)
        gone = not any(is_alive(worker) for worker in workers)
    assert (told.returncode, out) == (CODES[sent], "")
    assert (len(workers), gone) == (2, True)
    assert "Traceback" not in err
    assert f"the runs are kept; go on with: cnnlab study {written} --runs {tmp_path}" in err


@pytest.mark.full
def test_a_study_that_is_cut_off_goes_on_with_its_other_runs(
    written: Path, undisturbed: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, in this process: it is terminated at the end of its second run."""
    words = ["study", str(written), "--runs", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["cnnlab", *words])
    ended = StudyProgressBar.on_task_end

    def terminated(self: StudyProgressBar, *told: Any) -> None:
        ended(self, *told)
        if self.ended_runs == 2:
            signal.raise_signal(signal.SIGTERM)

    words += ["--set", "train.epochs=1", "--device", "cpu", "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(StudyProgressBar, "on_task_end", terminated)
        done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (CODES["SIGTERM"], "")
    assert f"the runs are kept; go on with: cnnlab study {written} --runs {tmp_path}" in done.stderr
    again = CliRunner().invoke(app, words)
    assert "2 of 6 runs are finished already" in again.stderr
    assert table(again.stdout) == undisturbed(1)
    assert_each_once(tmp_path, epochs=1)


@pytest.mark.full
def test_workers_end_with_a_killed_study(written: Path, tmp_path: Path) -> None:
    """They would hold its runs, and the next study would wait for them."""
    with started(written, tmp_path, "--jobs=2", "--set=train.epochs=10000") as killed:
        wait_until(lambda: any(tmp_path.glob("*/metrics.jsonl")), killed)
        workers = killed.workers()
        assert len(workers) == 2
        os.kill(killed.pid, signal.SIGKILL)
        assert_ends(workers)


def assert_ends(processes: list[int]) -> None:
    ends = time.monotonic() + 20
    while any(is_alive(process) for process in processes):
        assert time.monotonic() < ends, "a worker outlives its study"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_study_that_is_killed_twenty_times_ends_like_an_undisturbed_one(
    written: Path, undisturbed: Callable[[int], str], tmp_path: Path
) -> None:
    """Killed at its start, or so many epochs and a moment later: all its processes, itself, or its workers alone."""
    drawn, long = random.Random(0), 40
    made: dict[str, str] = {}
    for _ in range(20):
        who, epochs = drawn.choice(["group", "study", "workers"]), drawn.randrange(10)
        with started(written, tmp_path, "--jobs=2", f"--set=train.epochs={long}") as killed:
            if epochs:
                before = _epochs(tmp_path)
                wait_until(lambda before=before, epochs=epochs: _epochs(tmp_path) >= before + epochs, killed)
                time.sleep(drawn.uniform(0, 0.1))
            else:
                time.sleep(drawn.uniform(0, 4))
            workers = killed.workers()
            for process in workers if who == "workers" else [killed.pid] if who == "study" else []:
                os.kill(process, signal.SIGKILL)
            if who == "workers":
                time.sleep(drawn.uniform(0, 4))  # others take their place
                workers = killed.workers()
            if who != "study":
                killed.kill_all()
            assert_ends(workers)
        now = {path.parent.name: path.read_text() for path in tmp_path.glob("*/result.json")}
        assert made.items() <= now.items(), "a finished run was made again, or lost"
        made = now
    assert len(made) < 6, "the study was over before it was killed for the last time"
    with started(written, tmp_path, "--jobs=2", f"--set=train.epochs={long}") as last:
        out, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert table(out) == undisturbed(long)
    assert_each_once(tmp_path, epochs=long)


def _epochs(runs: Path) -> int:
    """How many lines all learning curves have."""
    return sum(path.read_bytes().count(b"\n") for path in runs.glob("*/metrics.jsonl"))
