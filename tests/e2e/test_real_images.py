"""The main job on real images: what a person reaches with the recipes as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnlab import Recipe, train

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.slow
def test_the_small_network_knows_the_faces(orl_faces: Path, tmp_path: Path) -> None:
    recipe = Recipe.read(RECIPES / "faces.toml", {"data.source": str(orl_faces)})
    result = train(recipe, runs=tmp_path).result()
    assert result is not None
    assert result.test is not None
    assert result.test.images == 80
    assert result.test.accuracy >= 0.85


@pytest.mark.slow
def test_lenet_learns_cifar10(cifar_jpeg: Path, tmp_path: Path) -> None:
    """Ten epochs reach 0.70 and more; two are enough to see that it learns, and take a fifth of the time."""
    recipe = Recipe.read(RECIPES / "lenet.toml", {"data.source": str(cifar_jpeg), "train.epochs": 2})
    result = train(recipe, runs=tmp_path).result()
    assert result is not None
    assert result.test is not None
    assert result.test.images == 10_000
    assert 0.6 <= result.test.accuracy <= 0.75
