"""Data that several runs share: opened once, decoded once."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.source import Progress, silent
from cnnlab.spec.recipe import Data

MOST_KEPT = 4


class Shelf:
    """Keeps the last few data sets that were opened; augmentation does not make another."""

    def __init__(self, root: Path | None = None, progress: Progress = silent) -> None:
        self.root = root
        self.progress = progress
        self.kept: OrderedDict[str, Dataset] = OrderedDict()

    def open(self, data: Data, seed: int, **options: Any) -> Dataset:
        """As `open_dataset`, from the shelf where it is there; the options count when it is first opened."""
        split = seed if data.split_seed is None else data.split_seed
        key = repr((data.model_copy(update={"augment": (), "split_seed": split}), self.root))
        if key not in self.kept:
            chosen: dict[str, Any] = {"root": self.root, "progress": self.progress} | options
            self.kept[key] = open_dataset(data, seed=seed, **chosen)
        self.kept.move_to_end(key)
        while len(self.kept) > MOST_KEPT:
            self.kept.popitem(last=False)
        return self.kept[key]
