"""Average the weights of a network over the steps or epochs of its training (EMA, SWA)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from cnnlab.config.optimizers import EMA, SWA
from cnnlab.data.loader import Batch
from cnnlab.models.train_mode import set_epoch


class WeightAverage:
    """The weight average that a recipe asks for, over the states of `source`.

    Attributes:
        network: the averaged network; a copy of the initial network until `num_averaged` is above 0.
        train_model: the part of it that takes the training batches, which may be cached features.
        num_averaged: the number of states in the average.
    """

    def __init__(
        self, config: Any, source: nn.Module, make_train_model: Callable[[nn.Module], nn.Module] = lambda own: own
    ) -> None:
        self.config = config
        self.network = deepcopy(source).requires_grad_(False).eval()
        self.train_model = make_train_model(self.network)
        self.num_averaged = 0

    def begin_epoch(self, epoch: int) -> None:
        """Unfreeze the layers scheduled for this epoch, whose batch-norm statistics will be updated."""
        set_epoch(self.network, epoch)
        self.network.requires_grad_(False)

    def after_step(self, source: nn.Module) -> None:
        """Update a moving average after a step. Buffers are copied, as torch's AveragedModel does."""
        if isinstance(self.config, EMA):
            self._update(source, 1 - self.config.decay)

    def after_epoch(self, source: nn.Module, progress: float, batches: Iterator[Batch]) -> None:
        """Update an average of epochs, and compute its batch-norm statistics.

        Args:
            progress: the fraction of the training that is done.
            batches: the training split without augmentation, as `train_model` takes it.
        """
        if isinstance(self.config, SWA) and progress >= self.config.start:
            self._update(source, 1 / (self.num_averaged + 1))
            update_batchnorm_stats(self.train_model, batches)

    @torch.no_grad()
    def _update(self, source: nn.Module, weight: float) -> None:
        own: list[Tensor] = list(self.network.parameters())
        new: list[Tensor] = list(source.parameters())
        if self.num_averaged:
            torch._foreach_lerp_(own, new, weight)
        else:
            torch._foreach_copy_(own, new)
        buffers = list(self.network.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(source.buffers()))
        self.num_averaged += 1


@torch.no_grad()
def update_batchnorm_stats(network: nn.Module, batches: Iterator[Batch]) -> None:
    """Set the running statistics of batch norms to plain means over these batches.

    Dropout is off, so no random numbers are drawn. A batch of one image is skipped, since it has no variance.
    """
    network.train()  # frozen ones stay in eval mode
    norms = [
        module
        for module in network.modules()
        if isinstance(module, _NormBase) and module.track_running_stats and module.training
    ]
    network.eval()
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # a plain mean over the batches
    for images, _ in batches:
        if len(images) > 1:
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
