"""How the runs of a study compute: one precision and memory format for all arms, right for every network among them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from cnnlab.config.arms import Arm, within
from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import Dataset
from cnnlab.models.network_plan import NetworkPlan, plan_network
from cnnlab.records import Way
from cnnlab.runs.cached_features import choose_features
from cnnlab.runs.checks import check_before_training
from cnnlab.runs.setup import ExpectedWay, expected_way, timed_way
from cnnlab.studies.result import StudyWay
from cnnlab.training.feature_cache.plan import Choice

DIGITS = 12
# Where no trial was made, nothing is known of the speed.
UNKNOWN = math.nan
# Axes of a feature map without N.
MAPS = 3
FORMATS = ("contiguous", "channels_last")


def check_networks(
    arms: Sequence[Arm], recipes: Sequence[Recipe], datasets: Sequence[Dataset], device: torch.device
) -> list[str]:
    """A digest of each arm's network and batch, once it is known that it can be trained here.

    Raises:
        SpecError: an arm can't be trained on its data; all its problems are told with the arm.
    """
    found = []
    for arm, recipe, dataset in zip(arms, recipes, datasets, strict=True):
        with within(f"arms.{arm.name}"):
            plan = plan_network(recipe.model, dataset.form.shape, len(dataset.classes))
            check_before_training(recipe, plan, dataset, device)
        train, facts = recipe.train, (dataset.form.shape, len(dataset.classes))
        key = repr(
            [facts, recipe.model, train.batch_size, train.precision, train.memory_format, *_frozen(recipe, dataset)]
        )
        found.append(hashlib.sha256(key.encode()).hexdigest()[:DIGITS])
    return found


def choose_study_way(
    networks: Sequence[str],
    recipes: Sequence[Recipe],
    datasets: Sequence[Dataset],
    device: torch.device,
    kept: StudyWay | None = None,
    *,
    quick: bool = False,
) -> StudyWay:
    """What is right for all networks, and each one's speed in a trial; a network that was tried is not tried again.

    The way that the study computed in before stays where it is right for the new networks too, though another may be
    faster: with another way all runs would be made again.

    Args:
        quick: make no trial, for a plan: the way is that of trials made before, or plain computing, and a speed that
            of one step; networks of one size are timed once.
    """
    if kept is not None and kept.device != device.type:
        kept = None
    speeds = dict(kept.speeds) if kept is not None else {}
    tried: dict[str, _Tried] = {}
    by_size: dict[str, ExpectedWay] = {}
    for key, recipe, dataset in zip(networks, recipes, datasets, strict=True):
        if key in speeds or key in tried:
            continue
        plan = plan_network(recipe.model, dataset.form.shape, len(dataset.classes))
        is_open = recipe.train.precision == "auto"
        if quick:
            size = _size(recipe, plan, dataset)
            if size not in by_size:
                by_size[size] = expected_way(recipe, plan, dataset, device)
            found = by_size[size]
            tried[key] = _Tried(found.way, is_open and found.is_known, _is_fed_vectors(found.features))
        else:
            network = plan.make(recipe.train.seed, "cpu").to(device)
            features = choose_features(recipe, plan, network, dataset, device)
            way = timed_way(recipe, dataset, network, device, features)
            tried[key] = _Tried(way, is_open, _is_fed_vectors(features))
    # What an arm sets itself decides nothing for the others.
    deciding = [one for one in tried.values() if one.is_open] or (list(tried.values()) if kept is None else [])
    if kept is None:
        way = _common([one.way for one in deciding], [one.way for one in deciding if not one.of_vectors])
    elif all(one.speed(kept.way) is not None for one in deciding):
        way = kept.way
    else:  # it is wrong for a new network: plain computing is right for all
        way = Way(precision="fp32", memory_format="contiguous", reason="right for every network of the study")
        speeds = dict.fromkeys(speeds, UNKNOWN)
    for key, one in tried.items():
        speed = one.speed(way) if one.is_open else max(one.way.tried.values(), default=UNKNOWN)
        speeds[key] = UNKNOWN if speed is None else float(speed)
    return StudyWay(way=way, device=device.type, speeds=speeds)


class _Tried(NamedTuple):
    """A network's trial.

    Attributes:
        is_open: whether it decides how the study computes.
        of_vectors: whether it is trained on features without height and width, for which the memory format is of no
            account.
    """

    way: Way
    is_open: bool
    of_vectors: bool

    def speed(self, way: Way) -> float | None:
        """How fast the network was in a way; None where that is wrong for it."""
        formats = FORMATS if self.of_vectors else (way.memory_format,)
        names = [f"{way.precision} {layout}" for layout in formats]
        return next((self.way.tried[name] for name in names if name in self.way.tried), None)


def _size(recipe: Recipe, plan: NetworkPlan, dataset: Dataset) -> str:
    """The same for networks whose steps take as long: those that differ in a rate of dropout, say."""
    train, macs = recipe.train, sum(row.macs for row in plan.layers)
    how = [train.batch_size, train.precision, train.memory_format, *_frozen(recipe, dataset)]
    return repr([dataset.form.shape, macs, plan.parameters, plan.trainable, *how])


def computed_in(recipe: Recipe, way: Way) -> Recipe:
    """The recipe with a study's way, where it leaves that open."""
    train = recipe.train
    if train.precision == "auto":
        fixed: dict[str, str] = {"precision": way.precision}
        fixed |= {"memory_format": way.memory_format} if train.memory_format == "auto" else {}
    else:
        fixed = {"memory_format": "contiguous"} if train.memory_format == "auto" else {}
    return recipe.model_copy(update={"train": train.model_copy(update=fixed)})


def _frozen(recipe: Recipe, dataset: Dataset) -> list[object]:
    """What decides whether features of a frozen part are kept: a step is another one then."""
    if recipe.model.backbone is None:
        return []
    train, sizes = recipe.train, [dataset.size(part) for part in ("train", "validation")]
    passes = [train.epochs, train.budget, train.validations_per_epoch, train.average, train.sampling]
    return [train.cache, recipe.data.augment, train.mix, *passes, *sizes]


def _is_fed_vectors(features: Choice | None) -> bool:
    """Whether a network is trained on features without height and width."""
    return features is not None and features.parting is not None and len(features.parting.features) != MAPS


def _common(ways: Sequence[Way], of_maps: Sequence[Way]) -> Way:
    """bf16 only where it is right and fastest for all; of the memory formats that of most that have a choice."""
    precision = "bf16" if all(way.precision == "bf16" for way in ways) else "fp32"
    formats = [way.memory_format for way in of_maps or ways]
    memory_format = max(sorted(set(formats)), key=formats.count)
    return ways[0].model_copy(update={"precision": precision, "memory_format": memory_format})
