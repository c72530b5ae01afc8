"""The learning-rate range test: a recipe's training with a rate that rises from step to step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cnnlab.data.loader import Feed
from cnnlab.randomness import torch_state
from cnnlab.training.loop import Training, batches_of_epoch, take_step
from cnnlab.training.losses import loss_function
from cnnlab.training.lr_finder.curve import steps_that_count
from cnnlab.training.schedules import Schedule, Steps

# (steps done, steps in all, the last loss that the host knows or None)
Steady = Callable[[int, int, float | None], None]
# How many steps a device may be ahead of the host.
LOOK_EVERY = 10


def losses_of_rates(
    training: Training, part: Feed, classes: int, rates: Sequence[float], watch: Steady = lambda *_: None
) -> list[float]:
    """The loss of each step, computed before that step's rate changes the weights with it.

    All groups of parameters rise in proportion, as under a schedule. It ends some steps after the loss has blown up
    (see `steps_that_count`), and goes round the part again where that is shorter. `training` is used up by it.

    Args:
        training: one that has not begun.
        part: the training part.
        classes: how many there are.
        rates: the rate of each step, for the optimiser that the recipe names.
    """
    own = training.train.optimizer.lr
    training.schedule = Schedule(Steps(tuple(rate / own for rate in rates)), len(rates))
    loss = loss_function(training.train.loss, part.labels, classes, training.device)
    kept = _StepLosses()
    while True:
        for group in batches_of_epoch(training, part):
            with torch_state():
                take_step(training, group, loss, kept)
            kept.end_step()
            over = training.step == len(rates)
            if over or training.step % LOOK_EVERY == 0:
                found = kept.read()
                over = over or steps_that_count(found) < len(found)
            watch(training.step, len(rates), kept.last)
            if over:
                return kept.read()
        training.epoch += 1


class _StepLosses:
    """The mean loss of each step, kept on the device until it is read."""

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, int]] = []
        self._waiting: list[Tensor] = []
        self._read: list[float] = []

    @property
    def last(self) -> float | None:
        """The newest that was read."""
        return self._read[-1] if self._read else None

    def add(self, loss: Tensor, _outputs: Tensor, labels: Tensor) -> None:
        """Take in one batch of a step."""
        self._batches.append((loss.detach(), len(labels)))

    def end_step(self) -> None:
        """The batches since the last step make one."""
        images = sum(count for _, count in self._batches)
        self._waiting.append(torch.stack([loss for loss, _ in self._batches]).sum() / images)
        self._batches = []

    def read(self) -> list[float]:
        """The losses of all steps; waits for the device."""
        if self._waiting:
            self._read += torch.stack(self._waiting).tolist()
            self._waiting = []
        return self._read
