"""Published figures against runs, and runs against themselves: what holds, as sheets and JSON. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cnnlab.errors import SpecError, UsageError
from cnnlab.grammar.toml_files import in_file, parse_toml, read_text
from cnnlab.records import ClaimRecord, Record, Verdict
from cnnlab.render import formatting
from cnnlab.render.document import Sheet
from cnnlab.render.formatting import NONE
from cnnlab.render.tables import TextTable
from cnnlab.reports.comparison.studies import is_study
from cnnlab.reports.runs_table import differs
from cnnlab.reports.verification.study_claims import judged_anew
from cnnlab.runs.index.experiments import ClaimFigures, Experiment
from cnnlab.runs.index.recipe_claims import Found, claims_of_runs, runs_of_recipe
from cnnlab.runs.verify.result import Recomputed, Value
from cnnlab.stats.claim_test import FEWEST_RUNS
from cnnlab.studies.folder import read_result
from cnnlab.studies.result import SayingRecord, StudyResult, UnderRecord

NOTHING = "Nothing is claimed by the recipe of"
MOST_NAMED = 5


class CheckedClaim(Record):
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


class Verified(Record):
    """Published figures and words, judged."""

    subject: str
    claims: tuple[CheckedClaim, ...]
    sayings: tuple[SayingRecord, ...] = ()
    under: tuple[UnderRecord, ...] = ()
    notes: tuple[str, ...] = ()

    def answer(self) -> str:
        """How many claims came to which verdict."""
        verdicts = [claim.verdict for claim in self.claims]
        told = [f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts)]
        answers = [saying.answer for saying in self.sayings]
        said = [f"{answers.count(answer)} {answer}" for answer in dict.fromkeys(answers)]
        shifts = [one.answer for one in self.under]
        shifted = [f"of shifts {shifts.count(answer)} {answer}" for answer in dict.fromkeys(shifts)]
        parts = [
            f"{formatting.plural(len(items), what)}: {', '.join(each)}"
            for items, what, each in (
                (verdicts, "published figure", told),
                (answers, "published word", said),
                (shifts, "published answer", shifted),
            )
            if items
        ]
        return "; ".join(parts) + "." if parts else "Nothing is claimed."

    def sheet(self) -> Sheet:
        """The verdicts with their reasons."""
        tables = []
        if self.claims:
            heads = ("of", "figure", "#published", "#measured", "#95 % interval", "#runs", "verdict", "why", "source")
            tables.append(("Published figures", TextTable.of(heads, map(_claim_row, self.claims))))
        if self.sayings:
            rows = (
                (_shown(one.arm), one.published, _shown(one.than), one.answer, one.reason, one.source)
                for one in self.sayings
            )
            columns = ("arm", "published", "than", "answer", "why", "source")
            tables.append(("Published words", TextTable.of(columns, rows)))
        if self.under:
            seen = (
                (_shown(one.arm), one.shift, one.published, one.answer, one.reason, one.source) for one in self.under
            )
            columns = ("arm", "shift", "published", "answer", "why", "source")
            tables.append(("Published of shifts", TextTable.of(columns, seen)))
        return Sheet(f"Claims of {formatting.shown(self.subject, 80)}", (self.answer(),), tuple(tables), self.notes)

    def _repr_html_(self) -> str:
        return self.sheet().to_html()


class RecomputedRuns(Record):
    """Runs recalculated."""

    runs: tuple[Recomputed, ...]

    @property
    def holds(self) -> bool:
        """Whether every figure of every run does."""
        return all(run.holds for run in self.runs)

    def sheet(self) -> Sheet:
        """The runs, and every figure that does not hold."""
        failing = [run for run in self.runs if not run.holds]
        whole = sum(len(run.figures) for run in self.runs)
        line = (
            f"{formatting.plural(len(self.runs), 'run')} recalculated, {formatting.plural(whole, 'figure')}: all hold."
        )
        if failing:
            wrong = sum(len(run.failures) for run in failing)
            does = "does" if wrong == 1 else "do"
            line = f"{formatting.plural(wrong, 'figure')} of {formatting.plural(whole, 'figure')} {does} not hold, in "
            line += f"{len(failing)} of {formatting.plural(len(self.runs), 'run')}."
        rows = (
            (run.run, str(len(run.figures)), str(len(run.failures)), "holds" if run.holds else "does not hold")
            for run in self.runs
        )
        tables = [("Runs", TextTable.of(("`run", "#figures", "#wrong", "verdict"), rows))]
        for run in failing:
            heads = ("figure", "reported", "found here", "what it would mean")
            wrongs = ((each.name, _value(each.reported), _value(each.found), each.meaning) for each in run.failures)
            tables.append((f"{run.run}: what does not hold", TextTable.of(heads, wrongs)))
        return Sheet("Runs recalculated", (line,), tuple(tables), tuple(_told_notes(self.runs)))

    def _repr_html_(self) -> str:
        return self.sheet().to_html()


def verify(subjects: str | Path | Iterable[str | Path], *, runs: str | Path = "runs") -> Verified:
    """Hold published figures against runs: rule (e) of a claim.

    A figure *differs* where it lies outside the 95 % prediction interval of five runs or more; it is *reproduced* where
    it lies inside and that is no wider than ±0.01, or what the claim or its study gives as the smallest difference;
    counts must be *equal*; wider intervals and fewer runs are *not enough evidence*, figures of *other data* (than the
    claim names, or, if it names none, than the recipe does) are compared and not judged, and *shortened* are runs of
    fewer epochs or images than the recipe's file asks for.

    Args:
        subjects: a recipe's file: its claims, by all its finished runs in `runs`; a study's file: its claims and words,
            by its result in `runs`; a study's folder: what its result says; run folders, or folders of runs: the
            claims of their recipes.
        runs: the folder of runs.

    Raises:
        UsageError: several files at once, or one that is no recipe and no study.
        RunError: there is no run, or no result of the study, or one of another study than the file is now.
    """
    paths = [Path(subjects)] if isinstance(subjects, str | Path) else [Path(subject) for subject in subjects]
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
        return _of_experiments(names, claims_of_runs(paths))
    (file,) = files
    if file.is_dir():
        return _of_study(read_result(file))
    if _is_study_file(file):
        return _of_study(judged_anew(file, Path(runs)))
    found = _of_experiments(file.name, runs_of_recipe(file, Path(runs)))
    return found if found.claims else _without_runs(file, Path(runs), found)


def _of_experiments(subject: str, found: Found) -> Verified:
    claims = tuple(_checked(experiment, one) for experiment in found.experiments for one in experiment.claims)
    without = [experiment.name for experiment in found.experiments if not experiment.claims]
    more = f" and {len(without) - MOST_NAMED} more" if len(without) > MOST_NAMED else ""
    named = ", ".join(_shown(name) for name in without[:MOST_NAMED])
    notes = [f"{NOTHING} {named}{more}."] if without else []
    return Verified(subject=subject, claims=claims, notes=(*notes, *found.notes))


def _checked(experiment: Experiment, figures: ClaimFigures) -> CheckedClaim:
    claim = figures.claim
    return _claim(experiment.name, claim, _reason(experiment, figures), figures.seeds)


def _claim(of: str, claim: ClaimRecord, reason: str, seeds: Sequence[int] = ()) -> CheckedClaim:
    fields = claim.model_dump()
    return CheckedClaim(of=of, difference=claim.difference, reason=reason, seeds=tuple(seeds), **fields)


def _reason(experiment: Experiment, figures: ClaimFigures) -> str:
    """Why this verdict, in words."""
    claim = figures.claim
    if claim.verdict == "shortened":
        epochs = sorted({run.epochs for run in experiment.runs})
        done = f"{', '.join(map(formatting.epoch, epochs))} of {experiment.epochs} epochs"
        only = [f"only {formatting.count(experiment.images)} training images"] if experiment.limited else []
        return ", ".join([*([done] if epochs[0] < experiment.epochs else []), *only])
    if claim.verdict == "other data":
        if figures.data == experiment.data:
            return f"measured on other images than those of the recipe's {formatting.shown(figures.data)}"
        return f"published for {formatting.shown(figures.data)}, measured on {formatting.shown(experiment.data)}"
    return reason_of(claim)


def reason_of(claim: ClaimRecord) -> str:
    """Why a verdict was given, as far as the claim's own record says."""
    gap = differs(claim) if claim.measured is not None else ""
    reasons = {
        "reproduced": "the published figure lies where one more run would",
        "differs": gap,
        "not equal": gap,
        "not enough evidence": _missing(claim, gap),
        "not measured": "no run has this figure",
        "shortened": "fewer epochs or images than asked for",
        "other data": "published for other data",
    }
    return reasons.get(claim.verdict, "")


def _missing(claim: ClaimRecord, gap: str) -> str:
    """What it would take for a verdict."""
    if claim.n < FEWEST_RUNS or claim.low is None or claim.high is None:
        return f"{formatting.plural(claim.n, 'run')} of {FEWEST_RUNS}; {gap}"
    half = f"one more run would lie within ±{formatting.loss((claim.high - claim.low) / 2)}"
    if claim.delta is None:
        return f"{half}; whether that is close is not said: give the claim a smallest_difference"
    return f"{half}, too wide to show it to be reproduced within ±{claim.delta:g}"


def _without_runs(file: Path, runs: Path, found: Verified) -> Verified:
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
    notes = [note for note in found.notes if not note.startswith(NOTHING)]
    if claims and not any(claim.n for claim in found.claims):
        notes.insert(0, f"No finished run of this recipe is in {runs}: cnnlab train {file}")
    return found.model_copy(update={"claims": tuple(claims), "notes": tuple(notes)})


def _of_study(result: StudyResult) -> Verified:
    claims = tuple(_claim(each.arm, each.claim, reason_of(each.claim)) for each in result.claims)
    notes = result.notes if result.complete else ("The study is not complete: runs are missing.", *result.notes)
    return Verified(
        subject=f"study {result.study}", claims=claims, sayings=result.sayings, under=result.under, notes=notes
    )


def _is_study_file(path: Path) -> bool:
    """Whether a file has what every study has, and no recipe."""
    try:
        return not {"arms", "grid", "doses"}.isdisjoint(parse_toml(read_text(path)))
    except SpecError as error:
        raise in_file(error, path) from None


def _claim_row(claim: CheckedClaim) -> tuple[str, ...]:
    number = formatting.count if claim.name == "parameters" else formatting.loss
    bounds = NONE if claim.low is None or claim.high is None else f"{number(claim.low)} to {number(claim.high)}"
    return (
        _shown(claim.of),
        claim.name.replace("_", " "),
        number(claim.published),
        NONE if claim.measured is None else number(claim.measured),
        bounds,
        str(claim.n),
        claim.verdict,
        claim.reason,
        "; ".join(formatting.shown(text, 120) for text in (claim.source, claim.note) if text),
    )


def _told_notes(runs: Sequence[Recomputed]) -> Iterator[str]:
    """Each note once, with the runs that it is of."""
    told: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            told.setdefault(note, []).append(run.run)
    for note, names in told.items():
        yield note if len(names) == len(runs) else f"{', '.join(names)}: {note}"


def _value(value: Value) -> str:
    return NONE if value is None else formatting.shown(f"{value:.7g}" if isinstance(value, float) else str(value), 70)


def _shown(name: str) -> str:
    return formatting.shown(name, 60)
