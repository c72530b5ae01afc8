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

from cnnlab.config.optimization import Metric
from cnnlab.errors import RunError, UsageError, listed, nearest
from cnnlab.records import Environment
from cnnlab.render.formatting import plural
from cnnlab.runs.claims import figure
from cnnlab.runs.index.finished_runs import ReadRun, grouped, names_of, read_runs
from cnnlab.runs.index.same_data import name_of_data, told_data, why_unsure
from cnnlab.stats.sample import Sample
from cnnlab.storage.run_folder import RunFolder, list_runs
from cnnlab.storage.test_ledger import openings

PARTS = ("train", "validation", "test")
METRICS = tuple(f"{part}_{metric}" for part in PARTS for metric in get_args(Metric))
Right = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seeds, one for each seed."""

    name: str
    runs: tuple[ReadRun, ...]

    def sample(self, metric: str) -> Sample:
        """The metric of each run; not a number for one that diverged."""
        values = (nan if run.diverged else figure(metric, run.result) for run in self.runs)
        return Sample(name=self.name, values=tuple(nan if value is None else value for value in values))


@dataclass(frozen=True)
class Gathered:
    """Groups in the order in which they were given, and what a reader must know of them."""

    groups: tuple[Group, ...]
    notes: tuple[str, ...]

    @property
    def runs(self) -> tuple[ReadRun, ...]:
        return tuple(run for group in self.groups for run in group.runs)


def gather(paths: Iterable[str | Path], metric: str) -> Gathered:
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
    folders, twice = _each_once(paths)
    read, left_out = read_runs(folders)
    _check_data(read)
    _check_figures(read, metric)
    notes = [f"Given twice, and counted once: {name}." for name in twice]
    notes += [f"Left out: {run.run} ({run.reason})." for run in left_out]
    unsure = why_unsure(read)
    if unsure:
        notes.append(f"The data of these runs is not known to be the same: {unsure}.")
    if len(read) == 2:
        groups = _two_models(read)
    else:
        together = grouped(read, lambda run: run.experiment)
        made = [one_a_seed(runs) for runs in together]
        notes += [note for _, note in made if note]
        groups = [Group(name, tuple(runs)) for name, (runs, _) in zip(names_of(together), made, strict=True)]
    if len(groups) < 2:
        raise _nothing_to_compare(read, [run.run for run in left_out])
    return Gathered(tuple(groups), (*notes, *_differences(groups, metric)))


def find_group(groups: Sequence[Group], name: str) -> Group:
    """The group of a name, or the one that holds the run of that name or path.

    Raises:
        UsageError: there is none.
    """
    run = Path(name).name
    for group in groups:
        if name in (group.name, group.runs[0].stem) or run in [each.folder.name for each in group.runs]:
            return group
    names = [group.name for group in groups]
    step = nearest(name, names) or "name a recipe, or one of the runs"
    raise UsageError(
        "the baseline is not among the runs", where="--baseline", received=name, allowed=listed(names), next_step=step
    )


def right_answers(groups: Sequence[Group], part: str) -> list[Right] | str:
    """For each group runs × images: whether a run was right on an image; or why their images can't be set side by side.

    Runs that diverged are left out.
    """
    runs = [run for group in groups for run in group.runs if not run.diverged]
    reason = _not_shared(runs, part)
    if reason:
        return reason
    tables, labels = [], None
    for group in groups:
        rows = []
        for run in group.runs:
            if run.diverged:
                continue
            predictions = run.folder.predictions(part)
            if predictions is None:
                kept = ', which train.predictions = "all" keeps' if part == "train" else ""
                return f"{run.folder.name} has no predictions of its {part} images{kept}"
            if labels is not None and not np.array_equal(labels, predictions.labels):
                return f"the labels in the predictions of {run.folder.name} are not those of the others"
            labels, right = predictions.labels, predictions.right()
            if abs(float(right.mean()) - (figure(f"{part}_accuracy", run.result) or 0.0)) > 0.5 / len(right):
                return f"the predictions of {run.folder.name} do not give its accuracy: see cnnlab verify --recompute"
            rows.append(right)
        tables.append(np.array(rows))
    return tables


def looks_at_test(runs: Iterable[ReadRun]) -> int:
    """How often the test set of these runs was looked at, by all runs beside them, as the ledgers tell."""
    places = {(run.folder.path.parent, run.data.test_set) for run in runs}
    return sum(len(openings(parent, test_set)) for parent, test_set in places)


def _check_metric(metric: str) -> None:
    if metric not in METRICS:
        raise UsageError(
            "there is no such figure",
            where="--metric",
            received=metric,
            allowed=listed(METRICS),
            next_step=nearest(metric, [one for one in METRICS if not one.startswith("test")])
            or "use --metric validation_accuracy",
        )


def _each_once(paths: Iterable[str | Path]) -> tuple[list[RunFolder], list[str]]:
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


def _two_models(read: Sequence[ReadRun]) -> list[Group]:
    names = names_of([[run] for run in read])
    if read[0].experiment == read[1].experiment:
        names = [run.folder.name for run in read]
    return [Group(name, (run,)) for name, run in zip(names, read, strict=True)]


def one_a_seed(runs: Sequence[ReadRun]) -> tuple[list[ReadRun], str]:
    """The runs by seed, and a word on those left out: the same seed gives the same run, no second observation."""
    by_seed = {run.seed: run for run in runs}
    repeated = [str(seed) for seed, count in Counter(run.seed for run in runs).items() if count > 1]
    kept = [by_seed[seed] for seed in sorted(by_seed)]
    if not repeated:
        return kept, ""
    seeds = f"Seed {repeated[0]} was" if len(repeated) == 1 else f"Seeds {', '.join(repeated)} were"
    return kept, f"{seeds} run more than once for {runs[0].stem}: the last given counts."


def _check_data(read: Sequence[ReadRun]) -> None:
    """Figures of different images are not compared."""
    known: dict[str, ReadRun] = {}
    for run in read:
        known.setdefault(name_of_data(run, read), run)
    if len(known) > 1:
        told = "; ".join(f"{run.folder.name}: {told_data(run)}" for run in known.values())
        raise UsageError(
            "these runs are of different data",
            where="data",
            received=told,
            allowed="runs of one data set",
            next_step="train both recipes on the same images: --set data.source=SOURCE",
        )


def _check_figures(read: Sequence[ReadRun], metric: str) -> None:
    lacking = [run.folder for run in read if not run.diverged and figure(metric, run.result) is None]
    if lacking:
        part = metric.partition("_")[0]
        step = f"open it: cnnlab test {lacking[0].path}" if part == "test" else "compare another figure: --metric"
        raise RunError(
            f"{'these runs have' if len(lacking) > 1 else 'this run has'} no {part} figures",
            where=metric,
            received=", ".join(folder.name for folder in lacking),
            next_step=step,
        )


def _nothing_to_compare(read: Sequence[ReadRun], left_out: Sequence[str]) -> UsageError:
    said = f"{len(read)} finished run{'' if len(read) == 1 else 's'}"
    same = " of one recipe, which differ in their seeds alone" if len(read) > 1 else ""
    others = f"; not finished: {', '.join(left_out)}" if left_out else ""
    return UsageError(
        "there is nothing to compare these runs with",
        where="RUN",
        received=said + same + others,
        allowed="runs of two recipes or more",
        next_step="add runs of another recipe; 'cnnlab runs' lists them",
    )


def _differences(groups: Sequence[Group], metric: str) -> Iterator[str]:
    """What else differs than what the names of the groups tell."""
    runs = [run for group in groups for run in group.runs]
    part = metric.partition("_")[0]
    told: tuple[tuple[str, Callable[[ReadRun], str]], ...] = (
        ("The groups train for different numbers of epochs", lambda run: f"{run.recipe.train.epochs}"),
        ("The runs were made by different code of cnnlab", lambda run: run.environment.code),
        ("The runs were computed in different ways", lambda run: f"{run.way.precision} {run.way.memory_format}"),
        ("The runs were computed on different devices", lambda run: run.environment.device),
        ("The runs were computed by different versions of torch", lambda run: run.environment.torch),
        ("The runs were computed by different numbers of threads", lambda run: _threads(run.environment)),
        (f"The {part} parts are of different sizes", lambda run: f"{run.data.parts.get(part, 0):,} images"),
    )
    for what, value in told:
        values = list(dict.fromkeys(map(value, runs)))
        if len(values) > 1:
            yield f"{what}, which may be the difference: {'; '.join(_by_group(groups, value))}."
    for group in groups:
        fewer = [run for run in group.runs if run.result.status == "stopped early"]
        if fewer:
            yield f"{group.name}: {len(fewer)} of {len(group.runs)} runs stopped early."


def _threads(made: Environment) -> str:
    threads = plural(made.threads, "thread")
    return f"{made.processes} processes of {threads}" if made.processes > 1 else threads


def _by_group(groups: Sequence[Group], value: Callable[[ReadRun], str]) -> Iterator[str]:
    for group in groups:
        yield f"{group.name}: {', '.join(dict.fromkeys(map(value, group.runs)))}"


def _not_shared(runs: Sequence[ReadRun], part: str) -> str:
    """Why these runs were not scored on the same images; empty where they were."""
    if part == "test":
        sets = {run.data.test_set for run in runs}
        return "" if len(sets) == 1 and "" not in sets else "their test images are not the same"
    if len({run.data.split_hash for run in runs}) > 1:
        return (
            f"their {part} images are not the same, since each has a split of its own; data.split_seed in a recipe "
            "gives all seeds one split"
        )
    return f"their {part} images are not known to be the same" if why_unsure(runs) else ""
