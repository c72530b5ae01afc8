"""What the arguments of an augmentation mean: from the draws to the parameters of torchvision's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import ColorJitter, RandomAffine, RandomErasing
from torchvision.transforms import functional as first
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as second

from cnnlab.config.recipe import Data
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.augmentation.transforms import erasing_rectangles
from cnnlab.torch_rng import fork_rng

SMOOTH = InterpolationMode.BILINEAR
COUNT = 40


def pictures(count: int = COUNT, height: int = 10, width: int = 14) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, height, width), dtype=np.uint8))


def drawn(call: str, count: int = COUNT) -> tuple[tuple[Any, ...], np.ndarray]:
    """The augmentation and its draws, in 64 bits."""
    choices = Data(source="x", augment=[call]).augment
    return choices, sample_params(choices, 5, 2, np.arange(count))[0].uniforms.astype(np.float64)


def within(u: float, low: float, high: float) -> float:
    return low + (high - low) * u


def jitter(image: Tensor, u: np.ndarray) -> Tensor:
    image = first.adjust_brightness(image, within(u[0], 0.6, 1.4))
    image = first.adjust_contrast(image, within(u[1], 0.7, 1.3))
    image = first.adjust_saturation(image, within(u[2], 0.8, 1.2))
    return first.adjust_hue(image, within(u[3], -0.1, 0.1))


def affine(image: Tensor, u: np.ndarray) -> Tensor:
    right, down = round(within(u[1], -0.25, 0.25) * 14), round(within(u[2], -0.25, 0.25) * 10)
    return second.affine(
        image,
        within(u[0], -30, 30),
        [right, down],
        within(u[3], 0.7, 1.4),
        [within(u[4], -20, 20), 0.0],
        SMOOTH,
    )


MEANING: dict[str, Callable[[Tensor, np.ndarray], Tensor]] = {
    "rotation(40)": lambda image, u: second.rotate(image, within(u[0], -40, 40), SMOOTH),
    "rotation(40, 'nearest')": lambda image, u: second.rotate(image, within(u[0], -40, 40)),
    "translation(0.3)": lambda image, u: second.affine(
        image, 0, [round(within(u[0], -0.3, 0.3) * 14), round(within(u[1], -0.3, 0.3) * 10)], 1, [0.0, 0.0]
    ),
    "scale(0.5, 2)": lambda image, u: second.affine(image, 0, [0, 0], within(u[0], 0.5, 2), [0.0, 0.0], SMOOTH),
    "affine(30, 0.25, 0.7, 1.4, 20)": affine,
    "brightness(0.4)": lambda image, u: first.adjust_brightness(image, within(u[0], 0.6, 1.4)),
    "brightness(1.5)": lambda image, u: first.adjust_brightness(image, within(u[0], 0, 2.5)),
    "contrast(0.4)": lambda image, u: first.adjust_contrast(image, within(u[0], 0.6, 1.4)),
    "saturation(0.4)": lambda image, u: first.adjust_saturation(image, within(u[0], 0.6, 1.4)),
    "hue(0.3)": lambda image, u: first.adjust_hue(image, within(u[0], -0.3, 0.3)),
    "jitter(0.4, 0.3, 0.2, 0.1)": jitter,
    "jitter(saturation=0.5)": lambda image, u: first.adjust_saturation(image, within(u[2], 0.5, 1.5)),
    "blur(5, 0.5, 3)": lambda image, u: second.gaussian_blur(image, [5, 5], [within(u[0], 0.5, 3)] * 2),
    "greyscale(0.4)": lambda image, u: first.rgb_to_grayscale(image, 3) if u[0] < 0.4 else image,
    "invert(0.4)": lambda image, u: second.invert(image) if u[0] < 0.4 else image,
    "vertical_flip(0.4)": lambda image, u: second.vertical_flip(image) if u[0] < 0.4 else image,
    "posterize(3, 0.4)": lambda image, u: second.posterize(image, 3) if u[0] < 0.4 else image,
    "solarize(100, 0.4)": lambda image, u: second.solarize(image, 100) if u[0] < 0.4 else image,
}


@pytest.mark.parametrize("call", MEANING)
def test_arguments_mean_what_they_say(call: str) -> None:
    """Within a level or two: jitter carries a level on from step to step."""
    images, (choices, numbers) = pictures(), drawn(call)
    found = augment(images, choices, sample_params(choices, 5, 2, np.arange(COUNT)))
    expected = torch.stack([MEANING[call](image, u) for image, u in zip(images, numbers, strict=True)])
    apart = (found.int() - expected.int()).abs() > (2 if call.startswith("jitter") else 1)
    assert float(apart.float().mean()) < (0.01 if "nearest" in call else 1e-9)


def test_ranges_are_those_of_torchvisions_transforms() -> None:
    transform = ColorJitter(0.4, 1.5, 0.2, 0.1)
    assert (transform.brightness, transform.contrast) == ((0.6, 1.4), (0, 2.5))
    assert (transform.saturation, transform.hue) == ((0.8, 1.2), (-0.1, 0.1))
    shear = RandomAffine(0, shear=20).shear
    assert list(shear) == [-20, 20]  # along the rows only


def test_a_cutout_is_a_black_square_about_a_random_pixel() -> None:
    images = torch.full((3000, 1, 7, 9), 255, dtype=torch.uint8)
    choices, numbers = drawn("cutout(4)", 3000)
    found = augment(images, choices, sample_params(choices, 5, 2, np.arange(3000)))
    for image, (down, right) in zip(found, numbers, strict=True):
        top, left = int(down * 7) - 2, int(right * 9) - 2
        expected = torch.full((7, 9), 255, dtype=torch.uint8)
        expected[max(top, 0) : top + 4, max(left, 0) : left + 4] = 0
        assert torch.equal(image[0], expected)


def test_erased_rectangles_are_drawn_like_torchvisions() -> None:
    count, low, high, height, width = 20_000, 0.02, 0.33, 32, 32
    numbers = np.random.default_rng(0).random((count, 22)).astype(np.float32)
    tops, lefts, tall, wide = erasing_rectangles(numbers, low, high, height, width)
    assert (tops.min(), lefts.min()) == (0, 0)
    assert (tops + tall).max() == (lefts + wide).max() == 32
    assert tall.max() < 32
    assert wide.max() < 32
    image = torch.ones(1, height, width)
    with fork_rng():
        torch.manual_seed(0)
        found = [RandomErasing.get_params(image, (low, high), (0.3, 3.3), [0.0])[:4] for _ in range(2000)]
    theirs = np.array(found).T
    for ours, other in zip((tops, lefts, tall, wide), theirs, strict=True):
        error = np.hypot(ours.std() / count**0.5, other.std() / 2000**0.5)
        # Their narrowest aspect is 0.3, ours 1 / 3.3: a hundredth wider, and as likely as its counterpart.
        assert abs(ours.mean() - other.mean()) < 4.5 * error + 0.05
        assert ours.std() == pytest.approx(other.std(), rel=0.06)


def test_where_no_rectangle_fits_nothing_is_erased() -> None:
    numbers = np.full((1, 22), 0.5, dtype=np.float32)
    tops, lefts, tall, wide = erasing_rectangles(numbers, 1.0, 1.0, 6, 6)
    assert (tall[0], wide[0]) == (0, 0)
    assert 0 <= tops[0] <= 6
    assert 0 <= lefts[0] <= 6
    images = pictures(5)
    choices, _ = drawn("erasing(1, 1, 1)", 5)
    assert torch.equal(augment(images, choices, sample_params(choices, 0, 0, np.arange(5))), images)
