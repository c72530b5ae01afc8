"""Networks under shifts as they show themselves: one line, tables, curves, and an image under each shift."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnlab.render.document import Document
from cnnlab.render.formatting import pluralize, shorten
from cnnlab.render.plots import CaptionedFigure, to_svg
from cnnlab.reports.robustness.figures import curves_figure, examples_figure
from cnnlab.reports.robustness.text import invariance_summary, scope_text, shift_tables
from cnnlab.runs.robustness.result import ShiftedGroup, ShiftResult


@dataclass(frozen=True)
class ShiftView:
    """Networks under shifts.

    Attributes:
        shifted: the records.
        example: the first image, as it is and under each shift: uint8, (1 + S)×C×H×W; None where it is not kept.
    """

    shifted: ShiftResult
    example: npt.NDArray[np.uint8] | None = None

    @property
    def summaries(self) -> tuple[str, ...]:
        """For each group one line: what it is and is not invariant to."""
        return tuple(invariance_summary(group, self.shifted) for group in self.shifted.groups)

    def document(self) -> Document:
        """The summaries, the accuracies under each shift, and what they speak of."""
        groups = self.shifted.groups
        names = shorten(groups[0].name) if len(groups) == 1 else pluralize(len(groups), "group")
        return Document(
            f"{names} under {pluralize(len(groups[0].rows), 'shift')}",
            self.summaries,
            shift_tables(self.shifted),
            (scope_text(self.shifted), *self.shifted.notes),
        )

    def to_json(self, indent: int | None = None) -> str:
        """`rows[]`, one for each group and shift, the images as they are, the summaries, and the settings."""
        shifted = self.shifted
        found = {
            "split": shifted.split,
            "images": shifted.images,
            "seed": shifted.seed,
            "smallest_difference": shifted.delta,
            "summaries": self.summaries,
            "unshifted": [_unshifted_dict(group) for group in shifted.groups],
            "rows": [row for group in shifted.groups for row in _row_dicts(group)],
            "between": [each.model_dump(mode="json") for each in shifted.between],
            "notes": shifted.notes,
        }
        return json.dumps(found, indent=indent, ensure_ascii=False)

    def svg(self) -> str:
        """The curves, standing alone."""
        plate = self.figures()["curves"]
        return to_svg(plate.figure, "curves", plate.description, standalone=True)

    def figures(self) -> dict[str, CaptionedFigure]:
        """The curves, a panel for each kind of shift; and an image under each shift."""
        told = " ".join(self.summaries)
        found = {
            "curves": CaptionedFigure(
                curves_figure(self.shifted), f"Accuracy against the strength of each shift. {told}"
            )
        }
        if self.example is not None:
            what = "One image as it is and under each shift, with the accuracies."
            found["examples"] = CaptionedFigure(examples_figure(self.shifted, self.example), what)
        return found


def _unshifted_dict(group: ShiftedGroup) -> dict[str, Any]:
    return {
        "run": group.name,
        "runs": group.runs,
        "accuracy": group.accuracy,
        "low": group.low,
        "high": group.high,
        "values": group.values,
    }


def _row_dicts(group: ShiftedGroup) -> Iterator[dict[str, Any]]:
    for row in group.rows:
        yield {
            "run": group.name,
            "shift": row.shift,
            "strength": row.strength,
            "title": row.title,
            "call": row.call,
            "accuracy": row.accuracy,
            "low": row.low,
            "high": row.high,
            "n": group.n,
            "values": row.values,
            "difference": row.effect.difference,
            "difference_low": row.effect.low,
            "difference_high": row.effect.high,
            "verdict": row.effect.verdict,
        }
