"""The learning rate over time."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch.optim import Optimizer

from cnnlab.config import optimization
from cnnlab.records import Score
from cnnlab.training.early_stopping import Patience
from cnnlab.training.optimizers.muon import Several


@dataclass
class Schedule:
    """Sets an optimiser's rate before each step: the rate that it was made with, times a multiplier.

    Args:
        choice: what the recipe names.
        total_steps: the steps of the whole training.
        steps_per_epoch: those of one epoch.

    `factor` is what a plateau schedule has made of the rate so far; all else depends on the step alone.
    """

    choice: Any
    total_steps: int
    steps_per_epoch: int = 1
    factor: float = 1.0
    multiplier: float = 1.0
    patience: Patience | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        plateau = self._plateau
        if plateau is not None:
            self.patience = Patience(plateau.metric)

    def before_step(self, step: int, optimizer: Optimizer | Several, spent: float = 0.0) -> None:
        """Set the rate of step `step` (from 0), before which this share of a budget was spent."""
        place = Place(step, self.total_steps, self.steps_per_epoch, spent)
        self.multiplier = self.factor * multiplier(self.choice, place)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("first_lr", group["lr"]) * self.multiplier

    def after_validation(self, score: Score) -> None:
        """Let a plateau schedule see a validation.

        The rate falls with the `patience`-th validation in a row that is no better than the best; torch's
        ReduceLROnPlateau waits for one more. Behind a warm-up it sees the validations within that, too.
        """
        plateau = self._plateau
        if self.patience is None or plateau is None or self.patience.improved(score):
            return
        if self.patience.waited >= plateau.patience:
            self.factor *= plateau.factor
            self.patience.state = self.patience.state.model_copy(update={"waited": 0})

    @property
    def _plateau(self) -> optimization.Plateau | None:
        inner = self.choice.then if isinstance(self.choice, optimization.Warmup) else self.choice
        return inner if isinstance(inner, optimization.Plateau) else None


class Place(NamedTuple):
    """Where a training is: a step (from 0), the steps of the whole training, and those of an epoch.

    `spent` is the share of a budget that is spent: where it ends the training before the epochs do, a rate that falls
    over the whole training falls with it.
    """

    step: int
    total: int
    per_epoch: int
    spent: float = 0.0

    @property
    def part(self) -> float:
        """The share of the training that is done."""
        return min(1.0, max(self.step / self.total, self.spent))

    @property
    def epoch(self) -> int:
        """The whole epochs that are done."""
        return self.step // self.per_epoch


@dataclass(frozen=True)
class Steps:
    """A multiplier for each step, as a range test has it; no recipe names it."""

    multipliers: tuple[float, ...]


def multiplier(choice: Any, place: Place) -> float:
    """What a schedule makes of the rate at a step, without what it learns from validations.

    Args:
        choice: a schedule of `cnnlab.config.optimization`, or `Steps`.
    """
    rule = _RULES.get(type(choice))
    return 1.0 if rule is None else rule(choice, place)


def _warmup(choice: optimization.Warmup, place: Place) -> float:
    rising = max(1, round(choice.epochs * place.per_epoch))
    if place.step < rising:
        return choice.start + (1 - choice.start) * place.step / rising
    # Of what is spent the warm-up took its share of the steps; what follows falls over the rest.
    taken = place.spent * rising / place.step
    spent = (place.spent - taken) / (1 - taken) if taken < 1 else 1.0
    return multiplier(choice.then, Place(place.step - rising, max(1, place.total - rising), place.per_epoch, spent))


def _restarts(choice: optimization.Restarts, place: Place) -> float:
    step, length = place.step, choice.epochs * place.per_epoch
    if choice.growth == 1:
        step %= length
    while step >= length:
        step, length = step - length, length * choice.growth
    return _fall(step / length, choice.floor)


def _onecycle(choice: optimization.OneCycle, place: Place) -> float:
    first = 1 / choice.first
    top = choice.rise * place.total - 1  # the step of the highest rate; a fraction, as in torch
    step = max(place.step, min(place.spent, 1.0) * (place.total - 1))
    if step < top:
        return _fall(1 - step / top, first)
    return _fall((step - top) / (place.total - 1 - top), first / choice.last)


def _fall(part: float, floor: float) -> float:
    """Half a cosine, from 1 at `part` 0 to `floor` at 1."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * part)) / 2


_RULES: dict[type, Callable[[Any, Place], float]] = {
    optimization.Step: lambda choice, place: choice.factor ** (place.epoch // choice.epochs),
    optimization.MultiStep: lambda choice, place: choice.factor ** bisect_right(choice.epochs, place.epoch),
    optimization.Exponential: lambda choice, place: choice.factor**place.epoch,
    optimization.Linear: lambda choice, place: 1 + (choice.floor - 1) * place.part,
    optimization.Cosine: lambda choice, place: _fall(place.part, choice.floor),
    optimization.Restarts: _restarts,
    optimization.OneCycle: _onecycle,
    optimization.Warmup: _warmup,
    Steps: lambda choice, place: choice.multipliers[place.step],
}
