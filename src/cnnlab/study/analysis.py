"""What the runs of a study say: run folders in, a StudyResult out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from cnnlab.randomness import generator
from cnnlab.records import Result, Score
from cnnlab.runs.claims import judged
from cnnlab.runs.folder import RunFolder
from cnnlab.spec.arms import RECIPE
from cnnlab.spec.changes import as_setting
from cnnlab.spec.recipe import Recipe
from cnnlab.spec.study import Study
from cnnlab.statistics.ablation import Ablation, ablate
from cnnlab.statistics.bootstrap import crossed_bootstrap
from cnnlab.statistics.comparison import Comparison, compare
from cnnlab.statistics.doses import DoseCurve, dose_curve
from cnnlab.statistics.samples import Sample
from cnnlab.study.plan import Plan, PlannedArm, Task
from cnnlab.study.results import ArmClaim, ArmRecord, Confirmation, CurveRecord, SeedRecord, StudyResult
from cnnlab.study.sayings import judge_sayings
from cnnlab.study.work import find_run

BOOTSTRAP_DRAWS = 1000
# Figures that are shares of right answers have an error, and are right or wrong image by image.
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Done:
    """A finished run, read."""

    folder: RunFolder
    result: Result
    code: str


class Reading:
    """The runs of a study, each read once."""

    def __init__(self, plan: Plan, runs: Path, failures: Mapping[str, str], any_code: bool = False) -> None:
        self.plan, self.study = plan, plan.study
        self.failures = failures
        self.done: dict[str, Done] = {}
        for arm in plan.arms:
            self.read(arm, runs, any_code)

    def read(self, arm: PlannedArm, runs: Path, any_code: bool = False) -> None:
        """Look for an arm's runs."""
        for task in arm.tasks:
            folder = find_run(runs, task.id, any_code)
            result = folder.result() if folder is not None else None
            if folder is not None and result is not None:
                self.done[task.id] = Done(folder, result, folder.environment().code)

    def seed(self, task: Task, metric: str) -> SeedRecord:
        """What is known of one run."""
        found = self.done.get(task.id)
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
            value=_figure(result, metric),
            train=_figure(result, f"train_{figure}"),
            epochs=result.epochs,
            seconds=result.seconds,
            message=result.message,
            code=found.code,
        )

    def arm(self, arm: PlannedArm) -> ArmRecord:
        """One arm with all its runs."""
        seeds = tuple(self.seed(task, self.study.metric) for task in arm.tasks)
        times = [seed.seconds for seed in seeds if seed.seconds is not None]
        return ArmRecord(
            name=arm.name,
            changes={key: _told(key, value) for key, value in arm.arm.changes.items()},
            dose=arm.arm.dose,
            same_as=arm.same_as,
            parameters=arm.parameters,
            seeds=seeds,
            sample=sample(arm.name, seeds),
            train=Sample(
                name=arm.name, values=tuple(_number(seed.train) for seed in seeds if seed.status != "not run")
            ),
            seconds=fmean(times) if times else None,
            curve=self._curve(arm),
        )

    def right(self, tasks: Sequence[Task], part: str) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """Whether each finished run (row) was right on each image (column) of a part; None where images differ."""
        rows, labels = [], None
        for task in tasks:
            found = self.done.get(task.id)
            predictions = found.folder.predictions(part) if found is not None else None
            if predictions is None:
                continue
            if labels is not None and not np.array_equal(labels, predictions.labels):
                return None
            labels = predictions.labels
            rows.append(predictions.logits.argmax(axis=1) == predictions.labels)
        return np.array(rows) if len(rows) > 1 else None

    def _curve(self, arm: PlannedArm) -> CurveRecord | None:
        points: dict[float, list[float]] = defaultdict(list)
        for task in arm.tasks:
            if task.id not in self.done:
                continue
            for record in self.done[task.id].folder.epochs():
                score = getattr(record, self.study.part)
                if isinstance(score, Score):
                    points[record.epoch].append(score.metric(self.study.figure))
                elif score is not None and hasattr(score, self.study.figure):
                    points[record.epoch].append(float(getattr(score, self.study.figure)))
        if not points:
            return None
        epochs = tuple(sorted(points))
        return CurveRecord(epochs=epochs, values=tuple(tuple(points[epoch]) for epoch in epochs))


def analyse(reading: Reading, *, spent: bool, confirmation: Confirmation | None = None) -> StudyResult:
    """The answer of a study to its question, from the runs that there are.

    Args:
        spent: whether its budget ended it.
        confirmation: the second stage, where there was one.
    """
    plan, study = reading.plan, reading.study
    arms = tuple(reading.arm(arm) for arm in plan.arms)
    counted = {arm.name: arm.sample for arm in arms if not arm.same_as}
    found = _ablation(reading, counted)
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
        curve=_curve(study, arms),
        confirmation=confirmation,
        claims=tuple(_claims(reading)),
        sayings=judge_sayings(study, counted, {arm.name: arm.same_as for arm in arms if arm.same_as}, plan.data),
        notes=tuple(_notes(arms, spent)),
        trials=len(counted),
        precision=plan.way.precision,
        memory_format=plan.way.memory_format,
        device=plan.device,
        seconds=math.fsum(seconds.values()),
        complete=all(seed.status not in ("not run", "failed") for arm in arms for seed in arm.seeds),
    )


def sample(name: str, seeds: Sequence[SeedRecord]) -> Sample:
    """The figures of an arm's runs; one that diverged or failed is not a number, one that was not begun is left out."""
    return Sample(name=name, values=tuple(_number(seed.value) for seed in seeds if seed.status != "not run"))


def confirmed(reading: Reading, winner: PlannedArm, baseline: PlannedArm) -> Confirmation:
    """The second stage: fresh runs of both arms on the test set, which has been opened."""
    study = reading.study
    metric = f"test_{study.figure}"
    runs, baseline_runs = ([reading.seed(task, metric) for task in arm.tasks] for arm in (winner, baseline))
    ours, theirs = sample(winner.name, runs), sample(baseline.name, baseline_runs)
    comparison = _compared(study, ours, theirs)
    return Confirmation(
        winner=winner.name,
        baseline=baseline.name,
        metric=metric,
        seeds=tuple(task.seed for task in winner.tasks),
        runs=tuple(runs),
        baseline_runs=tuple(baseline_runs),
        comparison=_with_new_images(reading, comparison, winner, baseline, "test"),
        images=reading.plan.test_images,
    )


def _ablation(reading: Reading, samples: Mapping[str, Sample]) -> Ablation | None:
    study = reading.study
    if study.baseline is None:
        return None
    others = [sample for name, sample in samples.items() if name != study.baseline]
    if not others or study.baseline not in samples:
        return None
    found = ablate(
        samples[study.baseline],
        others,
        delta=study.smallest_difference,
        alpha=study.alpha,
        higher_is_better=study.higher_is_better,
        accuracy=study.figure == ACCURACY,
    )
    arms = {arm.name: arm for arm in reading.plan.arms}
    comparisons = tuple(
        _with_new_images(reading, one, arms[one.a], arms[one.b], study.part) for one in found.comparisons
    )
    return found.model_copy(update={"comparisons": comparisons})


def _compared(study: Study, ours: Sample, theirs: Sample) -> Comparison:
    return compare(
        ours,
        theirs,
        delta=study.smallest_difference,
        alpha=study.alpha,
        higher_is_better=study.higher_is_better,
        accuracy=study.figure == ACCURACY,
    )


def _with_new_images(
    reading: Reading, comparison: Comparison, ours: PlannedArm, theirs: PlannedArm, part: str
) -> Comparison:
    """The comparison with its interval for new images too, where all runs were asked the same ones."""
    if reading.study.figure != ACCURACY or part == "train":
        return comparison
    a, b = reading.right(ours.tasks, part), reading.right(theirs.tasks, part)
    if a is None or b is None or a.shape[1] != b.shape[1]:
        return comparison
    drawn = generator(0, "new images", len(a), len(b))
    interval = crossed_bootstrap(a, b, drawn, level=comparison.level, draws=BOOTSTRAP_DRAWS)
    return comparison.model_copy(update={"new_images": interval})


def _curve(study: Study, arms: Sequence[ArmRecord]) -> DoseCurve | None:
    dosed = [(arm.dose, arm.sample) for arm in arms if arm.dose is not None]
    if not dosed:
        return None
    doses, samples = zip(*dosed, strict=True)
    return dose_curve(doses, samples, alpha=study.alpha, higher_is_better=study.higher_is_better)


def _claims(reading: Reading) -> Iterator[ArmClaim]:
    """Published figures of arms beside what their runs measured; figures of the test set stay unmeasured."""
    for arm in reading.plan.arms:
        claims = reading.study.claims.get(arm.name, {})
        done = [reading.done[task.id] for task in arm.tasks if task.id in reading.done]
        if not claims or not done:
            continue
        recipe: Recipe = arm.recipe.model_copy(update={"claims": claims})
        results = [run.result.model_copy(update={"test": None}) for run in done]
        for record in judged(recipe, results, done[0].folder.data()):
            yield ArmClaim(arm=arm.name, claim=record)


def _notes(arms: Sequence[ArmRecord], spent: bool) -> Iterator[str]:
    for arm in arms:
        if arm.same_as:
            yield f"'{arm.name}' and '{arm.same_as}' are one experiment under two names: it was run and counted once"
    codes = {seed.code for arm in arms for seed in arm.seeds if seed.code}
    if len(codes) > 1:
        yield f"the runs were made by {len(codes)} versions of cnnlab's code: {', '.join(sorted(codes))}"
    missing = sum(seed.status == "not run" for arm in arms for seed in arm.seeds)
    if missing:
        why = "the budget was spent first" if spent else "give the command again to go on"
        yield f"{missing} runs have not been made: {why}"
    for arm in arms:
        messages = sorted({seed.message for seed in arm.seeds if seed.status in ("failed", "diverged")})
        for message in messages:
            yield f"'{arm.name}': {message}"


def _told(key: str, value: Any) -> str:
    if key == RECIPE:
        return "a recipe of its own"
    return as_setting(key, value).partition("=")[2]


def _figure(result: Result, metric: str) -> float | None:
    part, _, figure = metric.partition("_")
    score = getattr(result, part)
    return score.metric(figure) if score is not None else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
