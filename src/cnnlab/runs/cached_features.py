"""The features of a run's frozen part: whether they are kept is decided with its bench, and they are made before its
first step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnlab.config.backbones import Views
from cnnlab.config.recipe import Recipe
from cnnlab.data.augmentation.views import Mirrored
from cnnlab.data.dataset import Dataset
from cnnlab.data.loader import Feed, Supply
from cnnlab.data.sources.base import Part, Progress
from cnnlab.distributed import ALONE, World
from cnnlab.errors import SpecError
from cnnlab.models.model_split import Parting
from cnnlab.models.network_plan import NetworkPlan
from cnnlab.records import FeaturesRecord, Way
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.feature_cache.features import FeatureFeed, Trunk
from cnnlab.training.feature_cache.plan import Choice, cannot_keep, choose_keeping

# So many images try out whether a network can be parted.
TRIED_IMAGES = 2
FILE = "features.json"


@dataclass(frozen=True)
class Fed:
    """What a training reads: images, or features of them.

    Attributes:
        parting: where the network is parted; None: it takes images.
        record: how the features of the frozen part are had; None where nothing is frozen.
    """

    train: Supply
    validation: Supply | None
    parting: Parting | None = None
    record: FeaturesRecord | None = None

    def scored(self, part: Part) -> Supply | None:
        """What a part's final figures are found on: features, where that is the same up to rounding; None: images."""
        feed = {"train": self.train, "validation": self.validation}.get(part)
        is_same = self.record is not None and self.record.kept and self.record.dtype == "fp32"
        return feed if is_same and isinstance(feed, FeatureFeed) and feed.has_plain else None


def choose_features(
    recipe: Recipe,
    plan: NetworkPlan,
    network: nn.Module,
    dataset: Dataset,
    device: torch.device,
    world: World = ALONE,
    resumed: RunFolder | None = None,
    images: Tensor | None = None,
) -> Choice | None:
    """How the features of the frozen part are had; None where nothing is frozen and the recipe asks for nothing.

    Of two machines one may have the room, and the other not: what one process refuses, none does.

    Args:
        images: to try on whether the network can be parted, N×C×H×W, normalised; None: the first of the data.

    Errors as `choose_keeping`, in every process.
    """
    if plan.trainable == plan.parameters and not isinstance(recipe.train.cache, Views):
        return None
    begun = resumed.features() if resumed is not None else None
    if resumed is not None and (begun is None or not begun.kept):
        return Choice(reason=begun.reason) if begun is not None else None
    if images is None:
        pixels, labels = dataset.pixels("train")[:TRIED_IMAGES], dataset.labels("train")[:TRIED_IMAGES]
        images, _ = next(Feed(pixels, labels, dataset.mean, dataset.std, device).evaluation(TRIED_IMAGES))
    counts = dataset.size("train"), dataset.size("validation")
    error = None
    try:
        choice = choose_keeping(recipe, network, images, counts, begun=begun is not None)
    except SpecError as refused:
        error, choice = refused, Choice(reason=refused.problems[0].what)
    except OSError as failed:  # the room on the disk could not be asked
        choice = Choice(reason=f"the room for features is not known: {failed.strerror}")
    refusal = world.first_told("" if choice.parting is not None else choice.reason)
    if not refusal:
        return choice
    if isinstance(recipe.train.cache, Views):
        raise error or cannot_keep(refusal)
    return Choice(reason=refusal)


def make_features(
    choice: Choice,
    network: nn.Module,
    dataset: Dataset,
    feeds: tuple[Feed, Feed | None],
    way: Way,
    batch_size: int,
    progress: Progress,
    world: World = ALONE,
) -> Fed:
    """Compute the features of a frozen part, or find them, where that was chosen.

    Args:
        network: with the weights that it trains with, where it trains and in the memory format in which it does.
        feeds: the images to train and to validate on.
        way: how a step is computed.
        batch_size: of all processes together.
    """
    train, validation = feeds
    if choice.parting is None:
        return Fed(train, validation, record=FeaturesRecord(kept=False, reason=choice.reason))
    with world.one_first():
        trunk = Trunk(choice, network, dataset, progress)
        trained = trunk.feed("train", train, choice.views)
        bitwise = choice.exact and trunk.is_bitwise(train, trained.feed, way, _shares(train.sizes(batch_size), world))
        made = [trained]
        if validation is not None:
            validated = trunk.feed("validation", validation, Mirrored())
            bitwise = bitwise and trunk.is_bitwise(validation, validated.feed, way)
            made.append(validated)
    seconds = sum(one.seconds for one in made)
    record = FeaturesRecord(
        kept=True,
        reason=choice.reason,
        place=choice.parting.place,
        shape=choice.parting.features,
        views=len(choice.views.names),
        dtype=choice.dtype,
        bytes=choice.bytes,
        exact=choice.exact,
        bitwise=bitwise,
        seconds=seconds or None,
        files=tuple(name for one in made for name in one.files),
    )
    return Fed(trained.feed, made[1].feed if len(made) > 1 else None, choice.parting, record)


def _shares(sizes: Sequence[int], world: World) -> set[int]:
    """The sizes of all processes' shares of these batches, which differ by one image at most."""
    shares = [(size // world.size, -(-size // world.size)) if world.divides(size) else (size,) for size in sizes]
    return {share for pair in shares for share in pair}


def first_features(choice: Choice | None, network: nn.Module, images: Tensor) -> tuple[nn.Module, Tensor]:
    """The network as it will be trained, and what it will be fed with in place of these images."""
    if choice is None or choice.parting is None:
        return network, images
    network.eval()
    return choice.parting.rest(network), choice.parting.trunk(network, images)


def said_of_features(record: FeaturesRecord | None) -> Iterator[str]:
    """What a person is told of them."""
    if record is None:
        return
    if not record.kept:
        yield f"the frozen part is computed for every batch: {record.reason}"
        return
    views = f"{record.views} views" if record.views > 1 else "1 view"
    took = f"computed in {record.seconds:,.0f} s" if record.seconds is not None else "found in the cache"
    equal = "bit for bit as without" if record.bitwise else "as without, up to rounding"
    how = equal if record.exact else f"not as without: {record.reason}"
    size = f"{record.bytes / 1e6:,.1f} MB"
    numbers = f"{math.prod(record.shape):,} numbers an image"
    yield f"features of the frozen part: {numbers}, {views}, {size}, {took}, kept from {record.place} on ({how})"
