"""A search before its trials: its extreme values looked at, one way of computing for all, and what it will take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnlab.config.arms import Changes, as_setting
from cnnlab.config.backbones import OfRun, read_backbone, write_backbone
from cnnlab.config.search import Search
from cnnlab.config.search_space import Options, pruners, write_space
from cnnlab.data.dataset_cache import Shelf
from cnnlab.runs.resolve_recipe import with_run_named
from cnnlab.stats.power import detectable, planning_sd
from cnnlab.studies.plan import Plan, make_plan
from cnnlab.studies.plan_summary import ASSUMED_ERROR
from cnnlab.studies.result import StudyWay
from cnnlab.tuning.result import ParameterRecord, PlannedTuning
from cnnlab.tuning.trials import Trials

ACCURACY = "accuracy"
# What a study keeps beside its trials.
WAY, SECONDS, BACKBONE = "way", "seconds", "backbone"


@dataclass(frozen=True)
class TuningPlan:
    """A search ready to be carried out.

    Attributes:
        search: its base says how all runs compute, and which run they begin with.
        plan: of the baseline, its first arm.
        images: that a trial trains on, its seeds together, if it is not ended early and keeps the base's epochs.
        seconds: that a trial takes by the speeds of the extreme values, not a number where none was tried.
    """

    name: str
    search: Search
    plan: Plan
    way: StudyWay
    images: int
    seconds: float


def plan_search(
    search: Search, name: str, *, device: str = "auto", shelf: Shelf, trials: Trials | None = None
) -> TuningPlan:
    """What is known of a search before its trials; networks are tried for their speed, and none is trained.

    Args:
        name: what the search is called.
        device: auto, cpu, cuda or mps.
        shelf: opens the data.
        trials: keeps the way of computing for other processes and later calls.

    Raises:
        SpecError: the base, or it with an extreme value, can't be trained on its data.
        SourceError, DownloadError: the data is not there, or has no part to measure the metric on.
        RunError: the run that the base's backbone is from is gone.
    """
    if trials is None:
        search = _with_run_named(search)
        way, seconds = _tried(search, name, device, shelf)
    else:
        with trials.holding("planning"):
            search = _with_run_named(search, trials)
            kept = trials.note(WAY)
            if kept is not None:
                way, seconds = StudyWay.from_json(kept), float(trials.note(SECONDS) or math.nan)
            else:
                way, seconds = _tried(search, name, device, shelf)
                trials.keep(SECONDS, repr(seconds))
                trials.keep(WAY, way.to_json())
    fixed = computed(search, way)
    plan = make_plan(fixed.study(dict([_corners(fixed)[0]])), name, device=device, shelf=shelf)
    images = sum(task.images for task in plan.arms[0].tasks)
    return TuningPlan(name, fixed, plan, way, images, seconds)


def summary(planned: TuningPlan) -> PlannedTuning:
    """What a person weighs before a search: its runs, its time, and what its confirmation can find."""
    search, plan = planned.search, planned.plan
    confirmed = 2 * search.confirm if plan.test_set else 0
    known = math.isfinite(planned.seconds)
    return PlannedTuning(
        study=planned.name,
        question=search.question,
        parameters=parameters(search),
        trials=trials_wanted(search),
        seeds=search.seeds,
        confirm=search.confirm if plan.test_set else 0,
        sampler=search.sampler,
        pruner=str(pruners.write(search.pruner)),
        runs=(trials_wanted(search) + 1) * search.seeds + confirmed,
        images=planned.images,
        seconds=planned.seconds * (trials_wanted(search) + 1 + confirmed / search.seeds) if known else None,
        basis=f"a trial of the extreme values on {planned.way.device}, one run at a time, none ended early",
        detectable=_detectable(search, plan) if confirmed and search.figure == ACCURACY else None,
    )


def trials_wanted(search: Search) -> int:
    """How many trials there will be: a grid may have fewer than were asked for."""
    return min(search.trials, sum(1 for _ in search.grid())) if search.sampler == "grid" else search.trials


def parameters(search: Search) -> tuple[ParameterRecord, ...]:
    """The parameters as a result tells them."""
    return tuple(
        ParameterRecord(
            name=name,
            space=write_space(space),
            log=search.is_log(name),
            options=tuple(str(option) for option in space.all()) if isinstance(space, Options) else (),
        )
        for name, space in search.search.items()
    )


def computed(search: Search, way: StudyWay) -> Search:
    """The search with a base that says how its runs compute, so that no later trial can make two of them differ."""
    fixed = {"precision": way.way.precision, "memory_format": way.way.memory_format}
    train = search.base.train.model_copy(update=fixed)
    return search.model_copy(update={"base": search.base.model_copy(update={"train": train})})


def _tried(search: Search, name: str, device: str, shelf: Shelf) -> tuple[StudyWay, float]:
    """The way that is right for the base and all extreme values, and how long a trial takes in the mean of them."""
    plan = make_plan(search.study(dict(_corners(search))), name, device=device, shelf=shelf)
    times = [sum(task.seconds for task in arm.tasks) for arm in plan.arms if not arm.same_as]
    known = [seconds for seconds in times if math.isfinite(seconds)]
    return plan.way, sum(known) / len(known) if known else math.nan


def _with_run_named(search: Search, trials: Trials | None = None) -> Search:
    """The search with one run behind all its trials, those of later calls too: another may finish meanwhile."""
    base, kept = search.base, trials.note(BACKBONE) if trials is not None else None
    if not isinstance(base.model.backbone, OfRun):
        return search
    if kept is None:
        base = with_run_named(base)
        if trials is not None and base.model.backbone is not None:
            trials.keep(BACKBONE, write_backbone(base.model.backbone))
    else:
        base = base.model_copy(update={"model": base.model.model_copy(update={"backbone": read_backbone(kept)})})
    return search.model_copy(update={"base": base})


def _corners(search: Search) -> list[tuple[str, Changes]]:
    """The extreme values as arms, named by what they change."""
    made = [search.changes(values) for values in search.corners()]
    return [(", ".join(as_setting(key, value) for key, value in changes.items()), changes) for changes in made]


def _detectable(search: Search, plan: Plan) -> float:
    """At the spread of small networks on so many test images."""
    return detectable(planning_sd(ASSUMED_ERROR, plan.test_images), search.confirm, alpha=search.alpha)
