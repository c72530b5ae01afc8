"""The accuracies of networks under shifts; `cnnlab.reports.robustness` shows them. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from cnnlab.records import Record, SafeFilename, also_read_as
from cnnlab.render.result import Result
from cnnlab.stats.comparison import Judgement
from cnnlab.stats.paired import PairedEffect


class ShiftRow(Record):
    """The accuracy under one shift of one strength.

    Attributes:
        shift: its name. strength: in its unit. unchanged: the strength that leaves images unchanged.
        title: name and strength: `rotation 15°`. call: as it is written in a study.
        accuracy: the mean over the networks. low, high: its 95 % interval, by Student over networks, or by Wilson over
            the images of one network; None where there is none.
        values: the accuracy of each network, in the order of seeds.
        effect: the difference to the unshifted images.
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

    @property
    def strength_text(self) -> str:
        """The strength with its unit: `15°`; "" for a shift without a strength."""
        return self.title.removeprefix(self.shift).strip()


class ShiftedGroup(Record):
    """Networks that differ in their seeds only, under shifts; `accuracy` is that on the unshifted images."""

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

    @property
    def kinds(self) -> list[tuple[ShiftRow, ...]]:
        """The rows of each kind of shift, in ascending order of strength."""
        kinds: dict[str, list[ShiftRow]] = {}
        for row in self.rows:
            kinds.setdefault(row.shift, []).append(row)
        return [tuple(sorted(kind, key=lambda row: row.strength)) for kind in kinds.values()]


class GroupDifference(Record):
    """The accuracy of the first group minus that of the second under one shift; title "": on the unshifted images."""

    title: str
    difference: float | None
    low: float | None
    high: float | None
    verdict: Judgement


class ShiftResult(Result):
    """Groups of networks under the same shifts of the same images.

    Attributes:
        split: of the data. images: their number. chance: 1/K for K classes.
        delta: the smallest difference of interest, a fraction. alpha: the rate of wrong verdicts.
        between: for two groups the differences on the unshifted images, then under each shift; else empty.
        notes: remarks on the runs.
        example: the first image, unshifted and under each shift: uint8, (1 + S)×C×H×W; not in JSON.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    split: Annotated[str, also_read_as("split", "part")]
    images: int
    chance: float
    seed: int
    delta: float
    alpha: float
    groups: tuple[ShiftedGroup, ...]
    between: tuple[GroupDifference, ...] = ()
    notes: tuple[str, ...] = ()
    example: npt.NDArray[np.uint8] | None = Field(default=None, exclude=True, repr=False)

    def to_json(self, indent: int | None = None) -> str:
        """This result as `cnnlab shift --json` prints it: `rows[]`, one for each group and shift.

        A study stores the fields as they are.
        """
        content = {
            "split": self.split,
            "images": self.images,
            "seed": self.seed,
            "smallest_difference": self.delta,
            "unshifted": [
                {"run": group.name, **group.model_dump(mode="json", exclude={"name", "rows"})} for group in self.groups
            ],
            "rows": [row for group in self.groups for row in _flat_rows(group)],
            "between": [each.model_dump(mode="json") for each in self.between],
            "notes": self.notes,
        }
        return json.dumps(content, indent=indent, ensure_ascii=False)


def _flat_rows(group: ShiftedGroup) -> Iterator[dict[str, Any]]:
    for row in group.rows:
        yield {
            "run": group.name,
            **row.model_dump(mode="json", exclude={"unchanged", "effect"}),
            "n": group.n,
            "difference": row.effect.difference,
            "difference_low": row.effect.low,
            "difference_high": row.effect.high,
            "verdict": row.effect.verdict,
        }
