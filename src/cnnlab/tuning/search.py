"""A search from end to end: a search file's content in, a TuningResult out. The page to read first.

search → plan → the baseline's runs → trials, each with its runs → the best one again with fresh seeds → result
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cnnlab.atomic_io import write_whole
from cnnlab.config.search import Search
from cnnlab.config.search_space import pruners
from cnnlab.data.dataset_cache import Shelf
from cnnlab.data.sources.base import Progress, silent
from cnnlab.errors import RunError
from cnnlab.records import first_problem
from cnnlab.runs.callbacks import nothing
from cnnlab.stats.ranking import FEWEST_TO_CHOOSE
from cnnlab.studies.analysis import Reading
from cnnlab.studies.confirmation import confirm
from cnnlab.studies.folder import study_name
from cnnlab.studies.plan import Plan, make_plan
from cnnlab.studies.result import UNCONFIRMED, Confirmation, SeedRecord
from cnnlab.studies.runner import NOBODY, Audience, Course, carry
from cnnlab.studies.tasks import Place
from cnnlab.studies.worker_pool import Executor, here, processes
from cnnlab.training.device import choose_device
from cnnlab.tuning.objective import Job, Seen, arm_name, try_all
from cnnlab.tuning.optuna_backend import load_optuna
from cnnlab.tuning.plan import TuningPlan, parameters, plan_search, trials_wanted
from cnnlab.tuning.result import BaselineRecord, TrialRecord, TrialStatus, TuningResult, is_better
from cnnlab.tuning.trials import Trials
from cnnlab.tuning.worker_pool import try_side_by_side

TUNING = "tuning"


@dataclass(frozen=True)
class Onlookers:
    """Whoever wants to see a tuning while it goes on; by default nobody.

    `planned` is told the plan and the trials that there are already; `heard` a trial's number, the images of its runs
    so far, and a word; `ended` each trial that ends in this call. `stages` sees the baseline's runs and those of the
    confirmation.
    """

    progress: Progress = silent
    planned: Callable[[TuningPlan, Sequence[TrialRecord]], None] = nothing
    heard: Callable[[int, int, str], None] = nothing
    ended: Callable[[TrialRecord], None] = nothing
    say: Callable[[str], None] = nothing
    stages: Audience = NOBODY


UNSEEN = Onlookers()


def carry_out_search(
    search: Search,
    name: str,
    *,
    runs: Path = Path("runs"),
    root: Path | None = None,
    device: str = "auto",
    jobs: int = 1,
    storage: str | None = None,
    onlookers: Onlookers = UNSEEN,
) -> TuningResult:
    """Make the trials that are still to be made, and say what came out. Its folder is `runs`/tuning/`name`.

    Given again, it goes on where it was; several processes may do so at the same time.

    Args:
        name: what the search is called.
        runs: where run folders live.
        root: where catalogue data lives; None: the cache folder.
        device: auto, cpu, cuda or mps.
        jobs: so many trials side by side, each in a process of its own where there are several.
        storage: an Optuna storage URL; None: a SQLite file in the tuning's folder.

    Raises:
        UsageError: Optuna is not installed, the storage can't be opened, or it has trials of another search.
        SpecError, SourceError, DownloadError: before anything is run.
        RunError: the runs folder can't be written to, or no trial came to an end.
    """
    load_optuna()
    name, shelf = study_name(name), Shelf(root, onlookers.progress)
    folder = tuning_folder(runs, name)
    _make(folder)
    with Trials(search, name, folder, storage) as trials:
        planned = plan_search(search, name, device=device, shelf=shelf, trials=trials)
        write_whole(folder / "search.toml", search.to_toml().encode())
        place = Place(runs.resolve(), root, choose_device(device).type)
        stages = _Stages(planned, place, folder, processes(jobs) if jobs > 1 else here, onlookers, shelf)
        onlookers.planned(planned, trials.records())
        baseline = stages.baseline()
        job, seen = Job(search, planned.search, name, folder, storage, place), Seen(onlookers.heard, onlookers.ended)
        if jobs > 1:
            try_side_by_side(trials, job, jobs, seen)
        else:
            try_all(trials, job, shelf, seen)
        result = _result(planned, trials, baseline)
        with trials.holding("confirming"):
            confirmation, untested = stages.confirmation(result)
        notes = (*result.notes, untested) if untested else result.notes
        result = result.model_copy(update={"confirmation": confirmation, "notes": notes})
    _write_down(folder, search, planned.search, result)
    if result.trials and all(trial.status == "failed" for trial in result.trials):
        where, why = str(folder), result.trials[0].message
        raise RunError(f"every trial failed, the first because {why}", where=where, next_step="search other values")
    return result


def tuning_folder(runs: Path, name: str) -> Path:
    """Where a tuning's own files lie; its runs lie beside all others."""
    return runs.resolve() / TUNING / name


def read_tuning(folder: Path) -> TuningResult:
    """The result that a tuning wrote.

    Raises:
        RunError: there is none, or it is damaged.
    """
    path = folder / "result.json"
    try:
        return TuningResult.from_json(path.read_bytes())
    except FileNotFoundError:
        step = "carry it out: cnnlab tune FILE"
        raise RunError("there is no tuning with a result here", where=str(folder), next_step=step) from None
    except ValidationError as error:
        what = f"result.json is damaged: {first_problem(error)}"
        step = "give the tuning's command again: it reads its trials anew"
        raise RunError(what, where=str(path), next_step=step) from None


@dataclass(frozen=True)
class _Stages:
    """The runs around the trials: the baseline's before them, and the confirmation's after."""

    planned: TuningPlan
    place: Place
    folder: Path
    executor: Executor
    onlookers: Onlookers
    shelf: Shelf

    def baseline(self) -> BaselineRecord:
        """The base as it is, with the seeds of the trials."""
        plan = self.planned.plan
        course, arm = self._course(plan), plan.arms[0]
        carry(course, arm.tasks)
        reading = Reading(plan, self.place.runs, course.failures)
        return _baseline([reading.seed(task, self.planned.search.metric) for task in arm.tasks])

    def confirmation(self, result: TuningResult) -> tuple[Confirmation | None, str]:
        """The best trial against the baseline with fresh seeds, and then the test set, opened once.

        Beside it, why that was asked for and could not be done; else empty.
        """
        search, best, say = self.planned.search, result.best, self.onlookers.say
        if not search.confirm or best is None or best.value is None or not result.complete:
            return None, ""
        held = result.baseline.value
        if held is not None and not is_better(best.value, held, search.higher_is_better):
            say(f"{UNCONFIRMED}: no trial was better than the baseline")
            return None, ""
        arm = arm_name(best.number)
        study = search.study({arm: search.changes(best.params)})
        try:
            plan = make_plan(study, self.planned.name, device=self.place.device, shelf=self.shelf)
        except RunError as error:
            untested = f"{UNCONFIRMED}: {error.problems[0].what}"
            say(untested)
            return None, untested
        course = self._course(plan)
        confirmation = confirm(course, Reading(plan, self.place.runs, course.failures), arm)
        return confirmation, course.untested

    def _course(self, plan: Plan) -> Course:
        return Course(plan, self.place, self.executor, self.onlookers.stages, self.folder)


def _baseline(seeds: Sequence[SeedRecord]) -> BaselineRecord:
    values = [math.nan if seed.value is None or seed.status == "diverged" else seed.value for seed in seeds]
    value = sum(values) / len(values)
    ended: dict[str, TrialStatus] = {"diverged": "diverged", "failed": "failed", "not run": "failed"}
    status = next((ended[seed.status] for seed in seeds if seed.status in ended), "finished")
    return BaselineRecord(
        status=status,
        value=value if math.isfinite(value) else None,
        seconds=sum(seed.seconds or 0.0 for seed in seeds),
        runs=tuple(seed.run for seed in seeds if seed.run),
        message=next((seed.message for seed in seeds if seed.message), ""),
    )


def _result(planned: TuningPlan, trials: Trials, baseline: BaselineRecord) -> TuningResult:
    """What the trials say."""
    search, plan, way, records = planned.search, planned.plan, planned.way, trials.records()
    finished = [trial for trial in records if trial.value is not None]
    sign = -1 if search.higher_is_better else 1
    best = min(finished, key=lambda trial: sign * trial.value, default=None)  # type: ignore[operator]
    spent = search.budget.spent(*trials.spent())
    running = any(trial.status == "running" for trial in records)
    wanted = trials_wanted(search)
    return TuningResult(
        study=planned.name,
        question=search.question,
        metric=search.metric,
        higher_is_better=search.higher_is_better,
        smallest_difference=search.smallest_difference,
        alpha=search.alpha,
        data=plan.data,
        images=plan.images,
        sampler=search.sampler,
        pruner=str(pruners.write(search.pruner)),
        seeds=search.seeds,
        wanted=wanted,
        parameters=parameters(search),
        trials=records,
        best=best,
        chosen_from=len(finished),
        baseline=baseline,
        importance=trials.importance(),
        notes=tuple(_notes(search, records, spent and len(records) < wanted, wanted)),
        precision=way.way.precision,
        memory_format=way.way.memory_format,
        device=way.device,
        seconds=math.fsum(trial.seconds for trial in records) + baseline.seconds,
        complete=not running and (spent or len(records) >= wanted),
    )


def _notes(search: Search, records: Sequence[TrialRecord], spent: bool, wanted: int) -> Iterator[str]:
    if spent:
        yield f"the budget was spent after {len(records)} of {wanted} trials"
    running = [trial.number for trial in records if trial.status == "running"]
    if running:
        numbers = ", ".join(map(str, running))
        yield f"trials of processes that are not known here have not ended: {numbers}"
    codes = sorted({trial.code for trial in records if trial.code})
    if len(codes) > 1:
        yield f"the trials were made by {len(codes)} versions of cnnlab's code: {', '.join(codes)}"
    if search.seeds < FEWEST_TO_CHOOSE:
        runs = "one run" if search.seeds == 1 else f"{search.seeds} runs"
        yield (
            f"each trial has {runs}: the best value flatters it, and another trial may be better; "
            f"seeds = {FEWEST_TO_CHOOSE} chooses by a mean"
        )
    for status in ("diverged", "failed"):
        ended = [trial for trial in records if trial.status == status]
        for message in sorted({trial.message for trial in ended}):
            numbers = ", ".join(str(trial.number) for trial in ended if trial.message == message)
            yield f"{status}: trial {numbers}: {message}"


def _write_down(folder: Path, search: Search, fixed: Search, result: TuningResult) -> None:
    """The result, and the best trial's recipe, ready to be trained."""
    write_whole(folder / "result.json", result.to_json(indent=2).encode())
    if result.best is not None:
        # It begins with the very run that its trials began with.
        base = search.base.model_copy(update={"model": fixed.base.model})
        best = search.model_copy(update={"base": base}).recipe(result.best.params)
        write_whole(folder / "best.toml", best.to_toml().encode())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        step = "choose another with --runs"
        raise RunError(
            f"a tuning's folder can't be made: {error.strerror}", where=str(folder), next_step=step
        ) from None
