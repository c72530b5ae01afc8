"""A recomputed run: every reported figure beside the one found again. No torch."""

from __future__ import annotations

from typing import TypeAlias

from cnnlab.records import Record

ReportedValue: TypeAlias = int | float | str | None


class VerifiedValue(Record):
    """A stored figure and the recomputed one; `meaning` says what follows if they differ."""

    name: str
    reported: ReportedValue
    found: ReportedValue
    holds: bool
    meaning: str = ""


class RunVerification(Record):
    """A recomputed run; `notes` say what could not be recomputed, and what is no fault."""

    run: str
    figures: tuple[VerifiedValue, ...]
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[VerifiedValue, ...]:
        """The figures that do not hold."""
        return tuple(figure for figure in self.figures if not figure.holds)

    @property
    def holds(self) -> bool:
        return not self.failures
