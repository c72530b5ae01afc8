"""The most exciting patches against brute force over all places, and against gradients by the pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cnnlab.architecture.layers import layers, read_rows
from cnnlab.architecture.trace import trace
from cnnlab.config.recipe import Recipe
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.base import ImageSpec
from cnnlab.errors import UsageError
from cnnlab.interpret.activations.figures import crop_patch
from cnnlab.interpret.activations.patches import inspect_patches, top_activations
from cnnlab.interpret.activations.result import Patch
from cnnlab.interpret.hooks import activations
from cnnlab.interpret.layer_index import LayerIndex
from cnnlab.interpret.loaded_model import LoadedModel
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.models.pretrained.transfer import Resize, TransferModel
from cnnlab.models.pretrained.truncate import CutPoint
from cnnlab.models.tracing.trace import network_table
from cnnlab.render.plots import to_svg
from cnnlab.torch_rng import fork_rng, manual_seed_torch

TABLE = ("conv(6, 3, padding=1)", "relu", "maxpool(2)", "conv(5, 3, padding=1)", "relu", "flatten", "dense(classes)")


@pytest.fixture
def subject(recipe: Callable[..., Recipe], subject_of: Callable[[Recipe], LoadedModel]) -> LoadedModel:
    return subject_of(recipe(TABLE))


@pytest.mark.parametrize("layer", ["relu1", "conv2", "dense1"])
def test_the_patches_are_those_of_brute_force(
    subject: LoadedModel, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Batches of 7, so that several of them compete.
    monkeypatch.setattr(ImageLoader, "eval_batch_size", property(lambda _: 7))
    # Of a filter that is 0 everywhere all images are equal.
    with torch.no_grad():
        subject.network.get_submodule("conv1").bias[2] = -1e6
    loader = subject.open_split("train", "test")
    # In the same batches: how a sum is rounded may depend on them.
    batches = [activations(subject.network, images, [layer])[layer] for images, _ in loader.eval_batches()]
    values = torch.cat(batches).flatten(2 if layer != "dense1" else 1)
    values = values if layer != "dense1" else values[..., None]
    filters = list(range(1, values.shape[1] + 1))
    result = inspect_patches(subject, layer, filters, "train", count=4)
    assert (result.images, result.filters_in_all) == (len(loader), values.shape[1])
    for each in result.filters:
        # (−value, image, position): of equal ones the first image and the first position.
        expected = sorted(
            (-float(values[image, each.number - 1].max()), image, int(values[image, each.number - 1].numpy().argmax()))
            for image in range(len(loader))
        )[:4]
        assert [(-patch.value, patch.image) for patch in each.patches] == [
            (value, image) for value, image, _ in expected
        ]
        width = {"relu1": 8, "conv2": 4, "dense1": 1}[layer]
        assert [patch.node for patch in each.patches] == [divmod(position, width) for *_, position in expected]
        for patch in each.patches:
            assert np.array_equal(patch.pixels, loader.pixels[patch.image])
            assert patch.label == subject.classes[loader.labels[patch.image]]


def test_a_limit_keeps_the_numbers_of_images(subject: LoadedModel) -> None:
    loader = subject.open_split("train", "test")
    some = np.linspace(0, len(loader) - 1, 6).round().astype(int)
    result = inspect_patches(subject, "conv1", [1], "train", count=6, limit=6)
    assert sorted(patch.image for patch in result.filters[0].patches) == some.tolist()
    for patch in result.filters[0].patches:
        assert np.array_equal(patch.pixels, loader.pixels[patch.image])


def test_a_patch_is_cut_out_with_grey_outside(subject: LoadedModel) -> None:
    result = inspect_patches(subject, "conv1", list(range(1, 7)), "train", count=24)
    for patch in (patch for each in result.filters for patch in each.patches):
        row, column = patch.node
        padded = np.pad(patch.pixels / 255, ((0, 0), (1, 1), (1, 1)), constant_values=0.5)
        expected = padded[:, row : row + 3, column : column + 3].transpose(1, 2, 0)
        assert (patch.rows, patch.columns) == ((row - 1, row + 1), (column - 1, column + 1))
        assert np.allclose(crop_patch(patch), expected)
        assert not patch.covers_image


conv = st.builds(
    lambda n, k, s, p: f"conv({n}, {k}, stride={s}, padding={min(p, k - 1)})",
    *(st.integers(1, 3), st.integers(1, 4), st.integers(1, 2), st.integers(0, 2)),
)
pool = st.builds(
    lambda kind, k, s, p: f"{kind}({k}, stride={s}, padding={min(p, k // 2)})",
    *(st.sampled_from(["maxpool", "avgpool"]), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1)),
)


def gradient(network: nn.Module, image: Tensor, layer: str, number: int, node: tuple[int, int]) -> Tensor:
    """How the activation of one node depends on each pixel, H×W."""
    pixels, seen = image.clone().requires_grad_(True), []
    handle = network.get_submodule(layer).register_forward_hook(lambda _m, _i, out: seen.append(out))
    network(pixels[None])
    handle.remove()
    (result,) = torch.autograd.grad(seen[0][0, number, node[0], node[1]], pixels)
    return result.abs().sum(dim=0)


def outside(result: Tensor, seen: tuple[tuple[int, int], tuple[int, int]]) -> Tensor:
    inside = torch.zeros_like(result, dtype=torch.bool)
    (top, bottom), (left, right) = seen
    inside[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)] = True
    return result[~inside]


@given(st.lists(st.one_of(conv, pool), min_size=1, max_size=4), st.integers(0, 10**6))
def test_the_gradient_lies_within_the_patch(texts: list[str], draw: int) -> None:
    try:
        result = trace(read_rows(texts, layers), (2, 19, 17))
    except UsageError:
        return
    network = build(result)
    init_weights(network, "default", 1)
    network.eval()
    index = LayerIndex(network, result.records(), (2, 19, 17))
    numbers = np.random.default_rng(draw)
    image = torch.from_numpy(numbers.normal(size=(2, 19, 17)).astype(np.float32))
    last = result.rows[-1]
    channels, high, wide = last.output
    node = int(numbers.integers(high)), int(numbers.integers(wide))
    seen = index.receptive_field(index.find(last.name), node)
    assert seen is not None
    by_pixel = gradient(network, image, last.name, int(numbers.integers(channels)), node)
    assert outside(by_pixel, seen).abs().sum() == 0


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_a_network_that_enlarges_images_has_patches_in_their_own_pixels(mode: Any) -> None:
    with fork_rng():
        manual_seed_torch(0, "test")
        body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(3, 2, 1))
    network = TransferModel(Resize((24, 30), mode), body, CutPoint(), nn.Sequential(nn.Flatten())).eval()
    rows = network_table(network, (3, 8, 10)).layers
    index = LayerIndex(network, rows, (3, 8, 10))
    (row,) = [row for row in rows if row.kind == "conv"][-1:]
    image = torch.linspace(-2, 3, 240).sin().reshape(3, 8, 10)
    _, high, wide = row.output
    for node in ((0, 0), (high // 2, wide // 2), (high - 1, wide - 1)):
        seen = index.receptive_field(index.find(row.name), node)
        assert seen is not None
        by_pixel = gradient(network, image, row.name, 1, node)
        assert outside(by_pixel, seen).abs().sum() == 0
        # Not wider than it has to be: two pixels more on each side at most.
        for axis, (first, last) in enumerate(seen):
            touched = by_pixel.sum(dim=1 - axis).nonzero().flatten()
            assert float(touched.min()) - max(first, 0) <= 2
            assert min(last, image.shape[1 + axis] - 1) - float(touched.max()) <= 2


def test_a_node_that_sees_everything_shows_whole_images(subject: LoadedModel) -> None:
    result = inspect_patches(subject, "dense1", [1], "train", count=2)
    patch = result.filters[0].patches[0]
    assert patch.covers_image
    assert np.allclose(crop_patch(patch), patch.pixels.transpose(1, 2, 0) / 255)
    assert "the whole image, or not known" in result.document().notes[0]
    wider = patch.model_copy(update={"rows": (-3, 9), "columns": (-1, 11)})
    assert wider.covers_image
    assert crop_patch(wider).shape == (8, 8, 3)


def test_without_numbers_some_filters_are_shown_with_their_majority_class(subject: LoadedModel) -> None:
    result = inspect_patches(subject, "conv2", split="train", count=3)
    assert [each.number for each in result.filters] == [1, 2, 3, 4, 5]
    for each, row in zip(result.filters, result.document().tables[0][1].rows, strict=True):
        name, count = each.majority_class or ("", 0)
        classes = [patch.label for patch in each.patches]
        assert classes.count(name) == count == max(classes.count(other) for other in classes)
        assert row[3] == f"{name} ({count} of 3)"
    read = json.loads(result.to_json())
    assert read["filters"][2]["patches"][0]["image"] == result.filters[2].patches[0].image
    figure = result.figures()["patches"].figure
    assert sum(len(axes.images) for axes in figure.axes) == 15
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert f"train:{result.filters[0].patches[0].image}" in texts
    assert "image/svg+xml" in result._repr_html_()
    assert to_svg(figure, "patches", "a description").startswith("<svg")


def test_nan_is_no_patch(subject: LoadedModel) -> None:
    with torch.no_grad():
        subject.network.get_submodule("conv1").bias[2] = float("nan")
    result = inspect_patches(subject, "conv1", [2, 3], "train", count=2)
    assert [len(each.patches) for each in result.filters] == [2, 0]
    assert "| 3 | – | – |" in result.document().to_markdown()


def test_fewer_images_than_patches_and_grey_images() -> None:
    result = trace(read_rows(["conv(2, 3)"], layers), (1, 8, 8))
    network = build(result)
    init_weights(network, "default", 0)
    one = LoadedModel("grey", network.eval(), tuple(result.records()), ImageSpec(1, 8, 8))
    pixels = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)
    loader = ImageLoader(pixels, np.zeros(3, np.int64), [0.5], [0.2], torch.device("cpu"))
    index = LayerIndex(one.network, one.layers, (1, 8, 8))
    top = top_activations(one.network, index.find("conv1"), loader, 5)
    assert top.values.shape == (3, 2)
    assert sorted(top.images[:, 1].tolist()) == [0, 1, 2]
    corner = Patch(value=1.0, image=0, label="a", node=(0, 0), rows=(-1, 1), columns=(0, 2), pixels=pixels[0])
    assert crop_patch(corner).shape == (3, 3, 3)


def test_the_network_is_untouched_also_after_an_error_in_the_middle(
    subject: LoadedModel, untouched: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    network = subject.network.train()
    with untouched(network):
        inspect_patches(subject, "relu1", split="train")

    def broken(_module: nn.Module, _inputs: Any) -> None:
        raise RuntimeError("in the middle")

    network.get_submodule("maxpool1").register_forward_pre_hook(broken)
    with untouched(network), pytest.raises(RuntimeError, match="in the middle"):
        inspect_patches(subject, "relu1", split="train")


@pytest.mark.parametrize(
    ("layer", "asked", "words"),
    [
        ("conv1", {"filters": [7]}, "--patches: 'conv1' has no filter 7.*allowed: +1 to 6"),
        ("conv1", {"filters": [0]}, "--patches: 'conv1' has no filter 0.*allowed: +1 to 6.*numbered from 1"),
        ("conv7", {}, "--patches: there is no layer 'conv7'"),
        ("conv1", {"count": 0}, "--top: this number is out of range"),
        ("conv1", {"count": 65}, "--top: this number is out of range"),
    ],
)
def test_wrong_options_are_errors(subject: LoadedModel, layer: str, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){words}"):
        inspect_patches(subject, layer, split="train", **asked)
