"""Searches from end to end, with trials that are trained in a moment."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from cnnlab.config.recipe import Recipe
from cnnlab.config.search import Search
from cnnlab.context import NO_CALLBACKS, Callbacks, RunContext
from cnnlab.errors import RunError, SpecError, UsageError
from cnnlab.storage.run_folder import RunFolder, list_runs
from cnnlab.storage.test_ledger import LEDGER
from cnnlab.tuning.result import TrialRecord, TuningResult
from cnnlab.tuning.search import execute_search, read_tuning, tuning_folder

HERE = Path(__file__).parent
# Of these rates the first learns `colours`, and the second can't in any time.
GOOD, HOPELESS = 0.03, 1e-9
Tune = Callable[..., TuningResult]


@pytest.fixture(scope="session")
def search(recipe: Callable[..., Recipe]) -> Callable[..., Search]:
    """Makes a search on `colours` that confirms nothing; `base` has fields of its recipe, the others are its own."""

    def make(base: dict[str, Any] | None = None, **fields: Any) -> Search:
        given = {"optimizer": f"sgd({HOPELESS})", **(base or {})}
        usual: dict[str, Any] = {
            "search": {"lr": [GOOD, HOPELESS]},
            "use": {"train.optimizer": "sgd(lr, momentum=0.9)"},
            "trials": 3,
            "sampler": "random",
            "metric": "validation_loss",
            "confirm": 0,
        }
        return Search(base=recipe(**given), **{**usual, **fields})

    return make


@pytest.fixture
def tune(tmp_path: Path) -> Tune:
    """Carries a search out in the folder of the test."""

    def carry_out(search: Search, name: str = "search", **options: Any) -> TuningResult:
        callbacks = options.pop("callbacks", NO_CALLBACKS)
        return execute_search(search, name, RunContext(tmp_path, device="cpu", callbacks=callbacks), **options)

    return carry_out


def names(runs: Path, which: str = "trial") -> list[str]:
    return sorted(folder.name for folder in list_runs(runs) if f"-{which}-" in folder.name)


def test_a_search_from_end_to_end(search: Callable[..., Search], tmp_path: Path) -> None:
    ledger, seen = tmp_path / LEDGER, list[TrialRecord]()

    def ended(trial: TrialRecord) -> None:
        seen.append(trial)
        assert not ledger.exists(), "the test set was opened before the confirmation"

    wide = search(
        search={"lr": "log(1e-3, 1e-1)", "train.batch_size": [4, 8]}, trials=3, metric="validation_accuracy", confirm=2
    )
    result = execute_search(
        wide, "search", RunContext(runs=tmp_path, device="cpu", callbacks=Callbacks(on_trial_end=ended))
    )
    assert [trial.number for trial in seen] == [0, 1, 2]
    assert list(result.trials) == seen
    assert result.complete
    assert result.chosen_from == 3
    assert result.best == max(result.trials, key=lambda trial: (trial.value, -trial.number))
    for trial in result.trials:
        folder = RunFolder.open(tmp_path / trial.runs[0])
        assert trial.value == folder.result().validation.accuracy
        assert folder.recipe().train.optimizer.lr == trial.params["lr"]
        assert folder.recipe().train.test == "sealed"
        assert not (folder.path / "predictions-test.npz").exists()
    ways = {RunFolder.open(tmp_path / trial.runs[0]).precision_config().to_json() for trial in result.trials}
    assert len(ways) == 1
    confirmation = result.confirmation
    assert confirmation is not None
    assert (confirmation.winner, confirmation.baseline) == (f"trial {result.best.number}", "baseline")
    tested = {run.run for run in (*confirmation.runs, *confirmation.baseline_runs)}
    assert len(tested) == 4
    assert not tested & {trial.runs[0] for trial in result.trials}
    openings = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [opening["purpose"] for opening in openings] == ["confirmation with 4 runs"]
    best = Recipe.read(tuning_folder(tmp_path, "search") / "best.toml")
    assert (best.train.optimizer.lr, best.train.test) == (result.best.params["lr"], "end")
    assert read_tuning(tuning_folder(tmp_path, "search")) == result
    # Asked again, nothing is run and nothing opened.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    assert execute_search(wide, "search", RunContext(runs=tmp_path, device="cpu")) == result
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")} == before
    assert len(ledger.read_text().splitlines()) == 1


@pytest.mark.full
def test_equal_parameters_are_trained_once(search: Callable[..., Search], tune: Tune, tmp_path: Path) -> None:
    result = tune(search(trials=6))
    assert len(names(tmp_path)) == len({trial.params["lr"] for trial in result.trials}) == 2
    found = [trial for trial in result.trials if trial.found]
    assert len(found) == 4
    assert all(trial.seconds == 0 and trial.value is not None for trial in found)


@pytest.mark.full
def test_the_mean_over_seeds_is_what_counts(search: Callable[..., Search], tune: Tune, tmp_path: Path) -> None:
    result = tune(search(trials=1, seeds=2))
    (trial,) = result.trials
    losses = [RunFolder.open(tmp_path / run).result().validation.loss for run in trial.runs]
    assert len(set(losses)) == 2
    assert trial.value == pytest.approx(sum(losses) / 2)
    assert trial.epochs == 4
    assert len(result.baseline.runs) == 2


@pytest.mark.full
def test_draws_depend_on_seed_and_number_alone(search: Callable[..., Search], tune: Tune) -> None:
    wide = {"search": {"lr": "log(1e-9, 1e-1)", "train.batch_size": [4, 8, 12]}, "sampler": "tpe"}
    straight = tune(search(trials=3, **wide), "straight")
    tune(search(trials=1, **wide), "cut")
    cut = tune(search(trials=3, **wide), "cut")
    assert [trial.params for trial in cut.trials] == [trial.params for trial in straight.trials]
    assert [trial.value for trial in cut.trials] == [trial.value for trial in straight.trials]
    other = tune(search(trials=1, **{**wide, "seed": 1}), "other")
    assert other.trials[0].params != straight.trials[0].params


@pytest.mark.full
def test_a_grid_makes_each_combination_once(search: Callable[..., Search], tune: Tune) -> None:
    grid = search(search={"lr": [GOOD, HOPELESS], "train.batch_size": [4, 8]}, sampler="grid", trials=30)
    result = tune(grid)
    tried = [(trial.params["lr"], trial.params["train.batch_size"]) for trial in result.trials]
    assert tried == [(GOOD, 4), (GOOD, 8), (HOPELESS, 4), (HOPELESS, 8)]
    assert result.wanted == 4
    assert result.complete


def test_a_hopeless_trial_is_pruned_kept_and_never_the_best(
    search: Callable[..., Search], tune: Tune, tmp_path: Path
) -> None:
    result = tune(search({"epochs": 4}, sampler="grid", pruner="median(warmup=1, startup=1)"))
    good, hopeless = result.trials
    assert (good.status, hopeless.status, result.best) == ("finished", "pruned", good)
    assert hopeless.value is None
    assert "ended after epoch 2" in hopeless.message
    folder = RunFolder.open(tmp_path / hopeless.runs[0])
    points = [record.validation.loss for record in folder.epochs()]
    assert folder.result() is None
    assert len(points) == hopeless.epochs == 2
    assert hopeless.last == points[-1]
    assert hopeless.seconds == pytest.approx(sum(record.seconds for record in folder.epochs()))
    kept = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/tuning/search/optuna.db").trials
    assert kept[1].intermediate_values == dict(enumerate(points, 1))


@pytest.mark.full
def test_a_run_that_diverges_is_a_failure_and_never_the_best(search: Callable[..., Search], tune: Tune) -> None:
    result = tune(search(search={"lr": [1e30, HOPELESS]}, sampler="grid", seeds=2))
    diverged, poor = result.trials
    assert (diverged.status, diverged.value) == ("diverged", None)
    assert len(diverged.runs) == 1, "its other seeds are not tried"
    assert result.best == poor
    assert result.chosen_from == 1
    assert any(note.startswith("diverged: trial 0: the loss stopped being a number") for note in result.notes)


@pytest.mark.full
def test_a_trial_that_can_not_be_built_fails_and_the_others_go_on(search: Callable[..., Search], tune: Tune) -> None:
    layers = ("maxpool(a)", "maxpool(b)", "flatten", "dense(classes)")
    pools = {"search": {"a": [1, 8], "b": [1, 8]}, "use": {"model.layers": list(layers)}, "sampler": "grid"}
    result = tune(search(trials=4, **pools))
    assert [trial.status for trial in result.trials] == ["finished", "finished", "finished", "failed"]
    assert result.complete
    assert result.best is not None
    assert result.chosen_from == 3


def test_an_extreme_value_that_can_not_be_trained_is_told_before_any_run(
    search: Callable[..., Search], tune: Tune, tmp_path: Path
) -> None:
    pools = {"search": {"a": [1, 9]}, "use": {"model.layers": ["maxpool(a)", "flatten", "dense(classes)"]}}
    with pytest.raises(SpecError, match="maxpool"):
        tune(search(**pools))
    assert not names(tmp_path, "")


@pytest.mark.full
def test_when_every_trial_fails_that_is_an_error(search: Callable[..., Search], tune: Tune, tmp_path: Path) -> None:
    def planned(*_: object) -> None:
        (tmp_path / ".locks").write_text("here no run can be claimed")

    with pytest.raises(RunError, match="every trial failed, the first because"):
        tune(search(), callbacks=Callbacks(on_search_start=planned))
    result = read_tuning(tuning_folder(tmp_path, "search"))
    assert [trial.status for trial in result.trials] == ["failed"] * 3
    assert result.best is None
    assert (result.baseline.status, result.baseline.value) == ("failed", None)


@pytest.mark.full
def test_trials_of_other_code_are_told(
    search: Callable[..., Search], tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {"search": {"lr": "log(1e-4, 1e-1)"}}
    first = tune(search(trials=1, **wide))
    assert not any("versions" in note for note in first.notes)
    monkeypatch.setattr("cnnlab.studies.plan.code_hash", lambda: "f" * 12)
    both = tune(search(trials=2, **wide))
    codes = {trial.code for trial in both.trials}
    assert len(codes) == 2
    assert first.trials[0].code in codes
    assert f"the trials were made by 2 versions of cnnlab's code: {', '.join(sorted(codes))}" in both.notes


@pytest.mark.full
def test_a_budget_ends_the_search(search: Callable[..., Search], tune: Tune) -> None:
    # 18 training images, 2 epochs: two trials take 72 images.
    result = tune(search(trials=9, search={"lr": "log(1e-3, 1e-1)"}, budget="images(70)"))
    images = result.trials[0].epochs * 24
    assert len(result.trials) == math.ceil(70 / images)
    assert result.complete
    assert any("the budget was spent after" in note for note in result.notes)


@pytest.mark.full
def test_trials_of_another_search_are_not_mixed_in(search: Callable[..., Search], tune: Tune) -> None:
    tune(search(trials=1))
    with pytest.raises(UsageError, match="has trials of another search") as error:
        tune(search(trials=1, search={"lr": [GOOD, 0.1]}))
    assert "--name NAME" in str(error.value)
    tune(search(trials=2, seed=4, confirm=0, budget="time(9)"))  # these may differ


@pytest.mark.full
def test_any_storage_of_optuna_will_do(search: Callable[..., Search], tune: Tune, tmp_path: Path) -> None:
    result = tune(search(trials=2), storage=f"sqlite:///{tmp_path}/mine.db")
    assert len(optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/mine.db").trials) == 2
    assert not (tuning_folder(tmp_path, "search") / "optuna.db").exists()
    assert result.complete


@pytest.mark.full
@pytest.mark.parametrize("missing", ["no test part", "unreadable"])
def test_a_confirmation_that_can_not_be_made_is_noted(
    search: Callable[..., Search], tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def unreadable(*_: Any, **__: Any) -> Any:
        raise RunError("the weights are damaged")

    monkeypatch.setattr("cnnlab.studies.test_split.open_test", unreadable)
    base: dict[str, Any] = {"epochs": 1, **({"test": 0.0} if missing == "no test part" else {})}
    result = tune(search(base, search={"lr": [GOOD]}, sampler="grid", trials=1, confirm=2))
    assert result.confirmation is None
    why = {
        "no test part": "nothing is confirmed: the data has no test split",
        "unreadable": "the test set could not be scored: the weights are damaged",
    }
    assert why[missing] in result.notes
    assert result.is_untested
    assert read_tuning(tuning_folder(tmp_path, "search")) == result


def test_a_tuning_without_a_result_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no result of cnnlab tune here"):
        read_tuning(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(RunError, match=r"result.json is damaged"):
        read_tuning(tmp_path)


@pytest.mark.slow
def test_a_killed_search_goes_on_where_it_was(search: Callable[..., Search], tmp_path: Path) -> None:
    wanted = search({"epochs": 60}, search={"lr": "log(1e-4, 1e-1)"}, trials=3)
    process = _started(wanted, tmp_path)
    heard = iter(process.stdout.readline, "")
    assert any(line.startswith("1 ") for line in heard), "the second trial has begun"
    while not any(record.epoch >= 2 for folder in _unfinished(tmp_path) for record in folder.epochs()):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (cut,) = _unfinished(tmp_path)
    result = execute_search(wanted, "search", RunContext(runs=tmp_path, device="cpu"))
    assert [trial.status for trial in result.trials] == ["finished"] * 3
    (again,) = [trial for trial in result.trials if trial.again]
    assert again.runs == (cut.name,), "its run is gone on with"
    assert len(names(tmp_path)) == 3
    assert result.complete


@pytest.mark.slow
def test_two_searches_at_once_make_exactly_the_trials_that_were_asked_for(
    search: Callable[..., Search], tmp_path: Path
) -> None:
    wanted = search({"epochs": 4}, search={"lr": "log(1e-4, 1e-1)"}, trials=9, confirm=2)
    both = [_started(wanted, tmp_path) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    ended = sorted(int(line.split()[1]) for lines in said for line in lines.splitlines() if line.startswith("ended"))
    assert ended == list(range(9))
    result = read_tuning(tuning_folder(tmp_path, "search"))
    assert [trial.status for trial in result.trials] == ["finished"] * 9
    assert len(names(tmp_path)) >= 9
    assert len((tmp_path / LEDGER).read_text().splitlines()) == 1, "the test set was opened once, by one of them"


@pytest.mark.slow
def test_trials_side_by_side_are_as_many_and_one_whose_process_dies_is_made_again(
    search: Callable[..., Search], tmp_path: Path
) -> None:
    wanted = search({"epochs": 60}, search={"lr": "log(1e-4, 1e-1)"}, trials=4)
    process = _started(wanted, tmp_path, "2")
    next(line for line in iter(process.stdout.readline, "") if line[0].isdigit())
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    process.communicate()
    result = read_tuning(tuning_folder(tmp_path, "search"))
    assert process.returncode == 0
    assert [trial.status for trial in result.trials] == ["finished"] * 4
    assert sum(trial.again for trial in result.trials) <= 1
    assert len(names(tmp_path)) == 4


def _unfinished(runs: Path) -> list[RunFolder]:
    return [folder for folder in list_runs(runs) if "-trial-" in folder.name and folder.result() is None]


def _started(search: Search, runs: Path, *more: str) -> subprocess.Popen[str]:
    file = runs / "search.toml"
    file.write_text(search.to_toml(), encoding="utf-8")
    command = [sys.executable, str(HERE / "search_process.py"), str(file), str(runs), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
