"""A study on its way: its tasks are carried out until they are done or the budget is spent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from cnnlab.atomic_io import write_whole
from cnnlab.data.sources.base import Progress, silent
from cnnlab.runs.callbacks import nothing
from cnnlab.runs.index.run_index import Found, Listing
from cnnlab.studies.plan import Plan, Task
from cnnlab.studies.tasks import Outcome, Place
from cnnlab.studies.worker_pool import Executor


@dataclass(frozen=True)
class Audience:
    """Whoever wants to see a study while it goes on; by default nobody.

    `planned` is told the plan, all tasks of a stage, and those that are still to be done; `heard` how far a run is;
    `ended` each outcome.
    """

    progress: Progress = silent
    planned: Callable[[Plan, Sequence[Task], Sequence[Task]], None] = nothing
    heard: Callable[[Task, int, str], None] = nothing
    ended: Callable[[Task, Outcome], None] = nothing
    say: Callable[[str], None] = nothing


NOBODY = Audience()


@dataclass
class Course:
    """A study on its way: what failed, whether the budget ended it, and why a test that was asked for was not made."""

    plan: Plan
    place: Place
    executor: Executor
    audience: Audience
    folder: Path
    failures: dict[str, str] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)
    seconds: float = 0.0
    images: int = 0
    spent: bool = False
    untested: str = ""

    def count(self, found: Found) -> None:
        """Take a run's share of the budget, once; runs that were there already count too."""
        if found.folder.name not in self.counted:
            self.counted.add(found.folder.name)
            self.seconds += found.result.seconds
            self.images += round(found.result.seconds * found.result.images_per_second)

    def goes_on(self) -> bool:
        """Whether the budget lets another run begin."""
        return not self.plan.study.budget.spent(self.images, self.seconds)

    def listing(self) -> Listing:
        """The runs that are there now."""
        return Listing(self.place.runs, self.place.any_code)


def carry(course: Course, tasks: Sequence[Task]) -> bool:
    """Carry out what is not done yet, until it is done or the budget is spent; whether all of it is done."""
    place, audience, listing = course.place, course.audience, course.listing()
    by_id = {task.id: task for task in tasks}
    there = {task.id: found for task in tasks if (found := listing.finished(task.id)) is not None}
    for found in there.values():
        course.count(found)
    missing = [task for task in tasks if task.id not in there]
    audience.planned(course.plan, tasks, missing)
    with closing(course.executor(missing, place, audience.heard, course.goes_on)) as outcomes:
        for outcome in outcomes:
            if outcome.status == "failed":
                course.failures[outcome.id] = outcome.message
            elif (made := course.listing().finished(outcome.id)) is not None:
                course.count(made)
            audience.ended(by_id[outcome.id], outcome)
    now = course.listing()
    done = all(now.finished(task.id) is not None for task in missing)
    course.spent = not done and not course.goes_on()
    write_whole(course.folder / "failures.json", json.dumps(course.failures, indent=2).encode())
    return done
