"""Recipes and runs with a backbone are traced, looked into and begun anew as those with a table are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.trace import trace
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.errors import RunError, SpecError, UsageError
from cnnlab.interpret.activations.feature_maps import inspect_activations
from cnnlab.interpret.activations.patches import inspect_patches
from cnnlab.interpret.activations.units import inspect_units
from cnnlab.interpret.attribution.compute import inspect_attribution
from cnnlab.interpret.loaded_model import load_model
from cnnlab.interpret.receptive_field.effective import target_effective_fields
from cnnlab.interpret.receptive_field.theoretical import target_receptive_fields
from cnnlab.interpret.targets import RecipeFile, trace_recipe, trace_run
from cnnlab.interpret.weights.compute import first_convolution, inspect_weights
from cnnlab.interpret.weights.initial_weights import loaded_initial_network, random_initial_network
from cnnlab.models.network_plan import plan_run_network
from cnnlab.runs.final_evaluation import trained_network
from cnnlab.runs.run import run
from cnnlab.storage.run_folder import RunFolder

HEAD = ("conv(2, 3)", "flatten", "dense(classes)")


@pytest.fixture(scope="module")
def trunk(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> RunFolder:
    return trained(recipe())


@pytest.fixture
def transferred(recipe: Callable[..., Recipe], trunk: RunFolder, tmp_path: Path) -> Callable[..., Recipe]:
    """Makes a recipe whose backbone is a copy of `trunk`, which a test may take away."""
    copied = tmp_path / "trunks" / trunk.name
    shutil.copytree(trunk.path, copied)

    def make(**model: Any) -> Recipe:
        fields = {"backbone": f"run('{copied}', cut='relu1')", "head": HEAD, **model}
        return Recipe.from_tables({**recipe(optimizer="adam(1e-2)", epochs=1).to_tables(), "model": fields})

    return make


def test_rows_and_fields_are_those_of_the_table_that_it_is_made_of(
    transferred: Callable[..., Recipe], tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(transferred().to_toml())
    rows = ["conv(4, 3, padding=1)", "batchnorm", "relu", *HEAD]
    same = trace(read_table(rows, {}, 3), (3, 8, 8), 3).records()
    traced = trace_recipe(RecipeFile(path, Recipe.read(path)))
    assert traced.input == (3, 8, 8)
    assert [(row.text, row.output, row.parameters, row.receptive_field) for row in traced.rows] == [
        (row.text, row.output, row.parameters, row.receptive_field) for row in same
    ]
    found = target_receptive_fields([str(path)], layer="head.conv1")
    assert found.layer == "head.conv1"
    assert trace_run(run(transferred(), RunContext(runs=tmp_path / "runs", device="cpu"))).rows == traced.rows


def test_another_size_of_images_is_brought_to_the_backbones(transferred: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(transferred().to_toml())
    traced = trace_recipe(RecipeFile(path, Recipe.read(path)), size=(4, 4))
    assert (traced.input, traced.rows[0].name, traced.rows[0].output) == ((3, 4, 4), "resize", (3, 8, 8))
    folder = run(transferred(), RunContext(runs=tmp_path / "runs", device="cpu"))
    fields = target_effective_fields(
        [str(folder.path)], size=(4, 4), layer="head.conv1", images=1, context=RunContext(device="cpu")
    )
    assert len(fields.fields) == 2


def test_a_mistake_is_told_with_the_file(transferred: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(transferred(head=["conv(3, 9)", "dense(classes)"]).to_toml())
    with pytest.raises(SpecError, match=r"mine\.toml: model\.head\[0\]"):
        trace_recipe(RecipeFile(path, Recipe.read(path)))
    gone = transferred(backbone=f"run('{tmp_path / 'gone'}')")
    with pytest.raises(RunError, match=r"model\.backbone: .*gone"):
        trace_recipe(RecipeFile(path, gone))


def test_a_recipe_is_opened_with_the_weights_that_its_training_begins_with(
    transferred: Callable[..., Recipe], trunk: RunFolder, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(transferred().to_toml())
    subject = load_model(str(path), device="cpu")
    theirs = trained_network(trunk, torch.device("cpu"), print)
    assert torch.equal(subject.network.backbone.conv1.weight, theirs.conv1.weight)
    assert subject.name == f"mine (run {trunk.name}, seed 0)"
    assert subject.mean == trunk.data().preprocessing.mean


def test_before_training_are_the_loaded_weights_and_a_drawn_head(
    transferred: Callable[..., Recipe], trunk: RunFolder, tmp_path: Path
) -> None:
    folder = run(transferred(), RunContext(runs=tmp_path / "runs", device="cpu"))
    theirs = trained_network(trunk, torch.device("cpu"), print)
    start = loaded_initial_network(folder, print)
    assert torch.equal(start.backbone.conv1.weight, theirs.conv1.weight)
    assert torch.equal(start.head.conv1.weight, random_initial_network(folder).head.conv1.weight)
    filters = first_convolution(load_model(folder.path, device="cpu"), print).filters
    assert (filters.layer, filters.loaded, filters.frozen) == ("backbone.conv1", f"run {trunk.name}", False)
    assert np.array_equal(filters.before, theirs.conv1.weight.detach().numpy())
    assert not np.array_equal(filters.before, filters.after)


@pytest.mark.parametrize("how", ["gone", "trained again"])
def test_weights_that_cannot_be_had_any_more_are_left_out_aloud(
    transferred: Callable[..., Recipe],
    recipe: Callable[..., Recipe],
    trained: Callable[..., RunFolder],
    tmp_path: Path,
    how: str,
) -> None:
    folder = run(transferred(), RunContext(runs=tmp_path / "runs", device="cpu"))
    (behind,) = (tmp_path / "trunks").iterdir()
    shutil.rmtree(behind)
    if how == "trained again":
        again = trained(recipe(epochs=1, seed=9))
        shutil.copytree(again.path, behind)
    said: list[str] = []
    filters = first_convolution(load_model(folder.path, device="cpu"), said.append).filters
    assert filters.before is None
    assert filters.after.shape == (4, 3, 3, 3)
    assert len(said) == 1
    assert f"! the initial weights of {folder.name} (trained) are not verified" in said[0]
    # The network itself is made without that run.
    assert plan_run_network(folder).parameters == folder.table().parameters
    fields = target_effective_fields([str(folder.path)], layer="head.conv1", images=1, context=RunContext(device="cpu"))
    assert len(fields.fields) == 1


def test_layers_of_a_backbone_are_named_without_its_prefix(transferred: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(transferred().to_toml())
    model = load_model(str(path), device="cpu")
    with pytest.raises(UsageError, match="there is no convolution or dense layer 'relu1'"):
        inspect_weights(model, "relu1")
    assert inspect_weights(model, "conv1").filters.layer == "backbone.conv1"
    maps = inspect_activations(model, layers=["batchnorm1", "head.conv1"])
    assert [layer.name for layer in maps.layers] == ["backbone.batchnorm1", "head.conv1"]
    assert maps.layer("batchnorm1") is maps.layers[0]
    assert inspect_units(model, "train", layers="relu1").layers[0].name == "backbone.relu1"
    assert inspect_patches(model, "conv1", split="train").layer == "backbone.conv1"
    assert inspect_attribution(model, methods="grad-cam", layer="relu1").layer == "backbone.relu1"
    assert target_receptive_fields([str(path)], layer="batchnorm1").layer == "backbone.batchnorm1"
    effective = target_effective_fields([str(path)], layer="relu1", images=1, context=RunContext(device="cpu"))
    assert effective.fields[0].layer == "backbone.relu1"
