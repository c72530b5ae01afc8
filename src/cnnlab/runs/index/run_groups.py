"""Runs that were made by hand, brought together to be compared: groups over seeds, and what does not fit. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from cnnlab.config.stopping import Metric
from cnnlab.errors import RunError, UsageError, comma_separated, did_you_mean
from cnnlab.records import Environment
from cnnlab.render.formatting import pluralize
from cnnlab.runs.claims import measured_value
from cnnlab.runs.index.finished_runs import LoadedRun, group_names, group_runs, load_runs
from cnnlab.runs.index.same_data import data_name, describe_data, why_data_uncertain
from cnnlab.stats.sample import Sample
from cnnlab.storage.run_folder import RunFolder, list_runs
from cnnlab.storage.test_ledger import openings

SPLITS = ("train", "validation", "test")
METRICS = tuple(f"{split}_{metric}" for split in SPLITS for metric in get_args(Metric))
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ in nothing but their seeds, one for each seed."""

    name: str
    runs: tuple[LoadedRun, ...]

    def sample(self, metric: str) -> Sample:
        """The metric of each run; not a number for one that diverged."""
        values = (nan if run.diverged else measured_value(metric, run.result) for run in self.runs)
        return Sample(name=self.name, values=tuple(nan if value is None else value for value in values))


@dataclass(frozen=True)
class RunGroups:
    """Groups in the order in which they were given, and what a reader must know of them."""

    groups: tuple[RunGroup, ...]
    notes: tuple[str, ...]

    @property
    def runs(self) -> tuple[LoadedRun, ...]:
        return tuple(run for group in self.groups for run in group.runs)


def collect_run_groups(paths: Iterable[str | Path], metric: str) -> RunGroups:
    """The runs at these paths, those that differ in their seeds alone together.

    Two runs are two groups even when they differ in nothing but their seeds: they are compared as models.

    Args:
        paths: of run folders, or of folders that hold runs.
        metric: part_figure, such as validation_accuracy.

    Raises:
        UsageError: an unknown metric, fewer than two groups, or runs of different data.
        RunError: there is no run, or it has no such figure.
    """
    _check_metric(metric)
    folders, twice = _unique_runs(paths)
    read, left_out = load_runs(folders)
    _check_data(read)
    _check_metric_values(read, metric)
    notes = [f"Given twice, and counted once: {name}." for name in twice]
    notes += [f"Left out: {run.run} ({run.reason})." for run in left_out]
    unsure = why_data_uncertain(read)
    if unsure:
        notes.append(f"The data of these runs is not known to be the same: {unsure}.")
    if len(read) == 2:
        groups = _group_by_model(read)
    else:
        together = group_runs(read, lambda run: run.experiment_key)
        made = [one_run_per_seed(runs) for runs in together]
        notes += [note for _, note in made if note]
        groups = [RunGroup(name, tuple(runs)) for name, (runs, _) in zip(group_names(together), made, strict=True)]
    if len(groups) < 2:
        raise _nothing_to_compare(read, [run.run for run in left_out])
    return RunGroups(tuple(groups), (*notes, *_differences(groups, metric)))


def find_group(groups: Sequence[RunGroup], name: str) -> RunGroup:
    """The group of a name, or the one that holds the run of that name or path.

    Raises:
        UsageError: there is none.
    """
    run = Path(name).name
    for group in groups:
        if name in (group.name, group.runs[0].stem) or run in [each.folder.name for each in group.runs]:
            return group
    names = [group.name for group in groups]
    step = did_you_mean(name, names) or "name a recipe, or one of the runs"
    raise UsageError(
        "the baseline is not among the runs",
        where="--baseline",
        received=name,
        allowed=comma_separated(names),
        next_step=step,
    )


def correct_predictions(groups: Sequence[RunGroup], split: str) -> dict[str, BoolArray] | str:
    """By group, whether each run (row) was right on each image (column), or why the images are not the same.

    Diverged runs are left out, and groups without any other.
    """
    runs = [run for group in groups for run in group.runs if not run.diverged]
    reason = _why_images_differ(runs, split)
    if reason:
        return reason
    tables: dict[str, BoolArray] = {}
    labels = None
    for group in groups:
        rows = []
        for run in group.runs:
            if run.diverged:
                continue
            predictions = run.folder.predictions(split)
            if predictions is None:
                kept = ', which train.predictions = "all" keeps' if split == "train" else ""
                return f"{run.folder.name} has no predictions of its {split} images{kept}"
            if labels is not None and not np.array_equal(labels, predictions.labels):
                return f"the labels in the predictions of {run.folder.name} are not those of the others"
            labels, right = predictions.labels, predictions.correct()
            if abs(float(right.mean()) - (measured_value(f"{split}_accuracy", run.result) or 0.0)) > 0.5 / len(right):
                return f"the predictions of {run.folder.name} do not give its accuracy: see cnnlab verify --recompute"
            rows.append(right)
        if rows:
            tables[group.name] = np.array(rows)
    return tables


def count_test_openings(runs: Iterable[LoadedRun]) -> int:
    """How often the test set of these runs was looked at, by all runs beside them, as the ledgers tell."""
    places = {(run.folder.path.parent, run.data.test_set) for run in runs}
    return sum(len(openings(parent, test_set)) for parent, test_set in places)


def _check_metric(metric: str) -> None:
    if metric not in METRICS:
        raise UsageError(
            "there is no such figure",
            where="--metric",
            received=metric,
            allowed=comma_separated(METRICS),
            next_step=did_you_mean(metric, [one for one in METRICS if not one.startswith("test")])
            or "use --metric validation_accuracy",
        )


def _unique_runs(paths: Iterable[str | Path]) -> tuple[list[RunFolder], list[str]]:
    """The runs in the order given, each once, and the names of those that were given more than once."""
    found: dict[Path, RunFolder] = {}
    twice: dict[str, None] = {}
    for path in map(Path, paths):
        within = [] if (path / "recipe.toml").is_file() else list_runs(path)
        for folder in [RunFolder.open(run.path) for run in within] or [RunFolder.open(path)]:
            if folder.path in found:
                twice[folder.name] = None
            found[folder.path] = folder
    return list(found.values()), list(twice)


def _group_by_model(read: Sequence[LoadedRun]) -> list[RunGroup]:
    names = group_names([[run] for run in read])
    if read[0].experiment_key == read[1].experiment_key:
        names = [run.folder.name for run in read]
    return [RunGroup(name, (run,)) for name, run in zip(names, read, strict=True)]


def one_run_per_seed(runs: Sequence[LoadedRun]) -> tuple[list[LoadedRun], str]:
    """The runs by seed, and a word on those left out: the same seed gives the same run, no second observation."""
    by_seed = {run.seed: run for run in runs}
    repeated = [str(seed) for seed, count in Counter(run.seed for run in runs).items() if count > 1]
    kept = [by_seed[seed] for seed in sorted(by_seed)]
    if not repeated:
        return kept, ""
    seeds = f"Seed {repeated[0]} was" if len(repeated) == 1 else f"Seeds {', '.join(repeated)} were"
    return kept, f"{seeds} run more than once for {runs[0].stem}: the last given counts."


def _check_data(read: Sequence[LoadedRun]) -> None:
    """Figures of different images are not compared."""
    known: dict[str, LoadedRun] = {}
    for run in read:
        known.setdefault(data_name(run, read), run)
    if len(known) > 1:
        received = "; ".join(f"{run.folder.name}: {describe_data(run)}" for run in known.values())
        raise UsageError(
            "these runs are of different data",
            where="data",
            received=received,
            allowed="runs of one data set",
            next_step="train both recipes on the same images: --set data.source=SOURCE",
        )


def _check_metric_values(read: Sequence[LoadedRun], metric: str) -> None:
    lacking = [run.folder for run in read if not run.diverged and measured_value(metric, run.result) is None]
    if lacking:
        split = metric.partition("_")[0]
        step = f"open it: cnnlab test {lacking[0].path}" if split == "test" else "compare another figure: --metric"
        raise RunError(
            f"{'these runs have' if len(lacking) > 1 else 'this run has'} no {split} figures",
            where=metric,
            received=", ".join(folder.name for folder in lacking),
            next_step=step,
        )


def _nothing_to_compare(read: Sequence[LoadedRun], skipped: Sequence[str]) -> UsageError:
    counted = f"{len(read)} finished run{'' if len(read) == 1 else 's'}"
    same = " of one recipe, which differ in their seeds alone" if len(read) > 1 else ""
    others = f"; not finished: {', '.join(skipped)}" if skipped else ""
    return UsageError(
        "there is nothing to compare these runs with",
        where="RUN",
        received=counted + same + others,
        allowed="runs of two recipes or more",
        next_step="add runs of another recipe; 'cnnlab runs' lists them",
    )


def _differences(groups: Sequence[RunGroup], metric: str) -> Iterator[str]:
    """What else differs than what the names of the groups tell."""
    runs = [run for group in groups for run in group.runs]
    split = metric.partition("_")[0]
    properties: tuple[tuple[str, Callable[[LoadedRun], str]], ...] = (
        ("The groups train for different numbers of epochs", lambda run: f"{run.recipe.train.epochs}"),
        ("The runs were made by different code of cnnlab", lambda run: run.environment.code),
        (
            "The runs were computed in different ways",
            lambda run: f"{run.precision_config.precision} {run.precision_config.memory_format}",
        ),
        ("The runs were computed on different devices", lambda run: run.environment.device),
        ("The runs were computed by different versions of torch", lambda run: run.environment.torch),
        ("The runs were computed by different numbers of threads", lambda run: _format_threads(run.environment)),
        (f"The {split} parts are of different sizes", lambda run: f"{run.data.splits.get(split, 0):,} images"),
    )
    for what, value in properties:
        values = list(dict.fromkeys(map(value, runs)))
        if len(values) > 1:
            yield f"{what}, which may be the difference: {'; '.join(_by_group(groups, value))}."
    for group in groups:
        fewer = [run for run in group.runs if run.result.status == "stopped early"]
        if fewer:
            yield f"{group.name}: {len(fewer)} of {len(group.runs)} runs stopped early."


def _format_threads(made: Environment) -> str:
    threads = pluralize(made.threads, "thread")
    return f"{made.processes} processes of {threads}" if made.processes > 1 else threads


def _by_group(groups: Sequence[RunGroup], value: Callable[[LoadedRun], str]) -> Iterator[str]:
    for group in groups:
        yield f"{group.name}: {', '.join(dict.fromkeys(map(value, group.runs)))}"


def _why_images_differ(runs: Sequence[LoadedRun], split: str) -> str:
    """Why these runs were not scored on the same images; empty where they were."""
    if split == "test":
        sets = {run.data.test_set for run in runs}
        return "" if len(sets) == 1 and "" not in sets else "their test images are not the same"
    if len({run.data.split_hash for run in runs}) > 1:
        return (
            f"their {split} images are not the same, since each has a split of its own; data.split_seed in a recipe "
            "gives all seeds one split"
        )
    return f"their {split} images are not known to be the same" if why_data_uncertain(runs) else ""
