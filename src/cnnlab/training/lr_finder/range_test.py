"""The learning-rate range test: a recipe's training with a rate that rises from step to step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cnnlab.data.loader import ImageLoader
from cnnlab.torch_rng import fork_rng
from cnnlab.training.loop import TrainingState, epoch_batches, train_step
from cnnlab.training.losses import loss_function
from cnnlab.training.lr_finder.curve import num_valid_steps
from cnnlab.training.running_metrics import RunningMetrics
from cnnlab.training.schedules import LRScheduler, StepMultipliers

# (steps done, steps in all, the loss of the last step)
RangeTestCallback = Callable[[int, int, float], None]
# Steps between two checks of whether the loss has diverged.
CHECK_EVERY = 10


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
    losses: list[float] = []
    while True:
        for batches in epoch_batches(state, loader):
            metrics = RunningMetrics(state.device)
            with fork_rng():
                train_step(state, batches, loss, metrics)
            losses.append(metrics.compute(state.process_group).loss)
            on_step(state.step, len(learning_rates), losses[-1])
            blew_up = state.step % CHECK_EVERY == 0 and num_valid_steps(losses) < len(losses)
            if blew_up or state.step == len(learning_rates):
                return losses
        state.epoch += 1
