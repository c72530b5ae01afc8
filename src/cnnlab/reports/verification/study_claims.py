"""The claims of a study's file as it is now, judged by the result of the study as it ran. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

from cnnlab.config.arms import experiment_settings, format_override
from cnnlab.config.recipe import Claim, Recipe
from cnnlab.config.study import Study
from cnnlab.errors import CnnlabError, RunError, SpecError
from cnnlab.records import ClaimRecord, DataRecord, RunResult
from cnnlab.runs.claims import judge_claims, smallest_difference
from cnnlab.runs.index.recipe_claims import IGNORED_KEYS
from cnnlab.runs.index.run_index import resolve_like_run
from cnnlab.runs.index.same_data import is_same_source
from cnnlab.stats.ablation import Ablation, analyze_ablation
from cnnlab.stats.claim_test import judge_claim
from cnnlab.stats.sample import Sample
from cnnlab.storage.run_folder import RunFolder
from cnnlab.studies.claims import judge_ordinal_claims, judge_shift_claims
from cnnlab.studies.folder import read_result, study_folder, study_name
from cnnlab.studies.result import ArmClaim, ArmRecord, SeedRecord, StudyResult

SOURCE = "data.source"
# What a study on fewer images than were published for can't say.
JUDGED_FIGURES = ("reproduced", "differs", "not enough evidence")


def rejudge_claims(file: Path, runs: Path) -> StudyResult:
    """The kept result of a study's file, with the claims and words that the file has now, judged by its figures.

    Args:
        runs: the folder of runs.

    Raises:
        SpecError: the file is no study.
        RunError: there is no result, or it is of another study: other arms, another base, metric or split.
    """
    folder = study_folder(runs, study_name(file.stem))
    result = read_result(folder)
    stored = _stored_study(folder, file)
    # What was set by hand to make it smaller is no other study: its verdicts say so.
    study = Study.read(file).model_copy(update={"shortened": stored.shortened})
    for where, was, now in chain(_differences(stored, study), _result_differences(result, study, runs)):
        step = f"carry it out: cnnlab study {file}; what was found before: cnnlab verify {folder}"
        what = "the result here is of another study than this file"
        raise RunError(what, where=f"{folder}: {where}", received=was, allowed=now, next_step=step)
    counted = {arm.name: arm.sample for arm in result.arms if not arm.same_as}
    same = {arm.name: arm.same_as for arm in result.arms if arm.same_as}
    ordinal_claims = judge_ordinal_claims(study, counted, same, _ablation(study, counted), result.data)
    notes = list(result.notes)
    if stored.seeds != study.seeds:
        notes.append(f"It was carried out with {len(stored.seeds)} seeds, and the file asks for {len(study.seeds)}.")
    rules = {"δ": "smallest_difference", "α": "alpha", "baseline": "baseline", "δ under shifts": "shift_difference"}
    for name, key in rules.items():
        if (was := getattr(stored, key)) != (now := getattr(study, key)):
            notes.append(
                f"It was carried out with {name} = {was}, and the file says {now}, by which words are judged here."
            )
    claims, gone = _claims(study, result, runs)
    if gone:
        notes.append(f"{gone} of its runs are no longer in {runs}: of them only the study's own figures are known.")
    shift_claims = judge_shift_claims(study, result.shifted, result.data, same)
    judged_now = {
        "claims": tuple(claims),
        "ordinal_claims": ordinal_claims,
        "shift_claims": shift_claims,
        "notes": tuple(notes),
    }
    return result.model_copy(update=judged_now)


def _ablation(study: Study, samples: Mapping[str, Sample]) -> Ablation | None:
    """The arms against the baseline, by the rules of the file."""
    others = [sample for name, sample in samples.items() if name != study.baseline]
    if study.baseline is None or study.baseline not in samples or not others:
        return None
    return analyze_ablation(
        samples[study.baseline],
        others,
        delta=study.smallest_difference,
        alpha=study.alpha,
        higher_is_better=study.higher_is_better,
    )


def _stored_study(folder: Path, file: Path) -> Study:
    """The study as it ran."""
    try:
        return Study.read_stored(folder / "study.toml")
    except SpecError as error:
        step = f"carry it out again: cnnlab study {file}"
        what = f"of what study the result here is can't be read: {error.problems[0].what}"
        raise RunError(what, where=str(folder / "study.toml"), next_step=step) from None


def _differences(stored: Study, study: Study) -> Iterator[tuple[str, str, str]]:
    """Where the study that ran differs from this one: location, old and new value."""
    for key in ("metric", "vary_split"):
        if getattr(stored, key) != getattr(study, key):
            yield key, str(getattr(stored, key)), str(getattr(study, key))
    yield from _recipe_differences("base", stored.base, study.base, study.shortened)
    then, now = ({arm.name: arm.recipe for arm in each.list_arms()} for each in (stored, study))
    for name in [*now, *(name for name in then if name not in now)]:
        if name not in then or name not in now:
            yield "arms", ", ".join(then), ", ".join(now)
        else:
            yield from _recipe_differences(f"arms.{name}", then[name], now[name], study.shortened)


def _result_differences(result: StudyResult, study: Study, runs: Path) -> Iterator[tuple[str, str, str]]:
    """The same for the result itself: a study that is cut off has written down what it is, and no result yet."""
    if result.metric != study.metric:
        yield "metric", result.metric, study.metric
    recipes = {arm.name: arm.recipe for arm in study.list_arms()}
    arm_names = [arm.name for arm in result.arms]
    if set(arm_names) != set(recipes):
        yield "arms", ", ".join(arm_names), ", ".join(recipes)
        return
    for arm in result.arms:
        # All runs of an arm are of one recipe.
        seed = next((seed for seed in arm.seeds if seed.run and (runs / seed.run / "recipe.toml").is_file()), None)
        if seed is not None:
            folder = RunFolder(runs / seed.run)
            run_recipe = folder.recipe()
            was, now = (
                experiment_settings(run_recipe),
                experiment_settings(resolve_like_run(recipes[arm.name], folder, run_recipe)),
            )
            yield from _setting_differences(
                f"arms.{arm.name}, in {seed.run}", was, now, (*IGNORED_KEYS, *study.shortened)
            )


def _recipe_differences(
    location: str, stored: Recipe, current: Recipe, ignored: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    was, is_now = _recipe_settings(stored), _recipe_settings(current)
    if is_same_source(was[SOURCE], is_now[SOURCE]):
        was[SOURCE] = is_now[SOURCE]
    yield from _setting_differences(location, was, is_now, ignored)


def _setting_differences(
    location: str, stored: Mapping[str, Any], current: Mapping[str, Any], ignored: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    for key in sorted((stored.keys() | current.keys()) - set(ignored)):
        if stored.get(key) != current.get(key):
            then, here = (
                format_override(key, facts[key]) if key in facts else f"no {key}" for facts in (stored, current)
            )
            yield location, then, here


def _recipe_settings(recipe: Recipe) -> dict[str, Any]:
    """A recipe's settings; its seed splits the data of a study."""
    return {**experiment_settings(recipe), "train.seed": recipe.train.seed, SOURCE: recipe.data.source}


def _claims(study: Study, result: StudyResult, runs: Path) -> tuple[list[ArmClaim], int]:
    """The file's claims by the runs of the result, those of the test set by its second stage; how many are gone."""
    found, gone = [], set()
    recipes = {arm.name: arm.recipe for arm in study.list_arms()}
    for name, claims in study.claims.items():
        arm, recipe = result.arm(name), recipes[name]
        first, second = list(arm.seeds), _confirmation_seeds(result, name)
        limited = recipe.data.limit is not None or recipe.data.per_class is not None or study.shortened
        for figure, claim in claims.items():
            seeds = second if figure.startswith("test_") else first
            read = _read_runs(seeds, runs)
            missing = {seed.run for seed in seeds if seed.run} - set(read)
            gone |= missing
            if missing:
                record = _judge_by_stored_metrics(figure, claim, study, result, arm, seeds)
            else:
                record = _judge_by_runs(figure, claim, recipe, study, read)
            verdict = "shortened" if limited and record.verdict in JUDGED_FIGURES else record.verdict
            found.append(ArmClaim(arm=name, claim=record.model_copy(update={"verdict": verdict})))
    return found, len(gone)


def _confirmation_seeds(result: StudyResult, arm: str) -> list[SeedRecord]:
    """The runs with fresh seeds of an arm; none where it was not confirmed."""
    stage = result.confirmation
    if stage is None:
        return []
    return list({stage.winner: stage.runs, stage.baseline: stage.baseline_runs}.get(arm, ()))


def _read_runs(seeds: Sequence[SeedRecord], runs: Path) -> dict[str, tuple[RunResult, DataRecord]]:
    """The runs that are there and have ended, by name."""
    found = {}
    for seed in seeds:
        try:
            folder = RunFolder.open(runs / seed.run) if seed.run else None
            result = folder.result() if folder is not None else None
            if folder is not None and result is not None:
                found[seed.run] = (result, folder.data())
        except CnnlabError:
            continue
    return found


def _judge_by_runs(
    figure: str, claim: Claim, recipe: Recipe, study: Study, read: Mapping[str, tuple[RunResult, DataRecord]]
) -> ClaimRecord:
    if not read:
        return judge_claim(figure, claim.published, [], source=claim.source, note=claim.note)
    results = [result for result, _ in read.values()]
    data = next(iter(read.values()))[1]
    return judge_claims(recipe.model_copy(update={"claims": {figure: claim}}), results, data, study)[0]


def _judge_by_stored_metrics(
    figure: str, claim: Claim, study: Study, result: StudyResult, arm: ArmRecord, seeds: Sequence[SeedRecord]
) -> ClaimRecord:
    """Judged by the figures that the study itself has kept: its metric, the same of the train split, parameters."""
    metric, images = result.metric, result.images
    if figure.startswith("test_"):
        metric, images = (result.confirmation.metric, result.confirmation.images) if result.confirmation else ("", 0)
    values: list[float | None] = []
    if figure == "parameters":
        values = [float(arm.parameters)]
    elif figure == metric:
        values = [seed.value for seed in seeds]
    elif figure == f"train_{result.metric.partition('_')[2]}":
        values = [seed.train for seed in seeds]
    return judge_claim(
        figure,
        claim.published,
        [value for value in values if value is not None and isfinite(value)],
        images=claim.images,
        claim_data=claim.data,
        data=result.data,
        measured_images=images if figure == metric else None,
        delta=smallest_difference(figure, claim, study),
        source=claim.source,
        note=claim.note,
    )
