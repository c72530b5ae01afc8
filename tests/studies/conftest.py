"""Studies that are carried out in a moment, what is heard of them, and what must be equal in two tables."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.context import Callbacks, RunContext
from cnnlab.storage.run_folder import RunFolder, list_runs
from cnnlab.studies import worker_pool
from cnnlab.studies.plan import StudyTask
from cnnlab.studies.result import StudyResult
from cnnlab.studies.study import execute_study
from cnnlab.studies.tasks import TaskResult
from cnnlab.studies.worker_pool import Executor, in_process

ARMS: dict[str, dict[str, Any]] = {"plain": {}, "slow": {"train.optimizer": "sgd(0.001)"}}
TIMES = ("seconds", "images_per_second")
OWN = (".locks", "studies")


@pytest.fixture(scope="session")
def study(recipe: Callable[..., Recipe]) -> Callable[..., Study]:
    """Makes a study of `colours`: two arms, two seeds, two epochs; the loss tells runs apart that are all right.

    Arguments are fields of the study; those in `base` are of its recipe.
    """

    def make(arms: dict[str, dict[str, Any]] = ARMS, base: dict[str, Any] | None = None, **fields: Any) -> Study:
        seeds = fields.setdefault("seeds", 2)
        given: dict[str, Any] = {"baseline": "plain", "baseline_seeds": seeds, "metric": "validation_loss", **fields}
        return Study(base=recipe(**{"opened": "sealed", **(base or {})}), arms=arms, **given)

    return make


class Cut(BaseException):
    """The process ends here."""


class Lab:
    """A runs folder, and what was heard of the study that was carried out there last."""

    Cut = Cut

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._forget()

    def carry_out(
        self, study: Study, executor: Executor = in_process, heard: Callable[..., None] | None = None, **options: Any
    ) -> StudyResult:
        """Carry a study out on the CPU; `heard` is told of each report of a run."""
        self._forget()
        audience = Callbacks(
            on_stage_start=lambda _plan, tasks, missing: self.planned.append((len(tasks), len(missing))),
            on_task_progress=heard or (lambda *_: None),
            on_task_end=lambda task, outcome: self.outcomes.append((task, outcome)),
            log=self.said.append,
        )
        given = {"name": "colours", **options}
        root = given.pop("root", None)
        return execute_study(
            study,
            context=RunContext(given.pop("runs", self.runs), root, "cpu", callbacks=audience),
            executor=executor,
            **given,
        )

    def counts(self) -> Counter[str]:
        """How many outcomes of each kind there were."""
        return Counter(outcome.status for _, outcome in self.outcomes)

    def failures(self) -> dict[tuple[str, int], str]:
        """What was said of the runs that failed, by arm and seed."""
        return {(task.arm, task.seed): one.message for task, one in self.outcomes if one.status == "failed"}

    def run_of(self, arm: str, seed: int) -> RunFolder:
        """The only run of an arm and a seed."""
        [folder] = [RunFolder(path.parent) for path in self.runs.glob(f"*-{arm}-s{seed}-*/recipe.toml")]
        return folder

    def assert_each_once(self, count: int, epochs: int = 2) -> None:
        """There are so many runs and no other folders; no two are of the same work; each has all its epochs once."""
        folders = list_runs(self.runs)
        work = {folder.name.partition("-s")[2] + folder.recipe().to_toml() for folder in folders}
        assert (len(folders), len(work)) == (count, count)
        assert {path.name for path in self.runs.iterdir() if path.is_dir()} - {*OWN} == {run.name for run in folders}
        for folder in folders:
            assert folder.result() is not None, folder.name
            assert [record.epoch for record in folder.epochs()] == list(range(1, epochs + 1)), folder.name

    def _forget(self) -> None:
        self.outcomes: list[tuple[StudyTask, TaskResult]] = []
        self.said: list[str] = []
        self.planned: list[tuple[int, int]] = []


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study's processes are forks of one that has loaded what an optimiser loads at its first step."""
    multiprocessing.set_forkserver_preload(["cnnlab.studies.study", "torch._dynamo"])
    monkeypatch.setattr(worker_pool, "START_METHOD", "forkserver")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "runs")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Study], tuple[Path, StudyResult]]:
    """Gives the runs folder of a study that was carried out, to be read only, and what it found; each is made once."""
    known: dict[str, tuple[Path, StudyResult]] = {}

    def find(study: Study) -> tuple[Path, StudyResult]:
        key = study.to_toml()
        if key not in known:
            own = Lab(tmp_path_factory.mktemp("made") / "runs")
            known[key] = own.runs, own.carry_out(study)
        return known[key]

    return find


@pytest.fixture
def carried(made: Callable[[Study], tuple[Path, StudyResult]], lab: Lab) -> Callable[[Study], StudyResult]:
    """Puts the runs and the folder of a study into the lab, as if it had been carried out there."""

    def put(study: Study) -> StudyResult:
        runs, result = made(study)
        shutil.copytree(runs, lab.runs)
        return result

    return put


@pytest.fixture(scope="session")
def table() -> Callable[[StudyResult | str], Any]:
    """All that a study found, as a record or as printed, but for times; in JSON's text, where NaN equals itself."""

    def make(result: StudyResult | str) -> str:
        text = result if isinstance(result, str) else result.to_json()
        return json.dumps(_without_times(json.loads(text)), indent=1, sort_keys=True)

    return make


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(item) for name, item in value.items() if name not in TIMES}
    return [_without_times(item) for item in value] if isinstance(value, list) else value
