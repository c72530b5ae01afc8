"""Evaluates a study's networks under its shifts, once all are trained; no choice depends on it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cnnlab.atomic_io import atomic_write
from cnnlab.config.corruptions import read_corruptions
from cnnlab.errors import CnnlabError
from cnnlab.runs.environment import code_hash
from cnnlab.runs.robustness.compute import ShiftedRun, ShiftSettings, check_same_images, shift_groups, shift_run
from cnnlab.runs.robustness.result import ShiftResult
from cnnlab.stats.comparison import DecisionRules
from cnnlab.stats.defaults import SMALLEST_DIFFERENCE
from cnnlab.storage.run_folder import RunFolder
from cnnlab.storage.test_ledger import record_opening
from cnnlab.studies.folder import SHIFTED
from cnnlab.studies.plan import PlannedArm
from cnnlab.studies.result import UNSHIFTED, StudyResult
from cnnlab.studies.runner import StudyRunner
from cnnlab.studies.tasks import exclusive


def evaluate_under_shifts(runner: StudyRunner, result: StudyResult) -> StudyResult:
    """Evaluate the finished networks of all arms under the study's shifts, on the test split.

    Stored results are reused. One opening of the test set, for all other runs, is recorded first. On failure the result
    is returned with a note that gives the reason.
    """
    plan = runner.plan
    notes = tuple(note for note in result.notes if not note.startswith(UNSHIFTED))
    groups = {arm.name: _finished_folders(runner, arm) for arm in plan.arms if not arm.same_as}
    groups = {name: folders for name, folders in groups.items() if folders}
    if len(groups) == 2 and next(iter(groups)) == plan.study.baseline:
        # Of two groups the difference is the first minus the second, which is the baseline.
        groups = dict(reversed(groups.items()))
    if not plan.test_set or not groups:
        why = "no run has figures" if plan.test_set else "the data has no test split"
        return _with_untested_note(runner, result, notes, why)
    try:
        (runner.folder / SHIFTED).mkdir(parents=True, exist_ok=True)
        with exclusive(runner.context.runs, f"test-{plan.test_set}", runner.context.callbacks.log):
            shifted = _evaluate_groups(runner, groups)
    except (CnnlabError, OSError) as error:
        return _with_untested_note(runner, result, notes, str(error).partition("\n")[0])
    return result.model_copy(update={"shifted": shifted, "notes": notes})


def _with_untested_note(runner: StudyRunner, result: StudyResult, notes: tuple[str, ...], why: str) -> StudyResult:
    runner.context.callbacks.log(f"nothing is tested under shifts: {why}")
    return result.model_copy(update={"notes": (*notes, f"{UNSHIFTED}: {why}")})


def _evaluate_groups(runner: StudyRunner, groups: Mapping[str, Sequence[RunFolder]]) -> ShiftResult:
    plan, study = runner.plan, runner.plan.study
    image_spec = plan.dataset_cache.open(plan.arms[0].recipe.data, study.seeds[0]).image_spec
    shifts = read_corruptions(study.shifts, image_spec.height, image_spec.width, image_spec.channels)
    settings = ShiftSettings(context=runner.context, purpose="", dataset_factory=plan.dataset_cache.open)

    folders = [folder for each in groups.values() for folder in each]
    check_same_images(folders, settings.split)
    files = {folder.name: runner.folder / SHIFTED / f"{folder.name}-{_cache_key(shifts)}.npz" for folder in folders}
    stored = {folder.name: _read_shifted_run(files[folder.name], folder, shifts) for folder in folders}
    missing = sum(run is None for run in stored.values())
    if missing:
        record_opening(runner.context.runs, f"study {plan.name}", plan.test_set, f"shifts of {missing} runs")

    def measure(folder: RunFolder) -> ShiftedRun:
        run = stored[folder.name]
        if run is None:
            run = shift_run(folder, lambda _: shifts, settings)
            _write_shifted_run(files[folder.name], run)
        return run

    own = study.smallest_difference if study.split_metric == "accuracy" else None
    delta = study.shift_difference or own or SMALLEST_DIFFERENCE
    return shift_groups(groups, measure, DecisionRules(delta, study.alpha))


def _finished_folders(runner: StudyRunner, arm: PlannedArm) -> list[RunFolder]:
    return [run.folder for run in runner.results.finished(arm.tasks) if run.result.train is not None]


def _cache_key(shifts: tuple[object, ...]) -> str:
    """A digest of what the predictions depend on, besides the run itself."""
    return hashlib.sha256(f"{code_hash()} {shifts!r}".encode()).hexdigest()[:12]


def _write_shifted_run(path: Path, run: ShiftedRun) -> None:
    content = io.BytesIO()
    calls = [str(shift.as_call()) for shift in run.shifts]
    np.savez_compressed(
        content,
        right=run.correct,
        labels=run.labels,
        example=run.example,
        classes=np.array(run.classes),
        calls=np.array(calls),
    )
    atomic_write(path, content.getvalue())


def _read_shifted_run(path: Path, folder: RunFolder, shifts: tuple[object, ...]) -> ShiftedRun | None:
    """A stored result; None where there is none, or where it is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return ShiftedRun(
                folder.name, shifts, stored["right"], stored["labels"], stored["example"], int(stored["classes"])
            )
    except Exception:  # readers of zip and NumPy raise exceptions of many kinds for damaged bytes
        return None
