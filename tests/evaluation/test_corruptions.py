"""Shifts against torchvision and Pillow; and networks under them against a plain loop."""

from __future__ import annotations

import io
from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from cnnlab.config.corruptions import default_corruptions, read_corruptions
from cnnlab.data.loader import ImageLoader
from cnnlab.evaluation.corruptions import apply_corruption, correct_under_corruptions

CPU = torch.device("cpu")


def images(count: int = 6, side: int = 32, channels: int = 3, seed: int = 0) -> Tensor:
    """Smooth pictures with some noise, as photographs are."""
    drawn = torch.Generator().manual_seed(seed)
    small = torch.rand((count, channels, 6, 6), generator=drawn)
    smooth = nn.functional.interpolate(small, (side, side), mode="bilinear")
    noisy = smooth + 0.1 * torch.rand(smooth.shape, generator=drawn)
    return (noisy * 255 / 1.1).to(torch.uint8)


def under(call: str, batch: Tensor, seed: int = 0) -> Tensor:
    (shift,) = read_corruptions([call])
    return apply_corruption(batch, shift, np.arange(len(batch)), seed)


def levels_apart(one: Tensor, other: Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


def moved(image: Tensor, right: int, down: int) -> Tensor:
    return F.affine(image, 0.0, [right, down], 1.0, [0.0, 0.0], InterpolationMode.NEAREST)


def turned(image: Tensor, degrees: float) -> Tensor:
    return F.rotate(image, degrees, InterpolationMode.BILINEAR)


ONE_WAY: dict[str, Callable[[Tensor], Tensor]] = {
    "scale(0.75)": lambda one: F.affine(one, 0.0, [0, 0], 0.75, [0.0, 0.0], InterpolationMode.BILINEAR),
    "scale(1.5)": lambda one: F.affine(one, 0.0, [0, 0], 1.5, [0.0, 0.0], InterpolationMode.BILINEAR),
    "brightness(0.5)": lambda one: F.adjust_brightness(one, 0.5),
    "brightness(1.5)": lambda one: F.adjust_brightness(one, 1.5),
    "contrast(0.25)": lambda one: F.adjust_contrast(one, 0.25),
    "saturation(3)": lambda one: F.adjust_saturation(one, 3.0),
    "greyscale": lambda one: F.rgb_to_grayscale(one, 3),
    "invert": F.invert,
    "blur(1.5)": lambda one: F.gaussian_blur(one, [2 * ceil(4.5) + 1] * 2, [1.5] * 2),
    "resolution(8)": lambda one: F.resize(
        F.resize(one.float(), [8, 8], antialias=True), [32, 32], antialias=False
    ).round(),
}


@pytest.mark.parametrize("call", ONE_WAY)
def test_what_draws_nothing_is_what_torchvision_does(call: str) -> None:
    batch = images()
    found = under(call, batch)
    for one, shift in zip(batch, found, strict=True):
        assert levels_apart(ONE_WAY[call](one), shift) <= 1


TWO_WAYS: dict[str, list[Callable[[Tensor], Tensor]]] = {
    "translation(3)": [
        lambda one, right=right, down=down: moved(one, right, down)
        for right, down in ((3, 0), (-3, 0), (0, 3), (0, -3))
    ],
    "rotation(20)": [lambda one: turned(one, 20.0), lambda one: turned(one, -20.0)],
    "hue(72)": [lambda one: F.adjust_hue(one, 0.2), lambda one: F.adjust_hue(one, -0.2)],
}


@pytest.mark.parametrize("call", TWO_WAYS)
def test_an_image_draws_one_of_the_directions_and_all_occur(call: str) -> None:
    batch = images(40)
    taken = set()
    for one, shift in zip(batch, under(call, batch), strict=True):
        near = [levels_apart(way(one), shift) <= 1 for way in TWO_WAYS[call]]
        assert any(near)
        taken.add(near.index(True))
    assert taken == set(range(len(TWO_WAYS[call])))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels: int) -> None:
    batch = images(channels=channels)
    found = under("jpeg(10)", batch)
    for one, shift in zip(batch, found, strict=True):
        stored = io.BytesIO()
        pixels = one.permute(1, 2, 0).numpy()
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(stored, "JPEG", quality=10)
        again = np.asarray(Image.open(stored)).reshape(32, 32, channels)
        assert np.array_equal(again, shift.permute(1, 2, 0).numpy())


def test_an_occlusion_is_one_whole_black_square_somewhere() -> None:
    batch = torch.full((60, 3, 32, 32), 200, dtype=torch.uint8)
    found = under("occlusion(8)", batch)
    corners = set()
    for one in found:
        rows, columns = np.nonzero(one[0].numpy() == 0)
        assert len(rows) == 64
        assert (np.ptp(rows), np.ptp(columns)) == (7, 7)
        corners.add((rows.min(), columns.min()))
    assert len(corners) > 40


@given(st.sampled_from(default_corruptions(16, 16, 3)), st.integers(0, 2**31), st.integers(1, 6))
def test_a_draw_depends_on_seed_kind_and_image_alone(shift: Any, seed: int, cut: int) -> None:
    batch, places = images(7, 16), np.array([3, 900, 5, 7, 11, 2, 40])
    whole = apply_corruption(batch, shift, places, seed)
    parts = [apply_corruption(batch[part], shift, places[part], seed) for part in (slice(cut), slice(cut, None))]
    assert torch.equal(whole, torch.cat(parts))
    assert whole.shape == batch.shape
    assert whole.dtype == torch.uint8


def test_directions_are_the_same_at_every_strength() -> None:
    """So that a curve follows the same images."""
    batch = images(30)
    ways = []
    for pixels in (2, 5):
        found = under(f"translation({pixels})", batch)
        near = [
            [
                levels_apart(moved(one, pixels * x, pixels * y), shift) == 0
                for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))
            ]
            for one, shift in zip(batch, found, strict=True)
        ]
        ways.append([each.index(True) for each in near])
    assert ways[0] == ways[1]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))


def made(count: int = 30) -> tuple[nn.Module, ImageLoader]:
    with torch.random.fork_rng():
        found = network()
        found(torch.zeros(2, 3, 8, 8))
    labels = np.arange(count, dtype=np.int64) % 4
    loader = ImageLoader(images(count, 8).numpy(), labels, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3), CPU)
    return found, loader


def test_answers_are_those_of_a_plain_loop_and_the_network_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    net, loader = made()
    monkeypatch.setattr("cnnlab.data.loader.EVAL_BATCH_MAX_IMAGES", 7)
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    shifts = read_corruptions(["translation(1)", "invert", "drawn([contrast(0.5)])"], 8, 8, 3)
    found = correct_under_corruptions(net, loader, shifts, seed=3)
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(not module._forward_hooks for module in net.modules())
    net.eval()
    pixels = torch.from_numpy(loader.pixels)
    mean, std = (torch.tensor(values)[:, None, None] for values in (loader.mean, loader.std))
    places = np.arange(len(pixels))
    for row, changed in zip(
        found, (pixels, *(apply_corruption(pixels, each, places, 3) for each in shifts)), strict=True
    ):
        with torch.no_grad():
            answers = net((changed.float() / 255 - mean) / std).argmax(1).numpy()
        assert np.array_equal(row, answers == loader.labels)


def test_logits_that_are_no_numbers_are_wrong_and_an_error_leaves_the_mode() -> None:
    net, loader = made(8)
    with torch.no_grad():
        net[4].bias.fill_(float("nan"))
    assert not correct_under_corruptions(net, loader, ()).any()
    net.train()
    net[4] = nn.Flatten(7)  # a dimension that is not there
    with pytest.raises(IndexError):
        correct_under_corruptions(net, loader, ())
    assert all(module.training for module in net.modules())


def test_some_of_the_images_draw_what_they_draw_among_all() -> None:
    net, loader = made(30)
    shifts = read_corruptions(["drawn([noise(1.0)])", "hue(90)"], 8, 8, 3)
    whole = correct_under_corruptions(net, loader, shifts)
    some = correct_under_corruptions(net, loader.subset(7), shifts)
    places = np.linspace(0, 29, 7).round().astype(int)
    assert np.array_equal(some, whole[:, places])
    again = loader.subset(20).subset(5)
    assert np.array_equal(
        correct_under_corruptions(net, again, shifts),
        whole[:, [int(p) for _, _, q in again.pixel_batches() for p in q]],
    )
