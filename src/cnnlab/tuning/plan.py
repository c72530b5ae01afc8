"""The plan of a search: its extreme values are checked, one precision is chosen for all runs, the time is estimated."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnlab.config.arms import Changes, format_override
from cnnlab.config.backbones import RunBackbone, format_backbone, read_backbone
from cnnlab.config.search import Search
from cnnlab.config.search_space import CategoricalSpace, pruners, write_space
from cnnlab.context import RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.runs.resolve_recipe import with_named_run
from cnnlab.stats.power import detectable_difference, planning_sd
from cnnlab.studies.forecast import ASSUMED_ERROR, throughput_text
from cnnlab.studies.plan import StudyPlan, make_plan
from cnnlab.studies.result import StudyPrecision
from cnnlab.tuning.result import ParameterRecord, TuningPlanSummary
from cnnlab.tuning.trials import TrialStore

# Keys of what is kept beside the trials; "way" is that of earlier versions.
PRECISION_KEY, SECONDS, BACKBONE = "way", "seconds", "backbone"


@dataclass(frozen=True)
class TuningPlan:
    """A search ready to run.

    Attributes:
        search: its base names the precision of all runs, and the run of its backbone.
        plan: of the baseline, its first arm.
        images: trained on in a trial that is not pruned, all seeds together, with the base's epochs.
        seconds: of a trial, the mean over the extreme values; NaN where no speed was measured.
    """

    name: str
    search: Search
    plan: StudyPlan
    study_precision: StudyPrecision
    images: int
    seconds: float


def plan_search(
    search: Search,
    name: str,
    context: RunContext,
    dataset_cache: DatasetCache,
    trials: TrialStore | None = None,
    *,
    quick: bool = False,
) -> TuningPlan:
    """Plan a search: networks are benchmarked, and none is trained.

    Args:
        name: the search's name.
        context: names the device.
        dataset_cache: opens the data.
        trials: where the precision is kept for other processes and later calls.
        quick: for a plan that is only displayed: decode no image, benchmark no precision, estimate speeds.

    Raises:
        SpecError: the base, or it with an extreme value, can't be trained on its data.
        SourceError, DownloadError: the data is not there, or has no split to measure the metric on.
        RunError: the run that the base's backbone is from is gone.
    """
    if trials is None:
        search = _with_named_run(search)
        precision, seconds = _benchmark_extremes(search, name, context, dataset_cache, quick)
    else:
        with trials.lock("planning"):
            search = _with_named_run(search, trials)
            kept = trials.get_attr(PRECISION_KEY)
            if kept is not None:
                precision, seconds = StudyPrecision.from_json(kept), float(trials.get_attr(SECONDS) or math.nan)
            else:
                precision, seconds = _benchmark_extremes(search, name, context, dataset_cache)
                trials.set_attr(SECONDS, repr(seconds))
                trials.set_attr(PRECISION_KEY, precision.to_json())
    fixed = search_with_precision(search, precision)
    study = fixed.study(dict([_extreme_values(fixed)[0]]))
    plan = make_plan(study, name, context, dataset_cache=dataset_cache, quick=quick)
    images = sum(task.images for task in plan.arms[0].tasks)
    return TuningPlan(name, fixed, plan, precision, images, seconds)


def summarize_tuning_plan(tuning_plan: TuningPlan, *, measured: bool = True) -> TuningPlanSummary:
    """Summarize a plan: the runs, the time, and the difference that the confirmation finds."""
    search, plan = tuning_plan.search, tuning_plan.plan
    confirmed = 2 * search.confirm if plan.test_set else 0
    known, device = math.isfinite(tuning_plan.seconds), tuning_plan.study_precision.device
    basis = f"benchmarks of the extreme values on {device}," if measured else f"{throughput_text(device)};"
    return TuningPlanSummary(
        study=tuning_plan.name,
        question=search.question,
        parameters=parameter_records(search),
        trials=search.num_trials,
        seeds=search.seeds,
        confirm=search.confirm if plan.test_set else 0,
        sampler=search.sampler,
        pruner=str(pruners.to_call(search.pruner)),
        runs=(search.num_trials + 1) * search.seeds + confirmed,
        images=tuning_plan.images,
        seconds=tuning_plan.seconds * (search.num_trials + 1 + confirmed / search.seeds) if known else None,
        basis=f"{basis} without pruning",
        detectable=_detectable_difference(search, plan) if confirmed and search.rules.accuracy else None,
    )


def parameter_records(search: Search) -> tuple[ParameterRecord, ...]:
    """The parameters as records."""
    return tuple(
        ParameterRecord(
            name=name,
            space=write_space(space),
            log=search.is_log(name),
            options=tuple(str(option) for option in space.values()) if isinstance(space, CategoricalSpace) else (),
        )
        for name, space in search.search.items()
    )


def search_with_precision(search: Search, study_precision: StudyPrecision) -> Search:
    """The search with a fixed precision, so that all its runs have the same."""
    fixed = {
        "precision": study_precision.precision_config.precision,
        "memory_format": study_precision.precision_config.memory_format,
    }
    train = search.base.train.model_copy(update=fixed)
    return search.model_copy(update={"base": search.base.model_copy(update={"train": train})})


def _benchmark_extremes(
    search: Search, name: str, context: RunContext, dataset_cache: DatasetCache, quick: bool = False
) -> tuple[StudyPrecision, float]:
    """The precision that is right for the base and all extreme values, and the mean time of a trial."""
    study = search.study(dict(_extreme_values(search)))
    plan = make_plan(study, name, context, dataset_cache=dataset_cache, quick=quick)
    times = [sum(task.seconds for task in arm.tasks) for arm in plan.arms if not arm.same_as]
    known = [seconds for seconds in times if math.isfinite(seconds)]
    return plan.study_precision, sum(known) / len(known) if known else math.nan


def _with_named_run(search: Search, trials: TrialStore | None = None) -> Search:
    """The search with one run as the backbone of all trials, though another run may finish meanwhile."""
    base, kept = search.base, trials.get_attr(BACKBONE) if trials is not None else None
    if not isinstance(base.model.backbone, RunBackbone):
        return search
    if kept is None:
        base = with_named_run(base)
        if trials is not None and base.model.backbone is not None:
            trials.set_attr(BACKBONE, format_backbone(base.model.backbone))
    else:
        base = base.model_copy(update={"model": base.model.model_copy(update={"backbone": read_backbone(kept)})})
    return search.model_copy(update={"base": base})


def _extreme_values(search: Search) -> list[tuple[str, Changes]]:
    """The extreme values as arms, named by their changes."""
    found = [search.changes(values) for values in search.boundary_values()]
    return [(", ".join(format_override(key, value) for key, value in changes.items()), changes) for changes in found]


def _detectable_difference(search: Search, plan: StudyPlan) -> float:
    """The detectable difference at the spread of small networks, on the test images."""
    return detectable_difference(planning_sd(ASSUMED_ERROR, plan.test_images), search.confirm, alpha=search.alpha)
