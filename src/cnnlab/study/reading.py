"""The runs of a study, read: what each measured, seed by seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnlab.config.arms import RECIPE, as_setting
from cnnlab.records import Environment, Result, Score
from cnnlab.runs.index.run_index import Found, Listing
from cnnlab.stats.sample import Sample
from cnnlab.study.plan import Plan, PlannedArm, Task
from cnnlab.study.results import ArmRecord, CurveRecord, SeedRecord


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
