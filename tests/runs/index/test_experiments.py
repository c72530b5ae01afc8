"""Runs as experiments: seeds together, changes told, figures beside what was published."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from cnnlab.cli.options import overrides
from cnnlab.config.arms import experiment_settings
from cnnlab.config.recipe import Recipe
from cnnlab.reports.runs_table import collect_results
from cnnlab.runs.claims import ClaimRun, judge_claims
from cnnlab.runs.index.experiments import Experiment, experiments
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.storage.run_folder import RunFolder

CLAIMS = {
    "parameters": {"published": 5},
    "test_accuracy": {"published": 0.5, "data": "cifar10", "source": "someone", "note": "last epoch"},
    "validation_loss": {"published": 1.5, "data": "colours"},
}


@pytest.fixture
def another(own: RunFolder) -> Callable[..., RunFolder]:
    """Makes another run beside `own`: its folder with some of the recipe's values and of the results changed."""

    def make(name: str, recipe: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **result: Any):
        folder = RunFolder(own.path.parent / name)
        folder.path.mkdir()
        for file in ("environment.json", "precision.json", "layers.json"):
            folder.write(file, (own.path / file).read_text())
        folder.write("data.json", own.data().model_copy(update=data or {}).to_json())
        tables = own.recipe().to_tables() | {"claims": CLAIMS}
        for key, value in (recipe or {}).items():
            section, _, last = key.partition(".")
            tables[section][last] = value
        folder.write("recipe.toml", Recipe.from_tables(tables).to_toml())
        folder.write("result.json", own.result().model_copy(update=result).to_json())
        return folder

    return make


def only(folder: RunFolder, *, recipes: Path | None = None) -> list[Experiment]:
    """All experiments beside a run but those of `own`."""
    found, _ = experiments(RunIndex(folder.path.parent, recipes=recipes))
    return [each for each in found if each.recipe != "finished"]


def scored(own: RunFolder, accuracy: float) -> dict[str, Any]:
    return {"test": own.result().test.model_copy(update={"accuracy": accuracy, "images": 200})}


def test_seeds_of_one_recipe_are_one_experiment(own: RunFolder, another: Callable[..., RunFolder]) -> None:
    for seed, accuracy in ((0, 0.6), (3, 0.9), (1, 0.75)):
        folder = another(f"20260101-00000{seed}-net", {"train.seed": seed}, **scored(own, accuracy))
    (found,) = only(folder)
    assert (found.recipe, found.name, found.data) == ("net", "net", "colours")
    assert [run.seed for run in found.runs] == [0, 1, 3]
    claim = found.claims[1]
    assert (claim.values, claim.seeds) == ((0.6, 0.75, 0.9), (0, 1, 3))
    assert claim.measured == pytest.approx(0.75)
    assert (claim.n, claim.verdict, claim.data) == (3, "other data", "cifar10")
    assert found.claims[0].verdict == "not equal"
    same = found.claims[2]
    assert same.measured == pytest.approx(own.result().validation.loss)
    assert same.verdict == "not enough evidence"


def test_of_a_seed_that_was_run_again_the_last_counts(own: RunFolder, another: Callable[..., RunFolder]) -> None:
    """The same seed gives the same run: it is no second observation."""
    another("20260101-000000-net", **scored(own, 0.25))
    folder = another("20260102-000000-net", **scored(own, 0.75))
    (found,) = only(folder)
    assert len(found.runs) == 2
    assert (found.claims[1].values, found.claims[1].n) == ((0.75,), 1)


def test_a_single_runs_interval_is_that_of_its_images(own: RunFolder, another: Callable[..., RunFolder]) -> None:
    (found,) = only(another("20260101-000000-net", **scored(own, 0.6)))
    exact = binomtest(120, 200).proportion_ci(0.95, method="wilson")
    assert (found.claims[1].low, found.claims[1].high) == pytest.approx((exact.low, exact.high))


def test_other_settings_make_another_experiment_whose_name_tells_them(another: Callable[..., RunFolder]) -> None:
    another("20260101-000000-net")
    another("20260101-000001-net", {"train.epochs": 2, "train.optimizer": "adam(lr=0.5)"})
    another("20260101-000002-net", {"data.augment": ["flip(0.5)"]}, {"test_set": "other"})
    folder = another("20260101-000003-net", data={"test_set": "other"})
    names = [found.name for found in only(folder)]
    assert [name.partition(":")[0] for name in names] == ["net"] * 4
    assert len(set(names)) == 4
    told = 'net: augment=["crop(padding=1)", "flip"], epochs=2, optimizer=adam(lr=0.5)'
    assert told in names


def test_a_shortened_run_is_held_against_the_recipes_file(
    own: RunFolder, another: Callable[..., RunFolder], tmp_path: Path
) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    tables = own.recipe().to_tables()
    tables["data"]["augment"], tables["train"]["epochs"] = [], 50
    Recipe.from_tables(tables).write(recipes / "net.toml")
    folder = another("20260101-000000-net", {"data.limit": 20, "train.schedule": "step(2)"})
    (found,) = only(folder, recipes=recipes)
    assert (found.recipe, found.epochs, found.limited) == ("net", 50, True)
    program, verb, file, *options = shlex.split(found.command)
    assert (program, verb, file) == ("cnnlab", "train", "recipes/net.toml")
    assert options[::2] == ["--set"] * (len(options) // 2)
    assert set(options[1::2]) == {
        'data.augment=["crop(padding=1)", "flip"]',
        "data.limit=20",
        "train.epochs=4",
        "train.schedule=step(epochs=2)",
    }
    again = Recipe.read(recipes / "net.toml", overrides(options[1::2]))
    assert experiment_settings(again) == experiment_settings(folder.recipe())


def test_seeds_are_in_the_command(another: Callable[..., RunFolder]) -> None:
    folder = another("20260101-000000-net", {"train.seed": 4})
    (alone,) = only(folder)
    assert alone.command == f"cnnlab train runs/{folder.name}/recipe.toml"  # the run's own file holds its seed
    another("20260101-000001-net", {"train.seed": 5})
    (both,) = only(folder)
    assert both.command == "cnnlab train runs/20260101-000001-net/recipe.toml --seed SEED"


def test_a_file_with_other_layers_is_not_the_recipe(another: Callable[..., RunFolder]) -> None:
    """A run of a person's own `lenet` is not held against the one that comes with cnnlab."""
    folder = another("20260101-000000-lenet")
    (found,) = only(folder)
    assert (found.epochs, found.command) == (4, f"cnnlab train runs/{folder.name}/recipe.toml")


def test_runs_without_figures_are_left_out_with_the_reason(another: Callable[..., RunFolder]) -> None:
    another("20260101-000000-a", train=None, validation=None, test=None, status="diverged")
    (another("20260101-000001-b").path / "result.json").unlink()
    folder = another("20260101-000002-c")
    folder.write("data.json", "{")
    found, left_out = experiments(RunIndex(folder.path.parent))
    assert [experiment.recipe for experiment in found] == ["finished"]
    reasons = {run.run[16:]: run.reason for run in left_out}
    assert (reasons["a"], reasons["b"]) == ("diverged", "unfinished")
    assert reasons["c"].startswith("damaged: data.json is damaged")


def test_no_path_of_the_machine_is_told(own: RunFolder, another: Callable[..., RunFolder]) -> None:
    """The pictures' path is absolute in the recipe, the folder's in the environment."""
    another("20260101-000000-net", {"train.epochs": 9})
    folder = another("20260101-000001-net", {"data.source": "/somewhere/else/colours.zip"})
    assert own.recipe().data.source.startswith("/")
    found = collect_results(folder.path.parent)
    sheet = found.document()
    for text in (found.to_json(), sheet.to_markdown(), sheet.to_latex(), found._repr_html_()):
        assert "colours.zip" in text
        for path in (own.recipe().data.source, str(folder.path.parent), str(Path.cwd()), "/somewhere"):
            assert path not in text


def test_a_claims_data_may_be_told_by_name_or_by_path(own: RunFolder) -> None:
    result, data, tables = own.result(), own.data(), own.recipe().to_tables()
    assert "/" in data.source
    for told, verdict in (
        ("colours", "not enough evidence"),
        (data.source, "not enough evidence"),
        ("cifar10", "other data"),
        ("/elsewhere/colours", "other data"),
    ):
        made = Recipe.from_tables({**tables, "claims": {"test_accuracy": {"published": 0.5, "data": told}}})
        assert [record.verdict for record in judge_claims(made.claims, [ClaimRun(result, list)], data)] == [verdict]
    # A folder that is called as published data is other data.
    made = Recipe.from_tables({**tables, "claims": {"test_accuracy": {"published": 0.5, "data": "cifar10"}}})
    for source, verdict in (("/somewhere/cifar10", "other data"), ("cifar10", "not enough evidence")):
        found = judge_claims(made.claims, [ClaimRun(result, list)], data.model_copy(update={"source": source}))
        assert [record.verdict for record in found] == [verdict]


@pytest.mark.parametrize(("limit", "verdict"), [(None, "differs"), (20, "shortened")])
def test_shortened_runs_are_not_judged(
    own: RunFolder, another: Callable[..., RunFolder], limit: int | None, verdict: str
) -> None:
    changed = {} if limit is None else {"data.limit": limit}
    for seed in range(5):
        score = own.result().validation.model_copy(update={"loss": 0.5 + seed / 100})
        folder = another(f"20260101-00000{seed}-net", {"train.seed": seed, **changed}, validation=score)
    claims = {claim.name: claim for claim in only(folder)[0].claims}
    assert claims["validation_loss"].verdict == verdict
    told = "ours is 0.9800 lower" if limit is None else "only 27 training images"
    assert told in collect_results(folder.path.parent).document().to_markdown()


def test_the_command_of_several_processes_starts_them(own: RunFolder, another: Callable[..., RunFolder]) -> None:
    folder = another("20260101-000000-net")
    folder.write("environment.json", own.environment().model_copy(update={"processes": 2, "threads": 1}).to_json())
    (found,) = only(folder)
    assert found.command == f"torchrun --nproc-per-node 2 -m cnnlab train runs/{folder.name}/recipe.toml"
    assert "2 processes of 1 thread" in collect_results(own.path.parent).document().to_markdown()


def test_the_published_figures_are_those_of_the_recipes_file(
    own: RunFolder, another: Callable[..., RunFolder], tmp_path: Path
) -> None:
    """A figure that was wrong when the run was made is put right in the file."""
    (tmp_path / "recipes").mkdir()
    tables = own.recipe().to_tables() | {"claims": {"test_accuracy": {"published": 0.75, "data": "mnist"}}}
    Recipe.from_tables(tables).write(tmp_path / "recipes" / "net.toml")
    (found,) = only(another("20260101-000000-net"), recipes=tmp_path / "recipes")
    assert [(one.name, one.published, one.data) for one in found.claims] == [("test_accuracy", 0.75, "mnist")]
