"""Judge published figures by runs, and verify runs against themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cnnlab.errors import SpecError, UsageError
from cnnlab.grammar.toml_files import locate_in_file, parse_toml, read_text
from cnnlab.records import ClaimRecord
from cnnlab.render.formatting import format_count, format_epoch, format_loss, pluralize, shorten
from cnnlab.reports.runs_table import difference_text
from cnnlab.reports.verification.result import (
    MAX_NAMED,
    NO_CLAIMS,
    ClaimVerification,
    VerifiedClaim,
    _short_name,
)
from cnnlab.reports.verification.study_claims import rejudge_claims
from cnnlab.runs.index.experiments import ClaimMeasurements, Experiment
from cnnlab.runs.index.recipe_claims import JudgedExperiments, judge_recipe_claims, judge_run_claims
from cnnlab.stats.claim_test import MIN_RUNS
from cnnlab.studies.folder import is_study, read_result
from cnnlab.studies.result import StudyResult


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
        return not {"arms", "grid", "sweep"}.isdisjoint(parse_toml(read_text(path)))
    except SpecError as error:
        raise locate_in_file(error, path) from None
