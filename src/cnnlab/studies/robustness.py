"""A study's networks tested under its shifts, once all of them are trained: nothing is chosen by it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cnnlab.atomic_io import write_whole
from cnnlab.config.corruptions import read_shifts
from cnnlab.config.study import Study
from cnnlab.errors import CnnlabError
from cnnlab.runs.environment import code_hash
from cnnlab.runs.robustness.compute import Setting, check_same_kind, shift_groups, shift_run
from cnnlab.runs.robustness.result import Shifted, ShiftedRun
from cnnlab.stats.comparison import Rules
from cnnlab.stats.defaults import SMALLEST_DIFFERENCE
from cnnlab.storage.run_folder import RunFolder
from cnnlab.storage.test_ledger import note_opening
from cnnlab.studies.analysis import Reading
from cnnlab.studies.claims import judge_under
from cnnlab.studies.folder import SHIFTED
from cnnlab.studies.result import UNSHIFTED, StudyResult
from cnnlab.studies.runner import Course
from cnnlab.studies.tasks import alone


def before_shifts(study: Study, result: StudyResult) -> StudyResult:
    """The result of a study with shifts before its networks are tested: what is published of that is open."""
    if not study.shifts:
        return result
    under = judge_under(study, None, result.data)
    return result.model_copy(update={"under": under, "notes": (*result.notes, f"{UNSHIFTED} yet")})


def under_shifts(course: Course, reading: Reading, result: StudyResult) -> StudyResult:
    """The result with all arms' finished networks under the study's shifts, on the test part.

    What a run answered before counts. One look at the test set for all that are still to answer is written down first.
    Where it can't be done, the result says why.
    """
    plan, study = course.plan, course.plan.study
    notes = tuple(note for note in result.notes if not note.startswith(UNSHIFTED))
    groups = {arm.name: _finished(reading, arm.name) for arm in plan.arms if not arm.same_as}
    groups = {name: folders for name, folders in groups.items() if folders}
    if not plan.test_set or not groups:
        why = "no run has figures" if plan.test_set else "the data has no test part"
        return _untested(course, result, notes, why)
    try:
        (course.folder / SHIFTED).mkdir(parents=True, exist_ok=True)
        with alone(course.place.runs, f"test-{plan.test_set}", course.audience.say):
            found = _tested(course, groups)
    except (CnnlabError, OSError) as error:
        return _untested(course, result, notes, str(error).partition("\n")[0])
    same = {arm.name: arm.same_as for arm in result.arms if arm.same_as}
    under = judge_under(study, found, result.data, same)
    return result.model_copy(update={"shifted": found, "under": under, "notes": notes})


def _untested(course: Course, result: StudyResult, notes: tuple[str, ...], why: str) -> StudyResult:
    course.audience.say(f"nothing is tested under shifts: {why}")
    return result.model_copy(update={"notes": (*notes, f"{UNSHIFTED}: {why}")})


def _tested(course: Course, groups: Mapping[str, Sequence[RunFolder]]) -> Shifted:
    plan, study = course.plan, course.plan.study
    form = plan.shelf.open(plan.arms[0].recipe.data, study.seeds[0]).form
    shifts = read_shifts(study.shifts, form.height, form.width, form.channels)
    setting = Setting(
        root=course.place.root,
        device=course.place.device,
        purpose="",
        opener=plan.shelf.open,
        say=course.audience.say,
        progress=course.audience.progress,
    )

    def place(folder: RunFolder) -> Path:
        return course.folder / SHIFTED / f"{folder.name}-{_key(shifts)}.npz"

    def measure(folder: RunFolder) -> ShiftedRun:
        known = _read(place(folder), folder, shifts)
        if known is None:
            known = shift_run(folder, lambda _: shifts, setting)
            _write(place(folder), known)
        return known

    folders = [folder for each in groups.values() for folder in each]
    check_same_kind(folders, setting.part)
    missing = sum(_read(place(folder), folder, shifts) is None for folder in folders)
    if missing:
        note_opening(course.place.runs, f"study {plan.name}", plan.test_set, f"shifts of {missing} runs")
    own = study.smallest_difference if study.figure == "accuracy" else None
    delta = study.shift_difference or own or SMALLEST_DIFFERENCE
    return shift_groups(groups, measure, Rules(delta, study.alpha))[0]


def _finished(reading: Reading, name: str) -> list[RunFolder]:
    tasks = next(arm.tasks for arm in reading.plan.arms if arm.name == name)
    done = [reading.done[task.id] for task in tasks if task.id in reading.done]
    return [found.folder for found in done if found.result.train is not None]


def _key(shifts: tuple[object, ...]) -> str:
    """What decides the answers beside the run itself."""
    return hashlib.sha256(f"{code_hash()} {shifts!r}".encode()).hexdigest()[:12]


def _write(path: Path, run: ShiftedRun) -> None:
    content = io.BytesIO()
    calls = [str(shift.as_call()) for shift in run.shifts]
    own = {"classes": np.array(run.classes), "calls": np.array(calls)}
    np.savez_compressed(content, right=run.right, labels=run.labels, example=run.example, **own)  # type: ignore[arg-type]
    write_whole(path, content.getvalue())


def _read(path: Path, folder: RunFolder, shifts: tuple[object, ...]) -> ShiftedRun | None:
    """What a run answered before; None where it did not, or where that is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            right, labels, example = stored["right"], stored["labels"], stored["example"]
            return ShiftedRun(folder.name, shifts, right, labels, example, int(stored["classes"]))
    except Exception:  # readers of zip and NumPy answer damaged bytes with exceptions of many kinds
        return None
