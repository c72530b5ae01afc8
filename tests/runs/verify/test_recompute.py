"""A run recomputed: an honest one holds, and each way of tampering with it is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

import cnnlab
from cnnlab.config.recipe import Recipe
from cnnlab.context import Callbacks, RunContext
from cnnlab.errors import RunError
from cnnlab.evaluation.metrics import compute_score
from cnnlab.runs.run import run
from cnnlab.runs.verify.recompute import verify_run
from cnnlab.runs.verify.result import RunVerification
from cnnlab.storage.run_folder import Predictions, RunFolder
from cnnlab.storage.test_ledger import LEDGER, openings, record_opening

PARTS = ("train", "validation", "test")
FULL = pytest.mark.full


def recalculated(folder: RunFolder) -> RunVerification:
    return verify_run(folder.path, RunContext(device="cpu"))


def failing(folder: RunFolder) -> dict[str, tuple[object, object]]:
    """What does not hold: reported and found."""
    found = recalculated(folder)
    assert all(figure.meaning for figure in found.failures)
    return {figure.name: (figure.reported, figure.found) for figure in found.failures}


def edit(folder: RunFolder, name: str, change: Callable[[dict], None]) -> None:
    """Change a JSON file as a person with an editor would."""
    content = json.loads((folder.path / name).read_text())
    change(content)
    (folder.path / name).write_text(json.dumps(content))


def edit_recipe(folder: RunFolder, key: str, value: object) -> None:
    tables = folder.recipe().to_tables()
    section, _, last = key.partition(".")
    tables[section][last] = value
    (folder.path / "recipe.toml").write_text(Recipe.from_tables(tables).to_toml())


def test_a_run_of_a_version_without_a_field_of_its_table_holds(own: RunFolder) -> None:
    edit(own, "layers.json", lambda table: [row.pop("arguments") for row in table["layers"]])
    assert failing(own) == {}


def test_an_honest_run_holds_in_every_figure(own: RunFolder) -> None:
    before = {path.name: path.read_bytes() for path in own.path.iterdir()}
    found = recalculated(own)
    assert found.failures == ()
    assert found.run == own.name
    names = {figure.name for figure in found.figures}
    for part in PARTS:
        assert {f"{part} {what}" for what in ("loss", "accuracy", "top5", "balanced accuracy", "macro f1")} <= names
        assert {f"{part} classes", f"predictions-{part}.npz: images whose logits differ"} <= names
    assert {"parameters", "split hash", "multiply-adds", "selected epoch", "normalisation mean, channel 2"} <= names
    # Nothing in the folder is changed.
    assert {path.name: path.read_bytes() for path in own.path.iterdir()} == before


def test_a_look_at_the_test_set_is_a_line_in_the_ledger(own: RunFolder) -> None:
    def looks() -> list[str]:
        return [look.purpose for look in openings(own.path.parent, own.data().test_set)]

    before = looks()
    recalculated(own)
    assert looks() == [*before, "verify"]
    (own.path / "result.json").write_text(own.result().model_copy(update={"test": None}).to_json())
    assert recalculated(own).holds
    assert looks() == [*before, "verify"]


def test_test_figures_without_a_look_are_told(own: RunFolder) -> None:
    runs = own.path.parent
    (runs / LEDGER).unlink()
    record_opening(runs, "study flips", "f" * 24, "confirmation with 4 runs")  # of another test set
    assert any("the ledger beside it has no opening of this test set" in note for note in recalculated(own).notes)

    record_opening(runs, "study flips", own.data().test_set, "confirmation with 4 runs")  # once for all its runs
    assert not any("the ledger" in note for note in recalculated(own).notes)


@pytest.mark.parametrize(
    ("part", "metric"),
    [
        ("train", "top5"),
        ("validation", "accuracy"),
        ("test", "accuracy"),
        *(pytest.param(*row, marks=FULL) for row in (("validation", "loss"), ("test", "balanced_accuracy"))),
        pytest.param("train", "macro_f1", marks=FULL),
    ],
)
def test_an_edited_figure_is_named_with_both_values(own: RunFolder, part: str, metric: str) -> None:
    real = getattr(getattr(own.result(), part), metric)
    edit(own, "result.json", lambda result: result[part].update({metric: real - 0.25}))
    words = metric.replace("_", " ")
    found = failing(own)
    assert found[f"{part} {words}"] == (pytest.approx(real - 0.25), pytest.approx(real))
    assert found[f"{part} {words}, of predictions-{part}.npz"] == (pytest.approx(real - 0.25), pytest.approx(real))
    assert {name.split()[0] for name in found} == {part}


@pytest.mark.parametrize("what", ["logits", "labels", "shape", "fewer"])
def test_edited_predictions_are_named(own: RunFolder, what: str) -> None:
    kept = own.predictions("test")
    labels, logits = kept.labels.copy(), kept.logits.copy()
    if what == "logits":
        logits[3] = -logits[3]
    elif what == "labels":
        labels[:2] = (labels[:2] + 1) % 3
    elif what == "shape":
        logits = logits[:, :2]
    else:
        labels, logits = labels[:-1], logits[:-1]
    own.write_predictions("test", Predictions(labels, logits))
    expected = {
        "logits": ("predictions-test.npz: images whose logits differ", (0, 1)),
        "labels": ("predictions-test.npz: labels that are not the data's", (0, 2)),
        "shape": ("predictions-test.npz", ("12 images, 3 classes", "(12,) labels, (12, 2) logits")),
        "fewer": ("predictions-test.npz: images", (11, 12)),
    }
    name, values = expected[what]
    assert failing(own)[name] == values


def test_figures_and_predictions_that_were_edited_together_are_found_by_the_weights(own: RunFolder) -> None:
    """Every image called the next class, and a result that fits."""
    kept = own.predictions("test")
    forged_logits = np.roll(kept.logits, 1, axis=1)
    own.write_predictions("test", Predictions(kept.labels, forged_logits))
    forged = compute_score(forged_logits, kept.labels, own.data().classes)
    assert forged.accuracy < kept.correct().mean() - 0.1
    edit(own, "result.json", lambda result: result.update(test=json.loads(forged.to_json())))
    found = failing(own)
    assert found["test accuracy"] == (pytest.approx(forged.accuracy), pytest.approx(float(kept.correct().mean())))
    assert "predictions-test.npz: images whose logits differ" in found
    assert not any("of predictions" in name for name in found)


def test_a_damaged_checkpoint_is_named(own: RunFolder) -> None:
    tensors = own.path / json.loads((own.path / "best.json").read_text())["newest"]["file"]
    content = bytearray(tensors.read_bytes())
    content[-3] ^= 1
    tensors.write_bytes(bytes(content))
    ((name, (_, said)),) = failing(own).items()
    assert name == "selected weights"
    assert "its checksum is not the one written beside it" in str(said)


def test_a_swapped_checkpoint_is_named(own: RunFolder) -> None:
    """Other weights with a checksum that fits them."""
    pointer = json.loads((own.path / "best.json").read_text())
    path = own.path / pointer["newest"]["file"]
    tensors = load(path.read_bytes())
    noise = torch.Generator().manual_seed(0)
    content = save({
        name: one + torch.randn(one.shape, generator=noise) if one.is_floating_point() else one
        for name, one in tensors.items()
    })  # fmt: skip
    path.write_bytes(content)
    pointer["newest"]["sha256"] = hashlib.sha256(content).hexdigest()
    (own.path / "best.json").write_text(json.dumps(pointer))
    found = failing(own)
    for part in PARTS:
        assert f"predictions-{part}.npz: images whose logits differ" in found
        assert f"{part} loss" in found
        assert f"{part} loss, of predictions-{part}.npz" not in found


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("train.weights", "last", "selected epoch"),
        ("data.normalize", [[0.5, 0.5, 0.5], [0.2, 0.2, 0.2]], "normalisation mean, channel 0"),
        ("model.layers", ["flatten", "dense(classes)"], "rows of the table"),
        pytest.param("train.seed", 3, "split hash", marks=FULL),
        pytest.param("data.validation", 0.125, "images of the validation split", marks=FULL),
    ],
)  # fmt: skip
def test_an_edited_recipe_is_named(own: RunFolder, key: str, value: object, named: str) -> None:
    edit_recipe(own, key, value)
    assert named in failing(own)


def test_a_choice_that_the_rule_does_not_make_is_named(own: RunFolder) -> None:
    """The last weights reported as the best ones, from a curve on which others are better."""
    lines = (own.path / "metrics.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    first["validation"]["accuracy"] = 2.0
    (own.path / "metrics.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    assert failing(own)["selected epoch"] == (own.result().selected_epoch, 0.5)


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("layers.json", lambda table: table["layers"][0].update(parameters=7), {"row conv1: parameters"}),
        ("layers.json", lambda table: table.update(macs=7), {"multiply-adds"}),
        ("data.json", lambda data: data["preprocessing"]["std"].__setitem__(1, 0.9),
         {"normalisation standard deviation, channel 1"}),
        ("data.json", lambda data: data.update(split_hash="f" * 64), {"split hash"}),
        ("data.json", lambda data: data.update(test_set="f" * 24), {"test set"}),
        ("result.json", lambda result: result.update(parameters=5), {"parameters", "parameters, of the weights"}),
        ("result.json", lambda result: result.update(epochs=9.0), {"epochs"}),
        ("result.json", lambda result: result["test"]["per_class"][1].update(recall=0.123),
         {"test recall of class green, of predictions-test.npz", "test recall of class green"}),
    ],
)  # fmt: skip
def test_edited_records_are_named(own: RunFolder, name: str, change: Callable[[dict], None], named: set[str]) -> None:
    edit(own, name, change)
    found = set(failing(own))
    assert found == named if name == "result.json" else found >= named


def test_other_data_is_named_and_its_figures_are_not_recalculated(own: RunFolder, picture_folder: Path) -> None:
    for path in sorted(picture_folder.glob("red/*.png"))[:4]:
        path.unlink()
    edit_recipe(own, "data.source", str(picture_folder))
    found = recalculated(own)
    names = {figure.name for figure in found.failures}
    assert {"split hash", "test set", "images of the train split"} <= names
    assert "No figure of the weights was recomputed: the data here is not that of the run." in found.notes
    assert "train loss" not in {figure.name for figure in found.figures}


def test_images_whose_pixels_changed_are_named(own: RunFolder, picture_folder: Path) -> None:
    """As many images under the same names: only their pixels tell."""
    for path in picture_folder.glob("*/*.png"):
        pixels = np.asarray(Image.open(path))
        Image.fromarray(255 - pixels).save(path)
    edit_recipe(own, "data.source", str(picture_folder))
    found = failing(own)
    assert {"normalisation mean, channel 0", "train loss", "validation loss"} <= set(found)


def test_data_that_is_not_there_is_named(own: RunFolder, tmp_path: Path) -> None:
    edit_recipe(own, "data.source", str(tmp_path / "gone"))
    ((name, (_, said)),) = failing(own).items()
    assert name == "data"
    assert "no data is found by this name" in str(said)


@pytest.mark.parametrize(
    "name",
    ["recipe.toml", "data.json", "layers.json", "precision.json", "environment.json", "metrics.jsonl", "result.json",
     "predictions-train.npz", "predictions-validation.npz", "predictions-test.npz", "best.json"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["damaged", pytest.param("missing", marks=FULL)])
def test_missing_and_damaged_files_are_named(own: RunFolder, name: str, how: str) -> None:
    path = own.path / name
    path.unlink() if how == "missing" else path.write_bytes(b"\x00{nothing\n")
    expected = "selected weights" if name == "best.json" else name
    assert expected in failing(own)


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "sgd(1e30, momentum=0.9)"},
        {"stop": "early(patience=1)", "epochs": 6, "optimizer": "sgd(0.5)", "opened": "sealed"},
        {"weights": "averaged", "average": "ema(0.9)", "schedule": "warmup(1, then=cosine)"},
        *(
            pytest.param(fields, marks=FULL)
            for fields in (
                {"validation": 0.0, "test": 0.0},
                {"schedule": "plateau(0.5, 1)", "epochs": 4, "validations_per_epoch": 2},
                {"budget": "images(40)", "epochs": 9, "schedule": "cosine", "accumulate": 2},
                {"budget": "time(0.001)", "epochs": 900, "schedule": "cosine"},
                {"weights": "last", "accumulate": 2, "choose": "loss", "optimizer": "muon(0.02)"},
                {"sampling": "balanced", "limit": 20, "mix": "mixup(0.2)"},
            )
        ),
    ],
)
def test_a_diverged_and_an_unusual_run_hold(recipe: Callable[..., Recipe], tmp_path: Path, fields: dict) -> None:
    assert recalculated(run(recipe(**fields), RunContext(runs=tmp_path, device="cpu"))).failures == ()


def test_a_networks_answers_may_differ_in_their_last_digits(own: RunFolder) -> None:
    """As another machine's do."""
    kept = own.predictions("validation")
    noise = np.random.default_rng(0).normal(0, 1e-5, kept.logits.shape).astype(np.float32)
    own.write_predictions("validation", Predictions(kept.labels, kept.logits + noise))
    names = set(failing(own))
    # The figures in result.json are those of the kept logits to the last digits that count.
    assert names <= {"validation loss, of predictions-validation.npz"}


def test_a_folder_of_runs_and_what_is_left_of_one(own: RunFolder) -> None:
    shutil.copytree(own.path, own.path.parent / "zz-other")
    (own.path.parent / "zz-other" / "recipe.toml").unlink()
    told: list[tuple[int, int]] = []
    found = cnnlab.recompute(
        own.path.parent,
        device="cpu",
        callbacks=Callbacks(
            progress=lambda what, done, total, _: told.append((done, total)) if what == "recomputing" else None
        ),
    )
    assert [(one.run, one.holds) for one in found.runs] == [(own.name, True), ("zz-other", False)]
    assert not found.all_match
    assert told == [(0, 2), (1, 2), (2, 2)]
    sheet = found.document().to_markdown()
    assert "zz-other: what does not hold" in sheet
    assert "recipe.toml | there | missing" in sheet


def test_no_run_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run here"):
        cnnlab.recompute(tmp_path)
