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
from cnnlab.models.network_plan import NetworkPlan, plan_network
from cnnlab.records import PrecisionConfig
from cnnlab.runs.cached_features import choose_cache_plan
from cnnlab.runs.checks import check_before_training
from cnnlab.runs.setup import PrecisionEstimate, benchmark_precision, estimate_precision
from cnnlab.studies.result import StudyPrecision
from cnnlab.training.feature_cache.plan import CachePlan

DIGITS = 12
# The speed of a network that was not benchmarked.
UNKNOWN_SPEED = math.nan
# Axes of a feature map without N.
FEATURE_MAP_NDIM = 3
MEMORY_FORMATS = ("contiguous", "channels_last")


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
        key = repr(
            [
                facts,
                recipe.model,
                train.batch_size,
                train.precision,
                train.memory_format,
                *_feature_cache_key(recipe, dataset),
            ]
        )
        digests.append(hashlib.sha256(key.encode()).hexdigest()[:DIGITS])
    return digests


def choose_study_precision(
    networks: Sequence[str],
    recipes: Sequence[Recipe],
    datasets: Sequence[Dataset],
    device: torch.device,
    saved_precision: StudyPrecision | None = None,
    *,
    quick: bool = False,
) -> StudyPrecision:
    """Choose a precision that is right for all networks, and measure their speed; no network is benchmarked twice.

    The precision of the study's earlier runs stays if it is right for new networks too, though another one may be
    faster: otherwise all runs would be trained again.

    Args:
        quick: for a plan: take the precision of earlier benchmarks, or fp32, and time one step of one network of each
            size.
    """
    if saved_precision is not None and saved_precision.device != device.type:
        saved_precision = None
    speeds = dict(saved_precision.speeds) if saved_precision is not None else {}
    benchmarks: dict[str, _NetworkBenchmark] = {}
    by_size: dict[str, PrecisionEstimate] = {}
    for key, recipe, dataset in zip(networks, recipes, datasets, strict=True):
        if key in speeds or key in benchmarks:
            continue
        plan = plan_network(recipe.model, dataset.image_spec.shape, len(dataset.classes))
        is_open = recipe.train.precision == "auto"
        if quick:
            size = _cost_key(recipe, plan, dataset)
            if size not in by_size:
                by_size[size] = estimate_precision(recipe, plan, dataset, device)
            estimate = by_size[size]
            benchmarks[key] = _NetworkBenchmark(
                estimate.precision_config, is_open and estimate.is_known, _has_vector_input(estimate.cache_plan)
            )
        else:
            network = plan.build(recipe.train.seed, "cpu").to(device)
            features = choose_cache_plan(recipe, plan, network, dataset, device)
            precision_config = benchmark_precision(recipe, dataset, network, device, features)
            benchmarks[key] = _NetworkBenchmark(precision_config, is_open, _has_vector_input(features))
    # A precision that an arm sets itself does not count for the others.
    deciding = [one for one in benchmarks.values() if one.is_auto] or (
        list(benchmarks.values()) if saved_precision is None else []
    )
    if saved_precision is None:
        precision_config = _common_precision(
            [one.precision_config for one in deciding],
            [one.precision_config for one in deciding if not one.has_vector_input],
        )
    elif all(one.speed(saved_precision.precision_config) is not None for one in deciding):
        precision_config = saved_precision.precision_config
    else:  # it is wrong for a new network; fp32 is right for all
        precision_config = PrecisionConfig(
            precision="fp32", memory_format="contiguous", reason="right for every network of the study"
        )
        speeds = dict.fromkeys(speeds, UNKNOWN_SPEED)
    for key, one in benchmarks.items():
        speed = (
            one.speed(precision_config)
            if one.is_auto
            else max(one.precision_config.tried.values(), default=UNKNOWN_SPEED)
        )
        speeds[key] = UNKNOWN_SPEED if speed is None else float(speed)
    return StudyPrecision(precision_config=precision_config, device=device.type, speeds=speeds)


class _NetworkBenchmark(NamedTuple):
    """The benchmark of a network.

    Attributes:
        is_auto: whether the recipe leaves the precision open.
        has_vector_input: whether it is trained on features without height and width, which have no memory format.
    """

    precision_config: PrecisionConfig
    is_auto: bool
    has_vector_input: bool

    def speed(self, precision_config: PrecisionConfig) -> float | None:
        """The network's speed in images/s at a precision; None where that is wrong for it."""
        formats = MEMORY_FORMATS if self.has_vector_input else (precision_config.memory_format,)
        names = [f"{precision_config.precision} {layout}" for layout in formats]
        return next((self.precision_config.tried[name] for name in names if name in self.precision_config.tried), None)


def _cost_key(recipe: Recipe, plan: NetworkPlan, dataset: Dataset) -> str:
    """A key that is equal for networks whose steps take equally long, such as two rates of dropout."""
    train, macs = recipe.train, sum(row.macs for row in plan.layers)
    how = [train.batch_size, train.precision, train.memory_format, *_feature_cache_key(recipe, dataset)]
    return repr([dataset.image_spec.shape, macs, plan.parameters, plan.trainable, *how])


def recipe_with_precision(recipe: Recipe, precision_config: PrecisionConfig) -> Recipe:
    """The recipe with the study's precision, where it leaves it open."""
    train = recipe.train
    if train.precision == "auto":
        fixed: dict[str, str] = {"precision": precision_config.precision}
        fixed |= {"memory_format": precision_config.memory_format} if train.memory_format == "auto" else {}
    else:
        fixed = {"memory_format": "contiguous"} if train.memory_format == "auto" else {}
    return recipe.model_copy(update={"train": train.model_copy(update=fixed)})


def _feature_cache_key(recipe: Recipe, dataset: Dataset) -> list[object]:
    """The settings that decide whether features of a frozen trunk are cached, which changes the cost of a step."""
    if recipe.model.backbone is None:
        return []
    train, sizes = recipe.train, [dataset.num_images(split) for split in ("train", "validation")]
    passes = [train.epochs, train.budget, train.validations_per_epoch, train.average, train.sampling]
    return [train.cache, recipe.data.augment, train.mix, *passes, *sizes]


def _has_vector_input(cache_plan: CachePlan | None) -> bool:
    """Whether a network is trained on features without height and width."""
    return (
        cache_plan is not None
        and cache_plan.model_split is not None
        and len(cache_plan.model_split.feature_shape) != FEATURE_MAP_NDIM
    )


def _common_precision(
    precision_configs: Sequence[PrecisionConfig], of_feature_maps: Sequence[PrecisionConfig]
) -> PrecisionConfig:
    """bf16 only if it is right and fastest for all; the memory format of most networks that have one."""
    precision = "bf16" if all(config.precision == "bf16" for config in precision_configs) else "fp32"
    formats = [config.memory_format for config in of_feature_maps or precision_configs]
    memory_format = max(sorted(set(formats)), key=formats.count)
    return precision_configs[0].model_copy(update={"precision": precision, "memory_format": memory_format})
