"""The weights of one layer, from a name or a loaded model to measures, tables and figures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import cnnlab
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.errors import UsageError
from cnnlab.interpret.loaded_model import LoadedModel, load_model
from cnnlab.interpret.weights.compute import inspect_weights
from cnnlab.interpret.weights.filters import WeightScale
from cnnlab.interpret.weights.measures import FilterOrder
from cnnlab.interpret.weights.result import LayerWeights
from cnnlab.render.plots import to_svg
from cnnlab.runs.run import run
from cnnlab.storage.run_folder import RunFolder
from cnnlab.torch_rng import fork_rng

TWO = ("conv(4, 3)", "relu", "conv(6, 3, groups=2)", "relu", "flatten", "dense(5)", "relu", "dense(classes)")
PERCEPTRON = ("flatten", "dense(7)", "relu", "dense(classes)")


@pytest.fixture(scope="module")
def two(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> RunFolder:
    return trained(recipe(layers=TWO, epochs=1, rates={"dense1": 1e-30}), "two")


@pytest.fixture
def subject(two: RunFolder) -> LoadedModel:
    return load_model(str(two.path), device="cpu")


@pytest.fixture(scope="module")
def backbone() -> LoadedModel:
    return load_model("resnet18", device="cpu")


def summary(result: LayerWeights) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in result.document().tables[0][1].rows}


def drawn(figure: Figure) -> list[str]:
    return [text.get_text() for place in (figure, *figure.axes) for text in place.texts]


def test_weights_before_and_after_training(subject: LoadedModel) -> None:
    result = inspect_weights(subject)
    assert np.array_equal(result.filters.after, subject.network.conv1.weight.detach().numpy())
    assert result.filters.initial_weights == "checked"
    assert result.unchanged == ()
    change = np.linalg.norm((result.filters.after - result.filters.before).reshape(4, -1), axis=1)
    np.testing.assert_allclose(
        result.measures.change, change / np.linalg.norm(result.filters.before.reshape(4, -1), axis=1), rtol=1e-5
    )


def test_the_network_is_left_as_it_was(
    subject: LoadedModel, untouched: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    subject.network.train()
    subject.network.conv1.bias.requires_grad_(False)
    with untouched(subject.network):
        for layer in ("conv2", "dense2"):
            result = inspect_weights(subject, layer)
            result.filters.after[:] = 7  # a copy
            result.figures()
        with pytest.raises(UsageError):
            inspect_weights(subject, "conv9")


def test_a_layer_that_does_not_learn_is_named(subject: LoadedModel) -> None:
    result = inspect_weights(subject, "dense1")
    assert result.unchanged == (1, 2, 3, 4, 5)
    assert "Median change 0.00 of the initial norm; largest 0.00, unit 1." in result.document().lines
    assert summary(result)["unchanged, bit for bit"] == ("5", "1, 2, 3, 4, 5")


def test_single_filters_that_never_or_hardly_changed_are_named(subject: LoadedModel) -> None:
    folder = subject.folder
    start = inspect_weights(subject).filters.before
    with torch.no_grad():
        subject.network.conv1.weight[1] = torch.from_numpy(start[1])
        subject.network.conv1.weight[2] = torch.from_numpy(start[2]) * 1.005
    result = inspect_weights(LoadedModel("x", subject.network, subject.layers, subject.image_spec, folder=folder))
    assert (result.unchanged, result.hardly_changed) == ((2,), (3,))
    assert summary(result)["unchanged, bit for bit"] == ("1", "2")
    assert summary(result)["changed by less than 1 %"] == ("1", "3")


def test_a_frozen_backbone_is_bit_equal_and_drawn_once(
    recipe: Callable[..., Recipe], two: RunFolder, tmp_path: Path
) -> None:
    behind = shutil.copytree(two.path, tmp_path / "behind" / two.name)
    model = {"backbone": f"run('{behind}', cut='relu1')", "head": ["flatten", "dense(classes)"], "trainable": "none"}
    made = Recipe.from_tables({**recipe(epochs=1).to_tables(), "model": model})
    folder = run(made, RunContext(runs=tmp_path / "runs", device="cpu"))
    result = inspect_weights(folder.path)
    assert (result.filters.layer, result.filters.initial_weights, result.unchanged) == (
        "backbone.conv1",
        "checked",
        (1, 2, 3, 4),
    )
    assert result.document().lines == (
        f"Initial weights: restored from the seed and run {two.name}; verified by the SHA-256 in the run.",
        "Median change 0.00 of the initial norm; largest 0.00, filter 1. The layer is frozen.",
    )
    texts = drawn(result.figures()["filters"].figure)
    assert "frozen" in texts
    assert texts.count("1") == 1
    shutil.rmtree(behind)
    lost = inspect_weights(folder.path)
    assert (lost.filters.initial_weights, lost.filters.before is None) == ("lost", True)
    assert lost.document().lines[0] == "Initial weights: the same, since the layer is frozen."


def test_units_of_a_perceptron_have_the_shape_of_its_image(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]
) -> None:
    subject = load_model(str(trained(recipe(layers=PERCEPTRON, epochs=1)).path), device="cpu")
    result = inspect_weights(subject)
    assert (result.filters.layer, result.filters.kind, result.filters.after.shape) == ("dense1", "dense", (7, 3, 8, 8))
    assert result.filters.in_colour
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32))
    hidden = (result.filters.after * image.numpy()).sum(axis=(1, 2, 3)) + subject.network.dense1.bias.detach().numpy()
    expected = cnnlab.activations(subject.network, image, ["dense1"])["dense1"][0]
    np.testing.assert_allclose(hidden, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert list(result.figures()) == ["filters", "channels"]
    assert "Units of dense1" in drawn(result.figures()["filters"].figure)[0]


def test_units_behind_maps_have_the_shape_of_the_maps(subject: LoadedModel) -> None:
    result = inspect_weights(subject, "dense1")
    maps = torch.from_numpy(np.random.default_rng(0).standard_normal(result.filters.after.shape[1:]).astype(np.float32))
    hidden = (result.filters.after * maps.numpy()).sum(axis=(1, 2, 3))
    with torch.no_grad():
        expected = subject.network.dense1(subject.network.flatten1(maps[None]))[0] - subject.network.dense1.bias
    np.testing.assert_allclose(hidden, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_grouped_filters_channels_have_their_numbers_in_the_layer(subject: LoadedModel) -> None:
    result = inspect_weights(subject, "conv2")
    assert result.filters.after.shape == (6, 2, 3, 3)
    assert [result.filters.channel(number, 1) for number in range(1, 7)] == [2, 2, 2, 4, 4, 4]
    texts = drawn(result.figures()["kernels"].figure)
    for number in range(1, 7):
        first = texts.index(f"filter {number}, after training") + 1
        assert set(texts[first : first + 2]) == ({"1", "2"} if number <= 3 else {"3", "4"})


@pytest.mark.parametrize(
    "layer", ["", "conv2", *(pytest.param(layer, marks=pytest.mark.full) for layer in ("dense1", "dense2"))]
)
def test_every_figure_has_a_description(subject: LoadedModel, layer: str) -> None:
    result = inspect_weights(subject, layer)
    for name, captioned in result.figures().items():
        assert "<title" in to_svg(captioned.figure, name, captioned.description, standalone=True)
        assert any(word in captioned.description for word in ("weight", "norm"))
    json.loads(result.to_json())
    assert result._repr_html_().startswith('<div class="cnnlab">')


def test_a_channel_alone_is_that_channel(subject: LoadedModel) -> None:
    result = inspect_weights(subject)
    images = result.figures()["channels"].figure.axes[0].images
    after = result.filters.after
    scaled = 0.5 + 0.5 * after / np.abs(after).max(axis=(1, 2, 3), keepdims=True)
    # Rows of red, green and blue, each before and then after, of four filters.
    for channel in range(3):
        for number in range(4):
            shown = np.asarray(images[channel * 8 + 4 + number].get_array())
            np.testing.assert_allclose(shown, np.repeat(scaled[number, channel, ..., None], 3, -1), atol=1e-6)


@pytest.mark.parametrize("order", ["number", "norm"])
def test_filters_are_in_order(backbone: LoadedModel, order: FilterOrder) -> None:
    result = inspect_weights(backbone, order=order, max_filters=20)
    largest = sorted(range(1, 65), key=lambda number: -result.measures.norm[number - 1])[:20]
    assert list(result.shown_filters) == (largest if order == "norm" else list(range(1, 21)))


def test_filters_are_chosen_by_their_numbers_from_1(backbone: LoadedModel) -> None:
    result = inspect_weights(backbone, filters=[64, 1, 25, 1])
    assert (result.shown_filters, result.order) == ((64, 1, 25), "chosen")
    weights = backbone.network.conv1.weight.detach().numpy()[[63, 0, 24]]
    caption, table = result.document().tables[1]
    assert caption == "3 of 64 filters, chosen by number"
    assert [row[0] for row in table.rows] == ["64", "1", "25"]
    assert [float(row[1]) for row in table.rows] == pytest.approx(
        np.linalg.norm(weights.reshape(3, -1), axis=1), rel=0.01
    )
    axes = result.figures()["filters"].figure.axes[0]
    assert [text for text in drawn(result.figures()["filters"].figure) if text.isdigit()] == ["64", "1", "25"]
    full = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    for image, expected in zip(axes.images, 0.5 + 0.5 * weights / full, strict=True):
        np.testing.assert_allclose(np.asarray(image.get_array()), expected.transpose(1, 2, 0), atol=1e-6)


def test_columns_and_rows_of_a_matrix_are_numbered_from_1(subject: LoadedModel) -> None:
    figure = inspect_weights(subject, "dense2", filters=[3, 1]).figures()["matrix"].figure
    axes = next(axes for axes in figure.axes if axes.images)
    left, right, bottom, top = axes.images[0].get_extent()
    assert (left, right, bottom, top) == (0.5, 5.5, 1.5, -0.5)
    assert [axes.yaxis.get_major_formatter()(row, None) for row in (0, 1)] == ["3", "1"]


@pytest.mark.full
def test_random_weights_have_no_initial_weights(backbone: LoadedModel) -> None:
    result = inspect_weights(backbone, "layer1.0.conv1")
    assert result.filters.initial_weights == "untrained"
    assert result.document().lines == ()
    assert list(result.figures()) == ["kernels", "norms"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layer": "conv11"}, "(?s)no convolution or dense layer 'conv11'.*did you mean 'conv1'"),
        ({"layer": "bn1"}, "no convolution or dense layer 'bn1'"),
        ({"max_filters": 0}, "--most: this number is out of range"),
        ({"max_filters": 257}, "(?s)--most: .*out of range.*257.*1 to 256"),
        ({"order": "size"}, "unknown order"),
        ({"filters": [65]}, "(?s)--filters: 'conv1' has no filter 65.*1 to 64"),
        ({"filters": [3, 0]}, "(?s)--filters: 'conv1' has no filter 0.*1 to 64.*numbered from 1"),
        ({"filters": []}, "--filters: no filter is chosen"),
        ({"filters": [1], "order": "norm"}, "--filters: .*have their own order"),
    ],
)
def test_wrong_options_are_errors(backbone: LoadedModel, given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        inspect_weights(backbone, **given)


def test_a_network_without_filters_is_an_error(subject: LoadedModel) -> None:
    with fork_rng():
        bare = LoadedModel("bare", torch.nn.Sequential(torch.nn.Flatten(), torch.nn.ReLU()), (), subject.image_spec)
    with pytest.raises(UsageError, match="this network has no filters"):
        inspect_weights(bare)


def test_a_network_without_rows(subject: LoadedModel) -> None:
    with fork_rng():
        network = torch.nn.Sequential(torch.nn.Linear(12, 300))
    result = inspect_weights(LoadedModel("bare", network, (), subject.image_spec))
    assert isinstance(result, LayerWeights)
    assert len(result.shown_filters) == 256
    assert "The first 256 of 300" in result.figures()["matrix"].description


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_one_scale_shows_that_filters_grew(subject: LoadedModel, layer: str) -> None:
    result = inspect_weights(subject, layer)
    before = result.filters.before
    assert before is not None
    grown = result.model_copy(update={"filters": replace(result.filters, after=2 * before)})

    def pictures(scale: WeightScale) -> list[np.ndarray]:
        captioned = next(iter(grown.figures(scale=scale).values()))
        return [np.asarray(image.get_array()) for axes in captioned.figure.axes for image in axes.images]

    # A filter that only grew looks the same by its own scale, and paler before by one for both.
    own, common = pictures("own"), pictures("common")
    middle = 0.5 if layer == "conv1" else 1.0
    paler = sum(not np.allclose(one, other) for one, other in zip(own, common, strict=True))
    assert paler == len(own) // 2
    for one, other in zip(own, common, strict=True):
        assert np.allclose(other, one, atol=1e-6) or np.allclose(other - middle, (one - middle) / 2, atol=1e-6)
