"""Features of a network's frozen part: computed once, kept in the cache, and fed as images are.

They are computed in eval mode in 32-bit floats, whatever way a step is computed in: trainings share them. A file of the
cache holds one view of one part, and is found again by all that decides its numbers: weights, structure and place of
the trunk, images and their preprocessing, the view, the number format, torch and the kind of device.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.data.array_store import Store, resident_bytes
from cnnlab.data.augmentation.views import Views
from cnnlab.data.dataset import Dataset
from cnnlab.data.decoding.cache import Array, Kept, as_bits, found_or_made, pixels_key
from cnnlab.data.loader import Batch, Feed, Supply, evaluation_batch, whole
from cnnlab.data.sources.base import Indices, Labels, Part, Progress
from cnnlab.errors import CnnlabError, RunError
from cnnlab.models.model_split import TOLERANCE, Parting, is_within
from cnnlab.models.pretrained.transfer import Resize, resized
from cnnlab.records import Way
from cnnlab.render.formatting import memory
from cnnlab.training.feature_cache.plan import Choice

# Raised whenever the same trunk and images would give other numbers.
VERSION = 2
DIGITS = 40
# So many images of a file that is found are computed again and compared.
COMPARED = 3
# bf16 keeps 8 bits.
_ROUNDED = {"fp32": TOLERANCE, "bf16": 2**-7}
# On CPUs convolutions are up to half as fast again so, and never slower.
_FORMATS = {"cpu": torch.channels_last}


@dataclass
class FeatureFeed(Supply):
    """One part of the data as features of its images, of one view of each or of several.

    Args:
        arrays: for each view the features of all images, 32-bit floats or the bits of bf16; may be memory maps.
        views: says which view an epoch takes of each image.
        batch: how many images are evaluated at a time.
        held: what is to live as long as the arrays are read.
    """

    arrays: Sequence[Array]
    labels: Labels
    views: Views
    device: torch.device
    batch: int
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    held: Sequence[object] = ()
    _sampled: Indices | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self._store = Store(self.arrays, self.device)
        self._labels = torch.from_numpy(np.array(self.labels)).to(self.device)

    @property
    def has_plain(self) -> bool:
        """Whether it has the images as they are, which `evaluation` gives."""
        return self.views.plain is not None

    def training(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        augmentations: Sequence[Any] = (),  # noqa: ARG002
        share: Callable[[int], slice] = whole,
    ) -> Iterator[Batch]:
        """The batches of an epoch: each image of the view that the epoch takes; the views know the augmentations."""
        order, sizes = self._shuffled(batch_size, seed, epoch, share)
        return self._batches(order, self.views.chosen(seed, epoch, order), sizes)

    def evaluation(self, batch_size: int | None = None, share: Callable[[int], slice] = whole) -> Iterator[Batch]:
        """The un-augmented images in their own order."""
        assert self.views.plain is not None
        order, sizes = self._straight(batch_size or self.batch, share)
        return self._batches(order, np.full_like(order, self.views.plain), sizes)

    def _batches(self, order: Indices, views: Indices, sizes: Sequence[int]) -> Iterator[Batch]:
        images = self._images(order)
        chunks = torch.split(torch.from_numpy(images).to(self.device), list(sizes))
        batches = self._store.batches(views * len(self.arrays[0]) + images, sizes)
        for rows, chunk in zip(batches, chunks, strict=True):
            yield self._as_floats(rows), self._labels.index_select(0, chunk)

    def _as_floats(self, rows: Tensor) -> Tensor:
        found = rows.view(torch.bfloat16).float() if rows.dtype == torch.int16 else rows
        if found.dim() == 4 and self.memory_format == "channels_last":
            return found.contiguous(memory_format=torch.channels_last)
        return found


@dataclass(frozen=True)
class Made:
    """The features of one part: a feed, the files that it reads, and how long it took to compute what was not there."""

    feed: FeatureFeed
    files: tuple[str, ...]
    seconds: float


class Trunk:
    """The frozen part of a network, which computes features and finds those that were computed before.

    Args:
        network: with the weights that it trains with; it lies where it will train.
    """

    def __init__(self, choice: Choice, network: nn.Module, dataset: Dataset, progress: Progress) -> None:
        assert choice.parting is not None
        self.choice, self.parting = choice, choice.parting
        self.network = network
        self.dataset = dataset
        self._told = progress
        self._in_memory = 0
        self._weights = _digest(self.parting, network)

    def feed(self, part: Part, images: Feed, views: Views) -> Made:
        """The features of a part.

        Args:
            images: that part's images.
        """
        began = time.perf_counter()
        images = images.enlarged(resized(self.network))
        kept = [self._view(part, images, views, number) for number in range(len(views.names))]
        found = FeatureFeed(
            [one.array for one in kept],
            images.labels,
            views,
            images.device,
            self._at_a_time(images),
            images.memory_format,
            kept,
        )
        seconds = time.perf_counter() - began if any(one.made for one in kept) else 0.0
        return Made(found, tuple(one.name for one in kept if one.name), seconds)

    def is_bitwise(self, images: Feed, features: FeatureFeed, way: Way, sizes: Collection[int] = ()) -> bool:
        """Whether a training that computes the trunk itself would get the kept features to the last bit.

        How a convolution rounds may depend on the processor, the memory format and the size of the batch. So the first
        images are computed again at every size of batch that is used, to train and to evaluate; and what follows the
        trunk is computed in the batches in which features are evaluated, and in those of images.

        Args:
            images: what the features were computed of.
            way: how a step is computed.
            sizes: of the batches that steps are taken on.
        """
        if (way.precision, self.choice.dtype) != ("fp32", "fp32"):
            return False
        images = images.enlarged(resized(self.network))
        whole_batch = min(images.at_a_time, len(images))
        tried = {*sizes, whole_batch, len(images) % whole_batch or whole_batch}
        found: list[Tensor] = []
        with closing(features.views.images(0, images)) as batches:
            while sum(map(len, found)) < max(tried):
                found.append(next(batches))
        shown = torch.cat(found)
        layout = torch.channels_last if images.memory_format == "channels_last" else torch.contiguous_format
        was_training = self.network.training
        try:
            self.network.eval()
            for size in tried:
                rows = self.parting.trunk(self.network, shown[:size].contiguous(memory_format=layout))
                if not np.array_equal(rows.cpu().numpy(), features.arrays[0][:size]):
                    return False
            if features.has_plain:
                with torch.inference_mode():
                    rest, rows = self.parting.rest(self.network), next(features.evaluation())[0]
                    return torch.equal(rest(rows), torch.cat([rest(some) for some in torch.split(rows, whole_batch)]))
        finally:
            self.network.train(was_training)
        return True

    def _at_a_time(self, images: Feed) -> int:
        """How many features are evaluated at a time: as their own size allows, unless what follows resizes them.

        Vectors and maps have one; of other features, as a transformer's tokens, as many as of images.
        """
        front = self.parting.front
        for name, module in self.network.named_modules():
            if isinstance(module, Resize) and not any(is_within(name, one) for one in front):
                return images.at_a_time
        size = {1: (1, 1), 3: self.parting.features[1:]}.get(len(self.parting.features))
        return images.at_a_time if size is None else evaluation_batch(*size, device=images.device)

    def _view(self, part: Part, images: Feed, views: Views, number: int) -> Kept:
        shape = (len(images), *self.parting.features)
        bits = as_bits(self.choice.dtype)

        def fill(file: Any, start: int) -> None:
            target = np.memmap(file, dtype=bits, mode="r+", offset=start, shape=shape)
            self._compute(images, views, number, target)
            target.flush()

        def agrees(array: Array) -> bool:
            with closing(self._computed(images, views, number, COMPARED)) as computed:
                rows = next(computed)
            own, kept = (_as_numbers(one).astype(np.float64) for one in (rows, array[: len(rows)]))
            return bool(np.abs(own - kept).max() <= _ROUNDED[self.choice.dtype] * np.abs(own).max())

        try:
            return found_or_made(self._key(part, images, views.names[number]), shape, bits, fill, agrees)
        except CnnlabError as error:  # a cache that can't be written to costs the next run the same again
            self._take_memory(math.prod(shape) * bits.itemsize, error)
            held = np.empty(shape, dtype=bits)
            self._compute(images, views, number, held)
            return Kept(held, "", made=True)

    def _take_memory(self, size: int, why: CnnlabError) -> None:
        room = resident_bytes(torch.device("cpu"))
        self._in_memory += size
        if self._in_memory > room:
            raise RunError(
                f"the features can't be kept: not in the cache ({why.problems[0].received}), nor in memory",
                where="train.cache",
                received=f"{memory(self._in_memory)} of features",
                allowed=f"up to {memory(room)}",
                next_step='make room, set CNNLAB_CACHE to another folder, or train with train.cache = "never"',
            ) from why

    def _compute(self, images: Feed, views: Views, number: int, target: Array) -> None:
        start, total = 0, len(images)
        what = f"features of the frozen part, view {number + 1} of {len(views.names)}"
        for rows in self._computed(images, views, number):
            target[start : start + len(rows)] = rows
            start += len(rows)
            self._told(what, start, total, "images")

    def _computed(self, images: Feed, views: Views, number: int, most: int | None = None) -> Generator[Array]:
        """The features of all images of a view, batch by batch, as they are kept; of the first `most` of each batch."""
        was_training, layout = self.network.training, _FORMATS.get(images.device.type, torch.contiguous_format)
        own = torch.channels_last if images.memory_format == "channels_last" else torch.contiguous_format
        self.network.eval().to(memory_format=layout)
        try:
            for batch in views.images(number, images):
                rows = self.parting.trunk(self.network, batch[:most].contiguous(memory_format=layout)).float()
                if self.choice.dtype == "bf16":
                    rows = rows.to(torch.bfloat16).view(torch.int16)
                yield rows.cpu().numpy()
        finally:
            self.network.train(was_training).to(memory_format=own)

    def _key(self, part: Part, images: Feed, view: str) -> str:
        dataset = self.dataset
        source_part, indices = dataset.indices[part]
        facts = [
            VERSION,
            torch.__version__,
            images.device.type,
            self.choice.dtype,
            view,
            self._weights,
            self.parting.structure(self.network),
            pixels_key(dataset.content_digest, dataset.form),
            [repr(number) for number in (*images.mean, *images.std)],
            source_part,
            hashlib.sha256(indices.tobytes()).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:DIGITS]


def _digest(parting: Parting, network: nn.Module) -> str:
    """SHA-256 in hex over the trunk's numbers with their names and shapes."""
    found = hashlib.sha256()
    for name, tensor in parting.tensors(network):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _as_numbers(rows: Array) -> Array:
    """Bits of bf16 as the floats that they mean: the upper half of theirs."""
    if rows.dtype != np.int16:
        return rows
    return (rows.astype(np.int32) << 16).view(np.float32)
