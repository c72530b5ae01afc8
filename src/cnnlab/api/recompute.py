"""Recompute the figures of runs from their weights and data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cnnlab.context import NO_CALLBACKS, Callbacks, RunContext
from cnnlab.errors import RunError
from cnnlab.reports.verification.result import VerifiedRuns
from cnnlab.runs.verify.recompute import find_runs, verify_run
from cnnlab.studies.folder import read_result


def recompute(
    runs: str | Path | Iterable[str | Path],
    *,
    data: str | Path | None = None,
    device: str = "auto",
    callbacks: Callbacks = NO_CALLBACKS,
) -> VerifiedRuns:
    """Recompute the figures of runs, one's own or other people's, from their weights and data.

    Table, split, normalisation, predictions and scores are computed again and compared with those of the folder.
    Nothing in a run is changed; if it reports test figures, the opening of its test set is a line in the ledger.

    Args:
        runs: run folders, folders of run folders, which need not be whole, or the folder of a study.
        data: where catalogue data lives; by default the cache folder.
        device: auto, cpu, cuda or mps.
        callbacks: their `progress` is called with how many runs are done.

    Raises:
        RunError: there is no run.
        UsageError: an unknown device.
    """
    paths = [Path(runs)] if isinstance(runs, str | Path) else [Path(path) for path in runs]
    folders: dict[Path, None] = {}
    for path in paths:
        within = find_runs(path) or _runs_of_study(path)
        if not within:
            raise RunError("there is no run here", where=str(path), next_step="'cnnlab runs' lists the runs")
        folders |= dict.fromkeys(inner.resolve() for inner in within)
    context, done = RunContext.of(data, device, callbacks), []
    for number, path in enumerate(folders):
        callbacks.progress("recomputing", number, len(folders), "runs")
        done.append(verify_run(path, context))
    callbacks.progress("recomputing", len(folders), len(folders), "runs")
    return VerifiedRuns(runs=tuple(done))


def _runs_of_study(folder: Path) -> list[Path]:
    """The runs of a study, where the folder is one's."""
    if not (folder / "study.toml").is_file():
        return []
    result, runs = read_result(folder), folder.resolve().parents[1]
    confirmed = result.confirmation
    records = [seed for arm in result.arms for seed in arm.seeds]
    records += [*confirmed.runs, *confirmed.baseline_runs] if confirmed is not None else []
    return sorted({runs / record.run for record in records if record.run})
