"""MixUp and CutMix: mix images within a batch."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from torch import Tensor

from cnnlab.config.image_changes import CutMix, MixUp
from cnnlab.training.losses import Loss, TotalWeight


@dataclass(frozen=True)
class MixedBatch:
    """A batch whose target is `labels` with weight `label_share` and `other_labels` with the rest."""

    images: Tensor
    labels: Tensor
    other_labels: Tensor
    label_share: float

    def select(self, index: slice) -> MixedBatch:
        """Return the batch restricted to some images."""
        return MixedBatch(self.images[index], self.labels[index], self.other_labels[index], self.label_share)

    def loss(self, outputs: Tensor, loss: Loss, total_weight: TotalWeight) -> Tensor:
        """Return the loss of both labels, weighted by their shares.

        For cross-entropy this is the loss of the mixed label.

        Args:
            total_weight: the weight of all images over which the mean is taken; this batch's loss counts in proportion.
        """
        loss_of_labels = loss(outputs, self.labels) * (loss.total_weight(self.labels) / total_weight)
        if self.label_share == 1:
            return loss_of_labels
        other = loss(outputs, self.other_labels) * (loss.total_weight(self.other_labels) / total_weight)
        return self.label_share * loss_of_labels + (1 - self.label_share) * other


def mix_batch(config: Any, images: Tensor, labels: Tensor, rng: np.random.Generator) -> MixedBatch:
    """Mix each image with the previous one in the batch, and the first with the last.

    The share is drawn once per batch, as in the papers. Batches are shuffled, so the neighbor is a random image.

    Args:
        images: floats, N×C×H×W; not modified.
        rng: draws the share and the position of the rectangle.
    """
    if isinstance(config, MixUp):
        share = float(rng.beta(config.alpha, config.alpha))
        # In this order the result keeps the memory format of the images; a rolled copy would not.
        mixed = images.mul(share).add_(images.roll(1, 0), alpha=1 - share)
        return MixedBatch(mixed, labels, labels.roll(1, 0), share)
    if isinstance(config, CutMix):
        return _cutmix(config, images, labels, rng)
    return MixedBatch(images, labels, labels, 1.0)


def _cutmix(config: CutMix, images: Tensor, labels: Tensor, rng: np.random.Generator) -> MixedBatch:
    """Return the rectangle: the image's aspect ratio, and the area 1 - share before clipping at the border."""
    height, width = images.shape[2:]
    half = sqrt(1 - float(rng.beta(config.alpha, config.alpha))) / 2
    top, bottom = _clipped_span(int(rng.integers(height)), int(half * height), height)
    left, right = _clipped_span(int(rng.integers(width)), int(half * width), width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.roll(1, 0)[:, :, top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return MixedBatch(mixed, labels, labels.roll(1, 0), share)


def _clipped_span(centre: int, half: int, size: int) -> tuple[int, int]:
    return max(0, centre - half), min(size, centre + half)
