"""Groups of runs that differ only in their seeds, and whether groups can be compared. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnlab.config.arms import format_override
from cnnlab.config.claims import METRICS
from cnnlab.errors import RunError, UsageError, comma_separated, did_you_mean
from cnnlab.render.formatting import pluralize
from cnnlab.runs.claims import measured_value
from cnnlab.runs.index.run_index import FinishedRun, RunIndex
from cnnlab.runs.index.same_data import data_name, describe_data, why_data_uncertain
from cnnlab.stats.sample import Sample
from cnnlab.storage.test_ledger import openings

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ only in their seeds, under a name that no other group has."""

    name: str
    runs: tuple[FinishedRun, ...]

    def one_per_seed(self) -> tuple[RunGroup, list[str]]:
        """The group with the last run of each seed, and a note on repeated seeds.

        The same seed gives the same run, not another observation.
        """
        by_seed = {run.seed: run for run in self.runs}
        counts = Counter(run.seed for run in self.runs)
        repeated = ", ".join(str(seed) for seed, count in counts.items() if count > 1)
        note = f"Run more than once for {self.name}, of which the last given counts: seed {repeated}."
        kept = tuple(by_seed[seed] for seed in sorted(by_seed))
        return RunGroup(self.name, kept), [note] if repeated else []

    def sample(self, metric: str) -> Sample:
        """The metric of each run; NaN for a diverged one."""
        values = (nan if run.diverged else measured_value(metric, run.result) for run in self.runs)
        return Sample(name=self.name, values=tuple(nan if value is None else value for value in values))


def collect_run_groups(paths: Iterable[str | Path], metric: str) -> tuple[list[RunGroup], list[str]]:
    """Group the runs at these paths by what they have in common except their seeds; with notes on what differs.

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
    if len(finished) == 2 and finished[0].experiment_key == finished[1].experiment_key:
        names = _number_repeated([run.folder.name for run in finished])
        groups = [RunGroup(name, (run,)) for name, run in zip(names, finished, strict=True)]
    else:
        kept = [group.one_per_seed() for group in group_runs(finished, lambda run: run.experiment_key)]
        groups = [group for group, _ in kept]
        notes += [note for _, repeated in kept for note in repeated]
    if len(groups) < 2:
        raise _nothing_to_compare(finished)
    return groups, [*notes, *_differences(groups, metric)]


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


def group_runs(runs: Iterable[FinishedRun], key: Callable[[FinishedRun], str]) -> list[RunGroup]:
    """Group runs by a key, in the order of the first run of each group.

    A group is named by its recipe; where several groups have that name, also by the settings that differ between them.
    """
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    names = _number_repeated([_group_name(group[0], groups.values()) for group in groups.values()])
    return [RunGroup(name, tuple(group)) for name, group in zip(names, groups.values(), strict=True)]


def _group_name(first: FinishedRun, groups: Iterable[Sequence[FinishedRun]]) -> str:
    namesakes = [group[0].settings for group in groups if group[0].stem == first.stem]
    keys = sorted({key for settings in namesakes for key in settings})
    differing = [key for key in keys if any(each.get(key) != namesakes[0].get(key) for each in namesakes)]
    words = [format_override(key.partition(".")[2], first.settings.get(key, "none")) for key in differing]
    return f"{first.stem}: {', '.join(words)}" if words else first.stem


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
    for group in groups:
        rows = []
        for run in group.runs:
            if run.diverged:
                continue
            predictions = run.folder.predictions(split)
            if predictions is None:
                kept = ', which train.predictions = "all" keeps' if split == "train" else ""
                return f"{run.folder.name} has no predictions of its {split} images{kept}"
            rows.append(predictions.correct())
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


def _nothing_to_compare(read: Sequence[FinishedRun]) -> UsageError:
    return UsageError(
        "there is nothing to compare these runs with",
        where="RUN",
        received=f"{pluralize(len(read), 'finished run')} of one recipe, which differ in their seeds alone",
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
        (
            "The runs were computed by different numbers of threads",
            lambda run: format_threads(run.environment.processes, run.environment.threads),
        ),
        (f"The {split} splits are of different sizes", lambda run: f"{run.data.splits.get(split, 0):,} images"),
    )
    for what, value in properties:
        values = list(dict.fromkeys(map(value, runs)))
        if len(values) > 1:
            named = (f"{group.name}: {', '.join(dict.fromkeys(map(value, group.runs)))}" for group in groups)
            yield f"{what}, which may be the difference: {'; '.join(named)}."
    for group in groups:
        fewer = [run for run in group.runs if run.result.status == "stopped early"]
        if fewer:
            yield f"{group.name}: {len(fewer)} of {len(group.runs)} runs stopped early."


def format_threads(processes: int, threads: int) -> str:
    """`2 processes of 1 thread`, or only the threads of a single process."""
    text = pluralize(threads, "thread")
    return f"{processes} processes of {text}" if processes > 1 else text


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
