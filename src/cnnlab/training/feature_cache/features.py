"""Features of a network's frozen trunk: computed once, cached on disk, and loaded in batches.

They are computed in eval mode in 32-bit floats, whatever the precision of a step, so that trainings can share them. A
file of the cache holds one view of one split. Its key is a digest of all that decides the features: weights and
structure of the trunk, images and their preprocessing, the view, the number format, torch and the kind of device.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.context import ProgressCallback
from cnnlab.data.array_store import ArrayStore, resident_bytes
from cnnlab.data.augmentation.views import FlippedViews
from cnnlab.data.dataset import Dataset
from cnnlab.data.decoding.cache import Array, CachedArray, features_dir, get_or_create, pixels_key, storage_dtype
from cnnlab.data.loader import Batch, ImageLoader, Loader, full_range, max_eval_batch_size
from cnnlab.data.sources.base import Indices, Labels, Split
from cnnlab.errors import CnnlabError, RunError
from cnnlab.models.model_split import frozen_tensors
from cnnlab.models.pretrained.transfer import TransferModel, max_resize
from cnnlab.render.formatting import format_bytes
from cnnlab.training.feature_cache.plan import CachePlan

# Raised whenever the same trunk and images would give other numbers.
CACHE_VERSION = 4
KEY_DIGITS = 40
# Convolutions on CPUs are up to 1.5 times as fast in this format, and never slower.
_MEMORY_FORMATS = {"cpu": torch.channels_last}


@dataclass
class FeatureLoader(Loader):
    """The features of one split of the data, of one view of each image or of several.

    Args:
        cached: for each view the features of all images, 32-bit floats or the bits of bf16.
        views: selects the view of each image in an epoch.
        eval_batch_size: the number of images in a batch of evaluation.
    """

    cached: Sequence[CachedArray]
    labels: Labels
    views: FlippedViews
    device: torch.device
    eval_batch_size: int
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"

    def __post_init__(self) -> None:
        self._store = ArrayStore([view.array for view in self.cached], self.device)
        self._labels = torch.from_numpy(np.array(self.labels)).to(self.device)

    def train_batches(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        augmentations: Sequence[Any] = (),  # noqa: ARG002
        shard: Callable[[int], slice] = full_range,
    ) -> Iterator[Batch]:
        """The batches of an epoch, of the views that it selects; the augmentations are those of the views."""
        order, sizes = self._shuffled_order(batch_size, seed, epoch, shard)
        return self._batches(order, self.views.view_indices(seed, epoch, order), sizes)

    def eval_batches(
        self, batch_size: int | None = None, shard: Callable[[int], slice] = full_range
    ) -> Iterator[Batch]:
        """The features of the un-augmented images, in their order."""
        order, sizes = self._sequential_order(batch_size or self.eval_batch_size, shard)
        return self._batches(order, np.full_like(order, FlippedViews.UNAUGMENTED), sizes)

    def _batches(self, order: Indices, views: Indices, sizes: Sequence[int]) -> Iterator[Batch]:
        images = self._image_indices(order)
        chunks = torch.split(torch.from_numpy(images).to(self.device), list(sizes))
        batches = self._store.batches(views * len(self.labels) + images, sizes)
        for rows, chunk in zip(batches, chunks, strict=True):
            yield self._as_floats(rows), self._labels.index_select(0, chunk)

    def _as_floats(self, rows: Tensor) -> Tensor:
        found = rows.view(torch.bfloat16).float() if rows.dtype == torch.int16 else rows
        if found.dim() == 4 and self.memory_format == "channels_last":
            return found.contiguous(memory_format=torch.channels_last)
        return found


class FeatureExtractor:
    """Compute the features of a network's frozen trunk, or find them in the cache.

    Args:
        network: with its initial weights, on the device of the training.
    """

    def __init__(self, plan: CachePlan, network: nn.Module, dataset: Dataset, progress: ProgressCallback) -> None:
        assert plan.model_split is not None
        assert isinstance(network, TransferModel)
        self.plan, self.model_split = plan, plan.model_split
        self.network = network
        self.dataset = dataset
        self._progress = progress
        self._weights_digest = _weights_digest(network)

    def loader(self, split: Split, images: ImageLoader, views: FlippedViews) -> FeatureLoader:
        """The features of a split.

        Args:
            images: that split's images.
        """
        images = images.with_input_size(max_resize(self.network))
        cached = [self._cached_view(split, images, views, number) for number in range(len(views.names))]
        batch_size = self._eval_batch_size(images)
        return FeatureLoader(cached, images.labels, views, images.device, batch_size, images.memory_format)

    def _eval_batch_size(self, images: ImageLoader) -> int:
        """How many features are evaluated at a time: as their own size allows.

        Vectors and maps have one; of other features, as a transformer's tokens, as many as of images.
        """
        size = {1: (1, 1), 3: self.model_split.feature_shape[1:]}.get(len(self.model_split.feature_shape))
        return images.eval_batch_size if size is None else max_eval_batch_size(*size, device=images.device)

    def _cached_view(self, split: Split, images: ImageLoader, views: FlippedViews, number: int) -> CachedArray:
        shape = (len(images), *self.model_split.feature_shape)
        bits = storage_dtype(self.plan.dtype)

        def fill(file: Any, start: int) -> None:
            target = np.memmap(file, dtype=bits, mode="r+", offset=start, shape=shape)
            self._write_features(images, views, number, target)
            target.flush()

        try:
            path = features_dir() / f"{self._cache_key(split, images, views.names[number])}.npy"
            return get_or_create(path, shape, bits, fill)
        except CnnlabError as error:  # if the cache can't be written, the features are held in memory
            if (needed := math.prod(shape) * bits.itemsize) > (room := resident_bytes(torch.device("cpu"))):
                raise RunError(
                    f"the features can't be stored: {error.problems[0].what}",
                    where="train.cache",
                    received=f"{format_bytes(needed)} of features",
                    allowed=f"up to {format_bytes(room)} in memory",
                    next_step='free disk space, set CNNLAB_CACHE, or train with train.cache = "never"',
                ) from error
            features = np.empty(shape, dtype=bits)
            self._write_features(images, views, number, features)
            return CachedArray(features, "", created=True)

    def _write_features(self, images: ImageLoader, views: FlippedViews, number: int, target: Array) -> None:
        """Compute the features of all images of a view, batch by batch."""
        what = f"features of the frozen part, view {number + 1} of {len(views.names)}"
        was_training, layout = self.network.training, _MEMORY_FORMATS.get(images.device.type, torch.contiguous_format)
        own = torch.channels_last if images.memory_format == "channels_last" else torch.contiguous_format
        self.network.eval().to(memory_format=layout)
        start = 0
        try:
            for batch in views.view_batches(number, images):
                rows = self.model_split.extract_features(self.network, batch.contiguous(memory_format=layout)).float()
                if self.plan.dtype == "bf16":
                    rows = rows.to(torch.bfloat16).view(torch.int16)
                target[start : start + len(rows)] = rows.cpu().numpy()
                start += len(rows)
                self._progress(what, start, len(images), "images")
        finally:
            self.network.train(was_training).to(memory_format=own)

    def _cache_key(self, split: Split, images: ImageLoader, view: str) -> str:
        dataset = self.dataset
        source_part, indices = dataset.source_indices(split)
        facts = [
            CACHE_VERSION,
            torch.__version__,
            *_library_versions(),
            images.device.type,
            self.plan.dtype,
            view,
            self._weights_digest,
            self.model_split.structure_key(self.network),
            pixels_key(dataset.content_digest, dataset.image_spec),
            [repr(number) for number in (*images.mean, *images.std)],
            source_part,
            hashlib.sha256(indices.tobytes()).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:KEY_DIGITS]


def _library_versions() -> Iterator[str]:
    """Yield the versions of the libraries whose backbones may change with them."""
    for name in ("torchvision", "timm"):
        with suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name} {importlib.metadata.version(name)}"


def _weights_digest(network: TransferModel) -> str:
    """The SHA-256 digest in hex of the frozen tensors with their names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in frozen_tensors(network):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
