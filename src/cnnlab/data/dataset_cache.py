"""A cache of opened data sets, for runs in one process that share their data."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from cnnlab.config.recipe import Data
from cnnlab.context import LOCAL, RunContext
from cnnlab.data.dataset import Dataset, open_dataset, open_source

MAX_DATASETS = 4


class DatasetFingerprint(NamedTuple):
    """A digest of a data set's content and split, and the number of its training images."""

    digest: str
    train_size: int


class DatasetCache:
    """Keep the last few opened data sets, and the fingerprints of all; augmentation makes no difference."""

    def __init__(self, context: RunContext = LOCAL) -> None:
        self.context = context
        self.datasets: OrderedDict[str, Dataset] = OrderedDict()
        self.fingerprints: dict[str, DatasetFingerprint] = {}

    def open(self, data: Data, seed: int, context: RunContext | None = None) -> Dataset:
        """As `open_dataset`, from the cache where it is there; the context counts when it is first opened."""
        key = self._key(data, seed)
        if key not in self.datasets:
            self.datasets[key] = open_dataset(data, seed, context or self.context)
        self.datasets.move_to_end(key)
        while len(self.datasets) > MAX_DATASETS:
            self.datasets.popitem(last=False)
        return self.datasets[key]

    def fingerprint(self, data: Data, seed: int) -> DatasetFingerprint:
        """The fingerprint of the data, which is opened once for it."""
        key = self._key(data, seed)
        if key not in self.fingerprints:
            dataset = self.open(data, seed)
            digest = f"{dataset.content_digest} {dataset.split_hash}"
            self.fingerprints[key] = DatasetFingerprint(digest, dataset.num_images("train"))
        return self.fingerprints[key]

    def current_digest(self, data: Data, seed: int) -> str:
        """The digest of the data as it is now: its files may have changed since it was opened, and are listed again."""
        content = open_source(data.source, self.context).content_digest()
        return f"{content} {self.open(data, seed).split_hash}"

    def _key(self, data: Data, seed: int) -> str:
        split = seed if data.split_seed is None else data.split_seed
        return repr((data.model_copy(update={"augment": (), "split_seed": split}), self.context.data_root))
