"""Waiting for a figure to improve: what early stopping and the plateau schedule share."""

from __future__ import annotations

from dataclasses import dataclass, field

from cnnlab.records import Record, Score


class Waited(Record):
    """How long a figure has not improved; `best` is None before the first validation."""

    best: float | None = None
    waited: int = 0


@dataclass
class Patience:
    """Counts the validations since `metric` last improved by more than `min_change`."""

    metric: str
    min_change: float = 0.0
    state: Waited = field(default_factory=Waited)

    def improved(self, score: Score) -> bool:
        """Take in one validation; True when the figure is better than ever. NaN is never better."""
        figure = score.metric(self.metric)
        value = -figure if self.metric == "loss" else figure
        better = self.state.best is None or value > self.state.best + self.min_change
        better = better and value == value
        self.state = (
            Waited(best=value, waited=0) if better else self.state.model_copy(update={"waited": self.waited + 1})
        )
        return better

    @property
    def waited(self) -> int:
        return self.state.waited
