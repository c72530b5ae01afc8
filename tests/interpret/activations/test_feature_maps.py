"""Maps of layers against torch's own functions and hooks; their statistics against numpy and scipy."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.architecture.layers import layers, read_rows
from cnnlab.architecture.trace import trace
from cnnlab.config.recipe import Recipe
from cnnlab.data.sources.base import ImageSpec
from cnnlab.errors import UsageError
from cnnlab.interpret.activations.feature_maps import inspect_activations
from cnnlab.interpret.activations.result import MapStatistics
from cnnlab.interpret.activations.view import layer_headline, prediction_text, selection_text
from cnnlab.interpret.loaded_model import LoadedModel, load_model
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.models.pretrained.transfer import Resize
from cnnlab.render.formatting import format_short
from cnnlab.render.plots import to_svg
from cnnlab.storage.run_folder import RunFolder

SMALL = ["conv(12, 3, padding=1)", "batchnorm", "relu", "maxpool(2)", "conv(20, 5, stride=2, padding=2)", "gelu"]
END = ["flatten", "dense(7)", "tanh", "dense(classes)"]


def subject(texts: list[str], channels: int = 3, side: int = 16, classes: tuple[str, ...] = ()) -> LoadedModel:
    result = trace(read_rows([text.replace("classes", "3") for text in texts], layers), (channels, side, side))
    network = build(result)
    init_weights(network, "default", 0)
    return LoadedModel(
        "tiny", network.eval(), tuple(result.records()), ImageSpec(channels, side, side), classes=classes
    )


def by_hook(network: nn.Module, name: str, image: Tensor) -> np.ndarray:
    """What torch's own hook sees."""
    seen: list[Tensor] = []
    handle = network.get_submodule(name).register_forward_hook(lambda _m, _i, out: seen.append(out.detach().clone()))
    with torch.no_grad():
        network(image[None])
    handle.remove()
    return seen[0][0].numpy()


def test_maps_are_what_torchs_functions_give() -> None:
    one = subject([*SMALL, *END])
    image = one.load_image()
    result = inspect_activations(one, image, layers=[row.name for row in one.layers], maps=4)
    for layer in result.layers:
        expected = by_hook(one.network, layer.name, image.values)
        assert layer.shape == expected.shape
        assert np.array_equal(layer.values.reshape(expected.shape), expected)
    parameters = dict(one.network.named_parameters())
    with torch.no_grad():
        hand = F.conv2d(image.values[None], parameters["conv1.weight"], parameters["conv1.bias"], padding=1)
        maps = torch.from_numpy(result.layer("maxpool1").values)[None]
        deep = F.conv2d(maps, parameters["conv2.weight"], parameters["conv2.bias"], stride=2, padding=2)
    assert np.allclose(result.layer("conv1").values, hand[0].numpy(), atol=1e-6)
    assert np.allclose(result.layer("conv2").values, deep[0].numpy(), atol=1e-5)


def test_outputs_are_copied_before_an_in_place_layer() -> None:
    one = subject(["conv(4, 3)", "relu", "flatten", "dense(classes)"])
    network = nn.Sequential(OrderedDict(one.network.named_children()))
    network.relu1 = nn.ReLU(inplace=True)
    image = one.load_image()
    result = inspect_activations(replace(one, network=network), image, layers=["conv1"])
    with torch.no_grad():
        hand = F.conv2d(image.values[None], *network.conv1.parameters())
    assert float(hand.min()) < 0
    assert np.allclose(result.layer("conv1").values, hand[0].numpy(), atol=1e-6)


def test_the_maps_that_vary_most_are_shown_in_order() -> None:
    one = subject([*SMALL, *END])
    # Without names the first and the last convolution are shown.
    first, last = inspect_activations(one).layers
    assert (first.name, first.batch_shape, selection_text(first)) == ("conv1", (1, 12, 16, 16), "all 12 maps")
    assert first.shown == tuple(range(1, 13))
    assert (last.name, len(last.shown)) == ("conv2", 16)
    result = inspect_activations(one, layers=["conv2", "dense1"], maps=5)
    maps, units = result.layers
    spread = {number: float(np.std(values)) for number, values in enumerate(maps.values.astype(np.float64), 1)}
    best = sorted(sorted(spread, key=lambda number: -spread[number])[:5])
    assert list(maps.shown) == best
    assert selection_text(maps) == "5 of 20 maps, those of the largest standard deviation over the map"
    sizes = np.abs(units.values[:, 0, 0])
    assert list(units.shown) == sorted((np.argsort(-sizes)[:5] + 1).tolist())
    assert selection_text(units) == "5 of 7 numbers, those of the largest size"


def test_the_statistics_are_those_of_numpy_and_scipy() -> None:
    one = subject([*SMALL, *END])
    image = one.load_image()
    result = inspect_activations(one, image, layers=["relu1"])
    grey = np.asarray(Image.fromarray(image.pixels.transpose(1, 2, 0)).convert("F"), dtype=np.float64)
    down, right = np.gradient(grey)
    values = result.layer("relu1").values.astype(np.float64)
    for figures, each in zip(result.layer("relu1").maps, values, strict=True):
        assert figures.min == each.min()
        assert figures.max == each.max()
        assert figures.mean == pytest.approx(each.mean())
        assert figures.std == pytest.approx(each.std())
        assert figures.zeros == np.count_nonzero(each == 0) / each.size
        assert figures.negative == 0
        if each.std() > 0:
            assert figures.brightness == pytest.approx(scipy.stats.pearsonr(each.ravel(), grey.ravel())[0], abs=2e-3)
            edges = scipy.stats.pearsonr(each.ravel(), np.hypot(down, right).ravel())[0]
            assert figures.edges == pytest.approx(edges, abs=2e-2)


def test_a_smaller_map_is_compared_with_the_averaged_image() -> None:
    one = subject(["avgpool(4)", "flatten", "dense(classes)"], channels=1)
    result = inspect_activations(one, layers=["avgpool1"])
    (figures,) = result.layer("avgpool1").maps
    assert figures.brightness == pytest.approx(1.0, abs=1e-5)


def test_zeros_of_a_dead_map_are_counted() -> None:
    one = subject([*SMALL, *END])
    with torch.no_grad():
        one.network.get_submodule("batchnorm1").bias[[3, 8]] = -1e6
    result = inspect_activations(one, layers=["relu1"])
    values = result.layer("relu1").values
    top = int(values.max(axis=(1, 2)).argmax())
    assert layer_headline(result.layers[0]).startswith(
        f"{100 * np.mean(values == 0):.1f} % of its numbers are 0, 0.0 %"
    )
    assert layer_headline(result.layers[0]).endswith(f", in map {top + 1}.")
    assert [result.layers[0].maps[number].zeros for number in (3, 8)] == [1.0, 1.0]
    assert result.layers[0].maps[3].brightness is None


def test_predictions_are_the_softmax() -> None:
    one = subject([*SMALL, *END], classes=("ant", "bee", "<b>"))
    image = one.load_image()
    result = inspect_activations(one, image)
    with torch.no_grad():
        shares = one.network(image.values[None])[0].softmax(dim=0)
    order = shares.argsort(descending=True)
    assert [guess.name for guess in result.guesses] == [one.classes[k] for k in order]
    assert [guess.probability for guess in result.guesses] == pytest.approx(shares[order].tolist(), abs=1e-6)
    assert prediction_text(result).startswith(f"Predicted: “{one.classes[order[0]]}” (")
    named = inspect_activations(one, replace(image, label=1))
    assert prediction_text(named).endswith("; true class: “bee”.")


@pytest.mark.parametrize("channels", [1, 3])
def test_perceptrons_and_grey_images(channels: int) -> None:
    result = inspect_activations(subject(["flatten", "dense(30)", "relu", "dense(classes)"], channels, 8))
    assert [layer.name for layer in result.layers] == ["dense1", "dense2"]
    assert result.layer("dense1").values.shape == (30, 1, 1)
    assert "| unit | value |" in result.document().to_markdown()
    assert to_svg(result.figures()["activations"].figure, "x", "y", standalone=True).startswith("<svg")


def test_a_result_has_json_a_document_and_a_figure() -> None:
    result = inspect_activations(subject([*SMALL, *END]))
    read = json.loads(result.to_json())
    assert read["layers"][0]["shape"] == [12, 16, 16]
    assert len(read["layers"][1]["maps"]) == 20
    assert MapStatistics.model_validate(read["layers"][0]["maps"][4]) == result.layer("conv1").maps[4]
    assert read["size"] == [3, 16, 16]
    layers_table, _, (title, _) = result.document().tables
    assert layers_table[1].rows[0][:2] == ("conv1", "1×12×16×16")
    assert layers_table[1].rows[0][-1] == "3×3"
    assert title.endswith("16 of 20 maps, those of the largest standard deviation over the map")
    figure = result.figures()["activations"].figure
    shown = [image.get_array() for axes in figure.axes for image in axes.images]
    assert [picture.shape[:2] for picture in shown] == [(16, 16)] * 13 + [(4, 4)] * 16
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    for number in result.layer("conv2").shown:
        assert str(number) in texts
    assert "svg" in result._repr_html_()


def test_the_network_is_untouched_also_after_an_error_in_the_middle(
    untouched: Callable[[nn.Module], AbstractContextManager[None]],
) -> None:
    one = subject([*SMALL, *END])
    one.network.train()
    one.network.get_submodule("batchnorm1").eval()
    next(one.network.parameters()).requires_grad_(False)
    with untouched(one.network):
        inspect_activations(one, layers=["conv1", "relu1"])

    def broken(_module: nn.Module, _inputs: Any) -> None:
        raise RuntimeError("in the middle")

    one.network.get_submodule("conv2").register_forward_pre_hook(broken)
    with untouched(one.network), pytest.raises(RuntimeError, match="in the middle"):
        inspect_activations(one, layers=["conv1", "tanh1"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"layers": ["conv9"]}, "there is no layer 'conv9'"),
        ({"layers": [""]}, "there is no layer ''"),
        ({"maps": 0}, "--maps: this number is out of range"),
        ({"maps": 257}, "--maps: .*out of range.*257.*1 to 256"),
    ],
)
def test_wrong_options_are_errors(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){words}") as caught:
        inspect_activations(subject([*SMALL, *END]), **asked)
    assert ("did you mean" in str(caught.value)) == (asked.get("layers") == ["conv9"])


RESNET = {
    "data": {"source": "shapes"},
    "model": {
        "backbone": "resnet18(weights='none')",
        "resize": 256,
        "interpolation": "nearest",
        "head": ["dense(classes)"],
    },
}


@pytest.mark.full
def test_resnet18_on_256_by_256_has_the_shapes_that_reports_show(subject_of: Callable[[Recipe], LoadedModel]) -> None:
    one = subject_of(Recipe.from_tables(RESNET))
    image = one.load_image()
    result = inspect_activations(one, image, maps=10)
    first, last = result.layers
    assert (first.name, first.batch_shape) == ("backbone.conv1", (1, 64, 128, 128))
    assert (last.name, last.batch_shape) == ("backbone.layer4.1.conv2", (1, 512, 8, 8))
    assert len(first.shown) == len(last.shown) == 10
    assert "1×64×128×128" in result.document().to_markdown()
    with torch.no_grad():
        large = Resize((256, 256), "nearest")(image.values[None])
        hand = F.conv2d(large, one.network.get_parameter("backbone.conv1.weight"), stride=2, padding=3)
    assert np.allclose(first.values, hand[0].numpy(), atol=1e-5)
    # Any layer's by its name: a sum that is no module, and a module that holds rows.
    named = inspect_activations(one, image, layers=["backbone.layer4.1.add", "backbone.layer4"])
    summed, block = named.layers
    assert np.array_equal(np.maximum(summed.values, 0), block.values)


def test_a_run_shows_the_image_that_it_keeps(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> None:
    folder = trained(recipe())
    one = load_model(str(folder.path), device="cpu")
    result = inspect_activations(one)
    assert result.image.startswith("validation:0, ")
    assert np.array_equal(result.pixels, one.load_image("validation:0").pixels)
    assert result.label == one.classes[int(one.open_split("validation", "test").labels[0])]


def test_a_softmax_at_the_end_passes_the_logits_on() -> None:
    one = subject(["conv(4, 3)", "flatten", "dense(classes)", "softmax"])
    result = inspect_activations(one, layers=["softmax1", "dense1"])
    assert np.array_equal(result.layer("softmax1").values, result.layer("dense1").values)
    assert result.layer("softmax1").text == "softmax (passes the logits on)"
    inner = inspect_activations(subject(["conv(4, 3)", "flatten", "softmax", "dense(classes)"]), layers=["softmax1"])
    assert inner.layer("softmax1").values.sum() == pytest.approx(1)
    assert inner.layer("softmax1").text == "softmax"


def test_the_figure_has_the_whole_name_of_the_image() -> None:
    result = inspect_activations(subject([*SMALL, *END]), layers="conv1")
    name = "a photograph of my dog.jpg (resized from 480 high × 720 wide)"
    figure = result.model_copy(update={"image": name}).figures()["activations"].figure
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any(text.startswith(name[:55]) and "predicted" in text for text in texts)


def test_nan_is_null_in_json() -> None:
    one = subject([*SMALL, *END])
    with torch.no_grad():
        one.network.conv1.bias[3] = float("nan")
    result = inspect_activations(one, layers=["conv1"])
    assert layer_headline(result.layer("conv1")) == "1 of 12 with NaN or ±Inf."
    assert prediction_text(result) == "The network predicts no class: it gives no logits, or NaN or ±Inf."
    read = json.loads(result.to_json())
    assert read["guesses"][0]["probability"] is None
    assert [each["max"] is None for each in read["layers"][0]["maps"]] == [number == 3 for number in range(12)]
    assert np.isnan(MapStatistics.model_validate(read["layers"][0]["maps"][3]).max)


def test_the_numbers_below_a_map_are_not_cut() -> None:
    result = inspect_activations(subject([*SMALL, *END]), layers=["conv1"])
    (layer,) = result.layers
    values = layer.values * np.float32(-1.2345e-4)
    result = result.model_copy(update={"layers": (layer.model_copy(update={"values": values}),)})
    (captioned,) = result.figures().values()
    texts = [text.get_text() for axes in captioned.figure.axes for text in axes.texts]
    assert format_short(float(values[0].min())) in texts
    assert format_short(float(values[0].max())) in texts
