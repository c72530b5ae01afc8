"""Balanced epochs: as many images of each class, and of each image nearly as many."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config.recipe import Data
from cnnlab.data.loader import ImageLoader, balanced_indices

CPU = torch.device("cpu")


@given(labels=st.lists(st.sampled_from([0, 1, 2, 5]), min_size=1, max_size=60), seed=st.integers(0, 99))
def test_classes_come_equally_often_and_the_images_of_a_class_too(labels: list[int], seed: int) -> None:
    own = np.array(labels)
    places = balanced_indices(own, seed, 1)
    assert len(places) == len(own)
    counts = np.bincount(own[places], minlength=6)[np.unique(own)]
    assert counts.max() - counts.min() <= 1
    for label in np.unique(own):
        images = np.bincount(places, minlength=len(own))[own == label]
        assert images.max() - images.min() <= 1


def test_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    labels = np.array([0] * 20 + [1] * 5)
    first = balanced_indices(labels, 0, 0)
    assert np.array_equal(first, balanced_indices(labels, 0, 0))
    assert not np.array_equal(first, balanced_indices(labels, 0, 1))
    assert not np.array_equal(first, balanced_indices(labels, 1, 0))


def loader(resident: bool) -> ImageLoader:
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(2, 2).repeat(2, 3)
    return ImageLoader(pixels, np.array([0, 0, 0, 0, 1, 1]), [0.0], [1 / 255], CPU, resident=resident)


def test_a_feed_of_places_gives_the_images_that_stand_there() -> None:
    for resident in (True, False):
        plain = loader(resident)
        sampled = plain.with_sampling(np.array([4, 4, 5, 0, 0, 0]))
        batches = list(sampled.train_batches(2, seed=0, epoch=0))
        found = [(int(images[n].mean()), int(labels[n])) for images, labels in batches for n in range(len(labels))]
        assert sorted(found) == [(0, 0), (0, 0), (0, 0), (4, 1), (4, 1), (5, 1)]
        order = [int(images[0].mean()) for images, _ in plain.eval_batches(1)]
        assert order == [0, 1, 2, 3, 4, 5]


def test_an_image_that_comes_twice_is_augmented_twice() -> None:
    pixels = np.zeros((8, 1, 2, 2), np.uint8)
    pixels[:, :, :, 0] = 100
    one = ImageLoader(pixels, np.zeros(8, np.int64), [0.0], [1 / 255], CPU).with_sampling(np.zeros(8, np.int64))
    ((images, _),) = one.train_batches(8, 0, 0, Data(source="x", augment=["flip(0.5)"]).augment)
    assert 0 < int((images[:, 0, 0, 0] > 50).sum()) < 8
