"""What a person sees while a study goes on: one bar for all its runs, with the time left, and a line for each run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from cnnlab.cli.console import Progressing
from cnnlab.render import formatting
from cnnlab.studies.plan import Plan, Task
from cnnlab.studies.runner import Audience
from cnnlab.studies.tasks import Outcome


@contextmanager
def resumable(is_planned: Callable[[], bool]) -> Iterator[None]:
    """Whatever ends planned work within it, say how to go on with it."""
    try:
        yield
    except BaseException:
        if is_planned():  # before that nothing has been made
            command = formatting.clean(shlex.join(["cnnlab", *sys.argv[1:]]))
            print(f"\nthe runs are kept; go on with: {command}", file=sys.stderr)
        raise


class Studying:
    """Turns the reports of a study into a bar, counted in images of all runs, and lines on stderr."""

    def __init__(self, shown: Progressing) -> None:
        self.shown = shown
        self.tasks: Sequence[Task] = ()
        self.images: dict[str, int] = {}
        self.ended_runs = 0
        self.is_planned = False

    def audience(self) -> Audience:
        """What a study calls."""
        return Audience(
            progress=self.shown, planned=self.planned, heard=self.heard, ended=self.ended, say=self.shown.say
        )

    def planned(self, plan: Plan, tasks: Sequence[Task], missing: Sequence[Task]) -> None:
        """Called once a stage, with all its runs and those that are to be made."""
        self.tasks, self.images, self.ended_runs = missing, {}, 0
        self.is_planned = True
        runs, there = formatting.plural(len(tasks), "run"), len(tasks) - len(missing)
        made = f"{there} of {runs} are there already" if there else runs
        self.shown.say(f"study {plan.name}: {len(plan.arms)} arms, {made}; computing in {plan.way.way.precision}")

    def heard(self, task: Task, images: int, said: str) -> None:
        """Called while a run goes on."""
        self.images[task.id] = images
        note = f"{self.ended_runs} of {len(self.tasks)} runs; {task.arm}, seed {task.seed}: {said}"
        self.shown("study", sum(self.images.values()), sum(one.images for one in self.tasks), "images", note)

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Called at each run's end."""
        self.images[task.id] = task.images
        self.ended_runs += 1
        how = outcome.folder if outcome.status != "failed" else f"failed: {outcome.message}"
        self.shown.say(f"{self.ended_runs} of {len(self.tasks)}: {task.arm}, seed {task.seed}: {how}")
