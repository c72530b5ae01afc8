"""Kept views: of flips an epoch takes the very image that augmentation would give; of others epochs take turns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config.image_changes import read_augmentations
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.augmentation.views import FlippedViews, only_flips
from cnnlab.data.loader import ImageLoader

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 1, 3, 4), dtype=np.uint8)
FEED = ImageLoader(IMAGES, np.arange(40), (0.0,), (1 / 255,), torch.device("cpu"))

flips = st.sampled_from(["flip(0.3)", "flip(1)", "alternating_flip", "vertical_flip", "vertical_flip(0.8)"])


@given(calls=st.lists(flips, min_size=1, max_size=4), seed=st.integers(0, 99), epoch=st.integers(0, 5))
def test_of_flips_the_chosen_view_is_the_augmented_image(calls: list[str], seed: int, epoch: int) -> None:
    choices = read_augmentations(calls)
    assert only_flips(choices)
    views = FlippedViews(choices)
    kept = [torch.cat(list(views.view_batches(number, FEED))) for number in range(len(views.names))]
    places = np.random.default_rng(epoch).permutation(40).astype(np.int64)[:17]
    expected = augment(torch.from_numpy(IMAGES)[places], choices, sample_params(choices, seed, epoch, places)).float()
    chosen = views.view_indices(seed, epoch, places)
    found = torch.stack([kept[view][place] for view, place in zip(chosen, places, strict=True)])
    torch.testing.assert_close(found, expected)
    assert len(kept) == len(set(views.names)) <= 4
    assert torch.equal(kept[views.UNAUGMENTED], torch.cat([images for images, _ in FEED.eval_batches()]))


@pytest.mark.parametrize(
    ("calls", "views"),
    [([], 1), (["flip"], 2), (["vertical_flip"], 2), (["flip", "vertical_flip"], 4)],
)
def test_there_are_as_many_views_as_flips_can_give(calls: list[str], views: int) -> None:
    assert len(FlippedViews(read_augmentations(calls) if calls else ()).names) == views


@pytest.mark.parametrize("call", ["crop(1)", "maybe(0.5, [flip])", "rotation(180)"])
def test_what_does_more_than_flipping_is_known(call: str) -> None:
    assert not only_flips(read_augmentations([call]))
    assert not only_flips(read_augmentations(["flip", call]))
