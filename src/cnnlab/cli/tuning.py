"""What a person sees while a search goes on: one bar for all its trials, with the time left, and a line for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnnlab.cli.console import Progressing
from cnnlab.cli.studying import Studying
from cnnlab.render import formatting
from cnnlab.reports.study.text import metric_name
from cnnlab.reports.tuning.tables import shown
from cnnlab.studies.plan import Plan, Task
from cnnlab.tuning.plan import TuningPlan
from cnnlab.tuning.result import TrialRecord, is_better
from cnnlab.tuning.search import Onlookers


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
