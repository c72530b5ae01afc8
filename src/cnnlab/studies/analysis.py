"""The analysis of a study: run folders in, a StudyResult out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnlab.config.arms import RECIPE_KEY, format_override
from cnnlab.config.question import Question
from cnnlab.config.study import Study
from cnnlab.records import Environment, EpochRecord, Score
from cnnlab.runs.claims import measured_value
from cnnlab.runs.index.run_index import FinishedRun, RunIndex
from cnnlab.stats.ablation import Ablation, analyze_ablation
from cnnlab.stats.random_effects import with_new_images
from cnnlab.stats.sample import Sample
from cnnlab.stats.sweep import SweepCurve, sweep_curve
from cnnlab.studies.plan import PlannedArm, StudyPlan, StudyTask
from cnnlab.studies.result import ArmRecord, Confirmation, CurveRecord, SeedRecord, StudyResult, runs_sample

BoolArray = npt.NDArray[np.bool_]


class CollectedResults:
    """The finished runs of a study by the id of their task, and what failed; read from the runs folder."""

    def __init__(self, plan: StudyPlan, index: RunIndex) -> None:
        self.plan, self.study, self.index = plan, plan.study, index
        self.failures: dict[str, str] = {}
        self.finished_runs: dict[str, FinishedRun] = {}
        self.collect(plan.tasks())

    def collect(self, tasks: Iterable[StudyTask]) -> None:
        """Read the finished runs of tasks; a run that can't be read has failed."""
        self.index.refresh()
        for task in tasks:
            if (found := self.index.find_finished(task.id)) is not None:
                self.finished_runs[task.id] = found
        self.failures |= self.index.damaged

    def finished(self, tasks: Iterable[StudyTask]) -> list[FinishedRun]:
        """The finished ones of these tasks' runs."""
        return [self.finished_runs[task.id] for task in tasks if task.id in self.finished_runs]

    def seed_record(self, task: StudyTask, metric: str) -> SeedRecord:
        """The record of a task's run."""
        found = self.finished_runs.get(task.id)
        if found is None:
            failed = task.id in self.failures
            message = self.failures.get(task.id, "")
            return SeedRecord(seed=task.seed, run="", status="failed" if failed else "not run", message=message)
        result = found.result
        figure = metric.partition("_")[2]
        return SeedRecord(
            seed=task.seed,
            run=found.folder.name,
            status=result.status,
            value=measured_value(metric, result),
            train=measured_value(f"train_{figure}", result),
            epochs=result.epochs,
            seconds=result.seconds,
            message=result.message,
            made=_describe_environment(found.environment),
        )

    def arm_record(self, arm: PlannedArm) -> ArmRecord:
        """The record of an arm with all its runs."""
        seeds = tuple(self.seed_record(task, self.study.metric) for task in arm.tasks)
        times = [seed.seconds for seed in seeds if seed.seconds is not None]
        return ArmRecord(
            name=arm.name,
            changes={key: _format_change(key, value) for key, value in arm.arm.changes.items()},
            sweep_value=arm.arm.sweep_value,
            same_as=arm.same_as,
            parameters=arm.parameters,
            seeds=seeds,
            sample=runs_sample(arm.name, seeds),
            train=runs_sample(arm.name, (seed.model_copy(update={"value": seed.train}) for seed in seeds)),
            seconds=fmean(times) if times else None,
            curve=self._curve_record(arm),
        )

    def correct(self, arms: Iterable[PlannedArm], split: str) -> dict[str, BoolArray]:
        """By arm, whether each finished run (row) was right on each image (column) of a split.

        Empty where accuracy is not the metric or the runs were not evaluated on the same images.
        """
        own_splits = self.study.vary_split and split != "test"
        if not self.study.rules.accuracy or split == "train" or own_splits:
            return {}
        tables = {}
        for arm in arms:
            predictions = [
                found for run in self.finished(arm.tasks) if (found := run.folder.predictions(split)) is not None
            ]
            if predictions:
                tables[arm.name] = np.array([each.correct() for each in predictions])
        return tables

    def _curve_record(self, arm: PlannedArm) -> CurveRecord | None:
        points: dict[float, list[float]] = defaultdict(list)
        for run in self.finished(arm.tasks):
            for record in run.folder.epochs():
                if (value := metric_at(record, self.study)) is not None:
                    points[record.epoch].append(value)
        if not points:
            return None
        epochs = tuple(sorted(points))
        return CurveRecord(epochs=epochs, values=tuple(tuple(points[epoch]) for epoch in epochs))


def metric_at(record: EpochRecord, question: Question) -> float | None:
    """The metric of a study or search at a point of the learning curve; None where it is not measured there."""
    score = getattr(record, question.split)
    if isinstance(score, Score):
        return score.metric(question.split_metric)
    found = getattr(score, question.split_metric, None)
    return None if found is None else float(found)


def _describe_environment(environment: Environment) -> str:
    """The code, torch version and device that made a run."""
    device = environment.device.partition(":")[0]
    return f"cnnlab's code {environment.code}, torch {environment.torch}, {device}"


def _format_change(key: str, value: Any) -> str:
    if key == RECIPE_KEY:
        return "a recipe of its own"
    return format_override(key, value).partition("=")[2]


def analyse(collected: CollectedResults, *, budget_exhausted: bool) -> StudyResult:
    """Analyse the finished runs of a study.

    Args:
        budget_exhausted: whether its budget ended it.
    """
    plan, study = collected.plan, collected.study
    arms = tuple(collected.arm_record(arm) for arm in plan.arms)
    counted = {arm.name: arm.sample for arm in arms if not arm.same_as}
    found = _ablation(collected, counted)
    seconds = {seed.run: seed.seconds for arm in arms for seed in arm.seeds if seed.seconds is not None}
    return StudyResult(
        study=plan.name,
        question=study.question,
        metric=study.metric,
        higher_is_better=study.higher_is_better,
        smallest_difference=study.smallest_difference,
        alpha=study.alpha,
        data=plan.data,
        images=plan.images,
        baseline=study.baseline,
        arms=arms,
        ablation=found,
        curve=_sweep_curve(study, arms),
        notes=tuple(_notes(arms, budget_exhausted)),
        trials=len(counted),
        precision=plan.study_precision.precision_config.precision,
        memory_format=plan.study_precision.precision_config.memory_format,
        device=plan.study_precision.device,
        seconds=math.fsum(seconds.values()),
        complete=all(seed.status not in ("not run", "failed") for arm in arms for seed in arm.seeds),
    )


def make_confirmation(
    collected: CollectedResults, winner: PlannedArm, baseline: PlannedArm, looks: int
) -> Confirmation:
    """The confirmation by fresh runs of both arms on the test set, which was opened for the `looks`th time."""
    study = collected.study
    metric = f"test_{study.split_metric}"
    runs, baseline_runs = ([collected.seed_record(task, metric) for task in arm.tasks] for arm in (winner, baseline))
    ours, theirs = runs_sample(winner.name, runs), runs_sample(baseline.name, baseline_runs)
    ablation = _compare(study, theirs, [ours], collected.correct((winner, baseline), "test"))
    return Confirmation(
        winner=winner.name,
        baseline=baseline.name,
        metric=metric,
        seeds=tuple(task.seed for task in winner.tasks),
        runs=tuple(runs),
        baseline_runs=tuple(baseline_runs),
        comparison=ablation.comparisons[0],
        images=collected.plan.test_images,
        looks=looks,
    )


def _ablation(collected: CollectedResults, samples: Mapping[str, Sample]) -> Ablation | None:
    study = collected.study
    if study.baseline is None:
        return None
    others = [sample for name, sample in samples.items() if name != study.baseline]
    if not others or study.baseline not in samples:
        return None
    return _compare(study, samples[study.baseline], others, collected.correct(collected.plan.arms, study.split))


def _compare(study: Study, baseline: Sample, arms: Sequence[Sample], correct: Mapping[str, BoolArray]) -> Ablation:
    """Compare arms with a baseline by the rules of a study."""
    return with_new_images(analyze_ablation(baseline, arms, study.rules), correct)


def _sweep_curve(study: Study, arms: Sequence[ArmRecord]) -> SweepCurve | None:
    swept = [(arm.sweep_value, arm.sample) for arm in arms if arm.sweep_value is not None]
    if not swept:
        return None
    values, samples = zip(*swept, strict=True)
    return sweep_curve(values, samples, alpha=study.alpha, higher_is_better=study.higher_is_better)


def _notes(arms: Sequence[ArmRecord], budget_exhausted: bool) -> Iterator[str]:
    for arm in arms:
        if arm.same_as:
            yield f"'{arm.name}' and '{arm.same_as}' are one experiment under two names: it was run and counted once"
    makers = sorted({seed.made for arm in arms for seed in arm.seeds if seed.made})
    if len(makers) > 1:
        yield f"not all runs were made alike: {'; '.join(makers)}"
    missing = sum(seed.status == "not run" for arm in arms for seed in arm.seeds)
    if missing:
        why = "the budget was spent first" if budget_exhausted else "give the command again to go on"
        yield f"{missing} runs have not been made: {why}"
    for arm in arms:
        messages = sorted({seed.message for seed in arm.seeds if seed.status in ("failed", "diverged")})
        for message in messages:
            yield f"'{arm.name}': {message}"
