"""Whether the features of a network's frozen trunk are cached, and which: decided before training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from cnnlab.config import backbones
from cnnlab.config.averaging_and_mixing import SWA, NoMixing
from cnnlab.config.recipe import Recipe, Train
from cnnlab.config.stopping import ImageBudget
from cnnlab.data.augmentation.views import AugmentedViews, FlippedViews, ViewSet, only_flips
from cnnlab.data.decoding.cache import MAX_CACHE_BYTES, cache_size, free_disk_bytes
from cnnlab.errors import SpecError
from cnnlab.models.model_split import ModelSplit, split_frozen
from cnnlab.render.formatting import format_bytes

# Of the free disk, features may take so much.
MAX_DISK_SHARE = 0.5
# Cached features are worth computing where they save so much of the passes through the frozen trunk.
MIN_SAVED_SHARE = 0.1
_BYTES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class CachePlan:
    """How a training gets the features of its frozen trunk.

    Attributes:
        model_split: where the network is split; None where its features are computed for every batch.
        views: which views are cached.
        exact: whether training is, up to rounding, that without cached features.
        size_bytes: what all features take.
        reason: why they are not cached, or not exact.
    """

    model_split: ModelSplit | None = None
    views: ViewSet = FlippedViews()  # noqa: RUF009
    dtype: Literal["fp32", "bf16"] = "fp32"
    exact: bool = False
    size_bytes: int = 0
    reason: str = ""


def plan_feature_cache(
    recipe: Recipe, network: nn.Module, images: Tensor, split_sizes: tuple[int, int], *, resuming: bool = False
) -> CachePlan:
    """Decide how a training gets the features of its frozen trunk.

    Args:
        images: a few, normalised, where the network lies.
        split_sizes: how many images there are to train on, and to validate on.
        resuming: the training began with cached features: whether that pays was decided then.

    Raises:
        SpecError: the recipe asks for views, and cached features would be wrong or don't fit.
    """
    cache = recipe.train.cache
    if isinstance(cache, backbones.NoCache):
        return CachePlan(reason='train.cache = "never" says so')
    asked = isinstance(cache, backbones.ViewsCache)
    try:
        plan = _plan(recipe, network, images, split_sizes)
        if not (resuming or asked):
            _check_worthwhile(recipe.train, plan, split_sizes)
        if not resuming:
            _check_disk_space(plan)
    except SpecError as error:
        if asked:
            raise
        return CachePlan(reason=error.problems[0].what)
    return plan


def _plan(recipe: Recipe, network: nn.Module, images: Tensor, split_sizes: tuple[int, int]) -> CachePlan:
    train = recipe.train
    if not isinstance(train.mix, NoMixing):
        raise cannot_cache(f"{train.mix.kind} mixes images in front of the frozen part, for each batch anew")
    model_split = split_frozen(network, images)
    views, reason = _plan_views(recipe)
    if train.cache.dtype == "bf16":
        reason = reason or "features are rounded to bf16"
    rows = len(views.names) * split_sizes[0] + split_sizes[1]
    size = rows * math.prod(model_split.feature_shape) * _BYTES[train.cache.dtype]
    return CachePlan(model_split, views, train.cache.dtype, not reason, size, reason)


def _plan_views(recipe: Recipe) -> tuple[ViewSet, str]:
    """The views, and why a training on them is not exactly that without; "" where it is."""
    train, augment = recipe.train, recipe.data.augment
    flipped = FlippedViews(augment)
    wanted = train.cache.count if isinstance(train.cache, backbones.ViewsCache) else None
    if only_flips(augment) and (wanted is None or wanted >= len(flipped.names)):
        return flipped, ""
    if wanted is None:
        changing = next(augmentation for augmentation in augment if not only_flips([augmentation]))
        what = f"{changing.kind} changes the images in every epoch"
        raise cannot_cache(f'{what}; train.cache = "views(8)" would keep eight views of each')
    count = min(wanted, train.epochs)
    views = AugmentedViews(augment, train.seed, count, include_unaugmented=isinstance(train.average, SWA))
    if count == train.epochs and train.sampling == "uniform":
        return views, ""
    return views, f"{train.epochs} epochs take turns with {count} view{'s' if count > 1 else ''} of each image"


def _check_worthwhile(train: Train, plan: CachePlan, split_sizes: tuple[int, int]) -> None:
    """Refuse where most passes through the frozen trunk would be made all the same."""
    trained, validated = split_sizes
    epochs: float = train.epochs
    if isinstance(train.budget, ImageBudget):
        epochs = min(epochs, train.budget.count / trained)
    final = trained + validated
    anew = epochs * (trained + validated * train.validations_per_epoch) + final
    kept = trained * len(plan.views.names) + validated + (0 if plan.exact else final)
    if kept > (1 - MIN_SAVED_SHARE) * anew:
        passes = f"{kept / final:.3g} passes over the images instead of {anew / final:.3g}"
        raise cannot_cache(f"{passes} would not be worth it")


def _check_disk_space(plan: CachePlan) -> None:
    # What the folder holds makes room, or is these very features.
    room = min(MAX_CACHE_BYTES, int(MAX_DISK_SHARE * free_disk_bytes()) + cache_size())
    if plan.size_bytes > room:
        raise cannot_cache(
            f"the features take {format_bytes(plan.size_bytes)}, and there is room for {format_bytes(room)}"
        )


def cannot_cache(what: str) -> SpecError:
    """The error that says why the features that a recipe asks for can't be cached."""
    return SpecError(what, where="train.cache", next_step="leave train.cache out: the frozen part is computed anew")
