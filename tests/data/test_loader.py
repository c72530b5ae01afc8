"""Batches: the same whether the data lives on the device or streams, each image once, normalised as numpy does it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config.image_changes import Crop, Flip
from cnnlab.data.array_store import ArrayStore, resident_bytes
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.loader import Batch, ImageLoader, max_eval_batch_size
from cnnlab.data.sources.base import Pixels

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
CPU = torch.device("cpu")
AUGMENT = (Crop(padding=2), Flip(p=0.5))


def pictures(count: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 6, 5), dtype=np.uint8)


def loader(count: int = 21, pixels: Pixels | None = None, **options: object) -> ImageLoader:
    """Image n has the label n, so that a batch tells which images are in it."""
    found = pictures(count) if pixels is None else pixels
    return ImageLoader(found, np.arange(len(found)), MEAN, STD, CPU, **options)


def as_numpy(pixels: Pixels) -> np.ndarray:
    mean, std = (np.array(values)[:, None, None] for values in (MEAN, STD))
    return (pixels / 255 - mean) / std


def equal(one: Sequence[Batch], other: Sequence[Batch]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_streamed_batches_equal_resident_ones_bit_by_bit(workers: int) -> None:
    resident, streamed = loader(resident=True), loader(resident=False, num_workers=workers)
    assert equal(list(resident.train_batches(4, 7, 2, AUGMENT)), list(streamed.train_batches(4, 7, 2, AUGMENT)))
    assert equal(list(resident.eval_batches(4)), list(streamed.eval_batches(4)))


@given(count=st.integers(1, 40), batch_size=st.integers(1, 45), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_an_epoch_has_every_image_once_in_full_batches(count: int, batch_size: int, seed: int, epoch: int) -> None:
    data = loader(count)
    labels = [found for _, found in data.train_batches(batch_size, seed, epoch)]
    assert sorted(torch.cat(labels).tolist()) == list(range(count))
    sizes = [len(found) for found in labels]
    assert len(sizes) == data.num_batches(batch_size)
    assert all(size == batch_size for size in sizes[:-1])
    assert sizes[-1] <= batch_size + 1
    assert 1 not in sizes or batch_size == 1 or count == 1


def test_each_image_is_augmented_by_its_own_draws() -> None:
    pixels = pictures(21)
    for images, labels in loader(pixels=pixels).train_batches(4, 7, 2, AUGMENT):
        changed = augment(torch.from_numpy(pixels)[labels], AUGMENT, sample_params(AUGMENT, 7, 2, labels.numpy()))
        torch.testing.assert_close(images, torch.from_numpy(as_numpy(changed.numpy())).float(), rtol=0, atol=1e-5)


def test_the_order_depends_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat([labels for _, labels in loader().train_batches(4, seed, epoch)]).tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@pytest.mark.parametrize("resident", [True, False])
def test_evaluation_is_plain_normalisation_in_the_parts_own_order(resident: bool) -> None:
    pixels = pictures(21)
    batches = list(loader(pixels=pixels, resident=resident, num_workers=0).eval_batches(8))
    assert [len(labels) for _, labels in batches] == [8, 8, 5]
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(21))
    images = torch.cat([images for images, _ in batches])
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), as_numpy(pixels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("resident", [True, False])
def test_channels_last_changes_the_strides_and_nothing_else(resident: bool) -> None:
    plain, other = loader(resident=resident, num_workers=0), loader(resident=resident, num_workers=0)
    other.memory_format = "channels_last"
    pairs = zip(plain.train_batches(4, 0, 0, AUGMENT), other.train_batches(4, 0, 0, AUGMENT), strict=True)
    for (images, _), (laid_out, _) in pairs:
        assert images.is_contiguous()
        assert laid_out.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(images, laid_out)


def test_what_fails_in_reading_ahead_is_told_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_store: ArrayStore, _indices: np.ndarray) -> torch.Tensor:
        raise OSError("the disk is gone")

    monkeypatch.setattr(ArrayStore, "_read_rows", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        list(loader(resident=False, num_workers=2).eval_batches(4))


@pytest.mark.parametrize(
    ("height", "width", "images"), [(32, 32, 500), (28, 28, 500), (64, 64, 125), (224, 224, 10), (9000, 9000, 1)]
)
def test_batches_in_evaluation_are_as_large_as_their_images_allow(height: int, width: int, images: int) -> None:
    assert max_eval_batch_size(height, width) == images


@pytest.mark.parametrize(("gibibytes", "images"), [(4, 10), (16, 20), (80, 102), (1000, 500)])
def test_a_cuda_device_evaluates_as_many_images_as_its_memory_allows(
    monkeypatch: pytest.MonkeyPatch, gibibytes: int, images: int
) -> None:
    """By all of its memory: what is free when a run is resumed is not what was free before."""
    memory = SimpleNamespace(total_memory=gibibytes * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
    made = loader(pixels=np.zeros((5, 3, 224, 224), np.uint8))
    assert made.eval_batch_size == 10
    made.device = torch.device("cuda")
    assert made.eval_batch_size == images


def test_images_take_no_more_than_their_share_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 50}.__getitem__)
    assert resident_bytes(CPU) == resident_bytes(torch.device("mps")) == 10_000
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _device: (2_000_000, 10**12))
    assert resident_bytes(torch.device("cuda")) == 400_000
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _device: (10**12, 10**12))
    assert resident_bytes(torch.device("cuda")) == 16 * 2**30


def test_feeding_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()
    list(loader(resident=False, num_workers=1).train_batches(4, 0, 0, AUGMENT))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tobytes() == before[1]


def readers() -> int:
    return sum(thread.name.startswith("cnnlab-feed") for thread in threading.enumerate())


def test_an_epoch_that_is_given_up_leaves_no_worker_behind() -> None:
    batches = loader(resident=False, num_workers=2).train_batches(4, 0, 0)
    next(batches)
    assert readers() == 2
    batches.close()
    assert readers() == 0
