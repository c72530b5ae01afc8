"""Augmentation of training images: whole batches on the device, with random numbers for each image.

The random numbers of an image depend on (seed, epoch, image) alone: not on its batch, the device, or how the data is
loaded. They stay on the host, which thus knows the images that change without asking the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cnnlab.config.image_changes import AlternatingFlip, Maybe, OneOf
from cnnlab.data.augmentation.batches import apply_where
from cnnlab.data.augmentation.transforms import apply_augmentation, num_uniforms
from cnnlab.data.sources.base import Indices
from cnnlab.randomness import uniforms


@dataclass(frozen=True)
class AugmentParams:
    """The random numbers of one augmentation.

    Attributes:
        uniforms: 32-bit floats, uniform in [0, 1), N×D.
        inner: those of the augmentations within it.
    """

    uniforms: npt.NDArray[np.float32]
    inner: tuple[AugmentParams, ...] = ()

    def take(self, images: slice | Indices) -> AugmentParams:
        """The random numbers of some of the images."""
        return AugmentParams(self.uniforms[images], tuple(params.take(images) for params in self.inner))


def sample_params(
    augmentations: Sequence[Any], seed: int, epoch: int, images: Indices, stream: str = "augment"
) -> tuple[AugmentParams, ...]:
    """Sample the random numbers of an epoch, for each augmentation.

    Args:
        images: the images' indices, shape N.
        stream: prefix of the names of the random streams; nested augmentations extend the name of the outer one.
    """
    return tuple(
        _sample_one(choice, seed, epoch, images, f"{stream}/{position}/{choice.kind}")
        for position, choice in enumerate(augmentations)
    )


def _sample_one(augmentation: Any, seed: int, epoch: int, images: Indices, stream: str) -> AugmentParams:
    alternating = isinstance(augmentation, AlternatingFlip)
    samples = uniforms(seed, stream, 0 if alternating else epoch, images, num_uniforms(augmentation))
    if alternating:
        # The same number in all epochs; every other epoch it is shifted by a half, to the other side of 0.5.
        samples = (samples + epoch % 2 / 2) % 1
    # Truncated to the 24 bits that a 32-bit float holds, since rounding could give 1.
    numbers = (samples * 2**24).astype(np.int32).astype(np.float32) * np.float32(2.0**-24)
    return AugmentParams(numbers, sample_params(getattr(augmentation, "body", ()), seed, epoch, images, stream))


def augment(images: Tensor, augmentations: Sequence[Any], params: Sequence[AugmentParams]) -> Tensor:
    """Apply augmentations in order.

    Args:
        images: uint8, N×C×H×W, C 1 or 3; not changed in place.
        params: from `sample_params` for these images.

    Returns:
        uint8, N×C×H×W.
    """
    for choice, choice_params in zip(augmentations, params, strict=True):
        images = _apply_one(images, choice, choice_params)
    return images


def _apply_one(images: Tensor, augmentation: Any, params: AugmentParams) -> Tensor:
    if isinstance(augmentation, Maybe):
        return apply_where(
            params.uniforms[:, 0] < augmentation.p,
            images,
            lambda selected, indices: augment(selected, augmentation.body, params.take(indices).inner),
        )
    if isinstance(augmentation, OneOf):
        return _apply_one_of(images, augmentation, params)
    return apply_augmentation(images, augmentation, params.uniforms)


def _apply_one_of(images: Tensor, augmentation: OneOf, params: AugmentParams) -> Tensor:
    chosen = (params.uniforms[:, 0] * len(augmentation.body)).astype(np.int64)
    for position, inner in enumerate(zip(augmentation.body, params.inner, strict=True)):
        images = apply_where(chosen == position, images, partial(_apply_selected, *inner))
    return images


def _apply_selected(augmentation: Any, params: AugmentParams, images: Tensor, indices: Indices) -> Tensor:
    return _apply_one(images, augmentation, params.take(indices))
