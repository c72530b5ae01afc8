"""The learning rate over time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from torch.optim import Optimizer

from cnnlab.records import Score
from cnnlab.spec import choices
from cnnlab.training.patience import Patience


@dataclass
class Schedule:
    """Sets an optimiser's rate before each step: the rate of step 0 times a factor.

    Args:
        choice: what the recipe names.
        total_steps: the steps of the whole training.
    """

    choice: Any
    total_steps: int
    factor: float = 1.0
    patience: Patience | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if isinstance(self.choice, choices.Plateau):
            self.patience = Patience(self.choice.metric)

    def before_step(self, step: int, optimizer: Optimizer) -> None:
        """Set the rate of step `step` (from 0)."""
        if isinstance(self.choice, choices.Cosine):
            floor = self.choice.floor
            self.factor = floor + (1 - floor) * (1 + math.cos(math.pi * step / self.total_steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("first_lr", group["lr"]) * self.factor

    def after_validation(self, score: Score) -> None:
        """Let a plateau schedule see a validation.

        The rate falls with the `patience`-th validation in a row that is no better than the best; torch's
        ReduceLROnPlateau waits for one more.
        """
        if self.patience is None or self.patience.improved(score):
            return
        if self.patience.waited >= self.choice.patience:
            self.factor *= self.choice.factor
            self.patience.state = self.patience.state.model_copy(update={"waited": 0})
