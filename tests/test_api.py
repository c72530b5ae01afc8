"""The public door: a run and then its report."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import cnnlab
from cnnlab import Recipe, RunError, RunFolder, api
from cnnlab.records import Result, Score
from cnnlab.runs.claims import judged

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_public_names_are_sorted_and_each_loads() -> None:
    assert list(cnnlab.__all__) == sorted(cnnlab.__all__)
    assert set(cnnlab._HOMES) == set(cnnlab.__all__)
    for name in cnnlab.__all__:
        assert getattr(cnnlab, name).__name__ == name
    assert dir(cnnlab) == sorted([*cnnlab.__all__, "__version__"])


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cnnlab' has no attribute 'trian'"):
        cnnlab.trian  # noqa: B018


@pytest.mark.parametrize(
    "code",
    ["import cnnlab", "import cnnlab; cnnlab.Recipe, cnnlab.SpecError, cnnlab.RunFolder", "import cnnlab; dir(cnnlab)"],
)
def test_importing_loads_no_torch(code: str) -> None:
    check = f"{code}\nimport sys\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_recipe_object_trains_and_is_reported(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    folder = cnnlab.train(recipe(), runs=tmp_path / "runs", device="cpu")
    assert isinstance(folder, RunFolder)
    assert folder.name.endswith("-run")
    page = (folder.path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!")
    assert folder.name in page


def test_a_recipe_file_trains_under_its_name(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe(opened="sealed").write(tmp_path / "tiny net.toml")
    said: list[str] = []
    listener = api.Listener(say=said.append)
    folder = cnnlab.train(tmp_path / "tiny net.toml", runs=str(tmp_path / "runs"), device="cpu", listener=listener)
    assert folder.name.endswith("-tiny-net")
    assert (folder.path / "report.html").exists()
    assert said[0] == f"run folder: {folder.path}"
    named = cnnlab.train(str(tmp_path / "tiny net.toml"), name="mine", runs=tmp_path / "runs", device="cpu")
    assert named.name.endswith("-mine")


@pytest.mark.parametrize(
    "fields",
    [
        {"layers": ["flatten", "dense(classes)"]},
        {"validation": 0.0, "test": 0.0},
        {"optimizer": "sgd(1e30, momentum=0.9)", "layers": ["conv(4, 3)", "flatten", "dense(classes)"]},
    ],
    ids=["no convolution", "train part only", "diverged"],
)
def test_an_unusual_run_has_a_report_too(recipe: Callable[..., Recipe], tmp_path: Path, fields: dict) -> None:
    folder = cnnlab.train(recipe(**fields), runs=tmp_path, device="cpu")
    assert (folder.path / "report.html").stat().st_size > 1000


def test_the_view_holds_what_the_run_found(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    folder = cnnlab.train(recipe(claims={"parameters": 315}), runs=tmp_path, device="cpu")
    view = api.view(folder)
    assert view.name == folder.name
    assert view.result == folder.result()
    assert list(view.epochs) == folder.epochs()
    assert [opening.run for opening in view.openings] == [folder.name]
    assert view.filters.layer == "conv1"
    assert view.confusion.part == "test"
    assert view.confusion.counts.sum() == 12
    assert [(claim.name, claim.verdict) for claim in view.claims] == [("parameters", "equal")]


def test_the_confusion_of_a_sealed_run_is_of_the_validation_part(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    view = api.view(cnnlab.train(recipe(opened="sealed"), runs=tmp_path, device="cpu"))
    assert (view.confusion.part, view.openings) == ("validation", ())


def test_a_page_shows_activations_where_the_data_has_gone_and_none_for_a_run_that_kept_no_image(
    recipe: Callable[..., Recipe], colours: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(colours, tmp_path / "gone")
    table = ["conv(12, 3, padding=1)", "relu", "conv(11, 3)", "relu", "flatten", "dense(classes)"]
    folder = cnnlab.train(recipe(table, source=str(copied)), runs=tmp_path, device="cpu")
    shutil.rmtree(copied)
    cnnlab.write_report(folder)
    found = api.view(folder).activations
    assert found is not None
    assert [(layer.name, len(layer.shown)) for layer in found.layers] == [("conv1", 12), ("conv2", 11)]
    html = (folder.path / "report.html").read_text(encoding="utf-8")
    assert "The image is validation:0, blue" in html
    assert 'id="activations"' in html
    (folder.path / "example.png").unlink()
    cnnlab.write_report(folder)
    assert 'id="activations"' not in (folder.path / "report.html").read_text(encoding="utf-8")
    perceptron = cnnlab.train(recipe(("flatten", "dense(classes)")), runs=tmp_path, device="cpu")
    assert api.view(perceptron).activations is None


def junk_picture(path: Path) -> None:
    (path / "example.png").write_bytes(b"no picture")


def other_size(path: Path) -> None:
    Image.new("RGB", (9, 7)).save(path / "example.png")


def other_channels(path: Path) -> None:
    Image.new("RGBA", (8, 8)).save(path / "example.png")


def no_class(path: Path) -> None:
    about = json.loads((path / "example.json").read_text(encoding="utf-8"))
    (path / "example.json").write_text(json.dumps({**about, "label": -99}), encoding="utf-8")


def broken_start(path: Path) -> None:
    (path / "start.json").write_text('{"sha256": ', encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (junk_picture, "the page shows no activations: PATH/example.png: this picture can't be read"),
        (other_size, "the page shows no activations: PATH/example.png: the kept image is not as this run's network"),
        (other_channels, "the page shows no activations: PATH/example.png: the kept image is not as this run's"),
        (no_class, "the page shows no activations: PATH/example.json: the kept image is none of this run's data"),
        (broken_start, "what RUN began with is not checked: start.json is damaged"),
    ],
)
def test_a_kept_image_or_start_that_is_damaged_costs_only_what_is_made_of_it(
    recipe: Callable[..., Recipe], tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    folder = cnnlab.train(recipe(), runs=tmp_path, device="cpu")
    damage(folder.path)
    heard: list[str] = []
    cnnlab.write_report(folder, heard.append)
    (said,) = heard
    assert said.startswith("! " + told.replace("PATH", str(folder.path)).replace("RUN", folder.name))
    html = (folder.path / "report.html").read_text(encoding="utf-8")
    assert ('id="activations"' in html) == (damage is broken_start)
    assert "filters-after" in html


def test_an_unfinished_run_is_not_reported(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    folder = cnnlab.train(recipe(), runs=tmp_path, device="cpu")
    (folder.path / "report.html").unlink()
    (folder.path / "result.json").unlink()
    with pytest.raises(RunError) as caught:
        cnnlab.write_report(folder)
    assert str(caught.value) == (
        f"{folder.path}: this run has not finished\n  next:     finish it: cnnlab train --resume {folder.path}"
    )
    assert not (folder.path / "report.html").exists()


def test_claims_are_judged_by_the_part_and_figure_that_they_name(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    claims = {
        "parameters": 1,
        "test_accuracy": {"published": 0.5, "images": 100, "data": "cifar10", "source": "table 1"},
        "validation_balanced_accuracy": 0.25,
        "train_loss": 0.1,
    }
    made = recipe(claims=claims)
    folder = cnnlab.train(made, runs=tmp_path, device="cpu")
    result, data = folder.result(), folder.data()
    found = {record.name: record for record in judged(made, [result], data)}
    assert list(found) == list(claims)
    assert (found["parameters"].measured, found["parameters"].verdict) == (result.parameters, "not equal")
    assert found["test_accuracy"].measured == result.test.accuracy
    assert (found["test_accuracy"].verdict, found["test_accuracy"].source) == ("other data", "table 1")
    assert found["validation_balanced_accuracy"].measured == result.validation.balanced_accuracy
    assert found["train_loss"].measured == result.train.loss
    without = result.model_copy(update={"test": None})
    unmeasured = {record.name: record for record in judged(made, [without], data)}["test_accuracy"]
    assert (unmeasured.measured, unmeasured.n) == (None, 0)
    assert isinstance(result, Result)
    assert isinstance(result.test, Score)
