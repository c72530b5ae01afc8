"""A study from end to end: a study file's content in, a StudyResult out. The page to read first.

study → plan → tasks → runs, each once → what they say → the winner again with fresh seeds → result
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from cnnlab.data.source import Progress, silent
from cnnlab.errors import RunError
from cnnlab.files import write_whole
from cnnlab.runs.final import open_test
from cnnlab.runs.ledger import note_opening
from cnnlab.runs.listener import Listener
from cnnlab.spec.study import Study
from cnnlab.statistics.choice import rank
from cnnlab.study.analysis import analyse, claims_judged, confirmed
from cnnlab.study.executors import Executor, here
from cnnlab.study.folder import kept_way, study_folder, study_name
from cnnlab.study.plan import Plan, Task, make_plan
from cnnlab.study.reading import Reading
from cnnlab.study.results import Confirmation, StudyResult
from cnnlab.study.work import Outcome, Place, alone, find_run


def _nothing(*_: object) -> None:
    """What a caller does with a report that it does not want."""


@dataclass(frozen=True)
class Audience:
    """Whoever wants to see a study while it goes on; by default nobody.

    `planned` is told the plan, all tasks of a stage, and those that are still to be done; `heard` how far a run is;
    `ended` each outcome.
    """

    progress: Progress = silent
    planned: Callable[[Plan, Sequence[Task], Sequence[Task]], None] = _nothing
    heard: Callable[[Task, int, str], None] = _nothing
    ended: Callable[[Task, Outcome], None] = _nothing
    say: Callable[[str], None] = _nothing


NOBODY = Audience()


@dataclass
class Course:
    """A study on its way: where its runs and its own files lie, and what failed."""

    plan: Plan
    place: Place
    executor: Executor
    audience: Audience
    folder: Path
    failures: dict[str, str] = field(default_factory=dict)
    spent: bool = False


def carry_out_study(
    study: Study,
    name: str,
    *,
    runs: Path = Path("runs"),
    root: Path | None = None,
    device: str = "auto",
    executor: Executor = here,
    any_code: bool = False,
    audience: Audience = NOBODY,
) -> StudyResult:
    """Do what a study still needs, and say what came out. Its folder is `runs`/studies/`name`.

    Runs that were made before count, whatever study made them; one that was cut off is gone on with.

    Args:
        name: what the study is called.
        runs: where run folders live.
        root: where catalogue data lives; None: the cache folder.
        device: auto, cpu, cuda or mps.
        executor: who carries the tasks out.
        any_code: also take finished runs that another version of cnnlab's code made.

    Raises:
        SpecError, SourceError, DownloadError: before anything is run.
        RunError: the runs folder can't be written to.
    """
    folder = study_folder(runs, study_name(name))
    plan = make_plan(study, name, root=root, device=device, progress=audience.progress, kept=kept_way(folder))
    place = Place(runs.resolve(), root, plan.way.device, any_code=any_code)
    course = Course(plan, place, executor, audience, folder)
    _make(folder)
    write_whole(folder / "study.toml", study.to_toml().encode())
    write_whole(folder / "way.json", plan.way.to_json(indent=2).encode())
    carry(course, plan.tasks())
    reading = Reading(plan, place.runs, course.failures, any_code)
    result = analyse(reading, spent=course.spent)
    if study.confirm is not None and not course.spent:
        confirmation = _confirm(course, reading, result)
        claims = claims_judged(reading, confirmation)
        result = result.model_copy(update={"confirmation": confirmation, "claims": claims})
    write_whole(folder / "result.json", result.to_json(indent=2).encode())
    return result


def carry(course: Course, tasks: Sequence[Task]) -> None:
    """Carry out what is not done yet, until it is done or the budget is spent."""
    place, audience = course.place, course.audience
    by_id = {task.id: task for task in tasks}
    missing = [task for task in tasks if not _is_done(task, place)]
    audience.planned(course.plan, tasks, missing)
    used = _Used(course.plan.study.budget, (task for task in tasks if task not in missing), place)
    with closing(course.executor(missing, place, audience.heard, used.go_on)) as outcomes:
        for outcome in outcomes:
            if outcome.status == "failed":
                course.failures[outcome.id] = outcome.message
            else:
                used.add(by_id[outcome.id])
            audience.ended(by_id[outcome.id], outcome)
    course.spent = not used.go_on() and any(not _is_done(task, place) for task in tasks)
    write_whole(course.folder / "failures.json", json.dumps(course.failures, indent=2).encode())


class _Used:
    """What a study's runs have taken of its budget, those of earlier calls included."""

    def __init__(self, budget: object, done: Iterable[Task], place: Place) -> None:
        self.budget, self.place = budget, place
        self.seconds, self.images = 0.0, 0
        for task in done:
            self.add(task)

    def add(self, task: Task) -> None:
        folder = find_run(self.place.runs, task.id, self.place.any_code)
        result = folder.result() if folder is not None else None
        if result is not None:
            self.seconds += result.seconds
            self.images += round(result.seconds * result.images_per_second)

    def go_on(self) -> bool:
        return not self.budget.spent(self.images, self.seconds)  # type: ignore[attr-defined]


def _is_done(task: Task, place: Place) -> bool:
    folder = find_run(place.runs, task.id, place.any_code)
    return folder is not None and folder.result() is not None


def _confirm(course: Course, reading: Reading, result: StudyResult) -> Confirmation | None:
    """The winner and the baseline again, with fresh seeds; then the test set is opened, once for all of them."""
    plan, study, say = course.plan, course.plan.study, course.audience.say
    ranking = rank([arm.sample for arm in result.arms if not arm.same_as], higher_is_better=study.higher_is_better)
    if ranking.winner is None or study.baseline is None or study.confirm is None:
        say(
            "nothing is confirmed: no arm has three finished runs"
            if study.baseline
            else "nothing is confirmed: the study has no baseline"
        )
        return None
    if ranking.winner.name == study.baseline:
        say(f"the baseline '{study.baseline}' has the best mean: there is no winner to confirm")
        return None
    if not plan.test_set:
        say("nothing is confirmed: the data has no test part")
        return None
    return confirm(course, reading, ranking.winner.name)


def confirm(course: Course, reading: Reading, name: str) -> Confirmation | None:
    """Run an arm and the baseline with fresh seeds, and open the test set once for all these runs; then compare.

    None where a run could not be made; that is said.
    """
    plan, study, say = course.plan, course.plan.study, course.audience.say
    if study.baseline is None or study.confirm is None:
        return None
    arms = {arm.name: arm for arm in plan.fresh((name, study.baseline), study.confirm)}
    winner, baseline = arms[name], arms[study.baseline]
    tasks = [task for pair in zip(winner.tasks, baseline.tasks, strict=True) for task in pair]
    say(f"confirming '{winner.name}' against '{baseline.name}' with {study.confirm} fresh seeds each")
    carry(course, tasks)
    if not all(_is_done(task, course.place) for task in tasks):
        say("not confirmed: some of its runs have not been made")
        return None
    with alone(course.place.runs, f"test-{plan.test_set}", say):  # the same study may be at work in another process
        _open_together(course, tasks)
    for arm in (winner, baseline):
        reading.read(arm, course.place.runs, course.place.any_code)
    return confirmed(reading, winner, baseline)


def _open_together(course: Course, tasks: Sequence[Task]) -> None:
    """Score the runs on the test set: one opening, written down before the first look."""
    place, plan = course.place, course.plan
    folders = [folder for task in tasks if (folder := find_run(place.runs, task.id, place.any_code)) is not None]
    shut = [folder for folder in folders if (result := folder.result()) is not None and _may_open(result)]
    if not shut:
        return
    note_opening(place.runs, f"study {plan.name}", plan.test_set, f"confirmation with {len(shut)} runs")
    for folder in shut:
        listener = Listener(progress=course.audience.progress)
        shelf = plan.shelf
        open_test(folder.path, root=place.root, device=place.device, listener=listener, noted=True, opener=shelf.open)


def _may_open(result: object) -> bool:
    return getattr(result, "test", None) is None and getattr(result, "train", None) is not None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        step = "choose another with --runs"
        raise RunError(f"a study's folder can't be made: {error.strerror}", where=str(folder), next_step=step) from None
