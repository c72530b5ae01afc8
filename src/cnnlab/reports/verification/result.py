"""Published figures against runs, and runs against themselves: what holds, as sheets and JSON. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cnnlab.errors import SpecError, UsageError
from cnnlab.grammar.toml_files import locate_in_file, parse_toml, read_text
from cnnlab.records import ClaimRecord, Record, Verdict
from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_count, format_epoch, format_loss, pluralize, shorten
from cnnlab.render.tables import TextTable
from cnnlab.reports.comparison.studies import is_study
from cnnlab.reports.runs_table import difference_text
from cnnlab.reports.verification.study_claims import rejudge_claims
from cnnlab.runs.index.experiments import ClaimMeasurements, Experiment
from cnnlab.runs.index.recipe_claims import JudgedExperiments, judge_recipe_claims, judge_run_claims
from cnnlab.runs.verify.result import ReportedValue, RunVerification
from cnnlab.stats.claim_test import MIN_RUNS
from cnnlab.studies.folder import read_result
from cnnlab.studies.result import OrdinalClaimRecord, ShiftClaimRecord, StudyResult

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
        told = [f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts)]
        answers = [saying.verdict for saying in self.ordinal_claims]
        said = [f"{answers.count(answer)} {answer}" for answer in dict.fromkeys(answers)]
        shifts = [one.verdict for one in self.shift_claims]
        shifted = [f"of shifts {shifts.count(answer)} {answer}" for answer in dict.fromkeys(shifts)]
        parts = [
            f"{pluralize(len(items), what)}: {', '.join(each)}"
            for items, what, each in (
                (verdicts, "published figure", told),
                (answers, "published word", said),
                (shifts, "published answer", shifted),
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
            seen = (
                (_short_name(one.arm), one.shift, one.published, one.verdict, one.reason, one.source)
                for one in self.shift_claims
            )
            columns = ("arm", "shift", "published", "answer", "why", "source")
            tables.append(("Published of shifts", TextTable.from_rows(columns, seen)))
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


def verify(targets: str | Path | Iterable[str | Path], *, runs: str | Path = "runs") -> ClaimVerification:
    """Hold published figures against runs: rule (e) of a claim.

    A figure *differs* where it lies outside the 95 % prediction interval of five runs or more; it is *reproduced* where
    it lies inside and that is no wider than ±0.01, or what the claim or its study gives as the smallest difference;
    counts must be *equal*; wider intervals and fewer runs are *not enough evidence*, figures of *other data* (than the
    claim names, or, if it names none, than the recipe does) are compared and not judged, and *shortened* are runs of
    fewer epochs or images than the recipe's file asks for.

    Args:
        targets: a recipe's file: its claims, by all its finished runs in `runs`; a study's file: its claims and words,
            by its result in `runs`; a study's folder: what its result says; run folders, or folders of runs: the
            claims of their recipes.
        runs: the folder of runs.

    Raises:
        UsageError: several files at once, or one that is no recipe and no study.
        RunError: there is no run, or no result of the study, or one of another study than the file is now.
    """
    paths = [Path(targets)] if isinstance(targets, str | Path) else [Path(subject) for subject in targets]
    files = [path for path in paths if path.suffix == ".toml" or is_study(path)]
    if files and len(paths) > 1:
        raise UsageError(
            "one recipe or study at a time",
            where="FILE",
            received=", ".join(map(str, paths)),
            allowed="one file or study folder, or several runs",
            next_step=f"cnnlab verify {files[0]}",
        )
    if not files:
        names = ", ".join(path.name for path in paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        return _verify_experiments(names, judge_run_claims(paths))
    (file,) = files
    if file.is_dir():
        return _verify_study(read_result(file))
    if _is_study_file(file):
        return _verify_study(rejudge_claims(file, Path(runs)))
    found = _verify_experiments(file.name, judge_recipe_claims(file, Path(runs)))
    return found if found.claims else _verify_without_runs(file, Path(runs), found)


def _verify_experiments(subject: str, run_index: JudgedExperiments) -> ClaimVerification:
    claims = tuple(_verify_claim(experiment, one) for experiment in run_index.experiments for one in experiment.claims)
    without = [experiment.name for experiment in run_index.experiments if not experiment.claims]
    more = f" and {len(without) - MAX_NAMED} more" if len(without) > MAX_NAMED else ""
    named = ", ".join(_short_name(name) for name in without[:MAX_NAMED])
    notes = [f"{NO_CLAIMS} {named}{more}."] if without else []
    return ClaimVerification(subject=subject, claims=claims, notes=(*notes, *run_index.notes))


def _verify_claim(experiment: Experiment, figures: ClaimMeasurements) -> VerifiedClaim:
    claim = figures.claim
    return _claim(experiment.name, claim, _verdict_reason(experiment, figures), figures.seeds)


def _claim(of: str, claim: ClaimRecord, reason: str, seeds: Sequence[int] = ()) -> VerifiedClaim:
    fields = claim.model_dump()
    return VerifiedClaim(of=of, difference=claim.difference, reason=reason, seeds=tuple(seeds), **fields)


def _verdict_reason(experiment: Experiment, figures: ClaimMeasurements) -> str:
    """Why this verdict, in words."""
    claim = figures.claim
    if claim.verdict == "shortened":
        epochs = sorted({run.epochs for run in experiment.runs})
        done = f"{', '.join(map(format_epoch, epochs))} of {experiment.epochs} epochs"
        only = [f"only {format_count(experiment.images)} training images"] if experiment.limited else []
        return ", ".join([*([done] if epochs[0] < experiment.epochs else []), *only])
    if claim.verdict == "other data":
        if figures.data == experiment.data:
            return f"measured on other images than those of the recipe's {shorten(figures.data)}"
        return f"published for {shorten(figures.data)}, measured on {shorten(experiment.data)}"
    return verdict_reason(claim)


def verdict_reason(claim: ClaimRecord) -> str:
    """Why a verdict was given, as far as the claim's own record says."""
    gap = difference_text(claim) if claim.measured is not None else ""
    reasons = {
        "reproduced": "the published figure lies where one more run would",
        "differs": gap,
        "not equal": gap,
        "not enough evidence": _evidence_needed(claim, gap),
        "not measured": "no run has this figure",
        "shortened": "fewer epochs or images than asked for",
        "other data": "published for other data",
    }
    return reasons.get(claim.verdict, "")


def _evidence_needed(claim: ClaimRecord, gap: str) -> str:
    """What it would take for a verdict."""
    if claim.n < MIN_RUNS or claim.low is None or claim.high is None:
        return f"{pluralize(claim.n, 'run')} of {MIN_RUNS}; {gap}"
    half = f"one more run would lie within ±{format_loss((claim.high - claim.low) / 2)}"
    if claim.delta is None:
        return f"{half}; whether that is close is not said: give the claim a smallest_difference"
    return f"{half}, too wide to show it to be reproduced within ±{claim.delta:g}"


def _verify_without_runs(file: Path, runs: Path, verification: ClaimVerification) -> ClaimVerification:
    """A recipe's claims when there is no run of it."""
    from cnnlab.config.recipe import Recipe

    claims = [
        _claim(
            file.stem,
            ClaimRecord(
                name=name,
                published=claim.published,
                measured=None,
                n=0,
                source=claim.source,
                note=claim.note,
                verdict="not measured",
            ),
            "no run has this figure",
        )
        for name, claim in Recipe.read(file).claims.items()
    ]
    notes = [note for note in verification.notes if not note.startswith(NO_CLAIMS)]
    if claims and not any(claim.n for claim in verification.claims):
        notes.insert(0, f"No finished run of this recipe is in {runs}: cnnlab train {file}")
    return verification.model_copy(update={"claims": tuple(claims), "notes": tuple(notes)})


def _verify_study(result: StudyResult) -> ClaimVerification:
    claims = tuple(_claim(each.arm, each.claim, verdict_reason(each.claim)) for each in result.claims)
    notes = result.notes if result.complete else ("The study is not complete: runs are missing.", *result.notes)
    return ClaimVerification(
        subject=f"study {result.study}",
        claims=claims,
        ordinal_claims=result.ordinal_claims,
        shift_claims=result.shift_claims,
        notes=notes,
    )


def _is_study_file(path: Path) -> bool:
    """Whether a file has what every study has, and no recipe."""
    try:
        return not {"arms", "grid", "doses"}.isdisjoint(parse_toml(read_text(path)))
    except SpecError as error:
        raise locate_in_file(error, path) from None


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
    told: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            told.setdefault(note, []).append(run.run)
    for note, names in told.items():
        yield note if len(names) == len(runs) else f"{', '.join(names)}: {note}"


def _value(value: ReportedValue) -> str:
    return MISSING if value is None else shorten(f"{value:.7g}" if isinstance(value, float) else str(value), 70)


def _short_name(name: str) -> str:
    return shorten(name, 60)
