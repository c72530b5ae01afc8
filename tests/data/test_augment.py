"""Crop and flip: held against torchvision, image by image, and drawn by (seed, epoch, image) alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from cnnlab.data.augment import augment, draw
from cnnlab.spec.choices import Crop, Flip


def pictures(count: int, channels: int = 3, height: int = 6, width: int = 5, seed: int = 0) -> Tensor:
    pixels = np.random.default_rng(seed).integers(1, 256, (count, channels, height, width), dtype=np.uint8)
    return torch.from_numpy(pixels)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    padding=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_a_crop_is_torchvisions_pad_and_crop(height: int, width: int, channels: int, padding: int, seed: int) -> None:
    images, choices = pictures(7, channels, height, width), [Crop(padding=padding)]
    draws = draw(choices, seed, 0, np.arange(7))
    cut = augment(images, choices, draws)
    for image, found, (down, right) in zip(images, cut, draws[0].tolist(), strict=True):
        top, left = int(down * (2 * padding + 1)), int(right * (2 * padding + 1))
        expected = transforms.crop(transforms.pad(image, [padding] * 4), top, left, height, width)
        assert torch.equal(found, expected)


def test_a_flip_is_torchvisions_for_the_drawn_images_only() -> None:
    images, choices = pictures(40), [Flip(p=0.3)]
    draws = draw(choices, 3, 1, np.arange(40))
    for image, found, (number,) in zip(images, augment(images, choices, draws), draws[0].tolist(), strict=True):
        assert torch.equal(found, transforms.horizontal_flip(image) if number < 0.3 else image)


@pytest.mark.parametrize(("p", "flipped"), [(0.0, False), (1.0, True)])
def test_a_flip_of_probability_0_never_happens_and_of_1_always(p: float, flipped: bool) -> None:
    images, choices = pictures(500), [Flip(p=p)]
    found = augment(images, choices, draw(choices, 0, 0, np.arange(500)))
    assert torch.equal(found, images.flip(3) if flipped else images)


def test_the_largest_draw_stays_within_the_last_window() -> None:
    largest = torch.full((2, 2), 1 - 2**-24)
    images = pictures(2)
    found = augment(images, [Crop(padding=4)], [largest])
    assert torch.equal(found[:, :, :2, :1], images[:, :, 4:, 4:])


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(range(12)), size=st.integers(1, 12), seed=st.integers(0, 99), epoch=st.integers(0, 99))
def test_what_an_image_gets_is_its_own_whatever_its_batch(order: list[int], size: int, seed: int, epoch: int) -> None:
    images, choices = pictures(12), [Crop(padding=2), Flip(p=0.5)]
    together = augment(images, choices, draw(choices, seed, epoch, np.arange(12)))
    batch = np.array(order[:size])
    apart = augment(images[batch], choices, draw(choices, seed, epoch, batch))
    assert torch.equal(apart, together[batch])


def test_seed_epoch_and_place_in_the_list_each_change_the_draws() -> None:
    images = np.arange(100)
    flip = [Flip(p=0.5)]
    first = draw(flip, 0, 0, images)[0]
    others = [draw(flip, 1, 0, images)[0], draw(flip, 0, 1, images)[0], draw([*flip, *flip], 0, 0, images)[1]]
    assert all(not torch.equal(first, other) for other in others)


def test_draws_are_32_bit_floats_below_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 - 2⁻⁵³ would round to 1."""
    monkeypatch.setattr("cnnlab.data.augment.uniforms", lambda *_: np.array([[0.0, 0.5, 1 - 2**-53]]))
    (numbers,) = draw([Flip(p=0.5)], 0, 0, np.arange(1))
    assert numbers.dtype == torch.float32
    assert numbers.tolist() == [[0, 0.5, 1 - 2**-24]]


def test_every_shift_is_equally_likely() -> None:
    places = (draw([Crop(padding=4)], 0, 0, np.arange(40_500))[0] * 9).long()
    counts = torch.bincount(places[:, 0] * 9 + places[:, 1], minlength=81)
    assert chisquare(counts.numpy()).pvalue > 0.001


def test_the_share_of_flipped_images_is_p() -> None:
    flipped = (draw([Flip(p=0.3)], 0, 0, np.arange(40_000))[0] < 0.3).float().mean()
    assert abs(float(flipped) - 0.3) < 4 * (0.3 * 0.7 / 40_000) ** 0.5


def test_no_augmentation_leaves_the_images_as_they_are() -> None:
    images = pictures(3)
    assert torch.equal(augment(images, [], draw([], 0, 0, np.arange(3))), images)
