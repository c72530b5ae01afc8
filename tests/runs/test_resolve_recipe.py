"""What a backbone's weights decide in a recipe: normalisation, channels, sizes, and which weights they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.models import get_model_weights

from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import open_dataset
from cnnlab.errors import SpecError
from cnnlab.models.network_plan import plan_network
from cnnlab.runs.resolve_recipe import resolve_recipe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as every tutorial has them
FULL = pytest.mark.full
needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


def recipe(backbone: str, source: str = "shapes", data: Any = None, **model: Any) -> Recipe:
    tables = {"data": {"source": source, **(data or {})}, "model": {"backbone": backbone, **model}}
    return Recipe.from_tables(tables)


def photographs(root: Path, *sizes: tuple[int, int]) -> str:
    """Four pictures of each class; the n-th has the n-th size, (W, H)."""
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number in range(4):
            width, height = sizes[number % len(sizes)]
            pixels = np.full((height, width, 3), 60 * number + (40 if label == "a" else 0), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return str(root)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("efficientnet_b3", "imagenet"),
        ("resnet18", "none"),
        *(pytest.param(name, "imagenet", marks=FULL) for name in ("resnet50", "vit_b_16", "inception_v3")),
    ],
)
def test_what_torchvision_publishes_is_spelled_out(name: str, weights: str) -> None:
    made = resolve_recipe(recipe(f"{name}(weights='{weights}')"))
    preset = get_model_weights(name)["IMAGENET1K_V1"].transforms()
    assert made.data.normalize == (tuple(preset.mean), tuple(preset.std))
    assert made.data.channels == 3
    assert made.model.resize == (preset.crop_size[0],) * 2
    assert made.model.interpolation == preset.interpolation.value
    assert made.model.backbone.weights == ("IMAGENET1K_V1" if weights == "imagenet" else "none")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "made",
    [
        recipe("resnet18(weights='imagenet')"),
        recipe("resnet18('none')", resize="own", data={"normalize": "data", "channels": 3}),
        pytest.param(
            recipe("resnet50(weights='ResNet50_Weights.DEFAULT')", resize=64, interpolation="nearest"), marks=FULL
        ),
        pytest.param(recipe("vgg11(weights='none')", data={"normalize": "weights", "size": 48}), marks=FULL),
        pytest.param(recipe("timm/convnext_tiny(weights='imagenet')"), marks=[needs_timm, FULL]),
    ],
)
def test_a_resolved_recipe_stays_as_it_is(made: Recipe) -> None:
    once = resolve_recipe(made)
    assert resolve_recipe(once) == once
    assert resolve_recipe(Recipe.from_toml(once.to_toml())) == once


def test_what_the_recipe_says_is_kept() -> None:
    said = {"normalize": [[0.5] * 3, [0.25] * 3], "channels": 3, "size": [40, 50]}
    made = resolve_recipe(recipe("resnet18('imagenet')", data=said, resize=[64, 96], interpolation="nearest"))
    assert made.data.normalize == ((0.5,) * 3, (0.25,) * 3)
    assert made.data.size == (40, 50)
    assert (made.model.resize, made.model.interpolation) == ((64, 96), "nearest")
    assert resolve_recipe(recipe("resnet18('imagenet')", data={"normalize": "data"})).data.normalize == "data"
    assert resolve_recipe(recipe("resnet18('imagenet')", resize="own")).model.resize == "own"


@pytest.mark.full
@pytest.mark.parametrize(
    ("sizes", "model", "expected"),
    [
        (((224, 240),), {}, (224, 224)),  # higher
        (((100, 80), (90, 80)), {}, (224, 224)),  # of several sizes
        (((100, 80),), {}, None),  # smaller: enlarged in front of the backbone
        (((100, 80),), {"resize": 64}, (64, 64)),
        pytest.param(((300, 260),), {"resize": "own"}, None, marks=FULL),
        pytest.param(((300, 260),), {}, (224, 224), marks=FULL),  # larger
        pytest.param(((224, 224),), {}, None, marks=FULL),
    ],
)
def test_larger_and_mixed_photographs_are_decoded_at_the_backbones_size(
    tmp_path: Path, sizes: Any, model: Any, expected: Any
) -> None:
    source = photographs(tmp_path / "photographs", *sizes)
    made = resolve_recipe(recipe("resnet18(weights='imagenet')", source, {"validation": 0.25}, **model))
    assert made.data.size == expected
    form = open_dataset(made.data, seed=0).image_spec
    natural = (sizes[0][1], sizes[0][0])
    assert (form.height, form.width) == (expected or natural)
    rows = [row for row in plan_network(made.model, form.shape, 2).layers if row.name == "backbone.conv1"]
    wanted = natural if model.get("resize") == "own" else made.model.resize
    assert rows[0].input == (3, *wanted)


def test_a_runs_images_are_those_that_it_was_trained_on(transferring: Any) -> None:
    form = transferring.source.data().preprocessing
    made = resolve_recipe(transferring.recipe("none"))
    assert made.data.normalize == (form.mean, form.std)
    assert made.data.channels == form.channels
    assert made.model.resize == (form.height, form.width) == (8, 8)
    assert resolve_recipe(made) == made


def test_grey_images_become_the_backbones_colours(tmp_path: Path) -> None:
    for label, value in (("a", 20), ("b", 200)):
        (tmp_path / "grey" / label).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((16, 16), value + number, dtype=np.uint8)).save(
                tmp_path / "grey" / label / f"{number}.png"
            )
    made = resolve_recipe(recipe("resnet18('none')", str(tmp_path / "grey"), {"validation": 0.25}, resize="own"))
    dataset = open_dataset(made.data, seed=0)
    assert dataset.image_spec.shape == (3, 16, 16)
    assert (tuple(dataset.mean), tuple(dataset.std)) == (MEAN, STD)


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        ("resnet19(weights='none')", "there is no network 'resnet19'(?s:.*)did you mean 'resnet1[08]'"),
        ("resnet19(weights='imagenet')", "there is no network 'resnet19'"),
        ("resnet18(weights='IMAGENET1K_V2')", "there are no weights 'IMAGENET1K_V2' of resnet18(?s:.*)IMAGENET1K_V1"),
    ],
)
def test_what_nobody_has_is_told_at_the_backbone(backbone: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as told:
        resolve_recipe(recipe(backbone))
    assert told.value.problems[0].where == "model.backbone"


def test_an_explicit_size_is_what_is_decoded(tmp_path: Path) -> None:
    source = photographs(tmp_path / "photographs", (300, 260))
    assert resolve_recipe(recipe("resnet18('none')", source, {"size": 32})).data.size == (32, 32)
