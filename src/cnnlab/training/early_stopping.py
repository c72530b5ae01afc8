"""Wait for a metric to improve; used by early stopping and the plateau schedule."""

from __future__ import annotations

from dataclasses import dataclass, field

from cnnlab.records import EarlyStoppingState, Score


@dataclass
class EarlyStopping:
    """Counts the validations since `metric` last improved by more than `min_change`."""

    metric: str
    min_change: float = 0.0
    state: EarlyStoppingState = field(default_factory=EarlyStoppingState)

    def update(self, score: Score) -> bool:
        """Record a validation and return whether the metric is the best so far. NaN never is."""
        figure = score.metric(self.metric)
        value = -figure if self.metric == "loss" else figure
        better = self.state.best is None or value > self.state.best + self.min_change
        better = better and value == value
        self.state = (
            EarlyStoppingState(best=value, num_bad_validations=0)
            if better
            else self.state.model_copy(update={"num_bad_validations": self.num_bad_validations + 1})
        )
        return better

    @property
    def num_bad_validations(self) -> int:
        return self.state.num_bad_validations
