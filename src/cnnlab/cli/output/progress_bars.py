"""Progress bars of runs, studies and searches."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from cnnlab.cli.output.console import Progressing
from cnnlab.records import EpochRecord, StepMeans
from cnnlab.render import formatting
from cnnlab.reports.study.text import metric_name
from cnnlab.reports.tuning.tables import shown
from cnnlab.runs.callbacks import Listener
from cnnlab.studies.plan import Plan, Task
from cnnlab.studies.runner import Audience
from cnnlab.studies.tasks import Outcome
from cnnlab.tuning.plan import TuningPlan
from cnnlab.tuning.result import TrialRecord, is_better
from cnnlab.tuning.search import Onlookers


class Watching:
    """Turns the reports of a run into a bar and lines on stderr."""

    def __init__(self, progressing: Progressing) -> None:
        self.progressing = progressing
        self.note = ""

    def listener(self) -> Listener:
        """What a run calls."""
        return Listener(progress=self.progressing, watch=self.watch, point=self.point, say=self.progressing.say)

    def watch(self, images: int, total: int, means: StepMeans | None) -> None:
        """Called after every step."""
        if means is not None:
            self.note = f"loss {means.loss:.3f}, accuracy {means.accuracy:.3f}"
        self.progressing("training", images, total, "images", self.note)

    def point(self, record: EpochRecord) -> None:
        """Called after every validation."""
        parts = [f"epoch {record.epoch:g}", f"train {record.train.loss:.3f} / {record.train.accuracy:.3f}"]
        for name, score in (("validation", record.validation), ("test", record.test)):
            if score is not None:
                parts.append(f"{name} {score.loss:.3f} / {score.accuracy:.3f}")
        self.progressing.say(", ".join(parts) + f" (loss / accuracy), {record.images_per_second:,.0f} images/s")


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


class Tuning:
    """Turns the reports of a search into a bar, counted in images of all trials, and lines on stderr."""

    def __init__(self, shown: Progressing) -> None:
        self.shown = shown
        self.stages = Studying(shown)
        self.images: dict[int, int] = {}
        self.ended_trials = self.already = 0
        self.best: float | None = None
        self.is_planned = False

    def onlookers(self) -> Onlookers:
        """What a search calls."""
        return Onlookers(
            progress=self.shown,
            planned=self.planned,
            heard=self.heard,
            ended=self.ended,
            say=self.shown.say,
            stages=replace(self.stages.audience(), planned=self.stage),
        )

    def planned(self, plan: TuningPlan, trials: Sequence[TrialRecord]) -> None:
        """Called before the trials."""
        self.plan, self.is_planned = plan, True
        over = [trial for trial in trials if trial.status != "running"]
        self.already = len(over)
        for trial in over:
            self._remember(trial)
        wanted = formatting.plural(plan.search.trials, "trial")
        made = f"{self.already} of {wanted} are there already" if over else wanted
        self.shown.say(f"search {plan.name}: {made}; computing in {plan.way.way.precision}")

    def stage(self, _plan: Plan, _tasks: Sequence[Task], missing: Sequence[Task]) -> None:
        """Called before the baseline's runs, and before those of the confirmation."""
        self.stages.tasks, self.stages.images, self.stages.ended_runs = missing, {}, 0

    def heard(self, trial: int, images: int, said: str) -> None:
        """Called while a trial goes on."""
        self.images[trial] = images
        self._show(f"trial {trial}: {said}")

    def ended(self, trial: TrialRecord) -> None:
        """Called at each trial's end."""
        self.images[trial.number] = self.plan.images
        self.ended_trials += 1
        self._remember(trial)
        values = ", ".join(f"{name.rpartition('.')[2]} {shown(value)}" for name, value in trial.params.items())
        figure = "" if trial.value is None else f" {formatting.fraction(trial.value)}"
        how = metric_name(self.plan.search.metric) + figure if trial.value is not None else trial.status
        why = f": {trial.message}" if trial.message else ", which was there already" if trial.found else ""
        done = self.already + self.ended_trials
        self.shown.say(f"{done} of {self.plan.search.trials}: trial {trial.number}, {values}: {how}{why}")
        self._show("")

    def _remember(self, trial: TrialRecord) -> None:
        better = self.plan.search.higher_is_better
        if trial.value is not None and (self.best is None or is_better(trial.value, self.best, better)):
            self.best = trial.value

    def _show(self, said: str) -> None:
        wanted = self.plan.search.trials
        best = "none yet" if self.best is None else formatting.fraction(self.best)
        note = f"{self.already + self.ended_trials} of {wanted} trials, best {best}" + (f"; {said}" if said else "")
        total = max(wanted - self.already, 1) * self.plan.images
        self.shown("search", sum(self.images.values()), total, "images", note)
