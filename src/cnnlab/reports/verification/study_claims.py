"""The claims of a study's file as it is now, judged by the stored result of the study. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from cnnlab.config.arms import experiment_settings, format_override
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.errors import RunError, SpecError
from cnnlab.runs.index.same_data import is_same_source
from cnnlab.studies.claims import judge_study_claims, missing_runs
from cnnlab.studies.folder import read_result, study_folder, study_name
from cnnlab.studies.result import StudyResult

SOURCE = "data.source"


def rejudge_claims(file: Path, runs: Path) -> StudyResult:
    """Judge the claims that a study's file has now by the study's stored result.

    Args:
        runs: the folder of runs.

    Raises:
        SpecError: the file is no study.
        RunError: there is no result, or it is of another study: other arms, another base, metric or split.
    """
    folder = study_folder(runs, study_name(file.stem))
    result = read_result(folder)
    stored = _stored_study(folder, file)
    # A study that was shortened with --set is the same study; its verdicts are "shortened".
    study = Study.read(file).model_copy(update={"shortened": stored.shortened})
    for where, was, now in chain(_differences(stored, study), _result_differences(result, study)):
        step = f"run it: cnnlab study {file}; the stored result: cnnlab verify {folder}"
        what = "the result here is of another study than this file"
        raise RunError(what, where=f"{folder}: {where}", received=was, allowed=now, next_step=step)
    notes = list(result.notes)
    if stored.seeds != study.seeds:
        notes.append(f"It was run with {len(stored.seeds)} seeds, and the file asks for {len(study.seeds)}.")
    rules = {"δ": "smallest_difference", "α": "alpha", "baseline": "baseline", "δ under shifts": "shift_difference"}
    for name, key in rules.items():
        if (was := getattr(stored, key)) != (now := getattr(study, key)):
            notes.append(f"It was run with {name} = {was}; the file has {now}, by which the claims are judged here.")
    if gone := missing_runs(study, result, runs):
        notes.append(
            f"{len(gone)} of its runs are no longer in {runs}; only the figures in the study's result are used."
        )
    claims = judge_study_claims(study, result, runs)
    return result.model_copy(update={"claims": claims, "notes": tuple(notes)})


def _stored_study(folder: Path, file: Path) -> Study:
    """The study that the stored result is of."""
    try:
        return Study.read(folder / "study.toml")
    except SpecError as error:
        step = f"run it again: cnnlab study {file}"
        what = f"the study of the result here can't be read: {error.problems[0].what}"
        raise RunError(what, where=str(folder / "study.toml"), next_step=step) from None


def _differences(stored: Study, study: Study) -> Iterator[tuple[str, str, str]]:
    """The differences between the stored study and the file's: location, stored and current value."""
    for key in ("metric", "vary_split"):
        if getattr(stored, key) != getattr(study, key):
            yield key, str(getattr(stored, key)), str(getattr(study, key))
    yield from _recipe_differences("base", stored.base, study.base, study.shortened)
    before, now = ({arm.name: arm.recipe for arm in each.list_arms()} for each in (stored, study))
    for name in [*now, *(name for name in before if name not in now)]:
        if name not in before or name not in now:
            yield "arms", ", ".join(before), ", ".join(now)
        else:
            yield from _recipe_differences(f"arms.{name}", before[name], now[name], study.shortened)


def _result_differences(result: StudyResult, study: Study) -> Iterator[tuple[str, str, str]]:
    """The differences between the result and the file's study: one that was interrupted keeps the result before it."""
    if result.metric != study.metric:
        yield "metric", result.metric, study.metric
    before, now = [arm.name for arm in result.arms], [arm.name for arm in study.list_arms()]
    if set(before) != set(now):
        yield "arms", ", ".join(before), ", ".join(now)


def _recipe_differences(
    location: str, stored: Recipe, current: Recipe, ignored: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    before, now = _recipe_settings(stored), _recipe_settings(current)
    if is_same_source(before[SOURCE], now[SOURCE]):
        before[SOURCE] = now[SOURCE]
    for key in sorted((before.keys() | now.keys()) - set(ignored)):
        if before.get(key) != now.get(key):
            was, text = (
                format_override(key, settings[key]) if key in settings else f"no {key}" for settings in (before, now)
            )
            yield location, was, text


def _recipe_settings(recipe: Recipe) -> dict[str, Any]:
    """A recipe's settings, with its seed, which splits the data of a study."""
    return {**experiment_settings(recipe), "train.seed": recipe.train.seed, SOURCE: recipe.data.source}
