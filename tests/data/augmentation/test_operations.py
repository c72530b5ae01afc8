"""Each operation, with a parameter of its own for each image, held against torchvision image by image.

Where torchvision's result is a whole number before it is cut to one, or its sums have another order, it rounds
otherwise than we do by one level; all else is equal.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as first
from torchvision.transforms.v2 import functional as second

from cnnlab.data.augmentation import color, filters, geometry
from cnnlab.data.augmentation.geometry import AffineParams

COUNT = 12
SHAPES = st.tuples(st.sampled_from([1, 3]), st.integers(1, 12), st.integers(1, 12))
FACTORS = np.array([0.0, 0.05, 0.3, 0.5, 0.7, 0.99, 1.0, 1.01, 1.3, 1.5, 1.99, 4.0], dtype=np.float32)


def pictures(shape: tuple[int, int, int] = (3, 9, 11), seed: int = 0, count: int = COUNT) -> Tensor:
    """Noise, flat colours and greys: what rounding and a range of 0 need."""
    found = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
    found[1] = found[1, :, :1, :1]
    found[2] = found[2, :1]
    found[3] = np.where(found[3] < 128, 0, 255)
    found[4] = found[4] // 16 + 100
    return torch.from_numpy(found)


def far(found: Tensor, expected: list[Tensor]) -> int:
    """The largest difference, in levels."""
    assert found.dtype == torch.uint8
    return int((found.int() - torch.stack(expected).int()).abs().max())


COLOURS = {
    "brightness": (color.brightness, first.adjust_brightness, second.adjust_brightness),
    "contrast": (color.contrast, first.adjust_contrast, second.adjust_contrast),
    "saturation": (color.saturation, first.adjust_saturation, second.adjust_saturation),
}


@pytest.mark.parametrize("name", COLOURS)
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_a_change_of_colour_is_torchvisions(name: str, shape: tuple[int, int, int], seed: int) -> None:
    """Exactly that of its first functions; the second version's round otherwise by one level."""
    ours, exact, near = COLOURS[name]
    images = pictures(shape, seed)
    found = ours(images, FACTORS)
    assert far(found, [exact(image, float(f)) for image, f in zip(images, FACTORS, strict=True)]) == 0
    assert far(found, [near(image, float(f)) for image, f in zip(images, FACTORS, strict=True)]) <= 1


@pytest.mark.parametrize("step", [8, pytest.param(4, marks=pytest.mark.full)])
def test_colours_of_every_kind_of_pixel(step: int) -> None:
    """All of 32³ or 64³ colours and their opposites, in images of 32×32 pixels."""
    steps = torch.arange(0, 256, step)
    images = torch.cartesian_prod(steps, steps, steps).to(torch.uint8).view(-1, 32, 32, 3).permute(0, 3, 1, 2)
    images = torch.cat([images, 255 - images])
    assert far(color.greyscale(images), list(first.rgb_to_grayscale(images, 3))) == 0
    for shift in (-0.5, -0.31, -0.1, 0.0, 0.05, 0.2, 0.5):
        found = color.hue(images, np.full(len(images), shift))
        expected = second.adjust_hue(images, shift)
        assert far(found, list(expected)) <= 1
        # A level apart only where torchvision's number lies on the edge between two.
        assert float((found != expected).float().mean()) < 0.02


@given(shape=SHAPES, seed=st.integers(0, 99))
def test_operations_on_levels_are_torchvisions(shape: tuple[int, int, int], seed: int) -> None:
    images = pictures(shape, seed)
    assert torch.equal(color.invert(images), second.invert(images))
    bits = np.arange(COUNT) % 9
    found = color.posterize(images, bits)
    assert far(found, [second.posterize(image, int(b)) for image, b in zip(images, bits, strict=True)]) == 0
    thresholds = np.linspace(0, 255, COUNT).astype(np.int64)
    found = color.solarize(images, thresholds)
    assert far(found, [second.solarize(image, int(t)) for image, t in zip(images, thresholds, strict=True)]) == 0
    assert far(color.autocontrast(images), [first.autocontrast(image) for image in images]) == 0
    assert far(color.equalize(images), [second.equalize(image) for image in images]) == 0


@given(shape=SHAPES, seed=st.integers(0, 99), half=st.integers(1, 5))
def test_a_blur_is_torchvisions(shape: tuple[int, int, int], seed: int, half: int) -> None:
    """Equal but for sums of another order, which may round a half the other way."""
    sigmas = np.linspace(0.1, 3, COUNT)
    images = pictures(shape, seed)
    found = filters.blur(images, sigmas, 2 * half + 1)
    assert found.shape == images.shape
    if half < min(shape[1:]):  # torch reflects no further
        expected = [
            second.gaussian_blur(image, [2 * half + 1] * 2, [float(s)] * 2)
            for image, s in zip(images, sigmas, strict=True)
        ]
        assert far(found, expected) <= 1


def test_a_blurs_border_is_reflected_there_and_back_where_the_image_is_smaller() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 2, 3), dtype=np.uint8)
    padded = np.pad(image[0, 0], 5, mode="reflect")
    weights = np.exp(-0.5 * np.arange(-5, 6) ** 2 / 1.7**2)
    weights /= weights.sum()
    rows = np.array([np.convolve(row, weights, "valid") for row in padded])
    expected = np.array([np.convolve(column, weights, "valid") for column in rows.T]).T
    found = filters.blur(torch.from_numpy(image), np.array([1.7]), 11)
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=0.51)


@given(shape=SHAPES, seed=st.integers(0, 99))
def test_sharpness_is_torchvisions(shape: tuple[int, int, int], seed: int) -> None:
    images = pictures(shape, seed)
    expected = [second.adjust_sharpness(image, float(f)) for image, f in zip(images, FACTORS, strict=True)]
    assert far(filters.sharpness(images, FACTORS), expected) <= 1
    assert torch.equal(filters.sharpness(images, np.ones(COUNT)), images)


ANGLES = np.array([-180, -135, -90, -47.3, -15, -1e-3, 0, 3, 45, 90, 111.1, 180])


def moved(images: Tensor, how: AffineParams, interpolation: str, count: int = COUNT) -> list[Tensor]:
    """torchvision's `affine` with the numbers of each image."""
    values = {
        name: np.broadcast_to(getattr(how, name), count)
        for name in AffineParams.__dataclass_fields__
        if name != "from_corner"
    }
    corner = np.broadcast_to(how.from_corner, count)
    return [
        second.affine(
            image,
            angle=float(values["angle"][n]),
            translate=[float(values["translate_x"][n]), float(values["translate_y"][n])],
            scale=float(values["scale"][n]),
            shear=[float(values["shear_x"][n]), float(values["shear_y"][n])],
            interpolation=InterpolationMode(interpolation),
            center=[0, 0] if corner[n] else None,
        )
        for n, image in enumerate(images)
    ]


MOVES = {
    "turn": AffineParams(angle=ANGLES),
    "translation": AffineParams(translate_x=np.arange(-6, 6), translate_y=np.arange(5, -7, -1)),
    "scale": AffineParams(scale=np.linspace(0.3, 3.1, COUNT)),
    "shear": AffineParams(shear_x=np.linspace(-60, 60, COUNT), shear_y=np.linspace(20, -33, COUNT)),
    "shear from the corner": AffineParams(shear_x=np.linspace(-40, 44, COUNT), from_corner=1.0),
    "all": AffineParams(ANGLES * 0.9, np.arange(COUNT), -2.0, 0.8, np.linspace(-30, 30, COUNT)),
}


@pytest.mark.parametrize("size", [(9, 11), (16, 16), (1, 1), (32, 20)])
@pytest.mark.parametrize("name", MOVES)
def test_a_move_is_torchvisions(name: str, size: tuple[int, int]) -> None:
    """Within a level for bilinear sums; with the nearest pixel equal but where two are equally near."""
    images = pictures((3, *size))
    smooth, sharp = (geometry.affine(images, MOVES[name], interpolation) for interpolation in ("bilinear", "nearest"))
    assert far(smooth, moved(images, MOVES[name], "bilinear")) <= 1
    expected = torch.stack(moved(images, MOVES[name], "nearest"))
    where = (sharp != expected).any(1)
    assert bool((near_a_half(MOVES[name], size) | ~where).all())
    if name == "translation":
        assert torch.equal(sharp, expected)


def near_a_half(how: AffineParams, size: tuple[int, int]) -> Tensor:
    """Pixels that come from (almost) the middle between two: N×H×W, computed in 64 bits from the matrices."""
    height, width = size
    a, b, c, d, e, f = (column[:, None, None] for column in how.inverse_matrices(COUNT, height, width).T)
    ys, xs = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    places = np.stack([a * xs + b * ys + c + (width - 1) / 2, d * xs + e * ys + f + (height - 1) / 2])
    return torch.from_numpy((np.abs(places % 1 - 0.5) < 1e-4).any(0))


@given(shape=SHAPES, seed=st.integers(0, 99))
def test_a_rectangle_is_erased_as_torchvision_does(shape: tuple[int, int, int], seed: int) -> None:
    images, random = pictures(shape, seed), np.random.default_rng(seed)
    tall, wide = random.integers(0, shape[1] + 1, COUNT), random.integers(0, shape[2] + 1, COUNT)
    tops, lefts = random.integers(0, shape[1] - tall + 1), random.integers(0, shape[2] - wide + 1)
    found = geometry.erase(images, tops, lefts, tall, wide)
    expected = [
        second.erase(image, int(i), int(j), int(h), int(w), torch.zeros(1, 1, 1, dtype=torch.uint8))
        for image, i, j, h, w in zip(images, tops, lefts, tall, wide, strict=True)
    ]
    assert far(found, expected) == 0


def test_noise_is_normal_without_any_pattern() -> None:
    grey = torch.full((400, 3, 16, 16), 128, dtype=torch.uint8)
    keys = np.random.default_rng(0).integers(0, 2**32, 400)
    found = (filters.noise(grey, keys, 0.1).double() - 128) / 25.5
    flat = found.flatten(1).numpy()
    assert abs(flat.mean()) < 4 / math.sqrt(flat.size)
    # Rounding to levels adds 1/12 of a squared level.
    assert flat.std() == pytest.approx(math.sqrt(1 + 1 / 12 / 25.5**2), rel=4 / math.sqrt(2 * flat.size))
    assert np.mean(flat**4) / flat.var() ** 2 == pytest.approx(3, abs=4 * math.sqrt(24 / flat.size))
    for lag in (1, 2, 16, 384):  # the two halves of one hash stand 384 apart
        assert abs(np.corrcoef(flat[:, lag:].ravel(), flat[:, :-lag].ravel())[0, 1]) < 4 / math.sqrt(flat.size)
    between = np.corrcoef(flat)[np.triu_indices(400, 1)]
    assert abs(between).max() < 6 / math.sqrt(flat.shape[1])
    assert between.std() == pytest.approx(1 / math.sqrt(flat.shape[1]), rel=0.05)


def test_noise_is_added_and_cut_off_at_the_ends() -> None:
    images, keys = pictures((3, 5, 5)), np.arange(COUNT) * 999_999_937 % 2**32
    grey = torch.full_like(images, 128)
    added = filters.noise(grey, keys, 0.08).int() - 128
    assert torch.equal(filters.noise(images, keys, 0.08).int(), (images.int() + added).clamp(0, 255))
    assert torch.equal(filters.noise(images, keys, 0.0), images)
