"""The views of an image that a training sees: how many there are, and which one an epoch takes.

Without augmentation there is one, and flips alone give two or four: each epoch takes the view that its draws would
give, so that nothing changes. Of other augmentations there are more than could be kept: epochs take turns with a few.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cnnlab.config.augmentations import AlternatingFlip, Flip, Maybe, OneOf, VerticalFlip
from cnnlab.data.augmentation.augment import Draws, draw
from cnnlab.data.loader import Feed
from cnnlab.data.sources.base import Indices

_Which = npt.NDArray[np.bool_]
# (dimension of N×C×H×W that is turned round, …)
_PLAIN: tuple[int, ...] = ()


class Views(Protocol):
    """The views that are kept of each image.

    Attributes:
        names: what tells each view from others of the same images.
        plain: which of them is the image as it is; None: none.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def plain(self) -> int | None: ...

    def images(self, view: int, feed: Feed) -> Generator[Tensor]:
        """One view of every image of a part, in batches, normalised, in the images' order."""
        ...

    def chosen(self, seed: int, epoch: int, places: Indices) -> Indices:
        """Which view an epoch takes of the image in each place."""
        ...


@dataclass(frozen=True)
class Mirrored:
    """An image and its mirror images, of which the draws of `augmentations` choose."""

    augmentations: tuple[Any, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple("plain" if not turned else f"turned{turned}" for turned in self._turned)

    @property
    def plain(self) -> int:
        return 0

    def images(self, view: int, feed: Feed) -> Generator[Tensor]:
        """See `Views.images`."""
        turned = self._turned[view]
        for images, _ in feed.evaluation():
            yield images.flip(turned) if turned else images

    def chosen(self, seed: int, epoch: int, places: Indices) -> Indices:
        """See `Views.chosen`."""
        drawn = draw(self.augmentations, seed, epoch, places)
        left, upside = _flips(self.augmentations, drawn, len(places))
        kinds = [(3,) * bool(one) + (2,) * bool(other) for one, other in ((0, 0), (1, 0), (0, 1), (1, 1))]
        number = np.array([self._turned.index(kind) if kind in self._turned else 0 for kind in kinds])
        return number[left + 2 * upside].astype(np.int64)

    @property
    def _turned(self) -> list[tuple[int, ...]]:
        kinds = {kind for choice in self.augmentations for kind in _kinds(choice)}
        turned = [_PLAIN]
        for kind, dimension in ((Flip, 3), (VerticalFlip, 2)):
            if kind in kinds:
                turned += [(*before, dimension) for before in turned]
        return turned


@dataclass(frozen=True)
class Augmented:
    """The images as the first `count` epochs augment them: epochs take turns.

    Args:
        with_plain: keep the un-augmented images too, which no epoch takes.
    """

    augmentations: tuple[Any, ...]
    seed: int
    count: int
    with_plain: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        plain = ("plain",) if self.with_plain else ()
        return (*(f"{self.augmentations!r} {self.seed} {epoch}" for epoch in range(self.count)), *plain)

    @property
    def plain(self) -> int | None:
        return self.count if self.with_plain else None

    def images(self, view: int, feed: Feed) -> Generator[Tensor]:
        """See `Views.images`."""
        batches = feed.evaluation() if view == self.plain else feed.view(self.augmentations, self.seed, view)
        for images, _ in batches:
            yield images

    def chosen(self, seed: int, epoch: int, places: Indices) -> Indices:  # noqa: ARG002
        """See `Views.chosen`."""
        return np.full(len(places), epoch % self.count, dtype=np.int64)


def only_flips(augmentations: Sequence[Any]) -> bool:
    """Whether images are mirrored and nothing else: also where that is left to a draw."""
    return all(bool(_kinds(choice)) for choice in augmentations)


def _kinds(choice: Any) -> set[type]:
    """`Flip` and `VerticalFlip`, as far as they can come of it; nothing where anything else can."""
    if isinstance(choice, Flip | AlternatingFlip):
        return {Flip}
    if isinstance(choice, VerticalFlip):
        return {VerticalFlip}
    if isinstance(choice, Maybe | OneOf) and only_flips(choice.body):
        return {kind for inner in choice.body for kind in _kinds(inner)}
    return set()


def _flips(choices: Sequence[Any], draws: Sequence[Draws], count: int) -> tuple[_Which, _Which]:
    """Which images come out with left and right exchanged, and which upside down; of `count`."""
    left, upside = np.zeros(count, bool), np.zeros(count, bool)
    for choice, drawn in zip(choices, draws, strict=True):
        one, other = _flip(choice, drawn, count)
        left, upside = left ^ one, upside ^ other
    return left, upside


def _flip(choice: Any, drawn: Draws, count: int) -> tuple[_Which, _Which]:
    number, none = drawn.numbers[:, 0], np.zeros(count, bool)
    if isinstance(choice, VerticalFlip):
        return none, number < choice.p
    if isinstance(choice, Maybe):
        one, other = _flips(choice.body, drawn.inner, count)
        return one & (number < choice.p), other & (number < choice.p)
    if isinstance(choice, OneOf):
        which = (number * len(choice.body)).astype(np.int64)
        found = [_flip(inner, draws, count) for inner, draws in zip(choice.body, drawn.inner, strict=True)]
        masked = [(one & (which == place), other & (which == place)) for place, (one, other) in enumerate(found)]
        return np.any([one for one, _ in masked], axis=0), np.any([other for _, other in masked], axis=0)
    return number < (0.5 if isinstance(choice, AlternatingFlip) else choice.p), none
