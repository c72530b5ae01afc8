"""Evaluates trained networks under shifts of their images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.config.corruptions import default_corruptions, read_corruptions
from cnnlab.context import NO_CALLBACKS, Callbacks, RunContext
from cnnlab.errors import RunError, SpecError, UsageError
from cnnlab.reports import robustness as robustness  # registers how the result is shown
from cnnlab.runs.index.run_groups import group_runs
from cnnlab.runs.index.run_index import FinishedRun, RunIndex
from cnnlab.runs.robustness.result import ShiftResult
from cnnlab.stats.comparison import DecisionRules
from cnnlab.stats.defaults import ALPHA, SMALLEST_DIFFERENCE
from cnnlab.stats.sample import MIN_RUNS

if TYPE_CHECKING:
    from cnnlab.data.dataset import Dataset


def shift(
    runs: str | Path | Iterable[str | Path],
    shifts: str | Sequence[Any] = (),
    *,
    split: str | None = None,
    limit: int | None = None,
    smallest_difference: float = SMALLEST_DIFFERENCE,
    alpha: float = ALPHA,
    seed: int = 0,
    per_run: bool = False,
    cifar10c: str | Path | None = None,
    device: str = "auto",
    data: str | Path | None = None,
    callbacks: Callbacks = NO_CALLBACKS,
) -> ShiftResult:
    """Evaluate trained networks under shifts: the same images and random numbers for every network.

    Args:
        runs: run folders, or folders that hold runs. Those that differ in their seeds only are one group; two runs are
            two groups.
        shifts: calls such as "rotation(30)", and names, which stand for the default strengths; by default all kinds.
        split: train, validation or test; by default test where all runs have test figures already, else validation.
            An opening of the test split is recorded in the ledger beside the run.
        limit: the largest number of images, evenly spaced over the split.
        smallest_difference: the smallest difference of interest, a fraction.
        alpha: the rate of wrong verdicts, over all shifts of a group together.
        seed: of the random numbers of each image.
        per_run: whether each run is a group of its own, judged by its images.
        cifar10c: the folder of CIFAR-10-C's arrays, which replace the shifts.
        device: auto, cpu, cuda or mps.
        data: the folder of catalogue data; by default the cache folder.
        callbacks: called during the work.

    Raises:
        SpecError: a shift that is not allowed.
        UsageError: no such split, or runs with different images.
        RunError: no run, or one that has not finished.
        SourceError: the data is not found.
    """
    from cnnlab.data.sources.cifar10c import open_cifar10c
    from cnnlab.runs.robustness.compute import ShiftSettings, corrupt_run, shift_groups, shift_run

    rules = DecisionRules(smallest_difference, alpha)
    groups, notes = _groups([runs] if isinstance(runs, str | Path) else list(runs), per_run)
    if cifar10c is not None and (shifts or split not in (None, "test")):
        what = "CIFAR-10-C has its own corruptions, of the test images"
        raise UsageError(what, where="--cifar10c", next_step="leave --shift and --split out")
    chosen = split or ("test" if cifar10c is not None else _default_split(groups, callbacks.log))
    settings = ShiftSettings(chosen, limit, RunContext.of(data, device, callbacks))
    if cifar10c is None:
        names = [shifts] if isinstance(shifts, str) else shifts
        measure = partial(shift_run, choose_shifts=partial(_selected_shifts, names), settings=settings, seed=seed)
    else:
        measure = partial(corrupt_run, corrupted=open_cifar10c(Path(cifar10c)), settings=settings)
    folders = {name: [run.folder for run in members] for name, members in groups.items()}
    return shift_groups(folders, measure, rules, split=chosen, seed=seed, notes=notes)


def _groups(paths: Sequence[str | Path], per_run: bool) -> tuple[dict[str, list[FinishedRun]], list[str]]:
    """The runs by the name of their group, one for each seed, and notes on those that are left out."""
    for path in map(Path, paths):
        if path.suffix == ".toml" and not path.is_dir():
            what, step = "shifts are tested on a trained network", "train it first: cnnlab train RECIPE"
            raise UsageError(what, where="RUN", received=str(path), allowed="run folders", next_step=step)
    loaded, left_out = RunIndex.of_paths(paths).load()
    usable = [run for run in loaded if not run.diverged]
    reasons = {run.run: run.reason for run in left_out}
    reasons |= {run.folder.name: "diverged" for run in loaded if run.diverged}
    if not usable:
        step = "finish it: cnnlab train --resume RUN; or name another run"
        where, reason = next(iter(reasons.items()), ("", "there is none"))
        raise RunError(f"this run can't be tested: {reason}", where=where, next_step=step)
    notes = [f"Left out: {name} ({reason})." for name, reason in reasons.items()]
    if per_run or len(usable) <= 2:
        return {run.folder.name: [run] for run in usable}, notes
    groups: dict[str, list[FinishedRun]] = {}
    for group in group_runs(usable, lambda run: run.experiment_key):
        name, (kept, repeated) = group.name, group.one_per_seed()
        groups[name] = list(kept.runs)
        notes += repeated
        if 1 < len(groups[name]) < MIN_RUNS:
            few = f"{name}: {len(groups[name])} networks are too few for a verdict on the recipe"
            notes.append(f"{few}; with --apart each is judged by its images.")
    return groups, notes


def _default_split(groups: dict[str, list[FinishedRun]], log: Callable[[str], None]) -> str:
    """test where it has been opened for all runs, else validation."""
    if all(run.result.test is not None for runs in groups.values() for run in runs):
        return "test"
    log("the test split of these runs has not been opened: validation images are used; --split test opens it")
    return "validation"


def _selected_shifts(shifts: Sequence[Any], dataset: Dataset) -> tuple[Any, ...]:
    channels, height, width = dataset.image_spec.shape
    if not shifts:
        return default_corruptions(height, width, channels)
    try:
        return read_corruptions(shifts, height, width, channels)
    except SpecError as error:
        raise SpecError.from_problems(problem.with_prefix("--shift") for problem in error.problems) from None
