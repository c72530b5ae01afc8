"""Published figures of a recipe held against all its runs in a folder, or those of runs against them. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cnnlab.config.arms import as_setting, file_name, settings
from cnnlab.config.recipe import Recipe
from cnnlab.runs.index.experiments import ClaimFigures, Experiment, experiments_of
from cnnlab.runs.index.finished_runs import LeftOut, ReadRun, as_made, grouped, names_of, read_runs
from cnnlab.runs.index.same_data import is_same_source
from cnnlab.storage.run_folder import RunFolder, list_runs

# What a run may have otherwise than its recipe and still be a run of it: its data (other data is compared, and not
# judged), how it was computed, when the test set was opened, which seed splits; and what shortens it, which its
# verdicts then say.
FREE = (
    *("train.test", "train.predictions", "train.precision", "train.memory_format", "train.sync_batchnorm"),
    "data.split_seed",
)
SOURCE = "data.source"
SHORTER = ("train.epochs", "train.budget", "data.limit", "data.per_class")


@dataclass(frozen=True)
class Found:
    """Experiments with their claims judged, and a word on runs that do not count."""

    experiments: tuple[Experiment, ...]
    notes: tuple[str, ...]


def runs_of_recipe(path: Path, runs: Path) -> Found:
    """All finished runs of a recipe's file in a folder of runs.

    Raises:
        SpecError: the file is no recipe.
    """
    recipe = Recipe.read(path)
    read, left_out = read_runs(list_runs(runs))
    ours: list[ReadRun] = []
    others: list[LeftOut] = []
    for run in read:
        as_it_was = as_made(recipe, run.folder, run.recipe)
        if run.recipe.model != as_it_was.model:
            continue
        otherwise = _otherwise(run, as_it_was)
        if otherwise:
            others.append(LeftOut(run=run.folder.name, reason=f"other settings: {', '.join(otherwise)}"))
        else:
            ours.append(replace(run, file=path, stem=path.stem))
    unfinished = [run for run in left_out if path.stem in run.run]
    return _judged(ours, [*others, *unfinished], _alike)


def claims_of_runs(paths: Iterable[Path]) -> Found:
    """These runs, and those in these folders, with the claims of their recipes.

    Raises:
        RunError: there is no run.
    """
    folders: dict[Path, RunFolder] = {}
    for path in paths:
        within = [] if (path / "recipe.toml").is_file() else list_runs(path)
        for folder in [RunFolder.open(run.path) for run in within] or [RunFolder.open(path)]:
            folders[folder.path] = folder
    read, left_out = read_runs(folders.values())
    return _judged(read, left_out, _claimed_alike)


def _judged(read: list[ReadRun], left_out: list[LeftOut], key: Callable[[ReadRun], str]) -> Found:
    """The runs that are alike together, judged; those of other data than their recipe's file apart."""
    diverged = [LeftOut(run=run.folder.name, reason="diverged") for run in read if run.diverged]
    whole = [run for run in read if not run.diverged]
    other, notes = _of_other_data(whole)
    # What is told of data is that of the newest: of copies, the one that the recipe's file names.
    whole.sort(key=lambda run: run.base is not None and run.recipe.data.source == run.base.data.source)
    groups = grouped(whole, lambda run: f"{run.folder.path in other}\n{key(run)}")
    experiments = []
    for name, group in zip(names_of(groups), groups, strict=True):
        (made,) = experiments_of(group, lambda _: "")
        base = group[0].base if group[0].folder.path in other else None
        claims = made.claims if base is None else tuple(_compared(claim, base.data.source) for claim in made.claims)
        experiments.append(made.model_copy(update={"name": name, "claims": claims}))
    notes += [f"Left out: {run.run} ({run.reason})." for run in (*left_out, *diverged)]
    return Found(tuple(sorted(experiments, key=lambda one: one.name)), tuple(notes))


def _of_other_data(runs: Iterable[ReadRun]) -> tuple[set[Path], list[str]]:
    """The runs whose images are not known to be those of their recipe's file, and what is not clear of the others."""
    other: set[Path] = set()
    notes = []
    for group in grouped((run for run in runs if run.file is not None), lambda run: str(run.file)):
        source = group[0].base.data.source if group[0].base else ""
        exact = [run for run in group if run.recipe.data.source == source]
        named = [run for run in group if is_same_source(run.recipe.data.source, source)]
        # The file names its data, and only runs on it tell what that holds.
        images = {run.images for run in exact if run.images} or {run.images for run in named if run.images}
        ours = [
            *exact,
            *(run for run in named if not (run.images and images)),
            *(run for run in group if run.images in images),
        ]
        other |= {run.folder.path for run in group} - {run.folder.path for run in ours}
        if len(images) > 1:
            what = f"The runs of {group[0].stem} on {file_name(source)} are of {len(images)} different sets of images"
            notes.append(f"{what}: which of them its claims speak of is not known, and each is judged by itself.")
    return other, notes


def _compared(figures: ClaimFigures, source: str) -> ClaimFigures:
    """A claim that says nothing of its data was made for that of the recipe's file: on other data it is not judged.

    A count that is equal is so whatever the images are.
    """
    if figures.data or figures.claim.verdict in ("equal", "not measured"):
        return figures
    claim = figures.claim.model_copy(update={"verdict": "other data"})
    return figures.model_copy(update={"claim": claim, "data": file_name(source)})


def _otherwise(run: ReadRun, recipe: Recipe) -> list[str]:
    """What a run has otherwise than a recipe, as `--set` says it, and may not have."""
    ours, theirs = run.settings, settings(recipe)
    keys = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    keys -= {*FREE, SOURCE}
    # More epochs than the recipe's are another training; fewer are the same one cut short.
    shorter = run.recipe.train.epochs <= recipe.train.epochs
    keys -= {key for key in SHORTER if key in ours and (key != "train.epochs" or shorter)}
    return [as_setting(key, ours.get(key, "none")) for key in sorted(keys)]


def _claimed_alike(run: ReadRun) -> str:
    """The same for runs that differ in their seeds alone, and of which the same is claimed."""
    claims = (run.base or run.recipe).claims
    return "\n".join([run.experiment, *(f"{name}: {claim!r}" for name, claim in claims.items())])


def _alike(run: ReadRun) -> str:
    """The same for runs whose figures may be taken together: a copy of the same images is the same data."""
    kept = {key: value for key, value in run.settings.items() if key not in (*FREE, SOURCE)}
    images = run.images or file_name(run.data.source)
    return "\n".join([images, *(as_setting(key, value) for key, value in sorted(kept.items()))])
