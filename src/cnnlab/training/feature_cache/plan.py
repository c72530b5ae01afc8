"""Whether the features of a network's frozen part are computed once and kept, and which: decided before training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from cnnlab.config import backbones
from cnnlab.config.averaging_and_mixing import SWA, NoMix
from cnnlab.config.budget import Images
from cnnlab.config.recipe import Recipe, Train
from cnnlab.data.augmentation.views import Augmented, Mirrored, Views, only_flips
from cnnlab.data.decoding.cache import MOST_BYTES, free_bytes, kept_bytes
from cnnlab.errors import SpecError
from cnnlab.models.model_split import Parting, part
from cnnlab.render.formatting import memory

# Of the free disk, features may take so much.
DISK_SHARE = 0.5
# Kept features are worth their making where they save so much of the passes through the frozen part.
SAVED = 0.1
_BYTES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class Choice:
    """How a training has the features of its frozen part.

    Attributes:
        parting: where the network is parted; None where its features are computed for every batch.
        views: which views are kept.
        exact: whether training is, up to rounding, that without kept features.
        bytes: what all features take.
        reason: why they are not kept, or not exact.
    """

    parting: Parting | None = None
    views: Views = Mirrored()  # noqa: RUF009
    dtype: Literal["fp32", "bf16"] = "fp32"
    exact: bool = False
    bytes: int = 0
    reason: str = ""


def choose_keeping(
    recipe: Recipe, network: nn.Module, images: Tensor, counts: tuple[int, int], *, begun: bool = False
) -> Choice:
    """Decide how a training has the features of its frozen part.

    Args:
        images: a few, normalised, where the network lies.
        counts: how many images there are to train on, and to validate on.
        begun: the training has begun with kept features: whether that pays was decided then.

    Raises:
        SpecError: the recipe asks for views, and kept features would be wrong or don't fit.
    """
    cache = recipe.train.cache
    if isinstance(cache, backbones.Never):
        return Choice(reason='train.cache = "never" says so')
    asked = isinstance(cache, backbones.Views)
    try:
        choice = _kept(recipe, network, images, counts)
        if not (begun or asked):
            _check_pays(recipe.train, choice, counts)
        if not begun:
            _check_room(choice)
    except SpecError as error:
        if asked:
            raise
        return Choice(reason=error.problems[0].what)
    return choice


def _kept(recipe: Recipe, network: nn.Module, images: Tensor, counts: tuple[int, int]) -> Choice:
    train = recipe.train
    if not isinstance(train.mix, NoMix):
        raise cannot_keep(f"{train.mix.kind} mixes images in front of the frozen part, for each batch anew")
    parting = part(network, images)
    views, reason = _views(recipe)
    if train.cache.dtype == "bf16":
        reason = reason or "features are rounded to bf16"
    rows = len(views.names) * counts[0] + counts[1]
    size = rows * math.prod(parting.features) * _BYTES[train.cache.dtype]
    return Choice(parting, views, train.cache.dtype, not reason, size, reason)


def _views(recipe: Recipe) -> tuple[Views, str]:
    """The views, and why a training on them is not exactly that without; "" where it is."""
    train, augment = recipe.train, recipe.data.augment
    mirrored = Mirrored(augment)
    wanted = train.cache.count if isinstance(train.cache, backbones.Views) else None
    if only_flips(augment) and (wanted is None or wanted >= len(mirrored.names)):
        return mirrored, ""
    if wanted is None:
        changing = next(choice for choice in augment if not only_flips([choice]))
        what = f"{changing.kind} changes the images in every epoch"
        raise cannot_keep(f'{what}; train.cache = "views(8)" would keep eight views of each')
    count = min(wanted, train.epochs)
    views = Augmented(augment, train.seed, count, with_plain=isinstance(train.average, SWA))
    if count == train.epochs and train.sampling == "uniform":
        return views, ""
    return views, f"{train.epochs} epochs take turns with {count} view{'s' if count > 1 else ''} of each image"


def _check_pays(train: Train, choice: Choice, counts: tuple[int, int]) -> None:
    """Refuse where most passes through the frozen part would be made all the same."""
    trained, validated = counts
    epochs: float = train.epochs
    if isinstance(train.budget, Images):
        epochs = min(epochs, train.budget.count / trained)
    final = trained + validated
    anew = epochs * (trained + validated * train.validations_per_epoch) + final
    kept = trained * len(choice.views.names) + validated + (0 if choice.exact else final)
    if kept > (1 - SAVED) * anew:
        passes = f"{kept / final:.3g} passes over the images instead of {anew / final:.3g}"
        raise cannot_keep(f"{passes} would not be worth it")


def _check_room(choice: Choice) -> None:
    # What the folder holds makes room, or is these very features.
    room = min(MOST_BYTES, int(DISK_SHARE * free_bytes()) + kept_bytes())
    if choice.bytes > room:
        raise cannot_keep(f"the features take {memory(choice.bytes)}, and there is room for {memory(room)}")


def cannot_keep(what: str) -> SpecError:
    """Why the features that a recipe asks for can't be kept."""
    return SpecError(what, where="train.cache", next_step="leave train.cache out: the frozen part is computed anew")
