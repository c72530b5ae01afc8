"""Batches of decoded images for training and evaluation: sampled, shuffled, augmented, normalised.

Images that live on the device and images that stream give the same batches for the same seed, because order and
augmentation are drawn here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.array_store import ArrayStore, default_num_workers
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.sources.base import Indices, Labels, Pixels
from cnnlab.randomness import generator

MemoryFormat: TypeAlias = Literal["contiguous", "channels_last"]
Batch: TypeAlias = tuple[Tensor, Tensor]

# A batch in evaluation has about so many pixels, since a network's maps grow with them: 500 images of 32×32, 10 of
# 224×224; and never more images than 500. A CUDA device takes so many for each 8 GiB that it has. That is all of its
# memory, not what is free: a run that is resumed is to round as before. On CPUs larger batches are no faster (resnet18
# at 224×224: 12.8 images a second of one thread by 10, 11.4 by 64).
EVAL_BATCH_PIXELS = 500 * 32 * 32
EVAL_BATCH_MAX_IMAGES = 500
EVAL_BATCH_MEMORY = 8 * 2**30


def full_range(count: int) -> slice:
    """All of `count` images, which one process takes."""
    return slice(0, count)


class Loader:
    """One split of the data in batches of an order that seed and epoch decide, whatever a row of a batch holds."""

    labels: Labels
    _sample_indices: Indices | None = None
    _input_size: tuple[int, int] | None = None

    def train_batches(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        augmentations: Sequence[Any] = (),
        shard: Callable[[int], slice] = full_range,
    ) -> Iterator[Batch]:
        """The batches of an epoch: shuffled, augmented; floats N×... with labels N.

        Args:
            shard: which of a batch's images are wanted, where several processes divide it.
        """
        raise NotImplementedError

    def eval_batches(
        self, batch_size: int | None = None, shard: Callable[[int], slice] = full_range
    ) -> Iterator[Batch]:
        """Images in their own order, un-augmented; in batches of about `EVAL_BATCH_PIXELS`.

        Args:
            shard: which of the split's images are wanted, where several processes divide it; at least one.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)

    def batch_sizes(self, batch_size: int) -> list[int]:
        """The training batches of an epoch: full ones and the remainder.

        A remainder of one image joins the batch before it, since batch norm needs two.
        """
        sizes = [batch_size] * (len(self) // batch_size)
        remainder = len(self) % batch_size
        if remainder == 1 and sizes:
            sizes[-1] += 1
        elif remainder:
            sizes.append(remainder)
        return sizes

    def num_batches(self, batch_size: int) -> int:
        """How many training batches an epoch has."""
        return len(self.batch_sizes(batch_size))

    def with_sampling(self, positions: Indices) -> Self:
        """The same split with other images in its places: in place n stands image `places[n]`.

        An augmentation's draws go by the place, so that an image that stands in two is augmented in two ways.
        """
        supply = copy(self)
        supply._sample_indices = positions
        return supply

    def with_input_size(self, size: tuple[int, int] | None) -> Self:
        """The same split for a network that makes images of this height and width of its own: fewer at a time.

        A network that resizes nothing says None.
        """
        supply = copy(self)
        supply._input_size = size
        return supply

    def _image_indices(self, positions: Indices) -> Indices:
        """Which images stand in these places."""
        return positions if self._sample_indices is None else self._sample_indices[positions]

    def _shuffled_order(
        self, batch_size: int, seed: int, epoch: int, shard: Callable[[int], slice]
    ) -> tuple[Indices, list[int]]:
        """The places of an epoch in its order, and the sizes of its batches; of each batch the share alone."""
        order = generator(seed, "order", epoch).permutation(len(self)).astype(np.int64)
        parts = [part[shard(len(part))] for part in np.split(order, np.cumsum(self.batch_sizes(batch_size))[:-1])]
        return np.concatenate(parts), [len(part) for part in parts]

    def _sequential_order(
        self, batch_size: int, shard: Callable[[int], slice] = full_range
    ) -> tuple[Indices, list[int]]:
        """The places in their own order, and the sizes of the batches."""
        order = np.arange(len(self))[shard(len(self))]
        return order, [min(batch_size, len(order) - start) for start in range(0, len(order), batch_size)]


@dataclass
class ImageLoader(Loader):
    """One split of the data as images, ready for a network.

    Args:
        pixels: uint8, N×C×H×W; may be a memory map.
        labels: N class indices.
        mean, std: per channel, of pixels scaled to 0–1.
        resident: keep the images on the device; None: if they fit the budget for that kind of device.
        num_workers: threads that read ahead when the data streams; with 0 each batch is read when it is asked for.
    """

    pixels: Pixels
    labels: Labels
    mean: Sequence[float]
    std: Sequence[float]
    device: torch.device
    memory_format: MemoryFormat = "contiguous"
    resident: bool | None = None
    num_workers: int = field(default_factory=default_num_workers)
    _sample_indices: Indices | None = field(init=False, default=None, repr=False)
    _input_size: tuple[int, int] | None = field(init=False, default=None, repr=False)
    _source_positions: Indices | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self._store = ArrayStore([self.pixels], self.device, self.resident, self.num_workers)
        self.resident = self._store.resident
        self._labels = torch.from_numpy(np.array(self.labels)).to(self.device)
        self._shift = torch.tensor(self.mean, device=self.device).mul_(255)[:, None, None]
        self._scale = torch.tensor(self.std, device=self.device).mul_(255).reciprocal_()[:, None, None]

    @property
    def eval_batch_size(self) -> int:
        """How many images are evaluated at a time, as they are and as the network resizes them."""
        sizes = [tuple(self.pixels.shape[2:]), *([self._input_size] if self._input_size else [])]
        return min(max_eval_batch_size(*size, device=self.device) for size in sizes)

    def train_batches(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        augmentations: Sequence[Any] = (),
        shard: Callable[[int], slice] = full_range,
    ) -> Iterator[Batch]:
        """The batches of an epoch: shuffled, augmented, normalised; floats N×C×H×W with labels N."""
        order, sizes = self._shuffled_order(batch_size, seed, epoch, shard)
        return self._augmented_batches(order, sizes, augmentations, seed, epoch)

    def eval_batches(
        self, batch_size: int | None = None, shard: Callable[[int], slice] = full_range
    ) -> Iterator[Batch]:
        """Images in their own order, un-augmented, normalised; in batches of about `EVAL_BATCH_PIXELS`."""
        order, sizes = self._sequential_order(batch_size or self.eval_batch_size, shard)
        return self._augmented_batches(order, sizes)

    def subset(self, count: int) -> ImageLoader:
        """At most so many of the images, spread evenly over the split, in their order."""
        if count >= len(self):
            return self
        chosen = evenly_spaced_indices(len(self), count)
        found = replace(self, pixels=np.asarray(self.pixels[chosen]), labels=self.labels[chosen])
        found._source_positions = chosen if self._source_positions is None else self._source_positions[chosen]
        return found

    def pixel_batches(self) -> Iterator[tuple[Tensor, Tensor, Indices]]:
        """As `eval_batches`, before the normalisation: uint8 images N×C×H×W, their labels, and their places in the
        split.

        Of `subset` images the places are those in the whole split, by which an image is known.
        """
        order, sizes = self._sequential_order(self.eval_batch_size)
        start = 0
        for images, labels in self._pixel_batches(order, sizes):
            places = order[start : start + len(images)]
            yield images, labels, places if self._source_positions is None else self._source_positions[places]
            start += len(images)

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 images of this split, N×C×H×W, as a network takes them."""
        layout = torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format
        return images.to(torch.float32, memory_format=layout).sub_(self._shift).mul_(self._scale)

    def _augmented_batches(
        self,
        order: Indices,
        batch_sizes: Sequence[int],
        augmentations: Sequence[Any] = (),
        seed: int = 0,
        epoch: int = 0,
    ) -> Iterator[Batch]:
        draws = sample_params(augmentations, seed, epoch, order)
        start = 0
        for images, labels in self._pixel_batches(order, batch_sizes):
            here = slice(start, start + len(images))
            changed = augment(images, augmentations, [drawn.take(here) for drawn in draws])
            yield self.normalize(changed), labels
            start = here.stop

    def _pixel_batches(self, order: Indices, batch_sizes: Sequence[int]) -> Iterator[Batch]:
        """uint8 batches in the wanted order, on the device."""
        order = self._image_indices(order)
        chunks = torch.split(torch.from_numpy(order).to(self.device), list(batch_sizes))
        for images, chunk in zip(self._store.batches(order, batch_sizes), chunks, strict=True):
            yield images, self._labels.index_select(0, chunk)


def evenly_spaced_indices(count: int, limit: int | None) -> Indices:
    """Which of so many images a look at `most` of them takes: spread evenly, or all.

    >>> evenly_spaced_indices(9, 3).tolist()
    [0, 4, 8]
    """
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.linspace(0, count - 1, limit).round().astype(np.int64)


def max_eval_batch_size(height: int, width: int, *, device: torch.device | None = None) -> int:
    """How many images, or maps, of this size are evaluated at a time; without a device as many as suit each."""
    pixels = EVAL_BATCH_PIXELS
    if device is not None and device.type == "cuda":
        pixels *= max(1, torch.cuda.get_device_properties(device).total_memory // EVAL_BATCH_MEMORY)
    return max(1, min(EVAL_BATCH_MAX_IMAGES, pixels // (height * width)))


def balanced_indices(labels: Labels, seed: int, epoch: int) -> Indices:
    """As many images as there are, as many of each class, in an order that depends on (seed, epoch) alone.

    Images of a small class come several times, those of a large one not each time: of two images of one class
    neither comes more than once more often than the other. Where the classes don't divide the images, some that are
    drawn get one image more.

    >>> labels = np.array([0, 0, 0, 0, 0, 1])
    >>> np.bincount(labels[balanced_indices(labels, seed=0, epoch=0)]).tolist()
    [3, 3]
    """
    draws = generator(seed, "sampling", epoch)
    classes = draws.permutation(np.unique(labels))
    found = []
    for number, label in enumerate(classes):
        own = np.flatnonzero(labels == label)
        count = len(labels) // len(classes) + (number < len(labels) % len(classes))
        rounds = [draws.permutation(own) for _ in range(-(-count // len(own)))]
        found.append(np.concatenate(rounds)[:count])
    return np.concatenate(found).astype(np.int64)
