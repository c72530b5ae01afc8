"""Attribution as a whole: a planted cue is found, the network is left unchanged, and wrong options are errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from cnnlab import inspect_attribution
from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.trace import trace
from cnnlab.config.recipe import Recipe
from cnnlab.data.sources.base import ImageSpec
from cnnlab.errors import RunError, SourceError, UsageError
from cnnlab.interpret.attribution import compute
from cnnlab.interpret.attribution.compute import baseline_image, parse_class
from cnnlab.interpret.attribution.methods import METHODS
from cnnlab.interpret.attribution.result import Attributions
from cnnlab.interpret.images import normalize_pixels
from cnnlab.interpret.loaded_model import LoadedModel
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.models.network_plan import plan_network
from cnnlab.render.plots import to_svg
from cnnlab.torch_rng import fork_rng

SIDE, CORNER = 16, (slice(0, 4), slice(12, 16))
CLASSES = ("red", "$x_{", "</script><img onerror=…>")
ROWS = (
    *("conv(8, 3, padding=1)", "relu", "maxpool(2)", "conv(16, 3, padding=1)", "relu"),
    *("dropout(0.2)", "flatten", "dense(classes)"),
)
HALF = (0.5, 0.5, 0.5)
QUARTER = (0.25, 0.25, 0.25)


def cued(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a corner whose colour is the class."""
    noise = np.random.default_rng(seed)
    pixels, labels = noise.integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8), noise.integers(0, 3, count)
    pixels[:, :, *CORNER] = 30
    for place, label in enumerate(labels):
        pixels[place, label, *CORNER] = 225
    return pixels, labels


@pytest.fixture(scope="module")
def subject() -> LoadedModel:
    """A small table that has learned what the corner says."""
    result = build_model(ROWS, (3, SIDE, SIDE))
    pixels, labels = cued(512, 0)
    images, wanted = normalize_pixels(pixels, HALF, QUARTER), torch.from_numpy(labels)
    network, order = result.network, np.random.default_rng(2)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    network.train()
    with fork_rng():
        torch.manual_seed(2)  # of dropout
        for _ in range(150):
            batch = torch.from_numpy(order.integers(0, 512, 64))
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), wanted[batch]).backward()
            optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    network.eval()
    return result


def build_model(rows: tuple[str, ...], shape: tuple[int, int, int]) -> LoadedModel:
    traced = trace(read_table(rows, {}, 3), shape)
    network = build(traced)
    init_weights(network, "default", 0)
    channels = shape[0]
    normal = (HALF[:channels], QUARTER[:channels])
    return LoadedModel("mine", network.eval(), tuple(traced.records()), ImageSpec(*shape), *normal, CLASSES)


@pytest.fixture
def held_out(tmp_path: Path) -> tuple[list[Path], list[int]]:
    pixels, labels = cued(5, 7)
    paths = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for path, picture in zip(paths, pixels, strict=True):
        Image.fromarray(picture.transpose(1, 2, 0)).save(path)
    return paths, labels.tolist()


def corner_share(heatmap: np.ndarray) -> float:
    """The share of the absolute attribution in the corner."""
    return float(np.abs(heatmap[CORNER]).sum() / np.abs(heatmap).sum())


def test_every_method_finds_the_planted_cue(subject: LoadedModel, held_out: tuple[list[Path], list[int]]) -> None:
    paths, labels = held_out
    result = inspect_attribution(subject, paths)
    assert [image.target for image in result.images] == labels
    assert result.methods == tuple(METHODS)
    area = 16 / SIDE**2
    for image in result.images:
        assert image.probability > 0.9
        for map_ in image.maps:
            row, column = np.unravel_index(map_.heatmap.argmax(), map_.heatmap.shape)
            assert row < 4, map_.method
            assert column >= 12, map_.method
            assert corner_share(map_.heatmap) > 2.5 * area, map_.method
            assert len(map_.randomization_correlations) == 3
            assert max(value for value in map_.randomization_correlations if value is not None) < 0.6, map_.method
            assert map_.insertion.auc > max(curve.auc for curve in image.random_insertion), map_.method
        random = np.mean([curve.auc for curve in image.random_deletion])
        assert all(map_.deletion.auc < random - 0.1 for map_ in image.maps)
    shares = {
        name: np.mean([corner_share(map_.heatmap) for map_ in result.for_method(name)]) for name in result.methods
    }
    assert min(shares.values()) > 3 * area
    assert max(shares.values()) > 8 * area
    sums = [map_.completeness for map_ in result.for_method("integrated-gradients")]
    assert all(each.gap < 0.01 for each in sums)
    checks = {row[0]: row[1:] for row in result.document().tables[1][1].rows}
    assert checks["saliency"][:2] == ("5", "5")
    assert "0.7 or more): none." in result.document().lines[0]


def test_json_and_tables_have_the_numbers(subject: LoadedModel, held_out: tuple[list[Path], list[int]]) -> None:
    result = inspect_attribution(subject, held_out[0][:1], methods=["occlusion", "saliency"], draws=2, orders=3)
    image = result.images[0]
    saliency, occlusion = image.maps
    assert (saliency.method, occlusion.method) == ("saliency", "occlusion")
    numbers = json.loads(result.to_json())
    numbers_of_map = numbers["images"][0]["methods"]["occlusion"]
    assert numbers_of_map["deletion"]["area"] == pytest.approx(np.trapezoid(numbers_of_map["deletion"]["curve"]) / 20)
    assert numbers_of_map["redrawn"] == list(occlusion.randomization_correlations)
    assert len(numbers_of_map["redrawn"]) == 2
    assert len(numbers["images"][0]["random"]["insertion"]) == 3
    text = result.document().to_markdown()
    assert f"| {occlusion.deletion.auc:.4f} | {occlusion.insertion.auc:.4f} |" in text
    assert "Completeness" not in text
    figures = result.figures()
    assert list(figures) == ["attribution", "curves"]
    for each in figures.values():  # a text without a colour of the palette is black, also on a dark page
        assert re.findall(r"<text(?![^>]*fill: ?var)[^>]*>", to_svg(each.figure, "figure", each.description)) == []
    assert "image/svg+xml" in result._repr_html_()


def test_results_do_not_depend_on_other_images(subject: LoadedModel, held_out: tuple[list[Path], list[int]]) -> None:
    one = inspect_attribution(subject, held_out[0][:1], draws=1, orders=2)
    two = inspect_attribution(subject, held_out[0][:2], draws=1, orders=2)
    for alone, together in zip(one.images[0].maps, two.images[0].maps, strict=True):
        assert np.array_equal(alone.heatmap, together.heatmap)
        assert alone.randomization_correlations == together.randomization_correlations
        assert alone.deletion.auc == together.deletion.auc
    other = inspect_attribution(subject, held_out[0][:1], draws=1, orders=2, seed=1)
    assert other.images[0].random_deletion[0].auc != one.images[0].random_deletion[0].auc
    assert other.images[0].maps[0].randomization_correlations != one.images[0].maps[0].randomization_correlations


def test_the_network_stays_as_it_was(
    subject: LoadedModel,
    held_out: tuple[list[Path], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    untouched: Callable[[nn.Module], AbstractContextManager[None]],
) -> None:
    def broken(*_: object) -> object:
        raise ValueError("in the middle")

    network = subject.network
    network.train()
    network.conv1.weight.requires_grad_(False)
    places = (
        (nn.MaxPool2d, "forward", _failing_after(2, nn.MaxPool2d.forward)),
        (compute, "randomize_weights", broken),
    )
    try:
        with untouched(network):
            inspect_attribution(subject, held_out[0][:1], draws=1, orders=1)
        for name in METHODS:
            for owner, function, failing in places:
                with monkeypatch.context() as patch:
                    patch.setattr(owner, function, failing)
                    with untouched(network), pytest.raises(ValueError, match="in the middle"):
                        inspect_attribution(subject, held_out[0][:1], methods=[name], draws=1, orders=1)
    finally:
        network.conv1.weight.requires_grad_(True)
        network.eval()


def test_a_cut_backbone_stays_as_it_was(
    held_out: tuple[list[Path], list[int]], untouched: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    fields = {"backbone": "resnet18(weights='none', cut='layer2')", "head": ["globalpool", "dense(classes)"]}
    tables = {"data": {"source": "shapes"}, "model": {**fields, "resize": "own"}}
    plan = plan_network(Recipe.from_tables(tables).model, (3, SIDE, SIDE), 3)
    network = plan.initialize(0, print)[0].train()
    subject = LoadedModel("cut", network, plan.layers, ImageSpec(3, SIDE, SIDE), HALF, QUARTER, CLASSES)
    with untouched(network):
        result = inspect_attribution(subject, held_out[0][:1], steps=2, draws=1, orders=1)
    assert result.methods == tuple(METHODS)
    assert result.layer == "backbone.layer2.1.relu#2"
    with untouched(network), pytest.raises(UsageError, match="no such class"):
        inspect_attribution(subject, held_out[0][:1], target="none of these")


def _failing_after(calls: int, forward: object) -> object:
    """A layer that fails at its second call, which is within a method: the first chooses the class."""
    count = 0

    def wrapper(self: nn.Module, given: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        if count >= calls:
            raise ValueError("in the middle")
        return forward(self, given)

    return wrapper


def test_a_named_class(subject: LoadedModel, held_out: tuple[list[Path], list[int]]) -> None:
    path, label = held_out[0][0], held_out[1][0]
    other = (label + 1) % 3
    result = inspect_attribution(subject, path, target=CLASSES[other], methods="saliency", draws=1, orders=1)
    (image,) = result.images
    assert (image.target, image.class_name, image.predicted) == (other, CLASSES[other], CLASSES[label])
    assert (image.name, result.methods) == (path.name, ("saliency",))
    assert image.probability < 0.1
    assert "<img onerror" not in result.document().to_html()
    drawn(result)


@pytest.mark.parametrize(
    ("given", "number"), [("7", 1), ("1", 1), (" 2 ", 2), (0, 0), ("0", 0), ("10", 2), ("<b>", 3), ("=cmd()", 4)]
)
def test_a_name_goes_before_a_number(given: str | int, number: int) -> None:
    assert parse_class(given, ["9", "7", "10", "<b>", "=cmd()"], 5) == number


@pytest.mark.parametrize("given", ["cta", "5", "-1", "1e0", "٣", "", "9" * 5000, 5, -1])
def test_a_class_that_is_not_there_is_an_error(given: str | int) -> None:
    words = "(?s)class: the network has no such class.*a number from 0 to 4, or a name: cat, dog"
    with pytest.raises(UsageError, match=words) as caught:
        parse_class(given, ["cat", "dog", "hen", "ape", "eel"], 5)
    assert given != "cta" or "did you mean 'cat'" in str(caught.value)


def test_of_classes_without_names_the_numbers_are_errors() -> None:
    with pytest.raises(UsageError, match=r"allowed: *a number from 0 to 999\n"):
        parse_class("cat", [], 1000)


def test_grey_images_and_networks_without_maps(tmp_path: Path) -> None:
    flat = build_model(("flatten", "dense(6)", "relu", "dense(classes)"), (1, 9, 11))
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    result = inspect_attribution(flat, [tmp_path / "grey.png"], draws=1, orders=2)
    assert result.methods == ("saliency", "integrated-gradients", "occlusion")
    assert result.images[0].maps[0].heatmap.shape == (9, 11)
    assert result.skipped_methods == (("grad-cam", "no layer of this network gives feature maps"),)
    assert "No grad-cam: no layer of this network gives feature maps." in result.document().notes
    assert result.layer == ""
    assert (result.window, result.stride) == (2, 1)
    drawn(result)
    with pytest.raises(UsageError, match="method: Grad-CAM needs feature maps: no layer of this network"):
        inspect_attribution(flat, [tmp_path / "grey.png"], methods=["grad-cam"])


def drawn(result: Attributions) -> None:
    for captioned in result.figures().values():
        captioned.figure.savefig("/dev/null", format="png")
        assert captioned.description


def test_a_map_of_zeros_has_no_correlation(held_out: tuple[list[Path], list[int]]) -> None:
    dead = build_model(ROWS, (3, SIDE, SIDE))
    with torch.no_grad():
        dead.network.conv2.bias.fill_(-1e3)
    result = inspect_attribution(dead, held_out[0][:1], draws=1, orders=2)
    assert all(not map_.heatmap.any() for map_ in result.images[0].maps)
    assert result.document().lines == ()
    assert [map_.randomization_correlations for map_ in result.images[0].maps] == [(None,)] * 4
    drawn(result)


def test_logits_with_nan_are_an_error(
    held_out: tuple[list[Path], list[int]], untouched: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    broken = build_model(ROWS, (3, SIDE, SIDE))
    with torch.no_grad():
        broken.network.dense1.bias[0] = float("nan")
    with untouched(broken.network), pytest.raises(RunError, match=r"0\.png: the network gives NaN or ±Inf"):
        inspect_attribution(broken, held_out[0][:1])


def test_baselines(subject: LoadedModel, held_out: tuple[list[Path], list[int]]) -> None:
    picture = subject.load_image(held_out[0][0])
    assert not baseline_image(subject, picture, "mean").any()
    black = baseline_image(subject, picture, "black")
    assert torch.equal(black, torch.full_like(black, -2.0))
    blurred = baseline_image(subject, picture, "blur")
    assert blurred.std() < 0.5 * picture.values.std()
    assert torch.allclose(blurred.mean(), picture.values.mean(), atol=0.1)


def test_black_is_black_where_an_image_is_normalised_by_itself(subject: LoadedModel) -> None:
    """Where a pixel is the darkest of its channel, the picture and a black image differ by that channel's minimum."""
    by_itself = replace(subject, mean=None, std=None)
    picture = by_itself.load_image()
    black = baseline_image(by_itself, picture, "black")
    scaled = torch.from_numpy(picture.pixels.astype(np.float32)) / 255
    lowest = scaled.amin(dim=(1, 2), keepdim=True)
    expected = black + lowest / scaled.std(dim=(1, 2), keepdim=True)
    dark = scaled == lowest
    assert torch.allclose(picture.values[dark], expected.expand_as(picture.values)[dark], atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"methods": ["saliancy"]}, "method: unknown method.*did you mean 'saliency'"),
        ({"window": 17}, "window: .*.*17.*1 to 16"),
        ({"window": 4, "stride": 5}, "stride: .*.*5.*1 to 4"),
        ({"steps": 0}, "steps: .*out of range.*1 to 1,024"),
        ({"orders": 0}, "orders: .*out of range"),
        ({"baseline": "white"}, "baseline: unknown baseline 'white'.*black, blur, mean"),
        ({"images": []}, "--image: .*out of range.*1 to 8"),
        ({"images": [None] * 9}, "--image: .*out of range.*9.*1 to 8"),
        ({"images": ["no.png"]}, r"no\.png"),
        ({"layer": "relu3"}, "layer: there is no layer 'relu3'.*did you mean 'relu"),
        ({"layer": "dense1"}, "layer: this layer gives no feature maps.*dense1, whose output is 1×3"),
    ],
)
def test_wrong_options_are_errors(
    subject: LoadedModel,
    fields: dict[str, object],
    message: str,
    untouched: Callable[[nn.Module], AbstractContextManager[None]],
) -> None:
    with untouched(subject.network), pytest.raises((UsageError, SourceError), match=f"(?s){message}"):
        inspect_attribution(subject, **{"images": [None], **fields})
