"""Random changes of training images: whole batches on the device, a draw per image.

What an image gets depends on (seed, epoch, image) alone: not on its batch, the device, or how the data is loaded. The
draws stay on the host, so that it knows which images are touched without asking the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cnnlab.config.augmentations import AlternatingFlip, Maybe, OneOf
from cnnlab.data.augmentation.batches import apply_where
from cnnlab.data.augmentation.transforms import TRANSFORMS, num_uniforms
from cnnlab.data.sources.base import Indices
from cnnlab.randomness import uniforms


@dataclass(frozen=True)
class AugmentParams:
    """The random numbers of one augmentation: a row per image.

    Attributes:
        uniforms: 32-bit floats, uniform in [0, 1), N×D.
        inner: those of the augmentations within it.
    """

    uniforms: npt.NDArray[np.float32]
    inner: tuple[AugmentParams, ...] = ()

    def take(self, images: slice | Indices) -> AugmentParams:
        """The rows of some of the images."""
        return AugmentParams(self.uniforms[images], tuple(draws.take(images) for draws in self.inner))


def sample_params(
    augmentations: Sequence[Any], seed: int, epoch: int, images: Indices, stream: str = "augment"
) -> tuple[AugmentParams, ...]:
    """The random numbers of an epoch, for each augmentation.

    Args:
        images: the images' indices, shape N; row n belongs to image `images[n]`.
        stream: what the names of the streams begin with; those of an augmentation within another begin with its.
    """
    return tuple(
        _sample_one(choice, seed, epoch, images, f"{stream}/{place}/{choice.kind}")
        for place, choice in enumerate(augmentations)
    )


def _sample_one(augmentation: Any, seed: int, epoch: int, images: Indices, stream: str) -> AugmentParams:
    alternating = isinstance(augmentation, AlternatingFlip)
    found = uniforms(seed, stream, 0 if alternating else epoch, images, num_uniforms(augmentation))
    if alternating:
        # One draw for all epochs; every other epoch it is moved by half, which changes sides.
        found = (found + epoch % 2 / 2) % 1
    # Cut to the 24 bits that a 32-bit float holds, since rounding could give 1.
    numbers = (found * 2**24).astype(np.int32).astype(np.float32) * np.float32(2.0**-24)
    return AugmentParams(numbers, sample_params(getattr(augmentation, "body", ()), seed, epoch, images, stream))


def augment(images: Tensor, augmentations: Sequence[Any], params: Sequence[AugmentParams]) -> Tensor:
    """Carry out augmentations one after the other.

    Args:
        images: uint8, N×C×H×W, C 1 or 3; they stay as they are.
        params: what `sample_params` gave for these images.

    Returns:
        uint8, N×C×H×W.
    """
    for choice, drawn in zip(augmentations, params, strict=True):
        images = _apply_one(images, choice, drawn)
    return images


def _apply_one(images: Tensor, augmentation: Any, params: AugmentParams) -> Tensor:
    if isinstance(augmentation, Maybe):
        return apply_where(
            params.uniforms[:, 0] < augmentation.p,
            images,
            lambda some, places: augment(some, augmentation.body, params.take(places).inner),
        )
    if isinstance(augmentation, OneOf):
        return _apply_one_of(images, augmentation, params)
    return TRANSFORMS[type(augmentation)](images, augmentation, params.uniforms)


def _apply_one_of(images: Tensor, augmentation: OneOf, params: AugmentParams) -> Tensor:
    chosen = (params.uniforms[:, 0] * len(augmentation.body)).astype(np.int64)
    for place, (inner, draws) in enumerate(zip(augmentation.body, params.inner, strict=True)):

        def change(some: Tensor, places: Indices, inner: Any = inner, draws: AugmentParams = draws) -> Tensor:
            return _apply_one(some, inner, draws.take(places))

        images = apply_where(chosen == place, images, change)
    return images
