"""The views of an image under flips: one without augmentation, else two or four.

The random numbers of an epoch choose the view of each image.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from cnnlab.config.image_changes import AlternatingFlip, Flip, VerticalFlip
from cnnlab.data.augmentation.augment import sample_params
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.base import Indices

# Dimensions of N×C×H×W.
_VERTICAL, _HORIZONTAL = 2, 3


@dataclass(frozen=True)
class FlippedViews:
    """An image and its flipped versions, chosen by the random numbers of `augmentations`, which are flips."""

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
        flipped = {_HORIZONTAL: np.zeros(len(positions), bool), _VERTICAL: np.zeros(len(positions), bool)}
        params = sample_params(self.augmentations, seed, epoch, positions)
        for choice, choice_params in zip(self.augmentations, params, strict=True):
            flipped[_flip_dim(choice)] ^= choice_params.uniforms[:, 0] < getattr(choice, "p", 0.5)
        views = np.zeros(len(positions), dtype=np.int64)
        for index, dims in enumerate(self._flip_dims):
            views[(flipped[_HORIZONTAL] == (_HORIZONTAL in dims)) & (flipped[_VERTICAL] == (_VERTICAL in dims))] = index
        return views

    @property
    def _flip_dims(self) -> list[tuple[int, ...]]:
        used = {_flip_dim(choice) for choice in self.augmentations}
        views: list[tuple[int, ...]] = [()]
        for dim in (_HORIZONTAL, _VERTICAL):
            if dim in used:
                views += [(*dims, dim) for dims in views]
        return views


def only_flips(augmentations: Sequence[Any]) -> bool:
    """Whether all augmentations are flips; those within `maybe` and `one_of` do not count."""
    return all(isinstance(choice, Flip | AlternatingFlip | VerticalFlip) for choice in augmentations)


def _flip_dim(augmentation: Any) -> int:
    return _VERTICAL if isinstance(augmentation, VerticalFlip) else _HORIZONTAL
