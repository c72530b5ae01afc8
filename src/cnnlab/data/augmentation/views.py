"""The views of an image that a training sees where it mirrors images and changes nothing else.

Without augmentation there is one, and flips give two or four; each epoch takes the view that its draws give.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cnnlab.config.image_changes import AlternatingFlip, Flip, Maybe, OneOf, VerticalFlip
from cnnlab.data.augmentation.augment import AugmentParams, sample_params
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.base import Indices

_BoolArray = npt.NDArray[np.bool_]
# (dimension of N×C×H×W that is turned round, …)
_NO_FLIP: tuple[int, ...] = ()


@dataclass(frozen=True)
class FlippedViews:
    """An image and its mirror images, of which the draws of `augmentations` choose."""

    augmentations: tuple[Any, ...] = ()
    UNAUGMENTED: ClassVar[int] = 0

    @property
    def names(self) -> tuple[str, ...]:
        """What tells each view from the others of an image."""
        return tuple("plain" if not turned else f"turned{turned}" for turned in self._flip_dims)

    def view_batches(self, view: int, loader: ImageLoader) -> Generator[Tensor]:
        """One view of every image of a split, in batches, normalised, in the images' order."""
        turned = self._flip_dims[view]
        for images, _ in loader.eval_batches():
            yield images.flip(turned) if turned else images

    def view_indices(self, seed: int, epoch: int, positions: Indices) -> Indices:
        """Which view an epoch takes of the image at each position."""
        drawn = sample_params(self.augmentations, seed, epoch, positions)
        left, upside = _combined_flips(self.augmentations, drawn, len(positions))
        kinds = [(3,) * bool(one) + (2,) * bool(other) for one, other in ((0, 0), (1, 0), (0, 1), (1, 1))]
        number = np.array([self._flip_dims.index(kind) if kind in self._flip_dims else 0 for kind in kinds])
        return number[left + 2 * upside].astype(np.int64)

    @property
    def _flip_dims(self) -> list[tuple[int, ...]]:
        kinds = {kind for choice in self.augmentations for kind in _flip_types(choice)}
        turned = [_NO_FLIP]
        for kind, dimension in ((Flip, 3), (VerticalFlip, 2)):
            if kind in kinds:
                turned += [(*before, dimension) for before in turned]
        return turned


def only_flips(augmentations: Sequence[Any]) -> bool:
    """Whether images are mirrored and nothing else: also where that is left to a draw."""
    return all(bool(_flip_types(choice)) for choice in augmentations)


def _flip_types(augmentation: Any) -> set[type]:
    """`Flip` and `VerticalFlip`, as far as they can come of it; nothing where anything else can."""
    if isinstance(augmentation, Flip | AlternatingFlip):
        return {Flip}
    if isinstance(augmentation, VerticalFlip):
        return {VerticalFlip}
    if isinstance(augmentation, Maybe | OneOf) and only_flips(augmentation.body):
        return {kind for inner in augmentation.body for kind in _flip_types(inner)}
    return set()


def _combined_flips(
    augmentations: Sequence[Any], params: Sequence[AugmentParams], count: int
) -> tuple[_BoolArray, _BoolArray]:
    """Which images come out with left and right exchanged, and which upside down; of `count`."""
    left, upside = np.zeros(count, bool), np.zeros(count, bool)
    for choice, drawn in zip(augmentations, params, strict=True):
        one, other = _flip_masks(choice, drawn, count)
        left, upside = left ^ one, upside ^ other
    return left, upside


def _flip_masks(augmentation: Any, params: AugmentParams, count: int) -> tuple[_BoolArray, _BoolArray]:
    number, none = params.uniforms[:, 0], np.zeros(count, bool)
    if isinstance(augmentation, VerticalFlip):
        return none, number < augmentation.p
    if isinstance(augmentation, Maybe):
        one, other = _combined_flips(augmentation.body, params.inner, count)
        return one & (number < augmentation.p), other & (number < augmentation.p)
    if isinstance(augmentation, OneOf):
        which = (number * len(augmentation.body)).astype(np.int64)
        found = [_flip_masks(inner, draws, count) for inner, draws in zip(augmentation.body, params.inner, strict=True)]
        masked = [(one & (which == place), other & (which == place)) for place, (one, other) in enumerate(found)]
        return np.any([one for one, _ in masked], axis=0), np.any([other for _, other in masked], axis=0)
    return number < (0.5 if isinstance(augmentation, AlternatingFlip) else augmentation.p), none
