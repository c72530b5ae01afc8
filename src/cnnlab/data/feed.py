"""Decoded images to batches on the device.

Small data lives on the device as one uint8 tensor; data past a memory budget streams from its memory map through
worker processes. Both give the same batches for the same seed, because order and augmentation are drawn here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cnnlab.data.augment import augment, draw
from cnnlab.data.source import Indices, Labels, Pixels
from cnnlab.randomness import generator, key

MemoryFormat: TypeAlias = Literal["contiguous", "channels_last"]
Batch: TypeAlias = tuple[Tensor, Tensor]

RESIDENT_BYTES = {"cpu": 4 * 2**30, "cuda": 16 * 2**30, "mps": 2 * 2**30}
EVALUATION_BATCH = 500


@dataclass
class Feed:
    """One part of the data, ready to be fed to a network.

    Args:
        pixels: uint8, N×C×H×W; may be a memory map.
        labels: N class indices.
        mean, std: per channel, of pixels scaled to 0–1.
        resident: keep the images on the device; None: if they fit the budget for that kind of device.
        workers: processes that read ahead when the data streams.
    """

    pixels: Pixels
    labels: Labels
    mean: Sequence[float]
    std: Sequence[float]
    device: torch.device
    memory_format: MemoryFormat = "contiguous"
    resident: bool | None = None
    workers: int = field(default_factory=lambda: min(4, _cores()))
    _images: Tensor | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if self.resident is None:
            self.resident = self.pixels.nbytes <= RESIDENT_BYTES[self.device.type]
        if self.resident:
            self._images = torch.from_numpy(np.array(self.pixels)).to(self.device)
        self._labels = torch.from_numpy(np.array(self.labels)).to(self.device)
        self._shift = torch.tensor(self.mean, device=self.device).mul_(255)[:, None, None]
        self._scale = torch.tensor(self.std, device=self.device).mul_(255).reciprocal_()[:, None, None]

    def __len__(self) -> int:
        return len(self.labels)

    def training(self, batch_size: int, seed: int, epoch: int, augmentations: Sequence[Any] = ()) -> Iterator[Batch]:
        """The batches of an epoch: shuffled, augmented, normalised; floats N×C×H×W with labels N."""
        order = generator(seed, "order", epoch).permutation(len(self)).astype(np.int64)
        draws = [numbers.to(self.device) for numbers in draw(augmentations, seed, epoch, order)]
        start = 0
        for images, labels in self._batches(order, _training_sizes(len(self), batch_size)):
            stop = start + len(images)
            changed = augment(images, augmentations, [numbers[start:stop] for numbers in draws])
            yield self._normalised(changed), labels
            start = stop

    def evaluation(self, batch_size: int = EVALUATION_BATCH) -> Iterator[Batch]:
        """All images in their own order, un-augmented, normalised."""
        count = len(self)
        sizes = [min(batch_size, count - start) for start in range(0, count, batch_size)]
        for images, labels in self._batches(np.arange(count), sizes):
            yield self._normalised(images), labels

    def steps(self, batch_size: int) -> int:
        """How many training batches an epoch has."""
        return len(_training_sizes(len(self), batch_size))

    def _normalised(self, images: Tensor) -> Tensor:
        layout = torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format
        return images.to(torch.float32, memory_format=layout).sub_(self._shift).mul_(self._scale)

    def _batches(self, order: Indices, sizes: Sequence[int]) -> Iterator[Batch]:
        """uint8 batches in the wanted order, on the device."""
        places = torch.from_numpy(order).to(self.device)
        chunks = torch.split(places, list(sizes))
        if self._images is not None:
            for chunk in chunks:
                yield self._images.index_select(0, chunk), self._labels.index_select(0, chunk)
            return
        for images, chunk in zip(self._streamed(order, sizes), chunks, strict=True):
            yield images.to(self.device, non_blocking=True), self._labels.index_select(0, chunk)

    def _streamed(self, order: Indices, sizes: Sequence[int]) -> Iterator[Tensor]:
        ends = np.cumsum(sizes)
        batches = [order[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        # A generator of its own: DataLoader would draw its base seed from torch's global state.
        loader: DataLoader[Tensor] = DataLoader(
            _Reader(self.pixels),  # type: ignore[arg-type]
            sampler=batches,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(key(0, "loader")),
        )
        yield from loader


@dataclass(frozen=True)
class _Reader:
    """What a worker process reads from: one item is one whole batch."""

    pixels: Pixels

    def __getitem__(self, indices: Indices) -> Tensor:
        return torch.from_numpy(self.pixels[indices])


def _cores() -> int:
    """The cores that this process may use: torch warns of more workers than these."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _training_sizes(count: int, batch_size: int) -> list[int]:
    """Full batches and the rest; a rest of one image joins the batch before it, since batch norm needs two."""
    sizes = [batch_size] * (count // batch_size)
    rest = count % batch_size
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes
