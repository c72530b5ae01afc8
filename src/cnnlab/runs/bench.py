"""All that training a recipe needs, ready on the device: data, network, and the way of computing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.feed import Feed
from cnnlab.data.source import Part, Progress
from cnnlab.processes import ALONE, World
from cnnlab.randomness import torch_state
from cnnlab.records import LoadedRecord, Way
from cnnlab.runs.checks import check_before_training, check_same_data
from cnnlab.runs.folder import RunFolder
from cnnlab.runs.listener import NOBODY
from cnnlab.runs.networks import NetworkPlan, plan_network
from cnnlab.runs.sources import KEPT, Say
from cnnlab.spec.recipe import Recipe
from cnnlab.training.loop import Training
from cnnlab.training.way import choose_way, name_of_way, training_speed

# Opens the data of a recipe: `open_dataset`, or something that keeps what it has opened.
Opener = Callable[..., Dataset]


@dataclass(frozen=True)
class Bench:
    """A recipe with everything that training it needs, ready on the device."""

    recipe: Recipe
    dataset: Dataset
    plan: NetworkPlan
    network: nn.Module
    device: torch.device
    way: Way
    train: Feed
    validation: Feed | None
    world: World = ALONE
    loaded: LoadedRecord | None = None

    @classmethod
    def prepare(
        cls,
        recipe: Recipe,
        root: Path | None,
        device: torch.device,
        download: bool,
        progress: Progress,
        resumed: RunFolder | None = None,
        world: World = ALONE,
        validate: bool = True,
        opener: Opener = open_dataset,
        say: Say = NOBODY.say,
    ) -> Bench:
        """Open the data, build the network and choose the way; `resumed` keeps its way, and must find its data again.

        Without `validate` there is no validation feed, and that part is not asked for its images.

        Raises:
            SpecError, SourceError, DownloadError: the recipe can't be trained here.
            RunError: the data of a resumed run has changed, or a backbone's weights can't be had.
        """
        seed = recipe.train.seed
        with world.one_first():
            dataset = opener(recipe.data, seed=seed, root=root, download=download, progress=progress)
            for part in set(dataset.parts) - ({"test"} if validate else {"test", "validation"}):
                dataset.pixels(part)
        if resumed is not None:
            check_same_data(resumed, dataset)
        kept = resumed.path / KEPT if resumed is not None else None
        plan = plan_network(recipe.model, dataset.form.shape, len(dataset.classes), kept)
        check_before_training(recipe, plan, dataset, device)
        network, loaded = plan.make(seed, "cpu"), None
        if plan.load is not None and (resumed is None or not resumed.has_progress()):
            with world.one_first():
                loaded = plan.load(network, say)
        network.to(device)
        way = resumed.way() if resumed is not None else tried_way(recipe, dataset, network, device, world)
        train = feed_of(dataset, "train", device, way)
        validation = feed_of(dataset, "validation", device, way) if validate and "validation" in dataset.parts else None
        return cls(recipe, dataset, plan, network, device, way, train, validation, world, loaded)

    def training(self) -> Training:
        steps = self.train.steps(self.recipe.train.batch_size)
        return Training(self.network, self.recipe.train, self.recipe.data, self.way, self.device, steps, self.world)


def feed_of(dataset: Dataset, part: Part, device: torch.device, way: Way) -> Feed:
    """A part of the data, whose batches lie in memory as the network's weights do."""
    return Feed(dataset.pixels(part), dataset.labels(part), dataset.mean, dataset.std, device, way.memory_format)


def tried_way(recipe: Recipe, dataset: Dataset, network: nn.Module, device: torch.device, world: World = ALONE) -> Way:
    """A trial needs one batch, and no feed can be made before the way is known. The writer's counts for all."""
    if not world.writes:
        return Way.from_json(world.told(""))
    way = choose_way(recipe.train, network, *_batch(recipe, dataset, device, world))
    world.told(way.to_json())
    return way


def timed_way(recipe: Recipe, dataset: Dataset, network: nn.Module, device: torch.device) -> Way:
    """As `tried_way`, with a speed also where the recipe leaves nothing to try; the network is not to be used after."""
    way = tried_way(recipe, dataset, network, device)
    if way.tried:
        return way
    with torch_state():
        speed = training_speed(way, network, *_batch(recipe, dataset, device, ALONE))
    return way.model_copy(update={"tried": {name_of_way(way): round(speed)}})


def _batch(recipe: Recipe, dataset: Dataset, device: torch.device, world: World) -> tuple[Tensor, Tensor]:
    size = recipe.train.batch_size
    part = world.share(size)
    pixels, labels = dataset.pixels("train")[part], dataset.labels("train")[part]
    return next(Feed(pixels, labels, dataset.mean, dataset.std, device).evaluation(size))
