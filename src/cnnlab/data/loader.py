"""Batches of decoded images for training and evaluation: sampled, shuffled, augmented, normalised.

Order and augmentation are sampled here, so that images on the device and streamed images give the same batches.
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

# A batch in evaluation has about this many pixels, since a network's maps grow with them: 500 images of 32×32, 10 of
# 224×224; and never more than 500 images. A CUDA device takes this many for each 8 GiB of its total memory (not of its
# free memory, so that a resumed run rounds as before). On CPUs larger batches are no faster (resnet18 at 224×224, one
# thread: 12.8 images/s in batches of 10, 11.4 in batches of 64).
EVAL_BATCH_PIXELS = 500 * 32 * 32
EVAL_BATCH_MAX_IMAGES = 500
EVAL_BATCH_MEMORY = 8 * 2**30


def full_range(count: int) -> slice:
    """All of `count` images: the shard of a single process."""
    return slice(0, count)


class Loader:
    """One split of the data in batches, whose order depends on seed and epoch; of images or of cached features."""

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
            shard: the slice of each batch for this process, where several divide it.
        """
        raise NotImplementedError

    def eval_batches(
        self, batch_size: int | None = None, shard: Callable[[int], slice] = full_range
    ) -> Iterator[Batch]:
        """Images in their own order, un-augmented; in batches of about `EVAL_BATCH_PIXELS`.

        Args:
            shard: the slice of the split for this process, where several divide it; at least one image.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)

    def batch_sizes(self, batch_size: int) -> list[int]:
        """The sizes of an epoch's training batches: full ones and the remainder.

        A remainder of one image is added to the batch before it, since batch norm needs two.
        """
        sizes = [batch_size] * (len(self) // batch_size)
        remainder = len(self) % batch_size
        if remainder == 1 and sizes:
            sizes[-1] += 1
        elif remainder:
            sizes.append(remainder)
        return sizes

    def num_batches(self, batch_size: int) -> int:
        """The number of training batches of an epoch."""
        return len(self.batch_sizes(batch_size))

    def with_sampling(self, positions: Indices) -> Self:
        """The same split with image `positions[n]` at position n.

        Augmentation depends on the position, so that an image at two positions is augmented in two ways.
        """
        loader = copy(self)
        loader._sample_indices = positions
        return loader

    def with_input_size(self, size: tuple[int, int] | None) -> Self:
        """The same split for a network that resizes images to this height and width; None for one that does not.

        Evaluation batches are smaller for larger images.
        """
        loader = copy(self)
        loader._input_size = size
        return loader

    def _image_indices(self, positions: Indices) -> Indices:
        """The images at these positions."""
        return positions if self._sample_indices is None else self._sample_indices[positions]

    def _shuffled_order(
        self, batch_size: int, seed: int, epoch: int, shard: Callable[[int], slice]
    ) -> tuple[Indices, list[int]]:
        """The positions of an epoch in its order, and the sizes of its batches; of each batch the shard alone."""
        order = generator(seed, "order", epoch).permutation(len(self)).astype(np.int64)
        batches = np.split(order, np.cumsum(self.batch_sizes(batch_size))[:-1])
        shards = [batch[shard(len(batch))] for batch in batches]
        return np.concatenate(shards), [len(batch) for batch in shards]

    def _sequential_order(
        self, batch_size: int, shard: Callable[[int], slice] = full_range
    ) -> tuple[Indices, list[int]]:
        """The positions in ascending order, and the sizes of the batches."""
        order = np.arange(len(self))[shard(len(self))]
        return order, [min(batch_size, len(order) - start) for start in range(0, len(order), batch_size)]


@dataclass
class ImageLoader(Loader):
    """One split of the data as images, ready for a network.

    Args:
        pixels: uint8, N×C×H×W; may be a memory map.
        labels: N class indices.
        mean, std: per channel, of pixels scaled to 0–1.
        resident: whether the images are kept on the device; None: if they fit the budget for that kind of device.
        num_workers: threads that read ahead when the data is streamed; with 0 each batch is read when it is used.
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
        """The number of images of an evaluation batch, which their own and the network's image size limit."""
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
        """At most `count` of the images, spread evenly over the split, in their order."""
        if count >= len(self):
            return self
        chosen = evenly_spaced_indices(len(self), count)
        loader = replace(self, pixels=np.asarray(self.pixels[chosen]), labels=self.labels[chosen])
        loader._source_positions = chosen if self._source_positions is None else self._source_positions[chosen]
        return loader

    def pixel_batches(self) -> Iterator[tuple[Tensor, Tensor, Indices]]:
        """As `eval_batches`, not normalised: uint8 images N×C×H×W, their labels, and their positions in the split.

        Of a `subset` the positions are those in the whole split.
        """
        order, sizes = self._sequential_order(self.eval_batch_size)
        start = 0
        for images, labels in self._pixel_batches(order, sizes):
            positions = order[start : start + len(images)]
            yield images, labels, positions if self._source_positions is None else self._source_positions[positions]
            start += len(images)

    def normalize(self, images: Tensor) -> Tensor:
        """Normalise uint8 images of this split, N×C×H×W, to floats in the memory format."""
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
        params = sample_params(augmentations, seed, epoch, order)
        start = 0
        for images, labels in self._pixel_batches(order, batch_sizes):
            rows = slice(start, start + len(images))
            augmented = augment(images, augmentations, [sampled.take(rows) for sampled in params])
            yield self.normalize(augmented), labels
            start = rows.stop

    def _pixel_batches(self, order: Indices, batch_sizes: Sequence[int]) -> Iterator[Batch]:
        """uint8 batches in this order, on the device."""
        order = self._image_indices(order)
        chunks = torch.split(torch.from_numpy(order).to(self.device), list(batch_sizes))
        for images, chunk in zip(self._store.batches(order, batch_sizes), chunks, strict=True):
            yield images, self._labels.index_select(0, chunk)


def evenly_spaced_indices(count: int, limit: int | None) -> Indices:
    """The indices of `limit` of `count` images, spread evenly; all where there are no more, or without a limit.

    >>> evenly_spaced_indices(9, 3).tolist()
    [0, 4, 8]
    """
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.linspace(0, count - 1, limit).round().astype(np.int64)


def max_eval_batch_size(height: int, width: int, *, device: torch.device | None = None) -> int:
    """How many images, or maps, of this size are evaluated at a time; without a device, a number that suits any."""
    pixels = EVAL_BATCH_PIXELS
    if device is not None and device.type == "cuda":
        pixels *= max(1, torch.cuda.get_device_properties(device).total_memory // EVAL_BATCH_MEMORY)
    return max(1, min(EVAL_BATCH_MAX_IMAGES, pixels // (height * width)))


def balanced_indices(labels: Labels, seed: int, epoch: int) -> Indices:
    """Sample N of N images, as many of each class, in an order that depends on (seed, epoch) alone.

    Images of a small class are taken several times, those of a large one not all: of two images of one class, neither
    is taken more than once more often than the other. Where N is no multiple of the number of classes, random ones get
    one image more.

    >>> labels = np.array([0, 0, 0, 0, 0, 1])
    >>> np.bincount(labels[balanced_indices(labels, seed=0, epoch=0)]).tolist()
    [3, 3]
    """
    rng = generator(seed, "sampling", epoch)
    classes = rng.permutation(np.unique(labels))
    chosen = []
    for number, label in enumerate(classes):
        own = np.flatnonzero(labels == label)
        count = len(labels) // len(classes) + (number < len(labels) % len(classes))
        rounds = [rng.permutation(own) for _ in range(-(-count // len(own)))]
        chosen.append(np.concatenate(rounds)[:count])
    return np.concatenate(chosen).astype(np.int64)
