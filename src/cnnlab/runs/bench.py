"""All that training a recipe needs, ready on the device: data, network, and the way of computing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.feed import Feed
from cnnlab.data.source import Part, Progress
from cnnlab.model.build import build
from cnnlab.model.initialise import initialise
from cnnlab.records import Way
from cnnlab.runs.checks import check_before_training, check_same_data
from cnnlab.runs.folder import RunFolder
from cnnlab.spec.recipe import Recipe
from cnnlab.spec.trace import Trace
from cnnlab.training.loop import Training
from cnnlab.training.machine import choose_device
from cnnlab.training.way import choose_way


@dataclass(frozen=True)
class Bench:
    """A recipe with everything that training it needs, ready on the device."""

    recipe: Recipe
    dataset: Dataset
    trace: Trace
    network: nn.Sequential
    device: torch.device
    way: Way
    train: Feed
    validation: Feed | None

    @classmethod
    def prepare(
        cls,
        recipe: Recipe,
        root: Path | None,
        device: str,
        download: bool,
        progress: Progress,
        resumed: RunFolder | None = None,
        validate: bool = True,
    ) -> Bench:
        """Open the data, build the network and choose the way; `resumed` keeps its way, and must find its data again.

        Without `validate` there is no validation feed, and that part is not asked for its images.

        Raises:
            SpecError, SourceError, DownloadError: the recipe can't be trained here.
            RunError: the data of a resumed run has changed.
        """
        target = choose_device(device)
        seed = recipe.train.seed
        dataset = open_dataset(recipe.data, seed=seed, root=root, download=download, progress=progress)
        if resumed is not None:
            check_same_data(resumed, dataset)
        trace = recipe.model.trace(dataset.form.shape, len(dataset.classes))
        check_before_training(recipe, trace, dataset, target)
        network = build(trace)
        initialise(network, recipe.model.init, seed)
        network.to(target)
        way = resumed.way() if resumed is not None else _tried_way(recipe, dataset, network, target)
        train = feed_of(dataset, "train", target, way)
        validation = feed_of(dataset, "validation", target, way) if validate and "validation" in dataset.parts else None
        return cls(recipe, dataset, trace, network, target, way, train, validation)

    def training(self) -> Training:
        steps = self.train.steps(self.recipe.train.batch_size)
        return Training(self.network, self.recipe.train, self.recipe.data, self.way, self.device, steps)


def feed_of(dataset: Dataset, part: Part, device: torch.device, way: Way) -> Feed:
    """A part of the data, whose batches lie in memory as the network's weights do."""
    return Feed(dataset.pixels(part), dataset.labels(part), dataset.mean, dataset.std, device, way.memory_format)


def _tried_way(recipe: Recipe, dataset: Dataset, network: nn.Module, device: torch.device) -> Way:
    """A trial needs one batch, and no feed can be made before the way is known."""
    size = recipe.train.batch_size
    pixels, labels = dataset.pixels("train")[:size], dataset.labels("train")[:size]
    batch = next(Feed(pixels, labels, dataset.mean, dataset.std, device).evaluation(size))
    return choose_way(recipe.train, network, *batch)
