"""Moving images, and how far activations move with them: against numpy, and against layers called by hand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cnnlab.architecture.layers import layers, read_rows
from cnnlab.architecture.trace import trace
from cnnlab.data.sources.base import ImageSpec
from cnnlab.errors import UsageError
from cnnlab.interpret.images import generated_image
from cnnlab.interpret.translation.compute import DIRECTION_STEPS, shift_image, subsample, translation_sensitivity
from cnnlab.interpret.translation.result import TranslationSensitivity
from cnnlab.interpret.translation.view import headline
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.models.tracing.trace import network_table

LENET = ["conv(16, 5, padding=2)", "relu", "maxpool(2)", "conv(32, 5, padding=2)", "relu", "maxpool(2)"]
END = ["flatten", "dense(10)"]


def picture(size: int = 32) -> torch.Tensor:
    """A drawn image with edges and shades, as a network takes it."""
    pixels, _ = generated_image(ImageSpec(3, size, size))
    scaled = torch.from_numpy(pixels.astype(np.float32))
    return (scaled - scaled.mean()) / scaled.std()


def build_network(texts: list[str], seed: int = 0, size: int = 32) -> tuple[nn.Sequential, tuple[Any, ...]]:
    result = trace(read_rows(texts, layers), (3, size, size))
    network = build(result)
    init_weights(network, "default", seed)
    return network, tuple(result.records())


def measured(texts: list[str], image: torch.Tensor, seed: int = 0, **ways: Any) -> TranslationSensitivity:
    network, records = build_network(texts, seed, image.shape[-1])
    return translation_sensitivity(network, image, records, **ways)


@given(
    st.integers(1, 4),
    st.sampled_from(sorted(DIRECTION_STEPS)),
    st.sampled_from([("edge", "edge"), ("zero", "constant")]),
)
def test_an_image_moves_as_numpy_pads_it(shift: int, direction: Any, fills: tuple[Any, Any]) -> None:
    image = torch.arange(2 * 5 * 6, dtype=torch.float32).reshape(2, 5, 6) + 1
    down, right = (shift * moves for moves in DIRECTION_STEPS[direction])
    padded = np.pad(image.numpy(), ((0, 0), (down, 0), (right, 0)), mode=fills[1])
    before = image.clone()
    assert np.array_equal(shift_image(image, shift, direction, fills[0]).numpy(), padded[:, :5, :6])
    assert torch.equal(image, before)


def test_a_change_is_the_distance_as_a_share_of_the_length() -> None:
    network, records = build_network([*LENET, *END])
    image = picture()
    result = translation_sensitivity(network, image, records, shifts=3, direction="diagonal", fill="zero")
    assert result.shifts == (0, 1, 2, 3)
    assert [layer.name for layer in result.layers] == [name for name, _ in network.named_children()]
    inputs = [shift_image(image, shift, "diagonal", "zero")[None] for shift in result.shifts]
    before = result.changes
    for layer, module in zip(result.layers, network, strict=True):
        with torch.no_grad():
            inputs = [module(given) for given in inputs]
        expected = [float((given - inputs[0]).norm() / inputs[0].norm()) for given in inputs]
        assert layer.after == pytest.approx(expected, rel=1e-4)
        assert layer.before == pytest.approx(before, rel=1e-4)
        assert layer.after[0] == 0.0
        before = layer.after


@pytest.mark.parametrize("pool", ["maxpool(2)", "avgpool(2)", "maxpool(3, stride=2)"])
def test_pooling_lowers_the_change(pool: str) -> None:
    table = [pool if "pool" in row else row for row in LENET]
    results = [measured([*table, *END], picture(), seed) for seed in range(5)]
    factors = np.array([[layer.factor() for layer in one.pools] for one in results])
    assert factors.shape == (5, 2)
    assert factors.mean() < 0.9
    assert (factors < 1).mean() > 0.8
    assert results[0].kinds[0].kind == results[0].pools[0].kind


def test_a_constant_image_does_not_change() -> None:
    result = measured([*LENET, *END], torch.full((3, 32, 32), 0.7))
    assert set(result.changes) == {0.0}
    assert {change for layer in result.layers for change in (*layer.before, *layer.after)} == {0.0}
    assert "the same when it is moved" in headline(result)
    assert "–" in result.document().to_markdown()


def test_a_traced_network_with_reused_layers_and_channels_last() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 4, stride=4)
            self.norm = nn.LayerNorm(8)
            self.relu = nn.ReLU(inplace=True)
            self.pool = nn.AdaptiveAvgPool2d(1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            result = self.relu(self.norm(self.conv(images).permute(0, 2, 3, 1)))
            return self.pool(self.relu(result - 0.5).permute(0, 3, 1, 2)).flatten(1)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Block()
    image = picture(48)
    result = translation_sensitivity(network, image, network_table(network, (3, 48, 48)).layers)
    layers_by_name = {layer.name: layer for layer in result.layers}
    assert list(layers_by_name) == ["conv", "norm", "relu", "relu#2", "pool"]
    for name in ("conv", "norm", "relu", "relu#2"):
        assert layers_by_name[name].map == (12, 12)
        assert layers_by_name[name].equivariant_shifts == (4,)
    assert result.stages == (layers_by_name["pool"],)


def test_the_network_is_left_as_it_was(untouched: Callable[[nn.Module], AbstractContextManager[None]]) -> None:
    network, records = build_network(["conv(4, 3)", "batchnorm", "dropout(0.5)", "maxpool(2)", *END])
    network.train()
    with untouched(network):
        translation_sensitivity(network, picture(), records)
    with untouched(network), pytest.raises(RuntimeError):
        translation_sensitivity(network, picture()[:1], records)


def test_the_last_rows_softmax_is_not_there() -> None:
    result = measured(["flatten", "dense(3)", "softmax"], picture())
    assert [layer.name for layer in result.layers] == ["flatten1", "dense1"]


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        ({"shifts": 32}, r"(?s)shifts: the shift must be smaller than the image.*32 px.*1 to 31 px.*of 32×32"),
        ({"shifts": 0}, r"(?s)at least one pixel.*received: 0 px"),
        ({"direction": "left"}, r"(?s)unknown direction 'left'.*right, down, diagonal"),
        ({"fill": "grey"}, r"(?s)unknown fill 'grey'.*edge, zero"),
    ],
)
def test_what_can_not_be_moved_is_an_error(ways: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        measured(["conv(2, 3)"], picture(), **ways)


# Moved by one pixel, windows of 2 see [0,0] [8,0] [0,4] [0,0] and then [0,0] [0,8] [0,0] [4,0]:
# the pool gives 0 8 4 0 and 0 8 0 4, every second pixel 0 8 0 0 and 0 0 0 4.
ROW = torch.tensor([0.0, 0, 8, 0, 0, 4, 0, 0]).reshape(1, 1, 8)
WITH_POOL, WITHOUT_POOL = sqrt(32 / 80), sqrt(80 / 64)


@pytest.mark.parametrize("kind", [nn.MaxPool2d, nn.AvgPool2d])
def test_the_output_without_a_pool_is_that_by_hand(kind: type[nn.Module]) -> None:
    network = nn.Sequential(kind((1, 2)), nn.ReLU(), nn.Flatten())
    result = translation_sensitivity(network, ROW, network_table(network, (1, 1, 8)).layers, shifts=1, fill="zero")
    assert result.output_change == pytest.approx(WITH_POOL)
    pool, *others = result.layers
    assert pool.output_change_without == pytest.approx(WITHOUT_POOL)
    assert result.output_ratio(pool.output_change_without) == pytest.approx(sqrt(3.125))
    assert [layer.output_change_without for layer in others] == [None] * len(others)
    assert {each.kind: each.output_without for each in result.kinds}[pool.kind] == pytest.approx(sqrt(3.125))
    text = f"the output for this image changes 1.77 times as much with every {pool.kind} replaced by a subsampling."
    assert text in headline(result)
    assert result.document().tables[0][1].rows[1][-1] == "1.77"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network)


def test_the_change_of_the_output_is_the_mean_over_the_images() -> None:
    network = nn.Sequential(nn.MaxPool2d((1, 2)), nn.Flatten())
    rows = network_table(network, (1, 1, 8)).layers
    # The second one moves within a window: nothing changes with the pool, and everything without it.
    second = torch.tensor([0.0, 0, 8, 0, 0, 0, 0, 0]).reshape(1, 1, 8)
    result = translation_sensitivity(network, ROW, rows, shifts=1, fill="zero", images=torch.stack([ROW, second]))
    assert (result.num_images, result.output_change) == (2, pytest.approx(WITH_POOL / 2))
    assert result.layers[0].output_change_without == pytest.approx((WITHOUT_POOL + 1) / 2)
    # An output that does not change has no ratio.
    alone = translation_sensitivity(network, second, rows, shifts=1, fill="zero")
    assert (alone.output_change, alone.layers[0].output_change_without) == (None, None)
    assert alone.kinds == () or alone.kinds[0].output_without is None


def test_all_pools_of_a_kind_are_replaced_with_the_same_weights() -> None:
    network, records = build_network([*LENET, *END])
    image = picture()
    result = translation_sensitivity(network, image, records)
    pairs = torch.stack([image, shift_image(image, 1)])

    def change(*replaced: int) -> float:
        values = pairs
        with torch.no_grad():
            for number, module in enumerate(network):
                values = values[:, :, ::2, ::2] if number in replaced else module(values)
        return float((values[1] - values[0]).norm() / values[0].norm())

    assert result.output_change == pytest.approx(change(), rel=1e-4)
    for number in (2, 5):
        assert result.layers[number].output_change_without == pytest.approx(change(number), rel=1e-4)
    assert result.output_changes_without == {"maxpool": pytest.approx(change(2, 5), rel=1e-4)}


@pytest.mark.parametrize(
    ("pool", "first", "step"),
    [
        (nn.MaxPool2d(2), 0, 2),
        (nn.MaxPool2d(2, 2, dilation=2), 0, 2),
        (nn.MaxPool2d(3, 2, 1), 0, 2),
        (nn.AvgPool2d(3), 1, 3),
        (nn.MaxPool2d(3, 1, 1), 0, 1),
        (nn.MaxPool2d(2, 2, ceil_mode=True), 0, 2),
    ],
)
def test_a_subsampling_takes_one_pixel_of_each_window(pool: nn.Module, first: int, step: int) -> None:
    maps = torch.arange(2 * 3 * 9 * 11, dtype=torch.float32).reshape(2, 3, 9, 11)
    taken = subsample(pool, maps, pool(maps).shape)
    assert torch.equal(taken, maps[:, :, first::step, first::step][:, :, : taken.shape[2], : taken.shape[3]])
    assert taken.shape == pool(maps).shape
