"""Published figures against runs, and runs against themselves: what holds, as documents and JSON. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnlab.records import Record, Verdict
from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_count, format_loss, pluralize, shorten
from cnnlab.render.tables import TextTable
from cnnlab.runs.verify.result import ReportedValue, RunVerification
from cnnlab.studies.result import OrdinalClaimRecord, ShiftClaimRecord

NO_CLAIMS = "Nothing is claimed by the recipe of"
MAX_NAMED = 5


class VerifiedClaim(Record):
    """One published figure of a recipe or an arm (`of`), and what its runs measured; `reason` says why the verdict."""

    of: str
    name: str
    published: float
    measured: float | None
    low: float | None
    high: float | None
    n: int
    verdict: Verdict
    delta: float | None = None
    difference: float | None
    reason: str
    seeds: tuple[int, ...] = ()
    source: str = ""
    note: str = ""


class ClaimVerification(Record):
    """Published figures and words, judged."""

    subject: str
    claims: tuple[VerifiedClaim, ...]
    ordinal_claims: tuple[OrdinalClaimRecord, ...] = ()
    shift_claims: tuple[ShiftClaimRecord, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """How many claims came to which verdict."""
        verdicts = [claim.verdict for claim in self.claims]
        counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts)]
        ordinal_verdicts = [claim.verdict for claim in self.ordinal_claims]
        ordinal_counts = [f"{ordinal_verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(ordinal_verdicts)]
        shift_verdicts = [claim.verdict for claim in self.shift_claims]
        shift_counts = [
            f"of shifts {shift_verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(shift_verdicts)
        ]
        parts = [
            f"{pluralize(len(items), what)}: {', '.join(each)}"
            for items, what, each in (
                (verdicts, "published figure", counts),
                (ordinal_verdicts, "published word", ordinal_counts),
                (shift_verdicts, "published answer", shift_counts),
            )
            if items
        ]
        return "; ".join(parts) + "." if parts else "Nothing is claimed."

    def document(self) -> Document:
        """The verdicts with their reasons."""
        tables = []
        if self.claims:
            heads = ("of", "figure", "#published", "#measured", "#95 % interval", "#runs", "verdict", "why", "source")
            tables.append(("Published figures", TextTable.from_rows(heads, map(_claim_row, self.claims))))
        if self.ordinal_claims:
            rows = (
                (_short_name(one.arm), one.published, _short_name(one.than), one.verdict, one.reason, one.source)
                for one in self.ordinal_claims
            )
            columns = ("arm", "published", "than", "answer", "why", "source")
            tables.append(("Published words", TextTable.from_rows(columns, rows)))
        if self.shift_claims:
            shift_rows = (
                (_short_name(one.arm), one.shift, one.published, one.verdict, one.reason, one.source)
                for one in self.shift_claims
            )
            columns = ("arm", "shift", "published", "answer", "why", "source")
            tables.append(("Published of shifts", TextTable.from_rows(columns, shift_rows)))
        return Document(f"Claims of {shorten(self.subject, 80)}", (self.summary(),), tuple(tables), self.notes)

    def _repr_html_(self) -> str:
        return self.document().to_html()


class VerifiedRuns(Record):
    """Runs recalculated."""

    runs: tuple[RunVerification, ...]

    @property
    def all_match(self) -> bool:
        """Whether every figure of every run does."""
        return all(run.holds for run in self.runs)

    def document(self) -> Document:
        """The runs, and every figure that does not hold."""
        failing = [run for run in self.runs if not run.holds]
        whole = sum(len(run.figures) for run in self.runs)
        line = f"{pluralize(len(self.runs), 'run')} recalculated, {pluralize(whole, 'figure')}: all hold."
        if failing:
            wrong = sum(len(run.failures) for run in failing)
            does = "does" if wrong == 1 else "do"
            line = f"{pluralize(wrong, 'figure')} of {pluralize(whole, 'figure')} {does} not hold, in "
            line += f"{len(failing)} of {pluralize(len(self.runs), 'run')}."
        rows = (
            (run.run, str(len(run.figures)), str(len(run.failures)), "holds" if run.holds else "does not hold")
            for run in self.runs
        )
        tables = [("Runs", TextTable.from_rows(("`run", "#figures", "#wrong", "verdict"), rows))]
        for run in failing:
            heads = ("figure", "reported", "found here", "what it would mean")
            wrongs = ((each.name, _value(each.reported), _value(each.found), each.meaning) for each in run.failures)
            tables.append((f"{run.run}: what does not hold", TextTable.from_rows(heads, wrongs)))
        return Document("Runs recalculated", (line,), tuple(tables), tuple(_unique_notes(self.runs)))

    def _repr_html_(self) -> str:
        return self.document().to_html()


def _claim_row(claim: VerifiedClaim) -> tuple[str, ...]:
    number = format_count if claim.name == "parameters" else format_loss
    bounds = MISSING if claim.low is None or claim.high is None else f"{number(claim.low)} to {number(claim.high)}"
    return (
        _short_name(claim.of),
        claim.name.replace("_", " "),
        number(claim.published),
        MISSING if claim.measured is None else number(claim.measured),
        bounds,
        str(claim.n),
        claim.verdict,
        claim.reason,
        "; ".join(shorten(text, 120) for text in (claim.source, claim.note) if text),
    )


def _unique_notes(runs: Sequence[RunVerification]) -> Iterator[str]:
    """Each note once, with the runs that it is of."""
    runs_by_note: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            runs_by_note.setdefault(note, []).append(run.run)
    for note, names in runs_by_note.items():
        yield note if len(names) == len(runs) else f"{', '.join(names)}: {note}"


def _value(value: ReportedValue) -> str:
    return MISSING if value is None else shorten(f"{value:.7g}" if isinstance(value, float) else str(value), 70)


def _short_name(name: str) -> str:
    return shorten(name, 60)
