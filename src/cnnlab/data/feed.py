"""Decoded images to batches on the device.

Small data lives on the device as one uint8 tensor; data past a memory budget streams from its memory map through
threads that read ahead. Both give the same batches for the same seed, because order and augmentation are drawn here.

Threads, not processes: reading only copies rows, and NumPy holds no lock meanwhile. Processes would have to be forked
beside torch's own threads, which is unsafe, or started anew each epoch, importing torch and the caller's script again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.augment import augment, draw
from cnnlab.data.pool import cpus
from cnnlab.data.source import Indices, Labels, Pixels
from cnnlab.processes import on_this_machine
from cnnlab.randomness import generator

MemoryFormat: TypeAlias = Literal["contiguous", "channels_last"]
Batch: TypeAlias = tuple[Tensor, Tensor]

# Up to this size a part lives on the device, unless that is more than its share of the memory: of what is free on a
# CUDA device, of all of the machine's elsewhere. The rest is for the other parts, the network and its maps.
RESIDENT_BYTES = {"cpu": 4 * 2**30, "cuda": 16 * 2**30, "mps": 2 * 2**30}
RESIDENT_SHARE = 0.2
# A batch in evaluation has about so many pixels, since a network's maps grow with them: 500 images of 32×32, 10 of
# 224×224; and never more images than 500.
EVALUATION_PIXELS = 500 * 32 * 32
EVALUATION_IMAGES = 500


def whole(count: int) -> slice:
    """All of `count` images, which one process takes."""
    return slice(0, count)


@dataclass
class Feed:
    """One part of the data, ready to be fed to a network.

    Args:
        pixels: uint8, N×C×H×W; may be a memory map.
        labels: N class indices.
        mean, std: per channel, of pixels scaled to 0–1.
        resident: keep the images on the device; None: if they fit the budget for that kind of device.
        workers: threads that read ahead when the data streams; with 0 each batch is read when it is asked for.
    """

    pixels: Pixels
    labels: Labels
    mean: Sequence[float]
    std: Sequence[float]
    device: torch.device
    memory_format: MemoryFormat = "contiguous"
    resident: bool | None = None
    workers: int = field(default_factory=lambda: min(4, cpus()))
    _images: Tensor | None = field(init=False, default=None, repr=False)
    _sampled: Indices | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if self.resident is None:
            self.resident = self.pixels.nbytes <= resident_bytes(self.device)
        if self.resident:
            self._images = torch.from_numpy(np.array(self.pixels)).to(self.device)
        self._labels = torch.from_numpy(np.array(self.labels)).to(self.device)
        self._shift = torch.tensor(self.mean, device=self.device).mul_(255)[:, None, None]
        self._scale = torch.tensor(self.std, device=self.device).mul_(255).reciprocal_()[:, None, None]

    def __len__(self) -> int:
        return len(self.labels)

    def training(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        augmentations: Sequence[Any] = (),
        share: Callable[[int], slice] = whole,
    ) -> Iterator[Batch]:
        """The batches of an epoch: shuffled, augmented, normalised; floats N×C×H×W with labels N.

        Args:
            share: which of a batch's images are wanted, where several processes divide it.
        """
        order = generator(seed, "order", epoch).permutation(len(self)).astype(np.int64)
        parts = [part[share(len(part))] for part in np.split(order, np.cumsum(self.sizes(batch_size))[:-1])]
        order = np.concatenate(parts)
        draws = draw(augmentations, seed, epoch, order)
        start = 0
        for images, labels in self._batches(order, [len(part) for part in parts]):
            here = slice(start, start + len(images))
            changed = augment(images, augmentations, [drawn.take(here) for drawn in draws])
            yield self._normalised(changed), labels
            start = here.stop

    def evaluation(self, batch_size: int | None = None, share: Callable[[int], slice] = whole) -> Iterator[Batch]:
        """Images in their own order, un-augmented, normalised; in batches of about `EVALUATION_PIXELS`.

        Args:
            share: which of the part's images are wanted, where several processes divide it; at least one.
        """
        batch_size = batch_size or evaluation_batch(*self.pixels.shape[2:])
        order = np.arange(len(self))[share(len(self))]
        sizes = [min(batch_size, len(order) - start) for start in range(0, len(order), batch_size)]
        for images, labels in self._batches(order, sizes):
            yield self._normalised(images), labels

    def sizes(self, batch_size: int) -> list[int]:
        """The training batches of an epoch: full ones and the rest.

        A rest of one image joins the batch before it, since batch norm needs two.
        """
        sizes = [batch_size] * (len(self) // batch_size)
        rest = len(self) % batch_size
        if rest == 1 and sizes:
            sizes[-1] += 1
        elif rest:
            sizes.append(rest)
        return sizes

    def steps(self, batch_size: int) -> int:
        """How many training batches an epoch has."""
        return len(self.sizes(batch_size))

    def sampled(self, places: Indices) -> Feed:
        """The same part with other images in its places: in place n stands image `places[n]`.

        An augmentation's draws go by the place, so that an image that stands in two is augmented in two ways.
        """
        feed = copy(self)
        feed._sampled = places
        return feed

    def _normalised(self, images: Tensor) -> Tensor:
        layout = torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format
        return images.to(torch.float32, memory_format=layout).sub_(self._shift).mul_(self._scale)

    def _batches(self, order: Indices, sizes: Sequence[int]) -> Iterator[Batch]:
        """uint8 batches in the wanted order, on the device."""
        order = order if self._sampled is None else self._sampled[order]
        places = torch.from_numpy(order).to(self.device)
        chunks = torch.split(places, list(sizes))
        if self._images is not None:
            for chunk in chunks:
                yield self._images.index_select(0, chunk), self._labels.index_select(0, chunk)
            return
        for images, chunk in zip(self._streamed(order, sizes), chunks, strict=True):
            yield images.to(self.device, non_blocking=True), self._labels.index_select(0, chunk)

    def _streamed(self, order: Indices, sizes: Sequence[int]) -> Iterator[Tensor]:
        batches = np.split(order, np.cumsum(sizes)[:-1])
        if not self.workers:
            yield from map(self._read, batches)
            return
        readers = ThreadPoolExecutor(self.workers, thread_name_prefix="cnnlab-feed")
        try:
            ahead: deque[Future[Tensor]] = deque()
            for batch in batches:
                ahead.append(readers.submit(self._read, batch))
                if len(ahead) > 2 * self.workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            readers.shutdown(cancel_futures=True)

    def _read(self, indices: Indices) -> Tensor:
        # As a plain array: a memory map's own indexing gives memory maps, more slowly.
        images = torch.from_numpy(np.take(np.asarray(self.pixels), indices, axis=0))
        return images.pin_memory() if self.device.type == "cuda" else images


def resident_bytes(device: torch.device) -> int:
    """How many bytes of images may live on a device, as its memory is now."""
    if device.type == "cuda":
        memory = torch.cuda.mem_get_info(device)[0]
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory //= on_this_machine()  # each process keeps a copy
    return min(RESIDENT_BYTES[device.type], int(RESIDENT_SHARE * memory))


def evaluation_batch(height: int, width: int) -> int:
    """How many images of this size are evaluated at a time."""
    return max(1, min(EVALUATION_IMAGES, EVALUATION_PIXELS // (height * width)))
