"""Whether the features of a network's frozen trunk are cached: decided before training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from cnnlab.config import backbones
from cnnlab.config.image_changes import NoMixing
from cnnlab.config.recipe import Recipe
from cnnlab.data.augmentation.views import FlippedViews, only_flips
from cnnlab.data.decoding.cache import MAX_CACHE_BYTES, cache_size, features_dir, free_disk_bytes, storage_dtype
from cnnlab.errors import SpecError
from cnnlab.models.model_split import ModelSplit, split_frozen
from cnnlab.render.formatting import format_bytes

# Of the free disk, features may take so much.
MAX_DISK_SHARE = 0.5


@dataclass(frozen=True)
class CachePlan:
    """How a training gets the features of its frozen trunk.

    Attributes:
        model_split: where the network is split; None where its features are computed for every batch.
        views: each image as it is, and its mirror images where the training mirrors.
        size_bytes: the size of all features.
        reason: why they are not cached, or not exact.
    """

    model_split: ModelSplit | None = None
    views: FlippedViews = FlippedViews()  # noqa: RUF009
    dtype: Literal["fp32", "bf16"] = "fp32"
    size_bytes: int = 0
    reason: str = ""

    @property
    def exact(self) -> bool:
        """Whether training is, up to rounding, that without cached features."""
        return self.model_split is not None and self.dtype == "fp32"


def plan_feature_cache(
    recipe: Recipe, network: nn.Module, images: Tensor, split_sizes: tuple[int, int], *, resuming: bool = False
) -> CachePlan:
    """Decide how a training gets the features of its frozen trunk.

    Args:
        images: a few, normalised, where the network lies.
        split_sizes: how many images there are to train on, and to validate on.
        resuming: the training began with cached features: that there is room was decided then.
    """
    train, augment = recipe.train, recipe.data.augment
    if isinstance(train.cache, backbones.NoCache):
        return CachePlan(reason='train.cache = "never" says so')
    if not isinstance(train.mix, NoMixing):
        return CachePlan(reason=f"{train.mix.kind} mixes images before the frozen part, in each batch others")
    changing = next((augmentation for augmentation in augment if not only_flips([augmentation])), None)
    if changing is not None:
        return CachePlan(reason=f"{changing.kind} changes the images in every epoch")
    try:
        model_split = split_frozen(network, images)
    except SpecError as error:
        return CachePlan(reason=error.problems[0].what)
    views, dtype = FlippedViews(augment), train.cache.dtype
    rows = len(views.names) * split_sizes[0] + split_sizes[1]
    size_bytes = rows * math.prod(model_split.feature_shape) * storage_dtype(dtype).itemsize
    # What the folder holds makes room, or is these very features.
    room = min(MAX_CACHE_BYTES, int(MAX_DISK_SHARE * free_disk_bytes()) + cache_size(features_dir()))
    if size_bytes > room and not resuming:
        needed = f"the features take {format_bytes(size_bytes)}, and there is room for {format_bytes(room)}"
        return CachePlan(reason=needed)
    return CachePlan(model_split, views, dtype, size_bytes, "features are rounded to bf16" if dtype == "bf16" else "")
