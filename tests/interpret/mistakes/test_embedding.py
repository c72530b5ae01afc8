"""Features on a plane: which layer, which images, in which pieces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from cnnlab.data.loader import ImageLoader
from cnnlab.interpret.mistakes.embedding import embed_images, last_layer, layer_inputs
from cnnlab.interpret.mistakes.figures import embedding_figure
from cnnlab.records import LayerRecord
from cnnlab.render.plots import to_svg

CPU = torch.device("cpu")
NAMED = np.zeros(30, np.int64)


def feed(count: int = 30, kinds: int = 3) -> ImageLoader:
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    return ImageLoader(pixels, np.arange(count) % kinds, (0.5,) * 3, (0.25,) * 3, CPU)


def row(name: str, kind: str, shape: tuple[int, ...], parameters: int = 1) -> LayerRecord:
    return LayerRecord(
        name=name, kind=kind, text=kind, input=shape, output=shape, parameters=parameters, formula="", macs=0,
        receptive_field=None, jump=None,
    )  # fmt: skip


@pytest.fixture
def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(216, 3)
        )


def test_features_are_what_goes_into_the_layer(
    network: nn.Sequential, untouched: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    images = torch.cat([batch for batch, _ in feed().eval_batches()])
    network.eval()
    with torch.no_grad():
        expected, maps = network[:5](images), network[:2](images).mean(dim=(2, 3))
    network.train()
    with untouched(network):
        np.testing.assert_allclose(layer_inputs(network, "5", feed()), expected, atol=1e-6)
        np.testing.assert_allclose(layer_inputs(network, "2", feed()), maps, atol=1e-6)


def test_sequences_are_averaged_over_their_steps() -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng(devices=[]):
                self.last = nn.Linear(16, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(images.reshape(len(images), 12, 16)).mean(dim=1)

    images = torch.cat([batch for batch, _ in feed().eval_batches()])
    expected = images.reshape(30, 12, 16).mean(dim=1).numpy()
    np.testing.assert_allclose(layer_inputs(Steps(), "last", feed()), expected, atol=1e-6)


def test_an_error_in_the_middle_leaves_no_hook(
    network: nn.Sequential, untouched: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    network[4] = nn.Identity()  # four-dimensional maps do not fit the last layer
    network.train()
    with untouched(network), pytest.raises(RuntimeError):
        layer_inputs(network, "5", feed())


def test_the_plane_is_that_of_scikit_learn(network: nn.Sequential) -> None:
    found = embed_images(network, row("5", "dense", (216,)), feed(), NAMED)
    assert found is not None
    network.eval()
    images = torch.cat([batch for batch, _ in feed().eval_batches()])
    oracle = PCA(2, svd_solver="full").fit(network[:5](images).detach().numpy())
    assert found.explained_variance == pytest.approx(oracle.explained_variance_ratio_, rel=1e-4)
    assert (found.num_features, found.is_averaged, found.layer) == (216, False, "5")
    assert np.array_equal(found.points.labels, np.arange(30) % 3)
    assert np.array_equal(found.points.is_error, np.arange(30) % 3 != 0)


def test_many_images_are_thinned_evenly(network: nn.Sequential) -> None:
    found = embed_images(network, row("5", "dense", (216,)), feed(), NAMED, max_points=7)
    assert found is not None
    assert found.points.image_indices.tolist() == [0, 5, 10, 14, 19, 24, 29]
    assert np.array_equal(found.points.labels, found.points.image_indices % 3)


def test_features_that_are_no_numbers_give_no_map(network: nn.Sequential) -> None:
    with torch.no_grad():
        network[0].bias.fill_(torch.nan)
    assert embed_images(network, row("5", "dense", (216,)), feed(), NAMED) is None


def test_the_last_layer_is_the_last_dense_or_convolution(network: nn.Sequential) -> None:
    conv, norm, dense = (row("0", "conv", (3, 8, 8)), row("1", "batchnorm", (6, 6, 6)), row("5", "dense", (216,)))
    relu = row("2", "relu", (6, 6, 6), parameters=0)
    assert last_layer(network, [conv, norm, relu, dense]) == dense
    assert last_layer(network, [conv, norm, relu]) == conv
    assert last_layer(network, [norm, relu]) == norm
    assert last_layer(network, [relu, row("gone", "dense", (3,))]) is None


@pytest.mark.parametrize("kinds", [1, 3, pytest.param(25, marks=pytest.mark.full)])
def test_the_figure_has_every_point_and_every_error(network: nn.Sequential, kinds: int) -> None:
    labels = np.arange(90) % kinds
    wrong = np.arange(90) % 7 == 0
    found = embed_images(network, row("5", "dense", (216,)), feed(90, kinds), np.where(wrong, -1, labels))
    assert found is not None
    names = [f"_$class_{k}" for k in range(kinds)]
    figure = embedding_figure(found, names, "title", "note")
    (axes,) = figure.axes
    *classes, rings = (group.get_offsets() for group in axes.collections)
    assert sorted(map(tuple, np.concatenate(classes))) == sorted(map(tuple, found.points.points))
    assert len(rings) == wrong.sum()
    assert axes.get_xlabel() == f"component 1, {100 * found.explained_variance[0]:.1f} % of the variance"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == names[:24]
    assert "_$class_0" in to_svg(figure, "map", "")
