"""What recalculating a run found: every reported figure with the one found here. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import TypeAlias

from cnnlab.errors import CnnlabError
from cnnlab.records import Record

ReportedValue: TypeAlias = int | float | str | None


class VerifiedValue(Record):
    """One reported figure, recalculated; `meaning` says what it would mean that it does not hold."""

    name: str
    reported: ReportedValue
    found: ReportedValue
    holds: bool
    meaning: str = ""


class RunVerification(Record):
    """One run, recalculated. `notes` tell what could not be, and what is no fault."""

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


@dataclass
class VerificationChecks:
    """Figures and notes as they come."""

    figures: list[VerifiedValue] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check_equal(self, name: str, reported: ReportedValue, found: ReportedValue, meaning: str) -> bool:
        """A figure that must be the same."""
        return self._add(name, reported, found, reported == found, meaning)

    def check_close(self, name: str, reported: float, found: float, tolerance: float, meaning: str) -> bool:
        """A figure that another machine or number of threads may change in its last digits."""
        both = isfinite(reported) and isfinite(found)
        close = abs(reported - found) <= tolerance if both else repr(reported) == repr(found)
        return self._add(name, reported, found, close, meaning)

    def _add(self, name: str, reported: ReportedValue, found: ReportedValue, holds: bool, meaning: str) -> bool:
        figure = VerifiedValue(name=name, reported=reported, found=found, holds=holds, meaning="" if holds else meaning)
        self.figures.append(figure)
        return holds

    @contextmanager
    def catch_errors(self, name: str, meaning: str) -> Iterator[None]:
        """Within it, what can't be read or done is a figure that does not hold."""
        try:
            yield
        except CnnlabError as error:
            messages = "; ".join(
                f"{problem.what}{f' ({problem.received})' if problem.received else ''}" for problem in error.problems
            )
            self._add(name, "usable", messages, False, meaning)
