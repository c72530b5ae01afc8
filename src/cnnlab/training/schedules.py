"""Learning-rate schedules."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch.optim import Optimizer

from cnnlab.config.schedules import (
    CosineRestartsSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    MultiStepSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    StepSchedule,
    WarmupSchedule,
)
from cnnlab.records import Score
from cnnlab.training.early_stopping import EarlyStopping
from cnnlab.training.optimizers.muon import CombinedOptimizer


@dataclass
class LRScheduler:
    """Sets the learning rate of an optimizer before each step: its initial rate times a multiplier.

    Args:
        config: the schedule of the recipe.
        total_steps: the number of steps of the whole training.
        steps_per_epoch: the number of steps of one epoch.

    Attributes:
        plateau_factor: the factor of a plateau schedule so far; everything else depends on the step alone.
    """

    config: Any
    total_steps: int
    steps_per_epoch: int = 1
    plateau_factor: float = 1.0
    lr_multiplier: float = 1.0
    plateau_tracker: EarlyStopping | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        plateau = self._plateau_config
        if plateau is not None:
            self.plateau_tracker = EarlyStopping(plateau.metric)

    def before_step(self, step: int, optimizer: Optimizer | CombinedOptimizer, budget_used: float = 0.0) -> None:
        """Set the learning rate of step `step` (from 0), before which `budget_used` of the budget was used."""
        position = TrainingPosition(step, self.total_steps, self.steps_per_epoch, budget_used)
        self.lr_multiplier = self.plateau_factor * lr_multiplier(self.config, position)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("first_lr", group["lr"]) * self.lr_multiplier

    def after_validation(self, score: Score) -> None:
        """Update a plateau schedule.

        The rate drops at the `patience`-th validation in a row without improvement; torch's ReduceLROnPlateau waits for
        one more. Validations during a warm-up count.
        """
        plateau = self._plateau_config
        if self.plateau_tracker is None or plateau is None or self.plateau_tracker.update(score):
            return
        if self.plateau_tracker.num_bad_validations >= plateau.patience:
            self.plateau_factor *= plateau.factor
            self.plateau_tracker.state = self.plateau_tracker.state.model_copy(update={"num_bad_validations": 0})

    @property
    def _plateau_config(self) -> PlateauSchedule | None:
        inner = self.config.then if isinstance(self.config, WarmupSchedule) else self.config
        return inner if isinstance(inner, PlateauSchedule) else None


class TrainingPosition(NamedTuple):
    """A position in a training: the step (from 0), the number of steps in all, and per epoch.

    `budget_used` is the used fraction of a budget; where the budget ends the training early, a rate that decays over
    the whole training follows it.
    """

    step: int
    total_steps: int
    steps_per_epoch: int
    budget_used: float = 0.0

    @property
    def fraction_done(self) -> float:
        """The fraction of the training that is done."""
        return min(1.0, max(self.step / self.total_steps, self.budget_used))

    @property
    def epoch(self) -> int:
        """The number of whole epochs done."""
        return self.step // self.steps_per_epoch


@dataclass(frozen=True)
class StepMultipliers:
    """One multiplier per step, for the range test; recipes do not use it."""

    multipliers: tuple[float, ...]


def lr_multiplier(config: Any, position: TrainingPosition) -> float:
    """Return the multiplier of a schedule at a step, without a plateau's factor.

    Args:
        config: a schedule of `cnnlab.config.schedules`, or `StepMultipliers`.
    """
    rule = _MULTIPLIERS.get(type(config))
    return 1.0 if rule is None else rule(config, position)


def _warmup(config: WarmupSchedule, position: TrainingPosition) -> float:
    rising = max(1, round(config.epochs * position.steps_per_epoch))
    if position.step < rising:
        return config.start + (1 - config.start) * position.step / rising
    # The warm-up used its share of the budget; the schedule after it decays over the rest.
    taken = position.budget_used * rising / position.step
    budget_used = (position.budget_used - taken) / (1 - taken) if taken < 1 else 1.0
    return lr_multiplier(
        config.then,
        TrainingPosition(
            position.step - rising, max(1, position.total_steps - rising), position.steps_per_epoch, budget_used
        ),
    )


def _restarts(config: CosineRestartsSchedule, position: TrainingPosition) -> float:
    step, length = position.step, config.epochs * position.steps_per_epoch
    if config.growth == 1:
        step %= length
    while step >= length:
        step, length = step - length, length * config.growth
    return _cosine_decay(step / length, config.floor)


def _onecycle(config: OneCycleSchedule, position: TrainingPosition) -> float:
    first = 1 / config.first
    top = config.rise * position.total_steps - 1  # the step of the highest rate; may be a fraction, as in torch
    step = max(position.step, min(position.budget_used, 1.0) * (position.total_steps - 1))
    if step < top:
        return _cosine_decay(1 - step / top, first)
    return _cosine_decay((step - top) / (position.total_steps - 1 - top), first / config.last)


def _cosine_decay(fraction: float, floor: float) -> float:
    """Half a cosine, from 1 at `fraction` 0 to `floor` at 1."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * fraction)) / 2


_MULTIPLIERS: dict[type, Callable[[Any, TrainingPosition], float]] = {
    StepSchedule: lambda config, position: config.factor ** (position.epoch // config.epochs),
    MultiStepSchedule: lambda config, position: config.factor ** bisect_right(config.epochs, position.epoch),
    ExponentialSchedule: lambda config, position: config.factor**position.epoch,
    LinearSchedule: lambda config, position: 1 + (config.floor - 1) * position.fraction_done,
    CosineSchedule: lambda config, position: _cosine_decay(position.fraction_done, config.floor),
    CosineRestartsSchedule: _restarts,
    OneCycleSchedule: _onecycle,
    WarmupSchedule: _warmup,
    StepMultipliers: lambda config, position: config.multipliers[position.step],
}
