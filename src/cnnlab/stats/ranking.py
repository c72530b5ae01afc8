"""Which arm to choose: by the mean on validation, over runs enough to be a mean."""

from __future__ import annotations

from collections.abc import Sequence

from cnnlab.errors import UsageError
from cnnlab.records import Record
from cnnlab.stats.sample import Sample

MIN_RUNS_TO_RANK = 3


class Ranking(Record):
    """Arms by their mean on validation.

    Attributes:
        ranked: the arms with three finite runs or more, the best mean first; of equal means, the one given first.
        refused: the others, in the order given: a mean of one or two runs is mostly luck.
    """

    ranked: tuple[Sample, ...]
    refused: tuple[Sample, ...]

    @property
    def winner(self) -> Sample | None:
        """The arm with the best mean; None where all were refused. Its mean flatters it: it was chosen for it."""
        return self.ranked[0] if self.ranked else None


def rank_arms(arms: Sequence[Sample], *, higher_is_better: bool = True) -> Ranking:
    """Arms by their mean, those with fewer than three finite runs set aside.

    >>> arms = [Sample(name="a", values=(0.70, 0.71, 0.72)), Sample(name="b", values=(0.72, 0.73, 0.74))]
    >>> rank_arms(arms).winner.name
    'b'
    """
    sign = -1 if higher_is_better else 1
    able = [(sign * arm.mean, arm) for arm in arms if arm.mean is not None and arm.n >= MIN_RUNS_TO_RANK]
    return Ranking(
        ranked=tuple(arm for _, arm in sorted(able, key=lambda pair: pair[0])),
        refused=tuple(arm for arm in arms if arm.n < MIN_RUNS_TO_RANK),
    )


def best_arm(arms: Sequence[Sample], *, higher_is_better: bool = True) -> Sample:
    """The arm with the best mean of three finite runs or more.

    Raises:
        UsageError: no arm has three.
    """
    winner = rank_arms(arms, higher_is_better=higher_is_better).winner
    if winner is None:
        raise UsageError(
            "no arm has runs enough to be chosen",
            where="arms",
            received=", ".join(f"{arm.name}: {arm.n} finite" for arm in arms) or "none",
            allowed=f"{MIN_RUNS_TO_RANK} finite runs or more",
            next_step="run more seeds",
        )
    return winner
