"""Backbones that are runs of our own: their weights, their cuts, and that nothing is lost when they are gone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cnnlab.api.report import write_report
from cnnlab.config.backbones import LibraryBackbone, RunBackbone
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.context import Callbacks, RunContext
from cnnlab.errors import RunError
from cnnlab.export.predict import predict
from cnnlab.models.network_plan import plan_network, plan_run_network
from cnnlab.models.pretrained import architectures
from cnnlab.models.pretrained.source import BACKBONE_FOLDER, backbone_fingerprint
from cnnlab.runs.final_evaluation import open_test, trained_network
from cnnlab.runs.resolve_recipe import resolve_recipe
from cnnlab.runs.run import resume_run, run
from cnnlab.runs.verify.recompute import verify_run
from cnnlab.storage.run_folder import RunFolder
from cnnlab.studies.plan import make_plan, run_id
from cnnlab.studies.tasks import run_task

CPU = torch.device("cpu")


@pytest.fixture
def source(transferring: Any, tmp_path: Path) -> RunFolder:
    """A copy of the source run, to be changed."""
    shutil.copytree(transferring.source.path, tmp_path / "source")
    return RunFolder(tmp_path / "source")


def of(source: RunFolder | Path | str, cut: str = "", weights: str = "trained") -> dict[str, Any]:
    path = source.path if isinstance(source, RunFolder) else source
    return {"backbone": f"run('{path}', cut='{cut}', weights='{weights}')"}


def test_features_are_those_of_the_run_up_to_the_cut(transferring: Any) -> None:
    whole = trained_network(transferring.source, CPU, print)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for cut, last in (("batchnorm2", "batchnorm2"), ("relu2", "relu2"), ("", "relu3")):
        plan = plan_network(transferring.recipe("none", of(transferring.source, cut)).model, (3, 8, 8), 3)
        network, loaded = plan.initialize(0, lambda _: None)
        expected = images
        with torch.no_grad():
            for name, module in whole.named_children():
                expected = module(expected)
                if name == last:
                    break
            assert torch.equal(network.eval().forward_features(images), expected)  # type: ignore[operator]
        assert loaded is not None
        assert loaded.source == f"run {transferring.source.name}"
        assert (loaded.missing, loaded.ignored) == ((), ())
        assert {name.partition(".")[0] for name in loaded.behind} == ({"dense2"} if not cut else {"dense1", "dense2"})


def test_without_weights_it_is_the_same_network_from_scratch(transferring: Any) -> None:
    plan = plan_network(transferring.recipe("all", of(transferring.source, weights="none")).model, (3, 8, 8), 3)
    assert plan.load_weights is None
    made = transferring.within("backbone.", plan.build(5, "cpu").state_dict())
    fresh = plan_run_network(transferring.source).build(5, "cpu").state_dict()
    assert transferring.changed(fresh, made) == set()
    weighted = {name.rpartition(".")[0] for name in made}
    assert transferring.trained({f"backbone.{name}": tensor for name, tensor in made.items()}) == weighted


def test_a_run_goes_on_without_the_run_that_it_began_with(source: RunFolder, transferring: Any, tmp_path: Path) -> None:
    first = run(
        transferring.recipe("none", of(source), opened="sealed"), RunContext(runs=tmp_path, device="cpu"), name="first"
    )
    second = run(
        transferring.recipe("rows(['head'])", of(first, cut="head.dense1"), opened="sealed"),
        RunContext(runs=tmp_path, device="cpu"),
        name="second",
    )
    assert [path.name for path in sorted((second.path / BACKBONE_FOLDER).iterdir())] == [
        BACKBONE_FOLDER,
        "data.json",
        "recipe.toml",
    ]
    before = trained_network(second, CPU, print).state_dict()
    shutil.rmtree(source.path)
    shutil.rmtree(first.path)
    after = trained_network(second, CPU, print).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert open_test(second.path, RunContext(device="cpu")).test is not None
    said: list[str] = []
    page = write_report(second, said.append).read_text(encoding="utf-8")
    assert "head.dense1" in page
    assert "Initial weights: the same, since the layer is frozen." in page  # which needs nothing of that run
    assert said == []
    picture = next(Path(second.recipe().data.source).glob("red/*.png"))
    (answer,) = predict(second, [picture], device="cpu")
    assert not answer.error
    told = verify_run(second.path, RunContext(device="cpu"))
    assert told.holds, told.failures


def test_a_nested_backbone_is_what_both_trainings_left(transferring: Any, tmp_path: Path) -> None:
    """The inner run froze its trunk; the outer one trains it, norms and all."""
    first = run(transferring.recipe("none"), RunContext(runs=tmp_path, device="cpu"), name="first")
    outer = transferring.recipe("all", of(first))
    second = run(outer, RunContext(runs=tmp_path, device="cpu"), name="second")
    made = transferring.within("backbone.", transferring.tensors(second))
    began = transferring.tensors(first, "best")
    assert transferring.changed(began, made) == {f"backbone.{name}" for name in transferring.rows}
    frozen = run(transferring.recipe("none", of(first)), RunContext(runs=tmp_path, device="cpu"), name="third")
    assert transferring.changed(began, transferring.within("backbone.", transferring.tensors(frozen))) == set()


def test_a_cut_within_the_inner_run(transferring: Any, tmp_path: Path) -> None:
    first = run(transferring.recipe("none"), RunContext(runs=tmp_path, device="cpu"), name="first")
    for cut in ("backbone.relu1", "relu1"):
        plan = plan_network(transferring.recipe("all", of(first, cut=cut)).model, (3, 8, 8), 3)
        assert [row.name for row in plan.layers if row.name.startswith("backbone.")][-1] == "backbone.backbone.relu1"
    network, _ = plan.initialize(0, lambda _: None)
    whole = trained_network(transferring.source, CPU, print)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network.eval().forward_features(images), whole[:3](images))  # type: ignore[operator, index]
    left = {name.rpartition(".")[0] for name, _ in network.named_parameters()}
    assert left == {"backbone.backbone.conv1", "backbone.backbone.batchnorm1", "head.dense1"}


def test_a_run_that_is_not_there_is_refused(transferring: Any, tmp_path: Path) -> None:
    for work in (lambda made: resolve_recipe(made), lambda made: run(made, RunContext(runs=tmp_path, device="cpu"))):
        with pytest.raises(RunError, match="there is no run here"):
            work(transferring.recipe("all", of(tmp_path / "nowhere")))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_not_finished_is_refused(source: RunFolder, transferring: Any, tmp_path: Path) -> None:
    (source.path / "result.json").unlink()
    words = rf"the run that the backbone is from has not finished(?s:.*)cnnlab train --resume {source.path}"
    with pytest.raises(RunError, match=words):
        run(transferring.recipe("all", of(source)), RunContext(runs=tmp_path / "runs", device="cpu"))
    run(
        transferring.recipe("all", of(source, weights="none"), epochs=1),
        RunContext(runs=tmp_path / "runs", device="cpu"),
    )


def test_a_run_that_diverged_or_lost_its_weights_is_refused(
    source: RunFolder, transferring: Any, tmp_path: Path
) -> None:
    made, result = transferring.recipe("all", of(source)), json.loads((source.path / "result.json").read_text())
    (source.path / "result.json").write_text(json.dumps({**result, "status": "diverged"}))
    with pytest.raises(RunError, match=r"the run that the backbone is from diverged(?s:.*)choose another run"):
        run(made, RunContext(runs=tmp_path / "runs", device="cpu"))
    (source.path / "result.json").write_text(json.dumps(result))
    for path in source.path.glob("best-*"):
        path.unlink()
    with pytest.raises(RunError, match="can't be read"):
        run(made, RunContext(runs=tmp_path / "runs", device="cpu"))


def test_a_relative_path_is_followed_from_where_the_run_was_started(
    source: RunFolder, transferring: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: Callable[..., Any]
) -> None:
    """Also when it is gone on with before it had a state: its weights are loaded again."""
    monkeypatch.chdir(source.path.parent)
    made = transferring.recipe("none", of("source"))
    with pytest.raises(cut.error):  # type: ignore[attr-defined]
        run(made, RunContext(runs=tmp_path / "runs", device="cpu", callbacks=Callbacks(on_step=cut(2))))
    (folder,) = (tmp_path / "runs").iterdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    ended = resume_run(folder, RunContext(device="cpu"))
    monkeypatch.undo()
    assert transferring.trained(transferring.tensors(ended)) == set()


@pytest.mark.full
def test_a_relative_file_of_weights_is_followed_from_where_the_run_was_started(
    transferring: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: Callable[..., Any]
) -> None:
    save_file(
        architectures.create_model("squeezenet1_1", device="cpu", seed=3).state_dict(), tmp_path / "w.safetensors"
    )
    model = {"backbone": "squeezenet1_1(weights='w.safetensors')", "resize": 32}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cut.error):  # type: ignore[attr-defined]
        run(
            transferring.recipe("none", model, epochs=1),
            RunContext(device="cpu", callbacks=Callbacks(on_step=cut(2))),
            folder_path=Path("cut"),
        )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ended = resume_run(tmp_path / "cut", RunContext(device="cpu"))
    assert ended.recipe().model.backbone.weights == "w.safetensors"  # type: ignore[union-attr]
    expected = load_file(tmp_path / "w.safetensors")["features.0.weight"]
    assert torch.equal(transferring.tensors(ended)["backbone.features.0.weight"], expected)


def test_equal_work_has_one_identity_wherever_it_lies(source: RunFolder, transferring: Any, tmp_path: Path) -> None:
    there = shutil.copytree(source.path, tmp_path / "there")
    one, two = RunBackbone(str(source.path)), RunBackbone(str(there))
    assert backbone_fingerprint(one) == backbone_fingerprint(two)
    assert backbone_fingerprint(one) != backbone_fingerprint(RunBackbone(str(there), weights="none"))
    assert backbone_fingerprint(one) != backbone_fingerprint(RunBackbone(str(there), cut="conv2"))
    recipes = [transferring.recipe("none", of(path)) for path in (source.path, there)]
    ids = [run_id(recipe, "data", "made") for recipe in recipes]
    assert ids[0] == ids[1]


def test_other_weights_or_another_network_are_other_work(transferring: Any, recipe: Any, trained: Any) -> None:
    layers = list(recipe().model.layers)
    others = [*layers[:2], "elu", *layers[3:]]
    runs = [trained(recipe(layers=rows, epochs=1, seed=seed)) for rows, seed in ((layers, 0), (layers, 1), (others, 0))]
    for weights, different in (("trained", 3), ("none", 2)):
        ids = {run_id(transferring.recipe("all", of(one, weights=weights)), "data", "made") for one in runs}
        assert len(ids) == different


def test_a_file_of_weights_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    found = []
    for value in (0.0, 1.0):
        save_file({"x": torch.full((1,), value)}, path)
        os.utime(path, ns=(0, int(value)))
        found += [backbone_fingerprint(LibraryBackbone("resnet18", str(path))) for _ in range(2)]
    assert len(set(found)) == 2
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / "w.safetensors")
    assert (
        backbone_fingerprint(LibraryBackbone("resnet18", str(moved)))
        == found[-1]
        != backbone_fingerprint(LibraryBackbone("resnet18", "none"))
    )


@pytest.mark.full
def test_a_trunk_that_was_trained_anew_since_the_plan_is_named(
    source: RunFolder, transferring: Any, tmp_path: Path
) -> None:
    base = transferring.recipe("none", of(source), opened="sealed", memory_format="contiguous")
    study = Study(base=base, arms={"plain": {}, "all": {"model.trainable": "all"}}, seeds=2, baseline="plain")
    plan = make_plan(study, "trunk", RunContext(device="cpu"))
    task = plan.arms[0].tasks[0]
    shutil.rmtree(source.path)
    tables = transferring.source.recipe().to_tables()
    tables["data"]["split_seed"], tables["train"]["seed"] = tables["train"]["seed"], 9
    run(Recipe.from_tables(tables), RunContext(device="cpu"), folder_path=source.path)
    place = RunContext(tmp_path / "runs", device="cpu")
    outcome = run_task(task, place, plan.dataset_cache, lambda *_: None)
    assert outcome.status == "failed"
    assert "the data or the backbone here is not that with which" in outcome.message
