"""What the runs of a study say: run folders in, a StudyResult out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnlab.config.arms import RECIPE, as_setting
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.records import Environment, Result, Score
from cnnlab.runs.claims import judged
from cnnlab.runs.index.run_index import Found, Listing
from cnnlab.stats.ablation import Ablation, ablate
from cnnlab.stats.comparison import Comparison, compare
from cnnlab.stats.intervals import random_effects_interval
from cnnlab.stats.sample import Sample
from cnnlab.stats.sweep import DoseCurve, dose_curve
from cnnlab.stats.welch import family_level
from cnnlab.studies.claims import judge_sayings
from cnnlab.studies.plan import Plan, PlannedArm, Task
from cnnlab.studies.result import ArmClaim, ArmRecord, Confirmation, CurveRecord, SeedRecord, StudyResult


class Reading:
    """The runs of a study, each read once."""

    def __init__(self, plan: Plan, runs: Path, failures: Mapping[str, str], any_code: bool = False) -> None:
        self.plan, self.study = plan, plan.study
        self.failures = dict(failures)
        self.done: dict[str, Found] = {}
        self.read(plan.arms, Listing(runs, any_code))

    def read(self, arms: Sequence[PlannedArm], listing: Listing) -> None:
        """Look for the runs of arms; one that can't be read has failed."""
        for task in (task for arm in arms for task in arm.tasks):
            if (found := listing.finished(task.id)) is not None:
                self.done[task.id] = found
        self.failures |= listing.damaged

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
            made=_made(found.environment),
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

    def right(self, tasks: Sequence[Task], part: str) -> npt.NDArray[np.bool_] | None:
        """Whether each finished run (row) was right on each image (column) of a part; None for fewer than two runs.

        The plan has seen to it that all runs are asked the same images, unless each seed has a split of its own.
        """
        rows = []
        for task in tasks:
            found = self.done.get(task.id)
            predictions = found.folder.predictions(part) if found is not None else None
            if predictions is not None:
                rows.append(predictions.right())
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


def sample(name: str, seeds: Sequence[SeedRecord]) -> Sample:
    """The figures of an arm's runs; one that diverged or failed is not a number, one that was not begun is left out."""
    return Sample(name=name, values=tuple(_number(seed.value) for seed in seeds if seed.status != "not run"))


def _made(environment: Environment) -> str:
    """What made a run, where another might compute otherwise."""
    device = environment.device.partition(":")[0]
    return f"cnnlab's code {environment.code}, torch {environment.torch}, {device}"


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


# Figures that are shares of right answers have an error, and are right or wrong image by image.
ACCURACY = "accuracy"
# Verdicts that a run on fewer images than were published for can't give.
JUDGED_FIGURES = ("reproduced", "differs", "not enough evidence")


def analyse(reading: Reading, *, spent: bool) -> StudyResult:
    """The answer of a study to its question, from the runs that there are.

    Args:
        spent: whether its budget ended it.
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
        claims=claims_judged(reading),
        sayings=judge_sayings(study, counted, {arm.name: arm.same_as for arm in arms if arm.same_as}, found, plan.data),
        notes=tuple(_notes(arms, spent)),
        trials=len(counted),
        precision=plan.way.way.precision,
        memory_format=plan.way.way.memory_format,
        device=plan.way.device,
        seconds=math.fsum(seconds.values()),
        complete=all(seed.status not in ("not run", "failed") for arm in arms for seed in arm.seeds),
    )


def confirmed(reading: Reading, winner: PlannedArm, baseline: PlannedArm, looks: int) -> Confirmation:
    """The second stage: fresh runs of both arms on the test set, which has been opened, for the `looks`th time."""
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
        comparison=_with_new_images(reading, comparison, (winner, baseline), "test"),
        images=reading.plan.test_images,
        looks=looks,
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
        _with_new_images(reading, one, (arms[one.a], arms[one.b]), study.part, len(found.comparisons))
        for one in found.comparisons
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
    reading: Reading, comparison: Comparison, arms: tuple[PlannedArm, PlannedArm], part: str, comparisons: int = 1
) -> Comparison:
    """The comparison with its interval for new images too, where all runs were asked the same ones."""
    own_splits = reading.study.vary_split and part != "test"
    if reading.study.figure != ACCURACY or part == "train" or own_splits:
        return comparison
    a, b = (reading.right(arm.tasks, part) for arm in arms)
    if a is None or b is None:
        return comparison
    level = 1 - family_level(comparison.alpha, comparisons, len(a), len(b))
    interval = random_effects_interval(a, b, level=level)
    return comparison.model_copy(update={"new_images": interval})


def _curve(study: Study, arms: Sequence[ArmRecord]) -> DoseCurve | None:
    dosed = [(arm.dose, arm.sample) for arm in arms if arm.dose is not None]
    if not dosed:
        return None
    doses, samples = zip(*dosed, strict=True)
    return dose_curve(doses, samples, alpha=study.alpha, higher_is_better=study.higher_is_better)


def claims_judged(reading: Reading, confirmation: Confirmation | None = None) -> tuple[ArmClaim, ...]:
    """Published figures of arms beside what their runs measured; those of the test set by the second stage alone."""
    return tuple(_claims(reading, confirmation))


def _claims(reading: Reading, confirmation: Confirmation | None) -> Iterator[ArmClaim]:
    for arm in reading.plan.arms:
        claims = reading.study.claims.get(arm.name, {})
        done = [reading.done[task.id] for task in arm.tasks if task.id in reading.done]
        if not claims or not done:
            continue
        opened = [found.result for found in reading.done.values() if found.folder.name in _fresh(arm, confirmation)]
        sealed = [found.result.model_copy(update={"test": None}) for found in done]
        limited = is_shortened(reading.study, arm.recipe)
        for name, claim in claims.items():
            recipe: Recipe = arm.recipe.model_copy(update={"claims": {name: claim}})
            results = opened if name.startswith("test_") else sealed
            for record in judged(recipe, results, done[0].folder.data(), reading.study):
                verdict = "shortened" if limited and record.verdict in JUDGED_FIGURES else record.verdict
                yield ArmClaim(arm=arm.name, claim=record.model_copy(update={"verdict": verdict}))


def is_shortened(study: Study, recipe: Recipe) -> bool:
    """Whether an arm was trained on fewer images, or shorter, than its study's file or its documents say."""
    return recipe.data.limit is not None or recipe.data.per_class is not None or bool(study.shortened)


def _fresh(arm: PlannedArm, confirmation: Confirmation | None) -> set[str]:
    """The runs of an arm's second stage, by name."""
    if confirmation is None:
        return set()
    stages = {confirmation.winner: confirmation.runs, confirmation.baseline: confirmation.baseline_runs}
    return {seed.run for seed in stages.get(arm.name, ())}


def _notes(arms: Sequence[ArmRecord], spent: bool) -> Iterator[str]:
    for arm in arms:
        if arm.same_as:
            yield f"'{arm.name}' and '{arm.same_as}' are one experiment under two names: it was run and counted once"
    makers = sorted({seed.made for arm in arms for seed in arm.seeds if seed.made})
    if len(makers) > 1:
        yield f"not all runs were made alike: {'; '.join(makers)}"
    missing = sum(seed.status == "not run" for arm in arms for seed in arm.seeds)
    if missing:
        why = "the budget was spent first" if spent else "give the command again to go on"
        yield f"{missing} runs have not been made: {why}"
    for arm in arms:
        messages = sorted({seed.message for seed in arm.seeds if seed.status in ("failed", "diverged")})
        for message in messages:
            yield f"'{arm.name}': {message}"
