"""The learning-rate range test: a recipe's training with a rate that rises from step to step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cnnlab.data.loader import ImageLoader
from cnnlab.torch_rng import fork_rng
from cnnlab.training.loop import TrainingState, epoch_batches, train_step
from cnnlab.training.losses import loss_function
from cnnlab.training.lr_finder.curve import num_valid_steps
from cnnlab.training.schedules import LRScheduler, StepMultipliers

# (steps done, steps in all, the last loss that the host knows or None)
RangeTestCallback = Callable[[int, int, float | None], None]
# How many steps a device may be ahead of the host.
SYNC_EVERY = 10


def range_test_losses(
    state: TrainingState,
    loader: ImageLoader,
    num_classes: int,
    learning_rates: Sequence[float],
    on_step: RangeTestCallback = lambda *_: None,
) -> list[float]:
    """The loss of each step, computed before that step's rate changes the weights with it.

    All groups of parameters rise in proportion, as under a schedule. It ends some steps after the loss has blown up
    (see `num_valid_steps`), and starts the split again where that is shorter. `state` is used up by it.

    Args:
        state: one that has not begun.
        loader: the training split.
        num_classes: how many there are.
        learning_rates: the rate of each step, for the optimiser that the recipe names.
    """
    base_lr = state.train.optimizer.lr
    state.schedule = LRScheduler(StepMultipliers(tuple(rate / base_lr for rate in learning_rates)), len(learning_rates))
    loss = loss_function(state.train.loss, loader.labels, num_classes, state.device)
    step_losses = _StepLosses()
    while True:
        for batches in epoch_batches(state, loader):
            with fork_rng():
                train_step(state, batches, loss, step_losses)
            step_losses.end_step()
            done = state.step == len(learning_rates)
            if done or state.step % SYNC_EVERY == 0:
                losses = step_losses.read()
                done = done or num_valid_steps(losses) < len(losses)
            on_step(state.step, len(learning_rates), step_losses.last)
            if done:
                return step_losses.read()
        state.epoch += 1


class _StepLosses:
    """The mean loss of each step, kept on the device until it is read."""

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, int]] = []
        self._pending: list[Tensor] = []
        self._losses: list[float] = []

    @property
    def last(self) -> float | None:
        """The newest that was read."""
        return self._losses[-1] if self._losses else None

    def update(self, loss: Tensor, _outputs: Tensor, labels: Tensor) -> None:
        """Take in one batch of a step."""
        self._batches.append((loss.detach(), len(labels)))

    def end_step(self) -> None:
        """Close a step with the batches since the last one."""
        images = sum(count for _, count in self._batches)
        self._pending.append(torch.stack([loss for loss, _ in self._batches]).sum() / images)
        self._batches = []

    def read(self) -> list[float]:
        """The losses of all steps; waits for the device."""
        if self._pending:
            self._losses += torch.stack(self._pending).tolist()
            self._pending = []
        return self._losses
