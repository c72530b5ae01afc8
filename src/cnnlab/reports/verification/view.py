"""Verified claims and recomputed runs as documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, pluralize, shorten
from cnnlab.render.result import document
from cnnlab.render.tables import TextTable
from cnnlab.reports.claims import claims_table
from cnnlab.reports.verification.result import ClaimVerification, VerifiedRuns
from cnnlab.runs.verify.result import ReportedValue, RunVerification

MAX_VALUE_LENGTH = 70


@document.register
def _(result: ClaimVerification) -> Document:
    verdicts = Counter(claim.verdict for claim in result.claims)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    line = f"{pluralize(len(result.claims), 'claim')}: {counts}." if counts else "Nothing is claimed."
    tables = (("", claims_table(result.claims)),) if result.claims else ()
    return Document(f"Claims of {shorten(result.subject, 80)}", (line,), tables, result.notes)


@document.register
def _(result: VerifiedRuns) -> Document:
    figures = sum(len(run.figures) for run in result.runs)
    wrong = sum(len(run.failures) for run in result.runs)
    line = f"{pluralize(len(result.runs), 'run')} recomputed: {figures - wrong} of {pluralize(figures, 'figure')} hold."
    rows = (
        (run.run, str(len(run.figures)), str(len(run.failures)), "yes" if run.holds else "no") for run in result.runs
    )
    tables = [("Runs", TextTable.from_rows(("`run", "#figures", "#wrong", "holds"), rows))]
    tables += [(f"{run.run}: what does not hold", _failures_table(run)) for run in result.runs if not run.holds]
    return Document("Runs recomputed", (line,), tuple(tables), tuple(_unique_notes(result.runs)))


def _failures_table(run: RunVerification) -> TextTable:
    rows = (
        (each.name, _value(each.reported), _value(each.found), "yes" if each.holds else "no", each.meaning)
        for each in run.failures
    )
    return TextTable.from_rows(("figure", "stored", "recomputed", "holds", "what it means"), rows)


def _unique_notes(runs: Sequence[RunVerification]) -> Iterator[str]:
    """Each note once, with the runs that it is about."""
    runs_by_note: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            runs_by_note.setdefault(note, []).append(run.run)
    for note, names in runs_by_note.items():
        yield note if len(names) == len(runs) else f"{', '.join(names)}: {note}"


def _value(value: ReportedValue) -> str:
    if value is None:
        return MISSING
    return shorten(f"{value:.7g}" if isinstance(value, float) else str(value), MAX_VALUE_LENGTH)
