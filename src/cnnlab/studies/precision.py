"""One precision and memory format for all runs of a study, right for every network among them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from cnnlab.config.arms import Arm, error_prefix
from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import Dataset
from cnnlab.models.network_plan import plan_network
from cnnlab.records import PrecisionConfig
from cnnlab.runs.cached_features import choose_cache_plan
from cnnlab.runs.checks import check_before_training
from cnnlab.runs.setup import benchmark_precision, estimate_precision, keep_gflops
from cnnlab.studies.result import StudyPrecision

DIGITS = 12
# The speed of a network that was not benchmarked.
UNKNOWN_SPEED = math.nan
FP32 = PrecisionConfig(precision="fp32", memory_format="contiguous", reason="right for every network of the study")


def check_networks(
    arms: Sequence[Arm], recipes: Sequence[Recipe], datasets: Sequence[Dataset], device: torch.device
) -> list[str]:
    """Check that each arm can be trained here, and return a digest of each arm's network and batch.

    Raises:
        SpecError: an arm can't be trained on its data; all its problems are listed with the arm.
    """
    digests = []
    for arm, recipe, dataset in zip(arms, recipes, datasets, strict=True):
        with error_prefix(f"arms.{arm.name}"):
            plan = plan_network(recipe.model, dataset.image_spec.shape, len(dataset.classes))
            check_before_training(recipe, plan, dataset, device)
        train, facts = recipe.train, (dataset.image_spec.shape, len(dataset.classes))
        how = [train.batch_size, train.precision, train.memory_format, *_feature_cache_key(recipe, dataset)]
        digests.append(hashlib.sha256(repr([facts, recipe.model, *how]).encode()).hexdigest()[:DIGITS])
    return digests


def choose_study_precision(
    networks: Sequence[str],
    recipes: Sequence[Recipe],
    datasets: Sequence[Dataset],
    device: torch.device,
    saved: StudyPrecision | None = None,
    *,
    quick: bool = False,
    measure: bool = False,
) -> StudyPrecision:
    """Choose a precision that is right for all networks, and measure their speed; no network is benchmarked twice.

    The precision of the study's earlier runs stays if it is right for new networks too, though another one may be
    faster: otherwise all runs would be trained again.

    Args:
        quick: for a plan: take the precision of earlier benchmarks, or fp32, and estimate the speed of each network.
        measure: with `quick`, time one step of each network instead.
    """
    if saved is not None and saved.device != device.type:
        saved = None
    speeds = dict(saved.speeds) if saved is not None else {}
    new: dict[str, tuple[Recipe, Dataset]] = {}
    for key, recipe, dataset in zip(networks, recipes, datasets, strict=True):
        if key not in speeds:
            new.setdefault(key, (recipe, dataset))
    benchmarks = {key: _benchmark(recipe, dataset, device, quick, measure) for key, (recipe, dataset) in new.items()}
    # A precision that an arm sets itself does not count for the others.
    deciding = [one for one in benchmarks.values() if one.is_auto]
    if saved is None:
        precision = _common_precision([one.config for one in deciding or benchmarks.values()])
    elif all(one.speed(saved.precision_config) is not None for one in deciding):
        precision = saved.precision_config
    else:  # it is wrong for a new network; fp32 is right for all
        precision, speeds = FP32, dict.fromkeys(speeds, UNKNOWN_SPEED)
    for key, one in benchmarks.items():
        speed = one.speed(precision) if one.is_auto else max(one.config.tried.values(), default=None)
        speeds[key] = UNKNOWN_SPEED if speed is None else float(speed)
    return StudyPrecision(precision_config=precision, device=device.type, speeds=speeds)


def recipe_with_precision(recipe: Recipe, precision_config: PrecisionConfig) -> Recipe:
    """The recipe with the study's precision, where it leaves it open."""
    train, fixed = recipe.train, dict[str, str]()
    if train.precision == "auto":
        fixed["precision"] = precision_config.precision
    if train.memory_format == "auto":
        fixed["memory_format"] = precision_config.memory_format if fixed else "contiguous"
    return recipe.model_copy(update={"train": train.model_copy(update=fixed)})


class _NetworkBenchmark(NamedTuple):
    """The benchmark of a network; `is_auto` where its recipe leaves the precision open."""

    config: PrecisionConfig
    is_auto: bool

    def speed(self, config: PrecisionConfig) -> float | None:
        """The network's speed in images/s at a precision, None where that is wrong for it.

        A network that was tried in one memory format only, as a head on vectors, has the speed of that one.
        """
        tried = {name: speed for name, speed in self.config.tried.items() if name.split()[0] == config.precision}
        return tried.get(f"{config.precision} {config.memory_format}", max(tried.values(), default=None))


def _benchmark(recipe: Recipe, dataset: Dataset, device: torch.device, quick: bool, measure: bool) -> _NetworkBenchmark:
    plan = plan_network(recipe.model, dataset.image_spec.shape, len(dataset.classes))
    is_auto = recipe.train.precision == "auto"
    if quick:
        estimate = estimate_precision(recipe, plan, dataset, device, measure=measure)
        return _NetworkBenchmark(estimate.precision_config, is_auto and estimate.is_known)
    network = plan.build(recipe.train.seed, "cpu").to(device)
    features = choose_cache_plan(recipe, plan, network, dataset, device)
    config = benchmark_precision(recipe, dataset, network, device, features)
    if features is None:
        keep_gflops(plan, max(config.tried.values(), default=0.0), device.type)
    return _NetworkBenchmark(config, is_auto)


def _feature_cache_key(recipe: Recipe, dataset: Dataset) -> list[object]:
    """The settings that decide whether features of a frozen trunk are cached, which changes the cost of a step."""
    if recipe.model.backbone is None:
        return []
    train, sizes = recipe.train, [dataset.num_images(split) for split in ("train", "validation")]
    passes = [train.epochs, train.budget, train.validations_per_epoch, train.average, train.sampling]
    return [train.cache, recipe.data.augment, train.mix, *passes, *sizes]


def _common_precision(configs: Sequence[PrecisionConfig]) -> PrecisionConfig:
    """bf16 only if it is right and fastest for all; the memory format of most networks that had a choice of it."""
    precision = "bf16" if all(config.precision == "bf16" for config in configs) else "fp32"
    with_choice = [config for config in configs if len({name.split()[1] for name in config.tried}) > 1]
    formats = [config.memory_format for config in with_choice or configs]
    memory_format = max(sorted(set(formats)), key=formats.count)
    return configs[0].model_copy(update={"precision": precision, "memory_format": memory_format})
