"""A training that is ready to start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import open_dataset
from cnnlab.data.loader import ImageLoader
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.records import EpochRecord, PrecisionConfig
from cnnlab.training.loop import SplitLoaders, TrainingState, fit
from cnnlab.training.precision import FP32

CPU = torch.device("cpu")


@dataclass
class Setup:
    """A training with its data."""

    recipe: Recipe
    training: TrainingState
    loaders: SplitLoaders

    def fit(self) -> list[EpochRecord]:
        return list(fit(self.training, self.loaders, lambda *_: None))

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return self.training.network.state_dict()


@pytest.fixture
def setup(recipe: Callable[..., Recipe]) -> Callable[..., Setup]:
    """Makes a training of a tiny network; arguments as those of `recipe`."""

    def make(precision_config: PrecisionConfig = FP32, **fields: object) -> Setup:
        made = recipe(**fields)
        data = open_dataset(made.data, seed=made.train.seed)
        network = build(made.model.trace(data.image_spec.shape, len(data.classes)))
        init_weights(network, made.model.init, made.train.seed)
        parts = {
            part: ImageLoader(
                data.pixels(part), data.labels(part), data.mean, data.std, CPU, precision_config.memory_format
            )
            for part in data.splits
        }
        steps = parts["train"].num_batches(made.train.batch_size)
        training = TrainingState(network, made.train, made.data, precision_config, CPU, steps)
        return Setup(made, training, SplitLoaders(parts["train"], parts.get("validation"), None, data.classes))

    return make
