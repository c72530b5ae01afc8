"""Trained networks tested under shifts: what `cnnlab.shift` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.errors import RunError, SpecError, UsageError
from cnnlab.report.shift_answer import ShiftAnswer
from cnnlab.runs.folder import RunFolder, list_runs
from cnnlab.runs.reading import grouped, names_of, read_runs
from cnnlab.spec.shifts import read_shifts, usual
from cnnlab.statistics.comparison import Rules

if TYPE_CHECKING:
    from cnnlab.data.dataset import Dataset
    from cnnlab.data.source import Progress


def _silent(*_: object) -> None:
    """Nobody is told."""


def shift(
    runs: str | Path | Iterable[str | Path],
    shifts: Sequence[Any] = (),
    *,
    part: str = "test",
    limit: int | None = None,
    smallest_difference: float = 0.01,
    alpha: float = 0.05,
    seed: int = 0,
    apart: bool = False,
    cifar10c: str | Path | None = None,
    device: str = "auto",
    data: str | Path | None = None,
    say: Callable[[str], None] = _silent,
    progress: Progress = _silent,
) -> ShiftAnswer:
    """Test trained networks under shifts of their images: the same images and the same draws for every network.

    Args:
        runs: run folders, or folders that hold runs. Those that differ in their seeds alone are one group.
        shifts: calls such as "rotation(30)" and names, which stand for usual strengths; by default all kinds.
        part: train, validation or test; a look at the test part is a line in the ledger beside the run.
        limit: at most so many images, spread evenly over the part.
        smallest_difference: that is of interest, a fraction.
        alpha: the rate of wrong verdicts allowed, over all shifts of a group together.
        seed: of what each image draws.
        apart: each run is a group of its own, judged by its images.
        cifar10c: the folder of CIFAR-10-C's arrays, which take the place of shifts.
        device: auto, cpu, cuda or mps.
        data: where catalogue data lives; by default the cache folder.
        say: told of anything odd.
        progress: told of long work.

    Returns:
        An answer that a notebook shows; `shifted` has the records.

    Raises:
        SpecError: a shift that can't be.
        UsageError: no such part, or runs that were not shown the same images.
        RunError: there is no run, or it has not finished.
        SourceError: the data is not found.
    """
    from cnnlab.data.cifar10c import open_corrupted
    from cnnlab.runs.shifting import Bench, corrupt_run, shift_groups, shift_run

    rules = Rules(smallest_difference, alpha)
    groups = _groups([runs] if isinstance(runs, str | Path) else list(runs), apart)
    root = Path(data) if data is not None else None
    bench = Bench(part, limit, root, device, say=say, progress=progress)
    if cifar10c is None:
        measure = partial(shift_run, choose=partial(_chosen, shifts), bench=bench, seed=seed)
    elif shifts or part != "test":
        what = "CIFAR-10-C has its own corruptions, of the test images"
        raise UsageError(what, where="--cifar10c", next_step="leave --shift and --part out")
    else:
        measure = partial(corrupt_run, corrupted=open_corrupted(Path(cifar10c)), bench=bench)
    found, answers = shift_groups(groups, measure, rules, part=part, seed=seed)
    return ShiftAnswer(found, answers[0].example)


def _groups(paths: Sequence[str | Path], apart: bool) -> dict[str, list[RunFolder]]:
    folders: dict[Path, RunFolder] = {}
    for path in map(Path, paths):
        within = [] if (path / "recipe.toml").is_file() else list_runs(path)
        for folder in [RunFolder.open(run.path) for run in within] or [RunFolder.open(path)]:
            folders[folder.path] = folder
    read, left_out = read_runs(folders.values())
    if left_out and not read:
        raise RunError(f"this run can't be used: {left_out[0].reason}", where=left_out[0].run)
    if apart or len(read) == 1:
        return {run.folder.name: [run.folder] for run in read}
    together = grouped((run for run in read if not run.diverged), lambda run: run.experiment)
    return {name: [run.folder for run in runs] for name, runs in zip(names_of(together), together, strict=True)}


def _chosen(shifts: Sequence[Any], dataset: Dataset) -> tuple[Any, ...]:
    channels, height, width = dataset.form.shape
    if not shifts:
        return usual(height, width, channels)
    try:
        return read_shifts(shifts, height, width, channels)
    except SpecError as error:
        raise SpecError.together(problem.within("--shift") for problem in error.problems) from None
