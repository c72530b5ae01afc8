"""The claims of a recipe, judged by its runs in a folder; or those of runs, judged by these runs. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cnnlab.config.arms import experiment_settings, file_name, format_override
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import SHORTENING_KEYS
from cnnlab.errors import RunError
from cnnlab.records import ClaimRecord
from cnnlab.runs.index.experiments import Experiment, make_experiment
from cnnlab.runs.index.run_groups import group_runs
from cnnlab.runs.index.run_index import FinishedRun, RunIndex, SkippedRun, resolve_like_run
from cnnlab.runs.index.same_data import is_same_source
from cnnlab.storage.run_folder import RunFolder

# The settings that may differ between a run and its recipe: how it was computed, when the test set was opened, and
# which seed splits. So may its data (compared, not judged) and what shortens it (the verdict is "shortened").
IGNORED_KEYS = (
    *("train.test", "train.predictions", "train.precision", "train.memory_format", "train.sync_batchnorm"),
    "data.split_seed",
)
SOURCE_KEY = "data.source"


@dataclass(frozen=True)
class JudgedExperiments:
    """Experiments with their claims judged, and notes on the runs that are left out."""

    experiments: tuple[Experiment, ...]
    notes: tuple[str, ...]


def judge_recipe_claims(path: Path, runs: Path) -> JudgedExperiments:
    """Judge the claims of a recipe's file by all its finished runs in a folder.

    Raises:
        SpecError: the file is no recipe.
    """
    recipe = Recipe.read(path)
    read, left_out = RunIndex(runs).load()
    ours: list[FinishedRun] = []
    others: list[SkippedRun] = []
    for run in read:
        as_it_was = resolve_like_run(recipe, run.folder, run.recipe)
        if run.recipe.model != as_it_was.model:
            continue
        otherwise = _disallowed_changes(run, as_it_was)
        if otherwise:
            others.append(SkippedRun(run=run.folder.name, reason=f"other settings: {', '.join(otherwise)}"))
        else:
            ours.append(replace(run, file=path, stem=path.stem))
    unfinished = [run for run in left_out if path.stem == _recipe_name(RunFolder(runs / run.run))]
    return _judge_groups(ours, [*others, *unfinished], _comparable_key)


def judge_run_claims(paths: Iterable[Path]) -> JudgedExperiments:
    """Judge the claims of the recipes of these runs, or of the runs in these folders.

    Raises:
        RunError: there is no run.
    """
    return _judge_groups(*RunIndex.of_paths(paths).load(), _claims_key)


def _recipe_name(folder: RunFolder) -> str:
    try:
        return folder.recipe_name()
    except RunError:  # a damaged run
        return ""


def _judge_groups(
    loaded: list[FinishedRun], skipped: list[SkippedRun], key: Callable[[FinishedRun], str]
) -> JudgedExperiments:
    """Judge runs of one key together; those on other data than that of their recipe's file in groups of their own."""
    diverged = [SkippedRun(run=run.folder.name, reason="diverged") for run in loaded if run.diverged]
    whole = [run for run in loaded if not run.diverged]
    other, notes = _runs_on_other_data(whole)
    # An experiment has the data name of its newest run: of several copies, the one that the recipe's file names.
    whole.sort(key=lambda run: run.file_recipe is not None and run.recipe.data.source == run.file_recipe.data.source)
    groups = group_runs(whole, lambda run: f"{run.folder.path in other}\n{key(run)}")
    experiments = []
    for group in groups:
        experiment, first = make_experiment(group), group.runs[0]
        if first.folder.path in other and first.file_recipe is not None:
            source, data = first.file_recipe.data.source, experiment.data
            claims = tuple(_without_verdict_on_other_data(claim, source, data) for claim in experiment.claims)
            experiment = experiment.model_copy(update={"claims": claims})
        experiments.append(experiment)
    notes += [f"Left out: {run.run} ({run.reason})." for run in (*skipped, *diverged)]
    return JudgedExperiments(tuple(sorted(experiments, key=lambda one: one.name)), tuple(notes))


def _runs_on_other_data(runs: Iterable[FinishedRun]) -> tuple[set[Path], list[str]]:
    """The runs whose images are not known to be those of their recipe's file; and notes on data that is ambiguous."""
    other: set[Path] = set()
    notes = []
    for group in group_runs((run for run in runs if run.file is not None), lambda run: str(run.file)):
        first = group.runs[0]
        source = first.file_recipe.data.source if first.file_recipe else ""
        exact = [run for run in group.runs if run.recipe.data.source == source]
        named = [run for run in group.runs if is_same_source(run.recipe.data.source, source)]
        # The file only names its data; which images those are is known from the runs on it.
        images = {run.images_id for run in exact if run.images_id} or {run.images_id for run in named if run.images_id}
        for run in group.runs:
            by_name = run in exact or (run in named and not (run.images_id and images))
            if not by_name and run.images_id not in images:
                other.add(run.folder.path)
        if len(images) > 1:
            what = f"The runs of {first.stem} on {file_name(source)} are of {len(images)} different sets of images"
            notes.append(f"{what}: it is not known which of them its claims are about, so each is judged by itself.")
    return other, notes


def _without_verdict_on_other_data(claim: ClaimRecord, source: str, data: str) -> ClaimRecord:
    """A claim that names no data was published for that of the recipe's file; on other data it is not judged.

    A count that is equal stays so, since it does not depend on the images.
    """
    if claim.data or claim.verdict in ("equal", "not measured"):
        return claim
    published = file_name(source)
    reason = f"published for {published}, measured on {data}"
    if published == data:
        reason = f"measured on other images than those of the recipe's {data}"
    return claim.model_copy(update={"verdict": "other data", "data": published, "reason": reason})


def _disallowed_changes(run: FinishedRun, recipe: Recipe) -> list[str]:
    """The settings in which a run differs from a recipe and may not, as `--set` takes them."""
    ours, theirs = run.settings, experiment_settings(recipe)
    keys = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    keys -= {*IGNORED_KEYS, SOURCE_KEY}
    # More epochs than the recipe's are another training; fewer are the same one, shortened.
    shorter = run.recipe.train.epochs <= recipe.train.epochs
    keys -= {key for key in SHORTENING_KEYS if key in ours and (key != "train.epochs" or shorter)}
    return [format_override(key, ours.get(key, "none")) for key in sorted(keys)]


def _claims_key(run: FinishedRun) -> str:
    """The same for runs that differ only in their seeds and have the same claims."""
    claims = (run.file_recipe or run.recipe).claims
    return "\n".join([run.experiment_key, *(f"{name}: {claim!r}" for name, claim in claims.items())])


def _comparable_key(run: FinishedRun) -> str:
    """The same for runs whose figures can be pooled: copies of the same images are the same data."""
    kept = {key: value for key, value in run.settings.items() if key not in (*IGNORED_KEYS, SOURCE_KEY)}
    images = run.images_id or file_name(run.data.source)
    return "\n".join([images, *(format_override(key, value) for key, value in sorted(kept.items()))])
