"""Build the loss function of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cnnlab.config import losses
from cnnlab.data.sources.base import Labels

TotalWeight: TypeAlias = Tensor | int


@dataclass(frozen=True)
class Loss:
    """The mean loss of a batch; with class weights the weighted mean, as in torch."""

    function: Callable[[Tensor, Tensor], Tensor]
    weights: Tensor | None = None

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over N images, from logits (N×K) and labels (N)."""
        return self.function(outputs, labels)

    def total_weight(self, labels: Tensor) -> TotalWeight:
        """Return the weight of these images in a mean: their number, or the sum of their class weights."""
        return len(labels) if self.weights is None else self.weights[labels].sum()


def loss_function(config: Any, labels: Labels, num_classes: int, device: torch.device) -> Loss:
    """Build the loss of a recipe.

    Args:
        labels: of the training split, from which 'balanced' class weights are computed.
        num_classes: the number of classes K.
    """
    weights = class_weights(config.weights, labels, num_classes)
    on_device = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)
    if isinstance(config, losses.Focal):
        return Loss(partial(_focal, gamma=config.gamma, weights=on_device), on_device)
    return Loss(partial(F.cross_entropy, weight=on_device, label_smoothing=config.smoothing), on_device)


def class_weights(weights: Any, labels: Labels, num_classes: int) -> list[float] | None:
    """Return K class weights; 'balanced' is N / (K · N of the class), and 0 for a class without images."""
    if weights != "balanced":
        return None if weights is None else list(weights)
    counts = np.bincount(labels, minlength=num_classes)
    return [len(labels) / (num_classes * int(count)) if count else 0.0 for count in counts]


def _focal(outputs: Tensor, labels: Tensor, gamma: float, weights: Tensor | None) -> Tensor:
    log_p = F.log_softmax(outputs.float(), dim=1).gather(1, labels[:, None])[:, 0]
    # The power has no derivative at 0 for gamma below 1.
    wrong = (-torch.expm1(log_p)).clamp(min=1e-12)
    each = -(wrong**gamma) * log_p
    if weights is None:
        return each.mean()
    share = weights[labels]
    return (share * each).sum() / share.sum()
