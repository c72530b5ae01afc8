"""Prepare a training: data, network and precision, on the device."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.atomic_io import atomic_write
from cnnlab.config.recipe import Data, Recipe
from cnnlab.context import ProgressCallback, RunContext, no_op
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.base import Split
from cnnlab.distributed import SINGLE_PROCESS, ProcessGroup
from cnnlab.errors import RunError
from cnnlab.models.network_plan import NetworkPlan, plan_network
from cnnlab.randomness import generator
from cnnlab.records import PrecisionConfig, WeightLoadReport
from cnnlab.runs.cached_features import (
    PROBE_IMAGES,
    TrainingInputs,
    build_training_inputs,
    choose_cache_plan,
    tail_and_features,
)
from cnnlab.runs.checks import check_before_training, check_same_data
from cnnlab.settings import cache_dir
from cnnlab.storage.run_folder import BACKBONE_FOLDER, RunFolder
from cnnlab.torch_rng import fork_rng
from cnnlab.training.device import choose_device
from cnnlab.training.feature_cache.plan import CachePlan
from cnnlab.training.loop import TrainingState
from cnnlab.training.precision import (
    FP32,
    autotune_precision,
    known_precision,
    precision_label,
    quick_training_speed,
    training_speed,
)

# Training throughput where no benchmark is kept: two cores of a processor, and a usual graphics card in float32.
ASSUMED_GFLOPS = {"cpu": 50.0, "cuda": 5000.0, "mps": 1000.0}
MAX_KEPT = 25
# A benchmark of a smaller network measures the overhead of a step. LeNet has 1.7e8 operations an image.
MIN_FLOPS = 1e7
# Opens the data of a recipe for a seed: `open_dataset`, or a cache of it.
DatasetFactory: TypeAlias = Callable[[Data, int, RunContext], Dataset]


@dataclass(frozen=True)
class TrainingSetup:
    """A recipe with everything needed to train it, on the device."""

    recipe: Recipe
    dataset: Dataset
    plan: NetworkPlan
    network: nn.Module
    device: torch.device
    precision_config: PrecisionConfig
    train_loader: ImageLoader
    validation_loader: ImageLoader | None
    process_group: ProcessGroup = SINGLE_PROCESS
    loaded_weights: WeightLoadReport | None = None
    cache_plan: CachePlan | None = None

    @classmethod
    def prepare(
        cls,
        recipe: Recipe,
        context: RunContext,
        resume_from: RunFolder | None = None,
        *,
        with_validation: bool = True,
        dataset_factory: DatasetFactory = open_dataset,
        cache_features: bool = False,
    ) -> TrainingSetup:
        """Open the data, build the network and choose the precision; a resumed run keeps its precision.

        Args:
            with_validation: False: do not read the validation split.
            cache_features: whether training may use cached features of a frozen trunk; see `training_inputs`.

        Raises:
            SpecError, SourceError, DownloadError: the recipe can't be trained here.
            RunError: the data of a resumed run has changed, or a backbone's weights are not available.
        """
        seed, device, process_group = recipe.train.seed, choose_device(context.device), context.process_group
        with process_group.main_process_first():
            dataset = dataset_factory(recipe.data, seed, context)
            for split in set(dataset.splits) - ({"test"} if with_validation else {"test", "validation"}):
                dataset.pixels(split)
        if resume_from is not None:
            check_same_data(resume_from, dataset)
        backbone = resume_from.path / BACKBONE_FOLDER if resume_from is not None else None
        plan = plan_network(recipe.model, dataset.image_spec.shape, len(dataset.classes), backbone)
        check_before_training(recipe, plan, dataset, device)
        network, loaded = plan.build(seed, "cpu"), None
        if plan.load_weights is not None and (resume_from is None or not resume_from.has_progress()):
            with process_group.main_process_first():
                loaded = plan.load_weights(network, context.callbacks.log)
        network.to(device)
        cache_plan = None
        if cache_features:
            cache_plan = choose_cache_plan(recipe, plan, network, dataset, device, process_group, resume_from)
        if resume_from is not None:
            precision = resume_from.precision_config()
        else:
            precision = choose_precision(recipe, dataset, network, device, process_group, cache_plan)
        train, validation = make_image_loader(dataset, "train", device, precision), None
        if with_validation and "validation" in dataset.splits:
            validation = make_image_loader(dataset, "validation", device, precision)
        return cls(
            recipe, dataset, plan, network, device, precision, train, validation, process_group, loaded, cache_plan
        )

    def training(self) -> TrainingState:
        return TrainingState(
            self.network,
            self.recipe.train,
            self.recipe.data,
            self.precision_config,
            self.device,
            self.train_loader.num_batches(self.recipe.train.batch_size),
            self.process_group,
            self.cache_plan.model_split if self.cache_plan is not None else None,
        )

    def training_inputs(self, progress: ProgressCallback = no_op) -> TrainingInputs:
        """Return the loaders of the training; call it when the network has its initial weights."""
        loaders = self.train_loader, self.validation_loader
        if self.cache_plan is None:
            return TrainingInputs(*loaders)
        return build_training_inputs(
            self.cache_plan,
            self.network,
            self.dataset,
            loaders,
            progress,
            self.process_group,
        )


def make_image_loader(
    dataset: Dataset, split: Split, device: torch.device, precision_config: PrecisionConfig
) -> ImageLoader:
    """Return a loader of a split whose batches have the network's memory format."""
    return ImageLoader(
        dataset.pixels(split), dataset.labels(split), dataset.mean, dataset.std, device, precision_config.memory_format
    )


def choose_precision(
    recipe: Recipe,
    dataset: Dataset,
    network: nn.Module,
    device: torch.device,
    process_group: ProcessGroup = SINGLE_PROCESS,
    cache_plan: CachePlan | None = None,
) -> PrecisionConfig:
    """Choose the precision with a batch of the data. The main process decides for all."""
    if not process_group.is_main:
        return PrecisionConfig.from_json(process_group.broadcast_str(""))
    images, labels = _first_batch(recipe, dataset, device, process_group)
    config = autotune_precision(recipe.train, *tail_and_features(cache_plan, network, images), labels)
    process_group.broadcast_str(config.to_json())
    return config


def benchmark_precision(
    recipe: Recipe, dataset: Dataset, network: nn.Module, device: torch.device, cache_plan: CachePlan | None = None
) -> PrecisionConfig:
    """As `choose_precision`, with a speed even if there is nothing to choose. Do not use the network afterwards."""
    config = choose_precision(recipe, dataset, network, device, cache_plan=cache_plan)
    if config.tried:
        return config
    images, labels = _first_batch(recipe, dataset, device, SINGLE_PROCESS)
    with fork_rng():
        speed = training_speed(config, *tail_and_features(cache_plan, network, images), labels)
    return config.model_copy(update={"tried": {precision_label(config): round(speed)}})


def training_flops(plan: NetworkPlan) -> int:
    """The floating-point operations of a training step for each image.

    Two for each multiply-add, once forwards and, in a layer that trains, twice backwards.
    """
    return max(sum((2 if layer.frozen else 6) * layer.macs for layer in plan.layers), 1)


def training_gflops(device: str) -> float:
    """GFLOP/s of training steps on cpu, cuda or mps: the median of kept benchmarks, else an assumption."""
    return median(kept) if (kept := kept_gflops(device)) else ASSUMED_GFLOPS[device]


def kept_gflops(device: str) -> list[float]:
    """The GFLOP/s of the last benchmarks on this machine, oldest first."""
    try:
        values = json.loads((cache_dir() / "throughput.json").read_text())[device]
        return [float(value) for value in values if value > 0]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def keep_gflops(plan: NetworkPlan, speed: float, device: str) -> None:
    """Keep the throughput of a benchmark, in images/s, for the plans of later studies; not of a tiny network."""
    if training_flops(plan) < MIN_FLOPS:
        return
    known = {name: kept_gflops(name) for name in ASSUMED_GFLOPS}
    known[device] = [*known[device], training_flops(plan) * speed / 1e9][-MAX_KEPT:]
    with suppress(OSError, RunError):
        cache_dir().mkdir(parents=True, exist_ok=True)
        atomic_write(cache_dir() / "throughput.json", json.dumps(known).encode())


class PrecisionEstimate(NamedTuple):
    """A forecast of how a recipe will be computed, with a speed in `precision_config.tried`.

    `is_known` if the recipe leaves no choice or the choice is cached; otherwise float32 is assumed.
    """

    precision_config: PrecisionConfig
    is_known: bool


def estimate_precision(
    recipe: Recipe, plan: NetworkPlan, dataset: Dataset, device: torch.device, *, measure: bool = False
) -> PrecisionEstimate:
    """Forecast `benchmark_precision` without reading images.

    Args:
        measure: time a step on noise where no benchmark is kept; else the speed is estimated from multiply-adds, but
            for a network whose frozen part is cached: the rest of it is timed.
    """
    network = plan.build(recipe.train.seed, "cpu").to(device)
    count = recipe.train.batch_size
    draws = generator(0, "a batch to time")
    noise = torch.from_numpy(draws.standard_normal((count, *dataset.image_spec.shape), dtype=np.float32)).to(device)
    labels = torch.from_numpy(draws.integers(len(dataset.classes), size=count)).to(device)
    features = choose_cache_plan(recipe, plan, network, dataset, device, images=noise[:PROBE_IMAGES])
    network, images = tail_and_features(features, network, noise)
    known = known_precision(recipe.train, network, images)
    config = known or FP32
    if not config.tried and not measure and features is None:
        speed = 1e9 * training_gflops(device.type) / training_flops(plan)
        config = config.model_copy(update={"tried": {precision_label(config): max(round(speed), 1)}})
    elif not config.tried:
        with fork_rng():
            speed = quick_training_speed(config, network, images, labels)
        config = config.model_copy(update={"tried": {precision_label(config): round(speed)}})
    return PrecisionEstimate(config, known is not None)


def _first_batch(
    recipe: Recipe, dataset: Dataset, device: torch.device, process_group: ProcessGroup
) -> tuple[Tensor, Tensor]:
    size = recipe.train.batch_size
    shard = process_group.shard(size)
    pixels, labels = dataset.pixels("train")[shard], dataset.labels("train")[shard]
    return next(ImageLoader(pixels, labels, dataset.mean, dataset.std, device).eval_batches(size))
