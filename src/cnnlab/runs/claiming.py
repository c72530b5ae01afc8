"""Published figures of a recipe held against all its runs in a folder, or those of runs against them. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cnnlab.runs.folder import RunFolder, list_runs
from cnnlab.runs.reading import LeftOut, ReadRun, read_runs
from cnnlab.runs.results import Experiment, experiments_of
from cnnlab.spec.changes import as_setting, settings
from cnnlab.spec.recipe import Recipe

# What a run may have otherwise than its recipe and still be a run of it: where the data lies, how it was computed,
# when the test set was opened, which seed splits; and what shortens it, which its verdicts then say.
FREE = ("train.test", "train.precision", "train.memory_format", "train.sync_batchnorm", "data.split_seed")
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
    ours, others = [], []
    for run in read:
        if run.recipe.model != recipe.model:
            continue
        otherwise = _otherwise(run, recipe)
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
    diverged = [LeftOut(run=run.folder.name, reason="diverged") for run in read if run.diverged]
    experiments = experiments_of((run for run in read if not run.diverged), key)
    notes = [f"Left out: {run.run} ({run.reason})." for run in (*left_out, *diverged)]
    return Found(tuple(experiments), tuple(notes))


def _otherwise(run: ReadRun, recipe: Recipe) -> list[str]:
    """What a run has otherwise than a recipe, as `--set` says it, and may not have."""
    ours, theirs = run.settings, settings(recipe)
    keys = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    keys -= {*FREE, "data.source"}
    # More epochs than the recipe's are another training; fewer are the same one cut short.
    shorter = run.recipe.train.epochs <= recipe.train.epochs
    keys -= {key for key in SHORTER if key in ours and (key != "train.epochs" or shorter)}
    return [as_setting(key, ours.get(key, "none")) for key in sorted(keys)]


def _claimed_alike(run: ReadRun) -> str:
    """The same for runs that differ in their seeds alone, and of which the same is claimed."""
    claims = (run.base or run.recipe).claims
    return "\n".join([run.experiment, *(f"{name}: {claim!r}" for name, claim in claims.items())])


def _alike(run: ReadRun) -> str:
    """The same for runs whose figures may be taken together."""
    kept = {key: value for key, value in run.settings.items() if key not in FREE}
    return "\n".join([run.data.test_set, *(as_setting(key, value) for key, value in sorted(kept.items()))])
