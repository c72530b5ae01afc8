"""A training that is ready to start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import open_dataset
from cnnlab.data.loader import Feed
from cnnlab.models.build import build
from cnnlab.models.init import initialise
from cnnlab.records import EpochRecord, Way
from cnnlab.training.loop import Feeds, Training, fit
from cnnlab.training.precision import PLAIN

CPU = torch.device("cpu")


@dataclass
class Bench:
    """A training with its data."""

    recipe: Recipe
    training: Training
    feeds: Feeds

    def fit(self) -> list[EpochRecord]:
        return list(fit(self.training, self.feeds, lambda *_: None))

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return self.training.network.state_dict()


@pytest.fixture
def bench(recipe: Callable[..., Recipe]) -> Callable[..., Bench]:
    """Makes a training of a tiny network; arguments as those of `recipe`."""

    def make(way: Way = PLAIN, **fields: object) -> Bench:
        made = recipe(**fields)
        data = open_dataset(made.data, seed=made.train.seed)
        network = build(made.model.trace(data.form.shape, len(data.classes)))
        initialise(network, made.model.init, made.train.seed)
        parts = {
            part: Feed(data.pixels(part), data.labels(part), data.mean, data.std, CPU, way.memory_format)
            for part in data.parts
        }
        steps = parts["train"].steps(made.train.batch_size)
        training = Training(network, made.train, made.data, way, CPU, steps)
        return Bench(made, training, Feeds(parts["train"], parts.get("validation"), None, data.classes))

    return make
