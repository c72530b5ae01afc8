"""Judge published claims by runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cnnlab.config.recipe import Recipe
from cnnlab.errors import SpecError, UsageError
from cnnlab.grammar.toml_files import locate_in_file, parse_toml, read_text
from cnnlab.render.formatting import shorten
from cnnlab.reports.verification.result import ClaimVerification
from cnnlab.reports.verification.study_claims import rejudge_claims
from cnnlab.runs.claims import Measurements, judge_claim
from cnnlab.runs.index.recipe_claims import JudgedExperiments, judge_recipe_claims, judge_run_claims
from cnnlab.studies.folder import is_study, read_result
from cnnlab.studies.result import StudyResult

MAX_NAMED = 5


def verify(targets: str | Path | Iterable[str | Path], *, runs: str | Path = "runs") -> ClaimVerification:
    """Judge published claims by runs.

    A number is *reproduced* or *differs*, a count is *equal* or *not equal*, a word *holds* or is *contradicted*; else
    the evidence is not enough, the runs are shortened, or the data is other data than the claim is about. The rules are
    in docs/comparing.md.

    Args:
        targets: a recipe's file: its claims, by all its finished runs in `runs`; a study's file: its claims, by its
            result in `runs`; a study's folder: the claims as its result has them; run folders, or folders of runs: the
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
    return _verify_recipe(file, Path(runs))


def _verify_experiments(subject: str, judgements: JudgedExperiments) -> ClaimVerification:
    claims = tuple(claim for experiment in judgements.experiments for claim in experiment.claims)
    without = [shorten(experiment.name, 60) for experiment in judgements.experiments if not experiment.claims]
    more = f" and {len(without) - MAX_NAMED} more" if len(without) > MAX_NAMED else ""
    notes = [f"Nothing is claimed by the recipe of {', '.join(without[:MAX_NAMED])}{more}."] if without else []
    return ClaimVerification(subject=subject, claims=claims, notes=(*notes, *judgements.notes))


def _verify_recipe(file: Path, runs: Path) -> ClaimVerification:
    judgements = judge_recipe_claims(file, runs)
    if judgements.experiments:
        return _verify_experiments(file.name, judgements)
    claims = tuple(
        judge_claim(claim, name, Measurements(data=""), of=file.stem)
        for name, claim in Recipe.read(file).claims.items()
    )
    note = f"No finished run of this recipe is in {runs}: cnnlab train {file}"
    return ClaimVerification(
        subject=file.name, claims=claims, notes=(note, *judgements.notes) if claims else judgements.notes
    )


def _verify_study(result: StudyResult) -> ClaimVerification:
    notes = result.notes if result.complete else ("The study is not complete: runs are missing.", *result.notes)
    return ClaimVerification(subject=f"study {result.study}", claims=result.claims, notes=notes)


def _is_study_file(path: Path) -> bool:
    """Whether a file has what every study has, and no recipe."""
    try:
        return not {"arms", "grid", "sweep"}.isdisjoint(parse_toml(read_text(path)))
    except SpecError as error:
        raise locate_in_file(error, path) from None
