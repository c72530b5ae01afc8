"""RandAugment and TrivialAugment: each operation at each magnitude is torchvision's, and each is drawn as often."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, RandAugment, TrivialAugmentWide

from cnnlab.config import image_changes
from cnnlab.data.augmentation import auto_augment
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.augmentation.auto_augment import BINS, OPERATIONS, apply_operations, magnitudes

SPACES = {False: RandAugment(), True: TrivialAugmentWide()}


def pictures(count: int, channels: int = 3, height: int = 20, width: int = 24) -> Tensor:
    """Smooth pictures with a little noise, so that an operation's neighbours are not all alike."""
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.uniform(0, 255, (count, channels, 4, 4)))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (smooth + torch.from_numpy(random.normal(0, 8, smooth.shape))).clamp(0, 255).to(torch.uint8)


def expected(images: Tensor, name: str, value: float, wide: bool) -> Tensor:
    return SPACES[wide]._apply_image_or_video_transform(
        images, name, value, interpolation=InterpolationMode.NEAREST, fill={}
    )


@pytest.mark.parametrize("wide", [False, True], ids=["randaugment", "trivialaugment"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_magnitudes_are_torchvisions(name: str, wide: bool) -> None:
    theirs = SPACES[wide]._AUGMENTATION_SPACE[name][0](BINS, 20, 24)
    found = magnitudes(name, wide, 20, 24)
    np.testing.assert_allclose(found, np.zeros(BINS) if theirs is None else theirs.double().numpy(), rtol=1e-6)


def test_the_operations_are_torchvisions_in_its_order() -> None:
    assert tuple(SPACES[False]._AUGMENTATION_SPACE) == tuple(SPACES[True]._AUGMENTATION_SPACE) == OPERATIONS


@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.full), 3])
@pytest.mark.parametrize(
    "wide", [pytest.param(False, marks=pytest.mark.full), True], ids=["randaugment", "trivialaugment"]
)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_torchvisions_at_each_magnitude(name: str, wide: bool, channels: int) -> None:
    """Within a level."""
    values_of, signed = SPACES[wide]._AUGMENTATION_SPACE[name]
    values = values_of(BINS, 20, 24)
    signs = (False, True) if signed else (False,)
    images = pictures(BINS, channels)
    for negative in signs:
        chosen = np.full(BINS, OPERATIONS.index(name))
        found = apply_operations(images, chosen, np.full(BINS, negative), np.arange(BINS), wide=wide)
        for place, image in enumerate(images):
            value = 0.0 if values is None else float(values[place]) * (-1 if negative else 1)
            # A little more and a little less decide where a pixel comes from the middle between two.
            nearby = (1, 1 - 1e-4, 1 + 1e-4) if name in ("ShearX", "ShearY", "Rotate") else (1,)
            theirs = [expected(image, name, value * factor, wide).int() for factor in nearby]
            assert int(torch.stack([(found[place].int() - other).abs() for other in theirs]).amin(0).max()) <= 1


@pytest.mark.parametrize(
    "choice", [image_changes.RandAugment(operations=3, magnitude=17), image_changes.TrivialAugment()]
)
def test_operations_signs_and_magnitudes_are_drawn_alike(choice: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn is watched; it is carried out all the same."""
    calls: list[tuple[np.ndarray, ...]] = []

    def watched(images: Tensor, *drawn: np.ndarray, wide: bool) -> Tensor:
        calls.append(drawn)
        return apply_operations(images, *drawn, wide=wide)

    monkeypatch.setattr(auto_augment, "apply_operations", watched)
    augment(pictures(4000, 1, 4, 4), [choice], sample_params([choice], 0, 0, np.arange(4000)))
    assert len(calls) == (3 if isinstance(choice, image_changes.RandAugment) else 1)
    for chosen, negative, bins in calls:
        assert chisquare(np.bincount(chosen, minlength=14)).pvalue > 0.001
        assert abs(negative.mean() - 0.5) < 4 * (0.25 / 4000) ** 0.5
        if isinstance(choice, image_changes.TrivialAugment):
            assert chisquare(np.bincount(bins, minlength=31)).pvalue > 0.001
            assert abs(np.corrcoef(chosen, bins)[0, 1]) < 4 / 4000**0.5
        else:
            assert set(bins) == {17}
    steps = [chosen for chosen, _, _ in calls]
    assert all(abs(np.corrcoef(steps[0], other)[0, 1]) < 4 / 4000**0.5 for other in steps[1:])
