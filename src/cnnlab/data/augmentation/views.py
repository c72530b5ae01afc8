"""The views of an image under flips: one without augmentation, else two or four.

The random numbers of an epoch choose the view of each image.
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
# Dimensions of N×C×H×W that are flipped.
_NO_FLIP: tuple[int, ...] = ()


@dataclass(frozen=True)
class FlippedViews:
    """An image and its flipped versions, chosen by the random numbers of `augmentations`."""

    augmentations: tuple[Any, ...] = ()
    UNAUGMENTED: ClassVar[int] = 0

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each view."""
        return tuple("plain" if not dims else f"turned{dims}" for dims in self._flip_dims)

    def view_batches(self, view: int, loader: ImageLoader) -> Generator[Tensor]:
        """One view of every image of a split, in normalized batches, in the images' order."""
        dims = self._flip_dims[view]
        for images, _ in loader.eval_batches():
            yield images.flip(dims) if dims else images

    def view_indices(self, seed: int, epoch: int, positions: Indices) -> Indices:
        """The index of the view in an epoch, for each image."""
        params = sample_params(self.augmentations, seed, epoch, positions)
        horizontal, vertical = _combined_flips(self.augmentations, params, len(positions))
        combinations = ((), (3,), (2,), (3, 2))
        views = np.array([self._flip_dims.index(dims) if dims in self._flip_dims else 0 for dims in combinations])
        return views[horizontal + 2 * vertical].astype(np.int64)

    @property
    def _flip_dims(self) -> list[tuple[int, ...]]:
        kinds = {kind for choice in self.augmentations for kind in _flip_types(choice)}
        views = [_NO_FLIP]
        for kind, dim in ((Flip, 3), (VerticalFlip, 2)):
            if kind in kinds:
                views += [(*dims, dim) for dims in views]
        return views


def only_flips(augmentations: Sequence[Any]) -> bool:
    """Whether the augmentations are flips, also within `maybe` and `one_of`."""
    return all(bool(_flip_types(choice)) for choice in augmentations)


def _flip_types(augmentation: Any) -> set[type]:
    """The types of flips that an augmentation may apply; empty if it may apply anything else."""
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
    """Masks of the images that are flipped horizontally, and of those flipped vertically, shape `count`."""
    horizontal, vertical = np.zeros(count, bool), np.zeros(count, bool)
    for choice, choice_params in zip(augmentations, params, strict=True):
        flips = _flip_masks(choice, choice_params, count)
        horizontal, vertical = horizontal ^ flips[0], vertical ^ flips[1]
    return horizontal, vertical


def _flip_masks(augmentation: Any, params: AugmentParams, count: int) -> tuple[_BoolArray, _BoolArray]:
    uniforms, none = params.uniforms[:, 0], np.zeros(count, bool)
    if isinstance(augmentation, VerticalFlip):
        return none, uniforms < augmentation.p
    if isinstance(augmentation, Maybe):
        horizontal, vertical = _combined_flips(augmentation.body, params.inner, count)
        return horizontal & (uniforms < augmentation.p), vertical & (uniforms < augmentation.p)
    if isinstance(augmentation, OneOf):
        chosen = (uniforms * len(augmentation.body)).astype(np.int64)
        horizontal, vertical = none, none
        for position, (inner, inner_params) in enumerate(zip(augmentation.body, params.inner, strict=True)):
            flips = _flip_masks(inner, inner_params, count)
            horizontal = np.where(chosen == position, flips[0], horizontal)
            vertical = np.where(chosen == position, flips[1], vertical)
        return horizontal, vertical
    return uniforms < (0.5 if isinstance(augmentation, AlternatingFlip) else augmentation.p), none
