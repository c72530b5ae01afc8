"""Images mixed with others of their batch, and what that makes of their labels."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from torch import Tensor

from cnnlab.config.averaging_and_mixing import CutMix, MixUp
from cnnlab.training.losses import Loss, Mass


@dataclass(frozen=True)
class Mixed:
    """A batch whose labels are `own` to the share `share`, and `other` for the rest."""

    images: Tensor
    own: Tensor
    other: Tensor
    share: float

    def part(self, images: slice) -> Mixed:
        """The same for some of the images."""
        return Mixed(self.images[images], self.own[images], self.other[images], self.share)

    def loss(self, outputs: Tensor, loss: Loss, mass: Mass) -> Tensor:
        """The loss of both labels, weighted by their shares; for cross-entropy it is that of the mixed label.

        Args:
            mass: of all images over whose labels the mean is taken; this part's loss counts as much as it has of it.
        """
        own = loss(outputs, self.own) * (loss.mass(self.own) / mass)
        if self.share == 1:
            return own
        other = loss(outputs, self.other) * (loss.mass(self.other) / mass)
        return self.share * own + (1 - self.share) * other


def mix(choice: Any, images: Tensor, labels: Tensor, draws: np.random.Generator) -> Mixed:
    """Mix each image with the one before it in the batch, the first one with the last.

    One share is drawn for the whole batch, as in the papers. Batches are shuffled, so that a neighbour is any image.

    Args:
        images: floats, N×C×H×W; they are left as they are.
        draws: where the share and the place of a rectangle come from.
    """
    if isinstance(choice, MixUp):
        share = float(draws.beta(choice.alpha, choice.alpha))
        # In this order the result lies in memory as the images do, which a rolled copy does not.
        mixed = images.mul(share).add_(images.roll(1, 0), alpha=1 - share)
        return Mixed(mixed, labels, labels.roll(1, 0), share)
    if isinstance(choice, CutMix):
        return _cut(choice, images, labels, draws)
    return Mixed(images, labels, labels, 1.0)


def _cut(choice: CutMix, images: Tensor, labels: Tensor, draws: np.random.Generator) -> Mixed:
    """The rectangle has the image's form and, before the border cuts it off, the area 1 - share."""
    height, width = images.shape[2:]
    half = sqrt(1 - float(draws.beta(choice.alpha, choice.alpha))) / 2
    top, bottom = _span(int(draws.integers(height)), int(half * height), height)
    left, right = _span(int(draws.integers(width)), int(half * width), width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.roll(1, 0)[:, :, top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return Mixed(mixed, labels, labels.roll(1, 0), share)


def _span(centre: int, half: int, size: int) -> tuple[int, int]:
    return max(0, centre - half), min(size, centre + half)
