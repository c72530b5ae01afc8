"""A study's networks tested under its shifts, once all of them are trained: nothing is chosen by it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from cnnlab.errors import CnnlabError
from cnnlab.files import write_whole
from cnnlab.runs.environment import code_hash
from cnnlab.runs.folder import RunFolder
from cnnlab.runs.ledger import note_opening
from cnnlab.runs.shifted import ShiftedRun
from cnnlab.runs.shifting import Bench, shift_groups, shift_run
from cnnlab.spec.shifts import read_shifts
from cnnlab.statistics.comparison import Rules
from cnnlab.study.course import Course
from cnnlab.study.folder import SHIFTED
from cnnlab.study.reading import Reading
from cnnlab.study.results import StudyResult
from cnnlab.study.under import judge_under
from cnnlab.study.work import alone


def under_shifts(course: Course, reading: Reading, result: StudyResult) -> StudyResult:
    """The result with all arms' finished networks under the study's shifts, on the test part.

    What a run answered before counts. One look at the test set for all that are still to answer is written down first.
    Where it can't be done, the result stays as it is, which is said.
    """
    plan, study, say = course.plan, course.plan.study, course.audience.say
    groups = {arm.name: _finished(reading, arm.name) for arm in plan.arms if not arm.same_as}
    groups = {name: folders for name, folders in groups.items() if folders}
    if not plan.test_set or not groups:
        say(f"nothing is tested under shifts: {'no run has figures' if plan.test_set else 'the data has no test part'}")
        return result
    form = plan.shelf.open(plan.arms[0].recipe.data, study.seeds[0]).form
    shifts = read_shifts(study.shifts, form.height, form.width, form.channels)
    kept = course.folder / SHIFTED
    bench = Bench(
        root=course.place.root,
        device=course.place.device,
        purpose="",
        opener=plan.shelf.open,
        say=say,
        progress=course.audience.progress,
    )

    def measure(folder: RunFolder) -> ShiftedRun:
        path = kept / f"{folder.name}-{_key(shifts)}.npz"
        known = _read(path, folder, shifts)
        if known is None:
            known = shift_run(folder, lambda _: shifts, bench)
            _write(path, known)
        return known

    missing = [
        folder
        for folders in groups.values()
        for folder in folders
        if _read(kept / f"{folder.name}-{_key(shifts)}.npz", folder, shifts) is None
    ]
    try:
        kept.mkdir(parents=True, exist_ok=True)
        with alone(course.place.runs, f"test-{plan.test_set}", say):
            if missing:
                purpose = f"shifts of {len(missing)} runs"
                note_opening(course.place.runs, f"study {plan.name}", plan.test_set, purpose)
            rules = Rules(study.smallest_difference, study.alpha)
            found, _ = shift_groups(groups, measure, rules)
    except (CnnlabError, OSError) as error:
        say(f"not tested under shifts: {error}")
        return result
    return result.model_copy(update={"shifted": found, "under": judge_under(study, found, result.data)})


def _finished(reading: Reading, name: str) -> list[RunFolder]:
    tasks = next(arm.tasks for arm in reading.plan.arms if arm.name == name)
    done = [reading.done[task.id] for task in tasks if task.id in reading.done]
    return [found.folder for found in done if found.result.train is not None]


def _key(shifts: tuple[object, ...]) -> str:
    """What decides the answers beside the run itself."""
    return hashlib.sha256(f"{code_hash()} {shifts!r}".encode()).hexdigest()[:12]


def _write(path: Path, run: ShiftedRun) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, right=run.right, labels=run.labels, example=run.example, classes=run.classes)
    write_whole(path, content.getvalue())


def _read(path: Path, folder: RunFolder, shifts: tuple[object, ...]) -> ShiftedRun | None:
    """What a run answered before; None where it did not, or where that is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            right, labels, example = stored["right"], stored["labels"], stored["example"]
            return ShiftedRun(folder.name, shifts, right, labels, example, int(stored["classes"]))
    except Exception:  # readers of zip and NumPy answer damaged bytes with exceptions of many kinds
        return None
