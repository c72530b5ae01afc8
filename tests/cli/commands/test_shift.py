"""`cnnlab shift` from the command to the pictures: what it measures, writes down, and refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import cnnlab
from cnnlab.api.shift import shift
from cnnlab.cli.main import app
from cnnlab.config.corruptions import read_corruptions
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.data.dataset import open_dataset
from cnnlab.evaluation.corruptions import apply_corruption
from cnnlab.runs.final_evaluation import trained_network
from cnnlab.runs.run import run
from cnnlab.stats.intervals import wilson_interval
from cnnlab.storage.run_folder import RunFolder
from cnnlab.storage.test_ledger import LEDGER

Make = Callable[..., Recipe]
Trained = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def runs(recipe: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seeds of one recipe and one of another, all sealed."""
    folder = tmp_path_factory.mktemp("shifted")
    for seed in range(5):
        run(recipe(opened="sealed", seed=seed, split_seed=0), RunContext(runs=folder, device="cpu"), name="net")
    run(
        recipe(("flatten", "dense(classes)"), opened="sealed", split_seed=0),
        RunContext(runs=folder, device="cpu"),
        name="flat",
    )
    return folder


@pytest.fixture(scope="module")
def flat(runs: Path) -> str:
    (path,) = folders(runs, "flat")
    return path


def folders(runs: Path, name: str) -> list[str]:
    return sorted(str(path) for path in runs.glob(f"*-{name}*"))


def ask(*words: str, code: int = 0) -> str:
    answer = CliRunner().invoke(app, ["shift", *words])
    assert answer.exit_code == code, answer.stderr
    return answer.stdout if code == 0 else answer.stderr


def looks(runs: Path) -> list[str]:
    path = runs / LEDGER
    return [json.loads(line)["purpose"] for line in path.read_text().splitlines()] if path.exists() else []


def test_rows_are_the_accuracies_of_a_plain_loop(runs: Path, flat: str, tmp_path: Path) -> None:
    before = looks(runs)
    calls = ["invert", "translation(2)", "drawn([brightness(0.5)])"]
    words = [word for call in calls for word in ("--shift", call)]
    told = json.loads(ask(flat, *words, "--split", "test", "--json", "--output", str(tmp_path / "s.png")))
    assert looks(runs) == [*before, "shift"]
    folder = RunFolder.open(flat)
    recipe = folder.recipe()
    dataset = open_dataset(recipe.data, seed=recipe.train.seed)
    pixels, labels = torch.from_numpy(np.array(dataset.pixels("test"))), dataset.labels("test")
    kept = folder.data().preprocessing
    mean, std = (torch.tensor(values)[:, None, None] for values in (kept.mean, kept.std))
    net = trained_network(folder, torch.device("cpu"), print)
    assert [row["call"] for row in told["rows"]] == calls
    for row, each in zip(told["rows"], read_corruptions(calls, 8, 8, 3), strict=True):
        changed = apply_corruption(pixels, each, np.arange(len(pixels)))
        with torch.no_grad():
            right = (net((changed.float() / 255 - mean) / std).argmax(1).numpy() == labels).sum()
        assert row["accuracy"] == right / len(labels)
        assert (row["low"], row["high"]) == wilson_interval(int(right), len(labels))
        assert (row["shift"], row["strength"]) == (each.name, each.strength)
    for name in ("s.png", "s-examples.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 300


def test_seeds_of_one_recipe_are_a_group_with_verdicts(runs: Path) -> None:
    words = (*folders(runs, "net"), "--shift", "invert", "--shift", "translation(1)", "--no-pictures")
    told = json.loads(ask(*words, "--json"))
    assert {row["n"] for row in told["rows"]} == {5}
    assert all(row["verdict"] != "no verdict" for row in told["rows"])
    for row in told["rows"]:
        assert row["accuracy"] == pytest.approx(np.mean(row["values"]))
        differences = np.subtract(row["values"], told["unshifted"][0]["values"])
        assert row["difference"] == pytest.approx(differences.mean())
    apart = json.loads(ask(*words, "--apart", "--json"))
    assert len({row["run"] for row in apart["rows"]}) == 5
    assert [row["accuracy"] for row in apart["rows"] if row["shift"] == "invert"] == told["rows"][0]["values"]


@pytest.mark.full
def test_two_groups_are_held_against_each_other_on_the_same_images(runs: Path, flat: str) -> None:
    pair = [folders(runs, "net")[0], flat]
    told = json.loads(ask(*pair, "--shift", "invert", "--json", "--no-pictures"))
    first, second = (row["accuracy"] for row in told["rows"])
    assert [each["title"] for each in told["between"]] == ["", "invert"]
    assert told["between"][1]["difference"] == pytest.approx(first - second)
    assert "first − second" in ask(*pair, "--shift", "invert", "--no-pictures", "--format=markdown")


def test_validation_images_are_no_look_at_the_test_set(runs: Path, flat: str) -> None:
    before = looks(runs)
    told = json.loads(
        ask(flat, "--split", "validation", "--limit", "5", "--shift", "invert", "--json", "--no-pictures")
    )
    assert (told["split"], told["images"]) == ("validation", 5)
    assert looks(runs) == before
    assert not list(Path.cwd().glob("shift*.png"))


@pytest.mark.full
def test_the_same_draws_every_time_and_others_with_another_seed(flat: str) -> None:
    calls = ["drawn([hue(0.5)])", "drawn([noise(1.0)])", "hue(60)"]
    first, again, other = (shift(flat, calls, split="train", seed=seed).groups for seed in (0, 0, 1))
    assert first == again
    assert [row.values for row in first[0].rows] != [row.values for row in other[0].rows]


def test_what_can_not_be_is_refused(runs: Path, flat: str, tmp_path: Path, recipe: Make) -> None:
    before = looks(runs)
    assert "did you mean 'rotation'?" in ask(flat, "--shift", "rotate", code=2)
    told = ask(flat, "--split", "tests", code=2)
    assert "--split: the data has no such split" in told
    assert "test, train, validation" in told
    assert "this is no name for a picture" in ask(flat, "-o", "x.gif", code=2)
    assert "this is no smallest difference" in ask(flat, "--delta", "0", code=2)
    assert "there is no run here" in ask(str(tmp_path), code=1)
    assert looks(runs) == before
    small = run(recipe(size=6, opened="sealed", split_seed=0), RunContext(runs=tmp_path, device="cpu"), name="small")
    told = ask(flat, str(small.path), "--shift", "invert", "--no-pictures", code=2)
    assert "these runs do not have the same images" in told
    assert "shift them one at a time" in told
    (small.path / "result.json").unlink()
    told = ask(str(small.path), code=1)
    assert "this run can't be tested: unfinished" in told
    assert "train --resume" in told


def test_a_test_part_that_is_shut_stays_so(
    runs: Path, flat: str, recipe: Make, trained: Trained, tmp_path: Path
) -> None:
    before = looks(runs)
    answer = CliRunner().invoke(app, ["shift", flat, "--shift", "invert", "--json", "--no-pictures"])
    assert json.loads(answer.stdout)["split"] == "validation"
    assert "--split test opens it" in answer.stderr
    assert looks(runs) == before
    opened = trained(recipe())
    own = shutil.copytree(opened.path.parent, tmp_path / "runs")
    told = ask(str(own / opened.name), "--shift", "invert", "--json", "--no-pictures")
    assert json.loads(told)["split"] == "test"
    assert looks(own)[-1] == "shift"


@pytest.mark.full
def test_a_seed_counts_once_and_what_is_left_out_is_said(runs: Path, recipe: Make, tmp_path: Path) -> None:
    copies = [shutil.copytree(folders(runs, "net")[0], tmp_path / f"copy-{number}") for number in range(3)]
    cut = run(recipe(opened="sealed", split_seed=0, seed=7), RunContext(runs=tmp_path, device="cpu"), name="cut")
    (cut.path / "result.json").unlink()
    words = (*folders(runs, "net")[1:3], *map(str, copies), str(cut.path), "--shift", "invert")
    told = json.loads(ask(*words, "--json", "--no-pictures"))
    assert told["rows"][0]["n"] == 3
    assert any("Run more than once for" in note for note in told["notes"])
    assert any(f"Left out: {cut.name} (unfinished)" in note for note in told["notes"])
    assert any("too few for a verdict" in note for note in told["notes"])


def test_a_recipe_is_no_trained_network(tmp_path: Path) -> None:
    told = ask(str(tmp_path / "some.toml"), code=2)
    assert "shifts are tested on a trained network" in told
    assert "cnnlab train RECIPE" in told


CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def cifar(recipe: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Path]:
    """A run on noise in ten classes of CIFAR-10's names, and arrays as those of CIFAR-10-C made of its test images."""
    root = tmp_path_factory.mktemp("noise")
    noise = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 3)):
        for label, name in enumerate(CIFAR):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = noise.integers(0, 100, (32, 32, 3), dtype=np.uint8) + np.uint8(15 * label)
                Image.fromarray(pixels).save(root / part / name / f"{index}.png")
    made = recipe(("avgpool(8)", "flatten", "dense(classes)"), opened="sealed", source=str(root), epochs=8, test=None)
    folder = run(made, RunContext(runs=root / "runs", device="cpu"), name="cifar")
    dataset = open_dataset(folder.recipe().data, seed=0)
    pixels = np.array(dataset.pixels("test")).transpose(0, 2, 3, 1)
    arrays = root / "CIFAR-10-C"
    arrays.mkdir()
    np.save(arrays / "labels.npy", np.tile(dataset.labels("test"), 5))
    np.save(arrays / "identity.npy", np.tile(pixels, (5, 1, 1, 1)))
    np.save(arrays / "fog.npy", np.concatenate([pixels // (2 * level) + 120 for level in range(1, 6)]).astype(np.uint8))
    return folder, arrays


def test_arrays_of_cifar10c_take_the_place_of_shifts(cifar: tuple[RunFolder, Path]) -> None:
    folder, arrays = cifar
    told = json.loads(ask(str(folder.path), "--cifar10c", str(arrays), "--json", "--no-pictures"))
    rows = {(row["shift"], row["strength"]): row["accuracy"] for row in told["rows"]}
    assert len(rows) == 10
    clean = told["unshifted"][0]["accuracy"]
    assert [rows["identity", level] for level in range(1, 6)] == [clean] * 5
    assert rows["fog", 5] < clean
    assert looks(folder.path.parent) == ["shift"]
    some = json.loads(ask(str(folder.path), "--cifar10c", str(arrays), "--limit", "7", "--json", "--no-pictures"))
    assert some["images"] == 7
    assert {row["verdict"] for row in some["rows"] if row["shift"] == "identity"} <= {"practically equal", "undecided"}


def test_other_arrays_are_refused(cifar: tuple[RunFolder, Path], tmp_path: Path, flat: str) -> None:
    folder, arrays = cifar
    assert "there are no arrays of CIFAR-10-C here" in ask(str(folder.path), "--cifar10c", str(tmp_path), code=2)
    np.save(tmp_path / "labels.npy", np.load(arrays / "labels.npy"))
    assert "there are labels here, and no images" in ask(str(folder.path), "--cifar10c", str(tmp_path), code=2)
    np.save(tmp_path / "fog.npy", np.zeros((7, 32, 32, 3), np.uint8))
    assert "this is no array of CIFAR-10-C" in ask(str(folder.path), "--cifar10c", str(tmp_path), code=2)
    for broken in (b"no array", b""):
        (tmp_path / "fog.npy").write_bytes(broken)
        assert "this array can't be read" in ask(str(folder.path), "--cifar10c", str(tmp_path), code=2)
    with (tmp_path / "fog.npy").open("wb") as file:
        np.savez(file, fog=np.zeros(3))
    assert "this array can't be read" in ask(str(folder.path), "--cifar10c", str(tmp_path), code=2)
    for labels, words in ((np.full(5, 77), "whole numbers from 0 to 9"), (np.zeros(5), "whole numbers")):
        np.save(tmp_path / "labels.npy", labels)
        assert words in ask(str(folder.path), "--cifar10c", str(tmp_path), code=2)
    told = ask(flat, "--cifar10c", str(arrays), code=2)
    assert "CIFAR-10-C was made from other images" in told
    words = (str(folder.path), "--cifar10c", str(arrays), "--shift", "invert")
    assert "CIFAR-10-C has its own corruptions" in ask(*words, code=2)


def test_an_array_with_a_pickle_in_it_is_not_opened(cifar: tuple[RunFolder, Path], tmp_path: Path) -> None:
    folder, _ = cifar
    np.save(tmp_path / "labels.npy", np.array([object()] * 5), allow_pickle=True)
    assert "this array can't be read" in ask(str(folder.path), "--cifar10c", str(tmp_path), code=2)


@pytest.mark.full
def test_from_python_it_is_an_answer(flat: str) -> None:
    found = cnnlab.shift(flat, ["jpeg"], split="validation")
    assert [row.strength for row in found.groups[0].rows] == [80, 50, 25, 10, 5]
    assert found.svg().startswith("<svg")
    assert set(found.figures()) == {"curves", "examples"}
