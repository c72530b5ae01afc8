"""All that training a recipe needs, ready on the device: data, network, and the way of computing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.loader import Feed
from cnnlab.data.sources.base import Part, Progress, silent
from cnnlab.distributed import ALONE, World
from cnnlab.models.network_plan import NetworkPlan, plan_network
from cnnlab.models.pretrained.source import Say
from cnnlab.randomness import generator, torch_state
from cnnlab.records import LoadedRecord, Way
from cnnlab.runs.cached_features import TRIED_IMAGES, Fed, choose_features, first_features, make_features
from cnnlab.runs.callbacks import NOBODY
from cnnlab.runs.checks import check_before_training, check_same_data
from cnnlab.storage.run_folder import KEPT, RunFolder
from cnnlab.training.feature_cache.plan import Choice
from cnnlab.training.loop import Training
from cnnlab.training.precision import PLAIN, choose_way, known_way, name_of_way, quick_speed, training_speed

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
    features: Choice | None = None

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
        keeps: bool = False,
    ) -> Bench:
        """Open the data, build the network and choose the way; `resumed` keeps its way, and must find its data again.

        Without `validate` there is no validation feed, and that part is not asked for its images. With `keeps` the
        training may be fed with features of the network's frozen part, as `fed` makes them.

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
        features = choose_features(recipe, plan, network, dataset, device, world, resumed) if keeps else None
        way = resumed.way() if resumed is not None else tried_way(recipe, dataset, network, device, world, features)
        train = feed_of(dataset, "train", device, way)
        validation = feed_of(dataset, "validation", device, way) if validate and "validation" in dataset.parts else None
        return cls(recipe, dataset, plan, network, device, way, train, validation, world, loaded, features)

    def training(self) -> Training:
        steps = self.train.steps(self.recipe.train.batch_size)
        recipe, parting = self.recipe, self.features.parting if self.features is not None else None
        return Training(self.network, recipe.train, recipe.data, self.way, self.device, steps, self.world, parting)

    def fed(self, progress: Progress = silent) -> Fed:
        """What the training reads, once its network has the weights that it trains with."""
        feeds = self.train, self.validation
        if self.features is None:
            return Fed(*feeds)
        batch_size = self.recipe.train.batch_size
        return make_features(
            self.features, self.network, self.dataset, feeds, self.way, batch_size, progress, self.world
        )


def feed_of(dataset: Dataset, part: Part, device: torch.device, way: Way) -> Feed:
    """A part of the data, whose batches lie in memory as the network's weights do."""
    return Feed(dataset.pixels(part), dataset.labels(part), dataset.mean, dataset.std, device, way.memory_format)


def tried_way(
    recipe: Recipe,
    dataset: Dataset,
    network: nn.Module,
    device: torch.device,
    world: World = ALONE,
    features: Choice | None = None,
) -> Way:
    """A trial needs one batch, and no feed can be made before the way is known. The writer's counts for all."""
    if not world.writes:
        return Way.from_json(world.told(""))
    images, labels = _batch(recipe, dataset, device, world)
    way = choose_way(recipe.train, *first_features(features, network, images), labels)
    world.told(way.to_json())
    return way


def timed_way(
    recipe: Recipe, dataset: Dataset, network: nn.Module, device: torch.device, features: Choice | None = None
) -> Way:
    """As `tried_way`, with a speed also where the recipe leaves nothing to try; the network is not to be used after."""
    way = tried_way(recipe, dataset, network, device, features=features)
    if way.tried:
        return way
    images, labels = _batch(recipe, dataset, device, ALONE)
    with torch_state():
        speed = training_speed(way, *first_features(features, network, images), labels)
    return way.model_copy(update={"tried": {name_of_way(way): round(speed)}})


class ExpectedWay(NamedTuple):
    """How a recipe will be computed, with a speed in `way.tried`.

    `is_known` where the recipe leaves nothing open or a trial was made before; else the way is plain computing.
    """

    way: Way
    is_known: bool
    features: Choice | None


def expected_way(recipe: Recipe, plan: NetworkPlan, dataset: Dataset, device: torch.device) -> ExpectedWay:
    """A look ahead at `timed_way`: no image is read and no way is tried, and one step on noise is timed.

    The network is made for it.
    """
    network = plan.make(recipe.train.seed, "cpu").to(device)
    count = recipe.train.batch_size
    draws = generator(0, "a batch to time")
    noise = torch.from_numpy(draws.standard_normal((count, *dataset.form.shape), dtype=np.float32)).to(device)
    labels = torch.from_numpy(draws.integers(len(dataset.classes), size=count)).to(device)
    features = choose_features(recipe, plan, network, dataset, device, images=noise[:TRIED_IMAGES])
    network, images = first_features(features, network, noise)
    known = known_way(recipe.train, network, images)
    way = known or PLAIN
    if not way.tried:
        with torch_state():
            speed = quick_speed(way, network, images, labels)
        way = way.model_copy(update={"tried": {name_of_way(way): round(speed)}})
    return ExpectedWay(way, known is not None, features)


def _batch(recipe: Recipe, dataset: Dataset, device: torch.device, world: World) -> tuple[Tensor, Tensor]:
    size = recipe.train.batch_size
    part = world.share(size)
    pixels, labels = dataset.pixels("train")[part], dataset.labels("train")[part]
    return next(Feed(pixels, labels, dataset.mean, dataset.std, device).evaluation(size))
