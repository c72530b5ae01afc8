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

# (steps done, steps in all, the last loss read from the device or None)
RangeTestCallback = Callable[[int, int, float | None], None]
# Losses are read from the device every so many steps.
SYNC_EVERY = 10


def range_test_losses(
    state: TrainingState,
    loader: ImageLoader,
    num_classes: int,
    learning_rates: Sequence[float],
    on_step: RangeTestCallback = lambda *_: None,
) -> list[float]:
    """Train with a rising learning rate, and return the loss of each step's batch before the step.

    The rates of all parameter groups rise in proportion, as under a schedule. Training ends a few steps after the loss
    has blown up (see `num_valid_steps`), and runs over the split as often as needed. `state` can't be used afterwards.

    Args:
        state: one that has taken no step.
        loader: the training split.
        num_classes: number of classes.
        learning_rates: the rate of each step.
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
        """The last loss that was read."""
        return self._losses[-1] if self._losses else None

    def update(self, loss: Tensor, _outputs: Tensor, labels: Tensor) -> None:
        """Add one batch of a step."""
        self._batches.append((loss.detach(), len(labels)))

    def end_step(self) -> None:
        """End a step: the mean over its batches."""
        images = sum(count for _, count in self._batches)
        self._pending.append(torch.stack([loss for loss, _ in self._batches]).sum() / images)
        self._batches = []

    def read(self) -> list[float]:
        """The losses of all steps; waits for the device."""
        if self._pending:
            self._losses += torch.stack(self._pending).tolist()
            self._pending = []
        return self._losses
