"""What networks are worth under shifts: arrays of right answers in, records out. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from cnnlab.records import Record, SafeFilename, also_read_as
from cnnlab.stats.comparison import DecisionRules, Judgement, compare
from cnnlab.stats.intervals import wilson_interval
from cnnlab.stats.paired import PairedEffect, effects_over_images, effects_over_runs
from cnnlab.stats.sample import Interval, Sample
from cnnlab.stats.welch import family_level

LEVEL = 0.95


@dataclass(frozen=True)
class ShiftedRun:
    """Whether a run's network is right on each image, as it is and under each shift.

    Attributes:
        name: of the run.
        shifts: S of them.
        correct: (1 + S)×N; the first row is of the images as they are.
        labels: N class indices.
        example: one of the images, as it is and under each shift: uint8, (1 + S)×C×H×W.
        classes: K.
    """

    name: str
    shifts: tuple[Any, ...]
    correct: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    example: npt.NDArray[np.uint8]
    classes: int

    @property
    def accuracies(self) -> tuple[float, ...]:
        """As they are, then under each shift."""
        return tuple(float(share) for share in self.correct.mean(axis=1))


class ShiftRow(Record):
    """One shift of one strength: the accuracy under it, and what it takes from that on the images as they are.

    Attributes:
        shift: its name. strength: in its unit. unchanged: the strength that would leave images as they are.
        title: name and strength as people say them. call: as a recipe would write it.
        accuracy: the mean over networks; low, high: its 95 % interval, of Student over networks, or for one network of
            Wilson over images; None for a figure without a spread.
        values: of each network, in the order of seeds.
        effect: against the images as they are.
    """

    shift: str
    strength: float
    unchanged: float
    title: str
    call: str
    accuracy: float
    low: float | None
    high: float | None
    values: tuple[float, ...]
    effect: PairedEffect


class ShiftedGroup(Record):
    """Networks that differ in their seeds alone, under shifts; `accuracy` is on the images as they are."""

    name: str
    runs: tuple[SafeFilename, ...]
    accuracy: float
    low: float | None
    high: float | None
    values: tuple[float, ...]
    rows: tuple[ShiftRow, ...]

    @property
    def n(self) -> int:
        return len(self.runs)


class GroupDifference(Record):
    """The first group less the second, on the same images under the same shift; an empty title: as they are."""

    title: str
    difference: float | None
    low: float | None
    high: float | None
    verdict: Judgement


class ShiftResult(Record):
    """Groups of networks under the same shifts of the same images.

    Attributes:
        split: of the data. images: how many. chance: one class in K.
        delta: the smallest difference of interest, a fraction. alpha: the rate of wrong verdicts allowed.
        between: of two groups: the images as they are, then each shift; else empty.
        notes: what a reader must know.
    """

    split: Annotated[str, also_read_as("split", "part")]
    images: int
    chance: float
    seed: int
    delta: float
    alpha: float
    groups: tuple[ShiftedGroup, ...]
    between: tuple[GroupDifference, ...] = ()
    notes: tuple[str, ...] = ()


def shifted_group(name: str, runs: Sequence[ShiftedRun], rules: DecisionRules) -> ShiftedGroup:
    """What networks that differ in their seeds alone are worth under shifts.

    Raises:
        UsageError: a delta or an alpha that can't be.
    """
    shifts = runs[0].shifts
    table = np.array([run.accuracies for run in runs])
    if len(runs) == 1:
        effects = effects_over_images(runs[0].correct[0], runs[0].correct[1:], rules)
    else:
        effects = effects_over_runs(list(table[:, 0]), [list(column) for column in table.T[1:]], rules)
    effects = tuple(map(_clip_bounds, effects))
    rows = []
    for place, (shift, effect) in enumerate(zip(shifts, effects, strict=True), 1):
        low, high = _interval([run.correct[place] for run in runs])
        rows.append(
            ShiftRow(
                shift=shift.name,
                strength=shift.strength,
                unchanged=shift.identity_strength,
                title=shift.title,
                call=str(shift.as_call()),
                accuracy=float(table[:, place].mean()),
                low=low,
                high=high,
                values=tuple(map(float, table[:, place])),
                effect=effect,
            )
        )
    low, high = _interval([run.correct[0] for run in runs])
    values = tuple(map(float, table[:, 0]))
    names = tuple(run.name for run in runs)
    clean = float(table[:, 0].mean())
    return ShiftedGroup(name=name, runs=names, accuracy=clean, low=low, high=high, values=values, rows=tuple(rows))


def _clip_bounds(effect: PairedEffect) -> PairedEffect:
    """The effect with bounds that a difference of accuracies can have: few networks' intervals know no such thing."""
    names = ("low", "high", "equal_low", "equal_high")
    bounds = {name: value for name in names if (value := getattr(effect, name)) is not None}
    return effect.model_copy(update={name: min(max(value, -1.0), 1.0) for name, value in bounds.items()})


def _interval(correct: Sequence[npt.NDArray[np.bool_]]) -> Interval | tuple[None, None]:
    if len(correct) == 1:
        return wilson_interval(int(correct[0].sum()), len(correct[0]), LEVEL)
    sample = Sample(name="", values=tuple(float(row.mean()) for row in correct))
    found = sample.interval(LEVEL)
    return (max(found[0], 0.0), min(found[1], 1.0)) if found else (None, None)


def group_differences(
    first: Sequence[ShiftedRun], second: Sequence[ShiftedRun], rules: DecisionRules
) -> tuple[GroupDifference, ...]:
    """The first networks less the second, on the images as they are and under each shift.

    One network against one is judged by their images, which are the same; else by Welch's test over seeds. Each of k
    differences is judged at alpha/k, Welch's size-corrected, so that all hold together.
    """
    titles = ["", *(shift.title for shift in first[0].shifts)]
    level = family_level(rules.alpha, len(titles), len(first), len(second))
    rules = rules._replace(alpha=rules.alpha / len(titles))
    found = []
    for place, title in enumerate(titles):
        if len(first) == len(second) == 1:
            (one,) = effects_over_images(second[0].correct[place], first[0].correct[place][None], rules)
            found.append(
                GroupDifference(title=title, **one.model_dump(include={"difference", "low", "high", "verdict"}))
            )
            continue
        a, b = (Sample(name="", values=tuple(run.accuracies[place] for run in runs)) for runs in (first, second))
        two = compare(a, b, delta=rules.delta, alpha=level)
        found.append(GroupDifference(title=title, **two.model_dump(include={"difference", "low", "high", "verdict"})))
    return tuple(found)
