"""The public door: a run and then its report."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cnnlab
from cnnlab import Recipe, RunError, RunFolder
from cnnlab.api import report
from cnnlab.context import Callbacks
from cnnlab.runs.claims import ClaimRun, judge_claims


def test_the_public_names_are_sorted_and_each_loads() -> None:
    assert list(cnnlab.__all__) == sorted(cnnlab.__all__)
    assert set(cnnlab._HOMES) == set(cnnlab.__all__)
    for name in cnnlab.__all__:
        assert getattr(cnnlab, name).__name__ == name
    assert dir(cnnlab) == sorted([*cnnlab.__all__, "__version__"])


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cnnlab' has no attribute 'trian'"):
        cnnlab.trian  # noqa: B018


def test_importing_loads_no_torch() -> None:
    code = "import sys, cnnlab; cnnlab.Recipe, cnnlab.SpecError, cnnlab.RunFolder; dir(cnnlab)"
    check = f"{code}\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.fixture
def finished(
    trained: Callable[..., RunFolder], recipe: Callable[..., Recipe], tmp_path: Path
) -> Callable[..., RunFolder]:
    """Gives a copy of the finished run of a recipe, which has no report yet."""

    def copy(**fields: object) -> RunFolder:
        found = trained(recipe(**fields))
        shutil.copytree(found.path.parent, tmp_path / "runs")
        return RunFolder(tmp_path / "runs" / found.path.name)

    return copy


def test_a_recipe_object_trains_and_is_reported(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    said: list[str] = []
    made = recipe(claims={"parameters": 315})
    folder = cnnlab.train(made, runs=str(tmp_path), device="cpu", callbacks=Callbacks(log=said.append))
    assert isinstance(folder, RunFolder)
    assert folder.name.endswith("-run")
    assert said[0] == f"run folder: {folder.path}"
    page = (folder.path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!")
    assert folder.name in page
    view = report.make_run_view(folder)
    assert (view.name, view.result, list(view.epochs)) == (folder.name, folder.result(), folder.epochs())
    assert [opening.run for opening in view.openings] == [folder.name]
    assert view.weights.filters.layer == "conv1"
    assert (view.confusion.split, view.confusion.counts.sum()) == ("test", 12)
    assert [(claim.name, claim.verdict) for claim in view.claims] == [("parameters", "equal")]


def test_a_resumed_run_is_reported(
    recipe: Callable[..., Recipe], cut: Callable[[int], Callable[..., None]], tmp_path: Path
) -> None:
    started: list[RunFolder] = []
    callbacks = Callbacks(on_step=cut(7), on_run_start=started.append)
    with pytest.raises(cut.error):
        cnnlab.train(recipe(), runs=tmp_path, device="cpu", callbacks=callbacks)
    [run] = started
    assert not (run.path / "report.html").exists()
    folder = cnnlab.resume(run.path, device="cpu")
    assert folder.result() is not None
    assert folder.name in (folder.path / "report.html").read_text(encoding="utf-8")


def test_a_recipe_file_trains_under_its_name(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe(opened="sealed").write(tmp_path / "tiny net.toml")
    folder = cnnlab.train(tmp_path / "tiny net.toml", runs=tmp_path, device="cpu")
    assert folder.name.endswith("-tiny-net")
    view = report.make_run_view(folder)
    assert (view.confusion.split, view.openings) == ("validation", ())  # the run is sealed
    named = cnnlab.train(str(tmp_path / "tiny net.toml"), name="mine", runs=tmp_path, device="cpu")
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
def test_an_unusual_run_has_a_report_too(finished: Callable[..., RunFolder], fields: dict) -> None:
    folder = finished(**fields)
    cnnlab.write_report(folder)
    assert (folder.path / "report.html").stat().st_size > 1000
    if fields.get("layers") == ["flatten", "dense(classes)"]:
        assert report.make_run_view(folder).activations is None


@pytest.mark.full
def test_a_page_shows_activations_where_the_data_has_gone_and_none_without_a_kept_image(
    recipe: Callable[..., Recipe], colours: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(colours, tmp_path / "gone")
    table = ["conv(12, 3, padding=1)", "relu", "conv(11, 3)", "relu", "flatten", "dense(classes)"]
    folder = cnnlab.train(recipe(table, source=str(copied)), runs=tmp_path, device="cpu")
    shutil.rmtree(copied)
    cnnlab.write_report(folder)
    found = report.make_run_view(folder).activations
    assert found is not None
    assert [(layer.name, len(layer.shown)) for layer in found.layers] == [("conv1", 12), ("conv2", 11)]
    html = (folder.path / "report.html").read_text(encoding="utf-8")
    assert "The image is validation:0, blue" in html
    assert 'id="activations"' in html
    (folder.path / "example.png").unlink()
    cnnlab.write_report(folder)
    assert 'id="activations"' not in (folder.path / "report.html").read_text(encoding="utf-8")


def junk_picture(path: Path) -> None:
    (path / "example.png").write_bytes(b"no picture")


def no_class(path: Path) -> None:
    about = json.loads((path / "example.json").read_text(encoding="utf-8"))
    (path / "example.json").write_text(json.dumps({**about, "label": -99}), encoding="utf-8")


def broken_start(path: Path) -> None:
    (path / "initial_weights.json").write_text('{"sha256": ', encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (junk_picture, "PATH/example.png: the example image can't be used"),
        (no_class, "PATH/example.png: the example image can't be used"),
        (broken_start, "the initial weights of RUN (trained) are not verified: initial_weights.json is damaged"),
    ],
)
def test_a_kept_image_or_start_that_is_damaged_costs_only_what_is_made_of_it(
    finished: Callable[..., RunFolder], damage: Callable[[Path], None], told: str
) -> None:
    folder = finished()
    damage(folder.path)
    heard: list[str] = []
    cnnlab.write_report(folder, heard.append)
    (said,) = heard
    assert said.startswith("! ")
    assert told.replace("PATH", str(folder.path)).replace("RUN", folder.name) in said
    html = (folder.path / "report.html").read_text(encoding="utf-8")
    assert ('id="activations"' in html) == (damage is broken_start)
    assert 'id="weights"' in html


def test_an_unfinished_run_is_not_reported(finished: Callable[..., RunFolder]) -> None:
    folder = finished()
    (folder.path / "result.json").unlink()
    with pytest.raises(RunError) as caught:
        cnnlab.write_report(folder)
    assert str(caught.value) == (
        f"{folder.path}: this run has not finished\n  next:     finish it: cnnlab train --resume {folder.path}"
    )
    assert not (folder.path / "report.html").exists()


def test_claims_are_judged_by_the_part_and_figure_that_they_name(
    recipe: Callable[..., Recipe], finished: Callable[..., RunFolder]
) -> None:
    claims = {
        "parameters": 1,
        "test_accuracy": {"published": 0.5, "images": 100, "data": "cifar10", "source": "table 1"},
        "validation_balanced_accuracy": 0.25,
        "train_loss": 0.1,
    }
    made, folder = recipe(claims=claims), finished()
    result, data = folder.result(), folder.data()
    found = {record.name: record for record in judge_claims(made.claims, [ClaimRun(result, list)], data)}
    assert list(found) == list(claims)
    assert (found["parameters"].measured, found["parameters"].verdict) == (result.parameters, "not equal")
    assert found["test_accuracy"].measured == result.test.accuracy
    assert (found["test_accuracy"].verdict, found["test_accuracy"].source) == ("other data", "table 1")
    assert found["validation_balanced_accuracy"].measured == result.validation.balanced_accuracy
    assert found["train_loss"].measured == result.train.loss
    without = result.model_copy(update={"test": None})
    records = judge_claims(made.claims, [ClaimRun(without, list)], data)
    unmeasured = {record.name: record for record in records}["test_accuracy"]
    assert (unmeasured.measured, unmeasured.n) == (None, 0)


def test_an_opened_test_set_is_reported(finished: Callable[..., RunFolder]) -> None:
    folder = finished(opened="sealed")
    assert folder.result().test is None
    assert cnnlab.open_test(folder.path, device="cpu").result().test is not None
    assert (folder.path / "report.html").exists()
