"""Progress bars of studies and searches; apart from that of a run, which need not import them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cnnlab.cli.options import name_file_in_errors
from cnnlab.cli.output.console import ProgressReporter, progress_reporter
from cnnlab.context import Callbacks
from cnnlab.render.formatting import format_fraction, pluralize, sanitize
from cnnlab.reports.study.text import metric_name
from cnnlab.reports.tuning.text import format_parameter
from cnnlab.studies.plan import StudyPlan, StudyTask
from cnnlab.studies.tasks import TaskResult
from cnnlab.tuning.plan import TuningPlan
from cnnlab.tuning.result import TrialRecord, is_better


@contextmanager
def resumable(new_bar: type[StudyProgressBar | SearchProgressBar], file: Path) -> Iterator[Callbacks]:
    """Give the callbacks of a progress bar for a file's work, and print how to go on with it when the block raises."""
    with progress_reporter() as shown, name_file_in_errors(file):
        bar = new_bar(shown)
        try:
            yield bar.callbacks()
        except BaseException:
            if bar.is_planned:  # before that, there is nothing to resume
                command = sanitize(shlex.join(["cnnlab", *sys.argv[1:]]))
                print(f"\nthe runs are kept; go on with: {command}", file=sys.stderr)
            raise


class StudyProgressBar:
    """Shows the progress of a study as a bar, counted in images of all runs, and lines on stderr."""

    def __init__(self, reporter: ProgressReporter) -> None:
        self.reporter = reporter
        self.tasks: Sequence[StudyTask] = ()
        self.images: dict[str, int] = {}
        self.ended_runs = 0
        self.is_planned = False

    def callbacks(self) -> Callbacks:
        """Return the callbacks of a study."""
        return Callbacks(
            progress=self.reporter,
            on_stage_start=self.on_stage_start,
            on_task_progress=self.on_task_progress,
            on_task_end=self.on_task_end,
            log=self.reporter.log,
        )

    def start_stage(self, tasks: Sequence[StudyTask]) -> None:
        """Reset the bar for the tasks of a stage."""
        self.tasks, self.images, self.ended_runs = tasks, {}, 0

    def on_stage_start(self, plan: StudyPlan, tasks: Sequence[StudyTask], missing: Sequence[StudyTask]) -> None:
        """Start the bar of a stage."""
        self.start_stage(missing)
        self.is_planned = True
        runs, num_finished = pluralize(len(tasks), "run"), len(tasks) - len(missing)
        count = f"{num_finished} of {runs} are finished already" if num_finished else runs
        self.reporter.log(
            f"study {plan.name}: {len(plan.arms)} arms, {count}; computing in "
            f"{plan.study_precision.precision_config.precision}"
        )

    def on_task_progress(self, task: StudyTask, images: int, text: str) -> None:
        """Update the bar."""
        self.images[task.id] = images
        note = f"{self.ended_runs} of {len(self.tasks)} runs; {task.arm}, seed {task.seed}: {text}"
        self.reporter("study", sum(self.images.values()), sum(one.images for one in self.tasks), "images", note)

    def on_task_end(self, task: StudyTask, result: TaskResult) -> None:
        """Log the end of a run."""
        self.images[task.id] = task.images
        self.ended_runs += 1
        how = result.folder if result.status != "failed" else f"failed: {result.message}"
        self.reporter.log(f"{self.ended_runs} of {len(self.tasks)}: {task.arm}, seed {task.seed}: {how}")


class SearchProgressBar:
    """Shows the progress of a search as a bar, counted in images of all trials, and lines on stderr."""

    def __init__(self, reporter: ProgressReporter) -> None:
        self.reporter = reporter
        self.images: dict[int, int] = {}
        self.num_ended = self.finished_before = 0
        self.best: float | None = None
        self.is_planned = False

    def callbacks(self) -> Callbacks:
        """Return the callbacks of a search."""
        runs = StudyProgressBar(self.reporter)  # of the baseline and the confirmation
        return replace(
            runs.callbacks(),
            on_stage_start=lambda _plan, _tasks, missing: runs.start_stage(missing),
            on_search_start=self.on_search_start,
            on_trial_progress=self.on_trial_progress,
            on_trial_end=self.on_trial_end,
        )

    def on_search_start(self, plan: TuningPlan, trials: Sequence[TrialRecord]) -> None:
        """Start the bar of the trials."""
        self.plan, self.is_planned = plan, True
        ended = [trial for trial in trials if trial.status != "running"]
        self.num_ended = self.finished_before = len(ended)
        for trial in ended:
            self._update_best(trial)
        wanted = pluralize(plan.search.trials, "trial")
        count = f"{self.num_ended} of {wanted} are finished already" if ended else wanted
        self.reporter.log(
            f"search {plan.name}: {count}; computing in {plan.study_precision.precision_config.precision}"
        )

    def on_trial_progress(self, trial: int, images: int, text: str) -> None:
        """Update the bar."""
        self.images[trial] = images
        self._show(f"; trial {trial}: {text}")

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Log the end of a trial."""
        self.images[trial.number] = self.plan.images
        self.num_ended += 1
        self._update_best(trial)
        values = ", ".join(
            f"{name.rpartition('.')[2]} {format_parameter(value)}" for name, value in trial.params.items()
        )
        metric = metric_name(self.plan.search.metric)
        how = trial.status if trial.value is None else f"{metric} {format_fraction(trial.value)}"
        why = f": {trial.message}" if trial.message else ", which was finished already" if trial.found else ""
        self.reporter.log(f"{self._count()}: trial {trial.number}, {values}: {how}{why}")
        self._show("")

    def _count(self) -> str:
        return f"{self.num_ended} of {self.plan.search.trials}"

    def _update_best(self, trial: TrialRecord) -> None:
        better = self.plan.search.higher_is_better
        if trial.value is not None and (self.best is None or is_better(trial.value, self.best, better)):
            self.best = trial.value

    def _show(self, text: str) -> None:
        best = "none yet" if self.best is None else format_fraction(self.best)
        total = max(self.plan.search.trials - self.finished_before, 1) * self.plan.images
        note = f"{self._count()} trials, best {best}{text}"
        self.reporter("search", sum(self.images.values()), total, "images", note)
