"""Random changes of training images: whole batches on the device, a draw per image.

What an image gets depends on (seed, epoch, image) alone: not on its batch, the device, or how the data is fed. The
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
from cnnlab.data.augmentation.batches import changed_where
from cnnlab.data.augmentation.transforms import CHANGES, draws_needed
from cnnlab.data.sources.base import Indices
from cnnlab.randomness import uniforms


@dataclass(frozen=True)
class Draws:
    """The random numbers of one augmentation: a row per image.

    Attributes:
        numbers: 32-bit floats, uniform in [0, 1), N×D.
        inner: those of the augmentations within it.
    """

    numbers: npt.NDArray[np.float32]
    inner: tuple[Draws, ...] = ()

    def take(self, images: slice | Indices) -> Draws:
        """The rows of some of the images."""
        return Draws(self.numbers[images], tuple(draws.take(images) for draws in self.inner))


def draw(
    choice_list: Sequence[Any], seed: int, epoch: int, images: Indices, stream: str = "augment"
) -> tuple[Draws, ...]:
    """The random numbers of an epoch, for each augmentation.

    Args:
        images: the images' indices, shape N; row n belongs to image `images[n]`.
        stream: what the names of the streams begin with; those of an augmentation within another begin with its.
    """
    return tuple(
        _drawn(choice, seed, epoch, images, f"{stream}/{place}/{choice.kind}")
        for place, choice in enumerate(choice_list)
    )


def _drawn(choice: Any, seed: int, epoch: int, images: Indices, stream: str) -> Draws:
    alternating = isinstance(choice, AlternatingFlip)
    found = uniforms(seed, stream, 0 if alternating else epoch, images, draws_needed(choice))
    if alternating:
        # One draw for all epochs; every other epoch it is moved by half, which changes sides.
        found = (found + epoch % 2 / 2) % 1
    # Cut to the 24 bits that a 32-bit float holds, since rounding could give 1.
    numbers = (found * 2**24).astype(np.int32).astype(np.float32) * np.float32(2.0**-24)
    return Draws(numbers, draw(getattr(choice, "body", ()), seed, epoch, images, stream))


def augment(images: Tensor, choice_list: Sequence[Any], draws: Sequence[Draws]) -> Tensor:
    """Carry out augmentations one after the other.

    Args:
        images: uint8, N×C×H×W, C 1 or 3; they stay as they are.
        draws: what `draw` gave for these images.

    Returns:
        uint8, N×C×H×W.
    """
    for choice, drawn in zip(choice_list, draws, strict=True):
        images = _changed(images, choice, drawn)
    return images


def _changed(images: Tensor, choice: Any, drawn: Draws) -> Tensor:
    if isinstance(choice, Maybe):
        return changed_where(
            drawn.numbers[:, 0] < choice.p,
            images,
            lambda some, places: augment(some, choice.body, drawn.take(places).inner),
        )
    if isinstance(choice, OneOf):
        return _one_changed(images, choice, drawn)
    return CHANGES[type(choice)](images, choice, drawn.numbers)


def _one_changed(images: Tensor, choice: OneOf, drawn: Draws) -> Tensor:
    chosen = (drawn.numbers[:, 0] * len(choice.body)).astype(np.int64)
    for place, (inner, draws) in enumerate(zip(choice.body, drawn.inner, strict=True)):

        def change(some: Tensor, places: Indices, inner: Any = inner, draws: Draws = draws) -> Tensor:
            return _changed(some, inner, draws.take(places))

        images = changed_where(chosen == place, images, change)
    return images
