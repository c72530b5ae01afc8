"""The first convolution, before and after training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cnnlab.config.recipe import Recipe
from cnnlab.interpret.loaded_model import load_model
from cnnlab.interpret.weights.compute import first_convolution
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.storage.run_folder import RunFolder


def test_it_is_the_seeds_weights_before_and_the_selected_ones_after(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]
) -> None:
    made = recipe()
    folder = trained(made)
    weights = first_convolution(load_model(folder.path, device="cpu"), print)
    filters = weights and weights.filters
    fresh = build(made.model.trace((3, 8, 8), 3))
    init_weights(fresh, "default", made.train.seed)
    step = round(folder.result().selected_epoch * 4)
    (best,) = [path for path in folder.path.glob("best-*") if f"-{step}." in path.name]
    assert filters.layer == "conv1"
    assert filters.before.shape == filters.after.shape == (4, 3, 3, 3)
    assert np.array_equal(filters.before, fresh.conv1.weight.detach().numpy())
    assert np.array_equal(filters.after, load_file(best)["network/conv1.weight"].numpy())
    assert not np.array_equal(filters.before, filters.after)


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        (["flatten", "dense(classes)"], None),
        (["eyes: conv(2, 3)", "conv(2, 3)", "flatten", "dense(classes)"], "eyes"),
        (["residual([\"conv(3, 3, padding='same')\"])", "flatten", "dense(classes)"], "residual1.body.conv1"),
        (["conv(2, 3, weightnorm=true)", "flatten", "dense(classes)"], "conv1"),
    ],
)
def test_the_first_convolution_is_found_wherever_it_stands(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], layers: Sequence[str], name: str | None
) -> None:
    folder = trained(recipe(layers=layers, epochs=1))
    weights = first_convolution(load_model(folder.path, device="cpu"), print)
    filters = weights and weights.filters
    assert (filters.layer if filters else None) == name
    if filters:
        assert filters.layer in [row.name for row in folder.table().layers]
        assert torch.isfinite(torch.from_numpy(filters.after)).all()
