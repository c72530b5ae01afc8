"""A search from a search file to its result. The module to read first.

search → plan → the baseline's runs → trials, each with its runs → confirmation with fresh seeds → result
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from cnnlab.atomic_io import atomic_write
from cnnlab.config.search import Search
from cnnlab.config.search_space import pruners
from cnnlab.context import LOCAL, RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.errors import RunError
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.stats.sample import MIN_RUNS_TO_RANK
from cnnlab.studies.confirmation import confirm
from cnnlab.studies.folder import make_folder, read_record, study_name
from cnnlab.studies.plan import StudyPlan, make_plan
from cnnlab.studies.result import UNCONFIRMED, Confirmation, SeedRecord
from cnnlab.studies.runner import StudyRunner, run_tasks
from cnnlab.studies.worker_pool import Executor, in_process, processes
from cnnlab.training.device import choose_device
from cnnlab.tuning.objective import SearchJob, arm_name, run_trials
from cnnlab.tuning.optuna_backend import load_optuna
from cnnlab.tuning.plan import TuningPlan, parameter_records, plan_search
from cnnlab.tuning.result import BaselineRecord, TrialRecord, TrialStatus, TuningResult, is_better
from cnnlab.tuning.trials import TrialStore

TUNING = "tuning"


def execute_search(
    search: Search,
    name: str,
    context: RunContext = LOCAL,
    *,
    jobs: int = 1,
    storage: str | None = None,
) -> TuningResult:
    """Run the missing trials of a search, and confirm the best one; its folder is tuning/`name` in the runs folder.

    Several processes may work on one search at the same time.

    Args:
        name: the search's name.
        context: names the runs folder, the data folder and the device; its callbacks are called.
        jobs: the number of trials at a time; more than one run in processes of their own.
        storage: an Optuna storage URL; None: a SQLite file in the search's folder.

    Raises:
        UsageError: Optuna is not installed, the storage can't be opened, or it has trials of another search.
        SpecError, SourceError, DownloadError: before anything is run.
        RunError: the runs folder can't be written to, or every trial failed.
    """
    load_optuna()
    context = replace(context, runs=context.runs.resolve(), device=choose_device(context.device).type)
    name, dataset_cache, callbacks = study_name(name), DatasetCache(context), context.callbacks
    folder = tuning_folder(context.runs, name)
    make_folder(folder)
    with closing(TrialStore(search, name, folder, storage)) as trials:
        planned = plan_search(search, name, context, dataset_cache, trials)
        atomic_write(folder / "search.toml", search.to_toml().encode())
        stages = _Stages(planned, context, folder, processes(jobs) if jobs > 1 else in_process, dataset_cache)
        callbacks.on_search_start(planned, trials.records())
        baseline = stages.run_baseline()
        job = SearchJob(search, planned.search, name, folder, storage, context)
        run_trials(trials, job, dataset_cache, jobs)
        result = _make_result(planned, trials, baseline)
        with trials.lock("confirming"):
            confirmation, untested = stages.run_confirmation(result)
        notes = (*result.notes, untested) if untested else result.notes
        result = result.model_copy(update={"confirmation": confirmation, "notes": notes})
    _write_result(folder, search, planned.search, result)
    if result.trials and all(trial.status == "failed" for trial in result.trials):
        where, why = str(folder), result.trials[0].message
        raise RunError(f"every trial failed, the first because {why}", where=where, next_step="search other values")
    return result


def tuning_folder(runs: Path, name: str) -> Path:
    """The folder of a search; its runs are beside all others."""
    return runs.resolve() / TUNING / name


def read_tuning(folder: Path) -> TuningResult:
    """Read the result of a search.

    Raises:
        RunError: there is none, or it is damaged.
    """
    return read_record(TuningResult, folder, "tune")


@dataclass(frozen=True)
class _Stages:
    """The runs before the trials, of the baseline, and after them, of the confirmation."""

    tuning_plan: TuningPlan
    context: RunContext
    folder: Path
    executor: Executor
    dataset_cache: DatasetCache

    def run_baseline(self) -> BaselineRecord:
        """Run the unchanged base with the seeds of the trials."""
        plan = self.tuning_plan.plan
        runner, arm = self._study_runner(plan), plan.arms[0]
        run_tasks(runner, arm.tasks)
        return _baseline_record(
            [runner.results.seed_record(task, self.tuning_plan.search.metric) for task in arm.tasks]
        )

    def run_confirmation(self, result: TuningResult) -> tuple[Confirmation | None, str]:
        """Run the best trial and the baseline with fresh seeds, and evaluate them on the test set.

        Returns:
            The confirmation, or None, and why it could not be made although it was requested; else empty.
        """
        search, best, log = self.tuning_plan.search, result.best, self.context.callbacks.log
        if not search.confirm or best is None or best.value is None or not result.complete:
            return None, ""
        baseline = result.baseline.value
        if baseline is not None and not is_better(best.value, baseline, search.higher_is_better):
            log(f"{UNCONFIRMED}: no trial was better than the baseline")
            return None, ""
        arm = arm_name(best.number)
        study = search.study({arm: search.changes(best.params)})
        try:
            plan = make_plan(study, self.tuning_plan.name, self.context, dataset_cache=self.dataset_cache)
        except RunError as error:
            untested = f"{UNCONFIRMED}: {error.problems[0].what}"
            log(untested)
            return None, untested
        runner = self._study_runner(plan)
        confirmation = confirm(runner, arm)
        return confirmation, runner.untested_reason

    def _study_runner(self, plan: StudyPlan) -> StudyRunner:
        return StudyRunner(plan, self.context, self.executor, self.folder, RunIndex(self.context.runs))


def _baseline_record(seeds: Sequence[SeedRecord]) -> BaselineRecord:
    values = [math.nan if seed.value is None or seed.status == "diverged" else seed.value for seed in seeds]
    value = sum(values) / len(values)
    statuses: dict[str, TrialStatus] = {"diverged": "diverged", "failed": "failed", "not run": "failed"}
    status = next((statuses[seed.status] for seed in seeds if seed.status in statuses), "finished")
    return BaselineRecord(
        status=status,
        value=value if math.isfinite(value) else None,
        seconds=sum(seed.seconds or 0.0 for seed in seeds),
        runs=tuple(seed.run for seed in seeds if seed.run),
        message=next((seed.message for seed in seeds if seed.message), ""),
    )


def _make_result(tuning_plan: TuningPlan, trials: TrialStore, baseline: BaselineRecord) -> TuningResult:
    search, plan, precision = tuning_plan.search, tuning_plan.plan, tuning_plan.study_precision
    records = trials.records()
    finished = [trial for trial in records if trial.value is not None]
    sign = -1 if search.higher_is_better else 1
    best = min(finished, key=lambda trial: sign * trial.value, default=None)  # type: ignore[operator]
    spent = search.budget.is_exhausted(*trials.budget_used())
    wanted = search.num_trials
    return TuningResult(
        study=tuning_plan.name,
        question=search.question,
        metric=search.metric,
        higher_is_better=search.higher_is_better,
        smallest_difference=search.smallest_difference,
        alpha=search.alpha,
        data=plan.data,
        images=plan.images,
        sampler=search.sampler,
        pruner=str(pruners.to_call(search.pruner)),
        seeds=search.seeds,
        wanted=wanted,
        parameters=parameter_records(search),
        trials=records,
        best=best,
        chosen_from=len(finished),
        baseline=baseline,
        importance=trials.param_importances(),
        notes=tuple(_notes(search, records, spent and len(records) < wanted, wanted)),
        precision=precision.precision_config.precision,
        memory_format=precision.precision_config.memory_format,
        device=precision.device,
        seconds=math.fsum(trial.seconds for trial in records) + baseline.seconds,
        complete=spent or len(records) >= wanted,
    )


def _notes(search: Search, records: Sequence[TrialRecord], budget_exhausted: bool, wanted: int) -> Iterator[str]:
    if budget_exhausted:
        yield f"the budget was spent after {len(records)} of {wanted} trials"
    codes = sorted({trial.code for trial in records if trial.code})
    if len(codes) > 1:
        yield f"the trials were made by {len(codes)} versions of cnnlab's code: {', '.join(codes)}"
    if search.seeds < MIN_RUNS_TO_RANK:
        runs = "one run" if search.seeds == 1 else f"{search.seeds} runs"
        yield f"each trial has {runs}, so the order of trials is noisy; seeds = {MIN_RUNS_TO_RANK} compares means"
    for status in ("diverged", "failed"):
        matching = [trial for trial in records if trial.status == status]
        for message in sorted({trial.message for trial in matching}):
            numbers = ", ".join(str(trial.number) for trial in matching if trial.message == message)
            yield f"{status}: trial {numbers}: {message}"


def _write_result(folder: Path, search: Search, resolved_search: Search, result: TuningResult) -> None:
    """Write the result, and the best trial's recipe, ready to be trained."""
    atomic_write(folder / "result.json", result.to_json(indent=2).encode())
    if result.best is not None:
        # With the run that its trials started from.
        base = search.base.model_copy(update={"model": resolved_search.base.model})
        best = search.model_copy(update={"base": base}).recipe(result.best.params)
        atomic_write(folder / "best.toml", best.to_toml().encode())
