"""Groups of runs that differ only in their seeds, and whether groups can be compared. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from cnnlab.config.arms import format_override
from cnnlab.config.stopping import Metric
from cnnlab.errors import RunError, UsageError, comma_separated, did_you_mean
from cnnlab.records import Environment
from cnnlab.render.formatting import pluralize
from cnnlab.runs.claims import measured_value
from cnnlab.runs.index.run_index import FinishedRun, RunIndex
from cnnlab.runs.index.same_data import data_name, describe_data, why_data_uncertain
from cnnlab.stats.sample import Sample
from cnnlab.storage.test_ledger import openings

SPLITS = ("train", "validation", "test")
METRICS = tuple(f"{split}_{metric}" for split in SPLITS for metric in get_args(Metric))
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ only in their seeds, one for each seed."""

    name: str
    runs: tuple[FinishedRun, ...]

    def sample(self, metric: str) -> Sample:
        """The metric of each run; NaN for a diverged one."""
        values = (nan if run.diverged else measured_value(metric, run.result) for run in self.runs)
        return Sample(name=self.name, values=tuple(nan if value is None else value for value in values))


@dataclass(frozen=True)
class RunGroups:
    """Groups in the given order, and notes on what was left out and what differs."""

    groups: tuple[RunGroup, ...]
    notes: tuple[str, ...]

    @property
    def runs(self) -> tuple[FinishedRun, ...]:
        return tuple(run for group in self.groups for run in group.runs)


def collect_run_groups(paths: Iterable[str | Path], metric: str) -> RunGroups:
    """Group the runs at these paths by what they have in common except their seeds.

    Two runs are always two groups, which are compared as models.

    Args:
        paths: of run folders, or of folders that hold runs.
        metric: split_figure, such as validation_accuracy.

    Raises:
        UsageError: an unknown metric, fewer than two groups, or runs of different data.
        RunError: there is no run, or it has no such figure.
    """
    _check_metric(metric)
    index = RunIndex.of_paths(paths)
    finished, skipped = index.load()
    _check_data(finished)
    _check_metric_values(finished, metric)
    notes = [f"Given twice, and counted once: {name}." for name in index.repeated]
    notes += [f"Left out: {run.run} ({run.reason})." for run in skipped]
    reason = why_data_uncertain(finished)
    if reason:
        notes.append(f"The data of these runs is not known to be the same: {reason}.")
    if len(finished) == 2:
        groups = _group_by_model(finished)
    else:
        alike = group_runs(finished, lambda run: run.experiment_key)
        by_seed = [one_run_per_seed(runs) for runs in alike]
        notes += [note for _, note in by_seed if note]
        groups = [RunGroup(name, tuple(runs)) for name, (runs, _) in zip(group_names(alike), by_seed, strict=True)]
    if len(groups) < 2:
        raise _nothing_to_compare(finished, [run.run for run in skipped])
    return RunGroups(tuple(groups), (*notes, *_differences(groups, metric)))


def find_group(groups: Sequence[RunGroup], name: str) -> RunGroup:
    """The group with a name, or the one that holds the run with that name or path.

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


def group_runs(runs: Iterable[FinishedRun], key: Callable[[FinishedRun], str]) -> list[list[FinishedRun]]:
    """Runs grouped by a key, in the order of the first run of each group."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def group_names(groups: Sequence[Sequence[FinishedRun]]) -> list[str]:
    """Unique names of groups: the recipe's name, and where several have it, the settings that differ."""
    counts = Counter(group[0].stem for group in groups)
    names = []
    for group in groups:
        first = group[0]
        others = [other[0].settings for other in groups if other[0].stem == first.stem]
        keys = {key for other in others for key in other.keys() | first.settings.keys()}
        differing = [key for key in sorted(keys) if any(other.get(key) != others[0].get(key) for other in others)]
        words = [format_override(key.partition(".")[2], first.settings.get(key, "none")) for key in differing]
        names.append(f"{first.stem}: {', '.join(words)}" if counts[first.stem] > 1 and words else first.stem)
    return _number_repeated(names)


def _number_repeated(names: Sequence[str]) -> list[str]:
    counts = Counter(names)
    return [f"{name} ({number})" if counts[name] > 1 else name for number, name in enumerate(names, 1)]


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


def count_test_openings(runs: Iterable[FinishedRun]) -> int:
    """How often the test set of these runs was opened, by all runs of their folders, by the ledgers."""
    test_sets = {(run.folder.path.parent, run.data.test_set) for run in runs}
    return sum(len(openings(parent, test_set)) for parent, test_set in test_sets)


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


def _group_by_model(read: Sequence[FinishedRun]) -> list[RunGroup]:
    names = group_names([[run] for run in read])
    if read[0].experiment_key == read[1].experiment_key:
        names = _number_repeated([run.folder.name for run in read])
    return [RunGroup(name, (run,)) for name, run in zip(names, read, strict=True)]


def one_run_per_seed(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], str]:
    """The runs by seed, and a note on repeated seeds: the same seed gives the same run, not another observation."""
    by_seed = {run.seed: run for run in runs}
    repeated = [str(seed) for seed, count in Counter(run.seed for run in runs).items() if count > 1]
    kept = [by_seed[seed] for seed in sorted(by_seed)]
    if not repeated:
        return kept, ""
    seeds = f"Seed {repeated[0]} was" if len(repeated) == 1 else f"Seeds {', '.join(repeated)} were"
    return kept, f"{seeds} run more than once for {runs[0].stem}: the last given counts."


def _check_data(read: Sequence[FinishedRun]) -> None:
    """Raise a UsageError for runs of different data."""
    known: dict[str, FinishedRun] = {}
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


def _check_metric_values(read: Sequence[FinishedRun], metric: str) -> None:
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


def _nothing_to_compare(read: Sequence[FinishedRun], skipped: Sequence[str]) -> UsageError:
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
    """What differs beside the settings."""
    runs = [run for group in groups for run in group.runs]
    split = metric.partition("_")[0]
    properties: tuple[tuple[str, Callable[[FinishedRun], str]], ...] = (
        ("The groups train for different numbers of epochs", lambda run: f"{run.recipe.train.epochs}"),
        ("The runs were made by different code of cnnlab", lambda run: run.environment.code),
        (
            "The runs were computed in different ways",
            lambda run: f"{run.precision_config.precision} {run.precision_config.memory_format}",
        ),
        ("The runs were computed on different devices", lambda run: run.environment.device),
        ("The runs were computed by different versions of torch", lambda run: run.environment.torch),
        ("The runs were computed by different numbers of threads", lambda run: _format_threads(run.environment)),
        (f"The {split} splits are of different sizes", lambda run: f"{run.data.splits.get(split, 0):,} images"),
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


def _by_group(groups: Sequence[RunGroup], value: Callable[[FinishedRun], str]) -> Iterator[str]:
    for group in groups:
        yield f"{group.name}: {', '.join(dict.fromkeys(map(value, group.runs)))}"


def _why_images_differ(runs: Sequence[FinishedRun], split: str) -> str:
    """Why these runs were not evaluated on the same images; empty if they were."""
    if split == "test":
        sets = {run.data.test_set for run in runs}
        return "" if len(sets) == 1 and "" not in sets else "their test images are not the same"
    if len({run.data.split_hash for run in runs}) > 1:
        return (
            f"their {split} images are not the same, since each has a split of its own; data.split_seed in a recipe "
            "gives all seeds one split"
        )
    return f"their {split} images are not known to be the same" if why_data_uncertain(runs) else ""
