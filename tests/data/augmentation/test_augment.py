"""Augmentation: drawn by (seed, epoch, image) alone, whatever the batch; crop and flip as they have always been."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from cnnlab.config.corruptions import corruptions
from cnnlab.config.image_changes import Crop, Flip, augmentations
from cnnlab.config.recipe import Data
from cnnlab.data.augmentation.augment import AugmentParams, augment, sample_params
from cnnlab.data.augmentation.transforms import TRANSFORMS

# Every augmentation once at least, with much of what changes between images.
CALLS = [
    "crop(2)",
    "crop(3, fill='reflect')",
    "flip",
    "alternating_flip",
    "vertical_flip(0.3)",
    "rotation(40)",
    "rotation(90, interpolation='nearest')",
    "translation(0.4)",
    "scale(0.5, 2)",
    "affine(30, 0.2, 0.7, 1.4, 20)",
    "brightness(0.5)",
    "contrast(0.8)",
    "saturation(1.5)",
    "hue(0.5)",
    "jitter(0.4, 0.4, 0.4, 0.1)",
    "jitter(contrast=0.4)",
    "greyscale(0.4)",
    "invert",
    "blur(5)",
    "noise(0.1)",
    "erasing(0.8)",
    "cutout(4)",
    "posterize(3)",
    "solarize(90)",
    "randaugment(2, 20)",
    "trivialaugment",
    "maybe(0.5, [crop(2), flip(0.5)])",
    "one_of([hue(0.5), rotation(40), maybe(0.5, [noise, flip])])",
]


def read(*calls: str) -> tuple[Any, ...]:
    return Data(source="x", augment=calls).augment


def pictures(count: int, channels: int = 3, height: int = 6, width: int = 5, seed: int = 0) -> Tensor:
    pixels = np.random.default_rng(seed).integers(1, 256, (count, channels, height, width), dtype=np.uint8)
    return torch.from_numpy(pixels)


def changed(images: Tensor, *calls: str, seed: int = 0, epoch: int = 0) -> Tensor:
    choices = read(*calls)
    return augment(images, choices, sample_params(choices, seed, epoch, np.arange(len(images))))


def test_the_draws_of_crop_and_flip_are_what_they_were() -> None:
    """The digest is of the first release's draws and images: runs made with it are to be repeated bit by bit."""
    choices = read("crop(4)", "flip")
    draws = sample_params(choices, 3, 7, np.arange(5, 505))
    found = augment(pictures(500, height=32, width=32), choices, draws).numpy()
    digest = hashlib.sha256(b"".join([*(drawn.uniforms.tobytes() for drawn in draws), found.tobytes()]))
    assert digest.hexdigest()[:16] == "d0b4c518e7bf6c7b"


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    padding=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_a_crop_is_torchvisions_pad_and_crop(height: int, width: int, channels: int, padding: int, seed: int) -> None:
    images, choices = pictures(7, channels, height, width), [Crop(padding=padding)]
    draws = sample_params(choices, seed, 0, np.arange(7))
    cut = augment(images, choices, draws)
    for image, found, (down, right) in zip(images, cut, draws[0].uniforms.tolist(), strict=True):
        top, left = int(down * (2 * padding + 1)), int(right * (2 * padding + 1))
        expected = transforms.crop(transforms.pad(image, [padding] * 4), top, left, height, width)
        assert torch.equal(found, expected)


def test_a_crop_may_reflect() -> None:
    images, choices = pictures(30), read("crop(3, fill='reflect')")
    draws = sample_params(choices, 0, 0, np.arange(30))
    cut = augment(images, choices, draws)
    for image, found, (down, right) in zip(images, cut, draws[0].uniforms.tolist(), strict=True):
        padded = transforms.pad(image, [3] * 4, padding_mode="reflect")
        assert torch.equal(found, transforms.crop(padded, int(down * 7), int(right * 7), 6, 5))


def test_the_largest_draw_stays_within_the_last_window() -> None:
    images, largest = pictures(2), AugmentParams(np.full((2, 2), 1 - 2**-24, dtype=np.float32))
    found = augment(images, [Crop(padding=4)], [largest])
    assert torch.equal(found[:, :, :2, :1], images[:, :, 4:, 4:])


def test_every_augmentation_is_carried_out_and_tried_here() -> None:
    assert {call.split("(")[0] for call in CALLS} == set(augmentations.kinds)
    assert {name for name, transform in TRANSFORMS.items() if transform.random} | {"maybe", "one_of"} == set(
        augmentations.kinds
    )
    assert {name for name, transform in TRANSFORMS.items() if transform.fixed} | {"drawn"} == set(corruptions.kinds)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("call", CALLS)
def test_an_augmentation_gives_new_images_of_the_same_form(call: str, channels: int) -> None:
    images = pictures(60, channels, 9, 8)
    kept = images.clone()
    found = changed(images, call)
    assert (found.dtype, found.shape) == (torch.uint8, images.shape)
    assert torch.equal(images, kept)
    colours_only = call.startswith(("saturation", "hue", "greyscale"))
    assert torch.equal(found, images) == (channels == 1 and colours_only)


@pytest.mark.parametrize("call", CALLS)
@settings(max_examples=5)
@given(order=st.permutations(range(23)), size=st.integers(1, 23), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_what_an_image_gets_is_its_own_whatever_its_batch(
    call: str, order: list[int], size: int, seed: int, epoch: int
) -> None:
    images, choices = pictures(23, height=7, width=9), read(call)
    together = augment(images, choices, sample_params(choices, seed, epoch, np.arange(23)))
    batch = np.array(order[:size])
    apart = augment(images[batch], choices, sample_params(choices, seed, epoch, batch))
    assert torch.equal(apart, together[batch])


def test_what_an_image_gets_does_not_depend_on_the_threads() -> None:
    images = pictures(100, height=32, width=32)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = changed(images, *CALLS)
        torch.set_num_threads(3)
        assert torch.equal(changed(images, *CALLS), alone)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("call", CALLS)
def test_seed_and_epoch_change_what_images_get(call: str) -> None:
    images = pictures(60, height=9, width=8)
    first, other = changed(images, call), changed(images, call, epoch=1)
    assert not torch.equal(first, changed(images, call, seed=1))
    assert not torch.equal(first, other)


def test_augmentations_within_others_draw_from_streams_of_their_own() -> None:
    flips = "flip, flip, maybe(0.5, [flip, flip])"
    (outer, nested) = sample_params(read("flip", f"one_of([{flips}, one_of([{flips}])])"), 0, 0, np.arange(50))
    found: list[bytes] = []

    def gather(drawn: AugmentParams) -> None:
        found.append(drawn.uniforms.tobytes())
        for inner in drawn.inner:
            gather(inner)

    gather(outer)
    gather(nested)
    assert len(found) == 13
    assert len(set(found)) == 13


def test_draws_are_32_bit_floats_below_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 - 2⁻⁵³ would round to 1."""
    monkeypatch.setattr("cnnlab.data.augmentation.augment.uniforms", lambda *_: np.array([[0.0, 0.5, 1 - 2**-53]]))
    (drawn,) = sample_params([Flip(p=0.5)], 0, 0, np.arange(1))
    assert drawn.uniforms.dtype == np.float32
    assert drawn.uniforms.tolist() == [[0, 0.5, 1 - 2**-24]]


def test_every_shift_is_equally_likely() -> None:
    places = (sample_params([Crop(padding=4)], 0, 0, np.arange(40_500))[0].uniforms * 9).astype(int)
    counts = np.bincount(places[:, 0] * 9 + places[:, 1], minlength=81)
    assert chisquare(counts).pvalue > 0.001


def test_an_alternating_flip_shows_each_image_both_ways_in_any_two_epochs() -> None:
    images = pictures(2000)
    epochs = [changed(images, "alternating_flip", seed=4, epoch=epoch) for epoch in range(4)]
    for one, other in itertools.pairwise(epochs):
        assert torch.equal(one, other.flip(3))
    flipped = float((epochs[0] != images).flatten(1).any(1).float().mean())
    assert abs(flipped - 0.5) < 4 * (0.25 / 2000) ** 0.5


CHANCES = ["flip(P)", "vertical_flip(P)", "invert(P)", "greyscale(P)", "erasing(P, 0.1, 0.3)", "maybe(P, [invert(1)])"]


@pytest.mark.parametrize("call", [*CHANCES, "posterize(2, P)", "solarize(0, P)"])
def test_an_augmentation_of_chance_touches_its_share_of_the_images(call: str) -> None:
    images = pictures(2000)

    def share(p: float) -> float:
        found = changed(images, call.replace("P", str(p)))
        return float((found != images).flatten(1).any(1).float().mean())

    assert share(0) == 0
    assert share(1) == 1
    assert abs(share(0.3) - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5


def test_one_of_takes_each_as_often() -> None:
    images = pictures(3000, height=3, width=3)
    found = changed(images, "one_of([invert(1), flip(0), posterize(1, 1)])")
    of = [transforms.invert(images), images, transforms.posterize(images, 1)]
    which = torch.stack([(found == other).flatten(1).all(1) for other in of])
    assert bool((which.sum(0) == 1).all())
    assert chisquare(which.sum(1).numpy()).pvalue > 0.001


def test_maybe_does_all_or_nothing() -> None:
    images = pictures(400)
    found = changed(images, "maybe(0.5, [invert(1), vertical_flip(1)])")
    both = transforms.vertical_flip(transforms.invert(images))
    done = (found == both).flatten(1).all(1)
    assert bool((done | (found == images).flatten(1).all(1)).all())
    assert 100 < int(done.sum()) < 300


def test_augmentations_come_in_their_order() -> None:
    images = pictures(50)
    two = read("brightness(0.9)", "invert(1)")
    draws = sample_params(two, 0, 0, np.arange(50))
    expected = transforms.invert(augment(images, two[:1], draws[:1]))
    assert torch.equal(augment(images, two, draws), expected)
    assert not torch.equal(augment(images, two[::-1], draws[::-1]), expected)
