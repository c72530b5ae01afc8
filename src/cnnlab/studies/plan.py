"""The plan of a study: its arms as they run on this machine, and one task for each run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from cnnlab.config.arms import Arm, file_name
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import FIRST_FRESH_SEED, Study
from cnnlab.context import LOCAL, RunContext
from cnnlab.data.dataset import Dataset
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.errors import SpecError
from cnnlab.models.network_plan import plan_network
from cnnlab.models.pretrained.source import backbone_fingerprint
from cnnlab.runs.environment import code_hash
from cnnlab.runs.resolve_recipe import resolve_recipe
from cnnlab.stats.ablation import baseline_seeds
from cnnlab.storage.run_folder import slug
from cnnlab.studies.folder import NAME_DIGITS, study_name
from cnnlab.studies.precision import check_networks, choose_study_precision, recipe_with_precision
from cnnlab.studies.result import StudyPrecision
from cnnlab.training.device import choose_device, disable_tf32

# The digits of the experiment and of the environment in an id.
WORK_DIGITS, CODE_DIGITS = 12, 6
# A benchmark leaves out the optimizer, augmentation and decoding; an evaluation is forward passes only.
OVERHEAD = 1.4
EVALUATION = 0.4


@dataclass(frozen=True)
class StudyTask:
    """One run of a study.

    `id` is a digest of recipe, seed, data and environment: equal work has one id, whatever it is called. `name` is that
    of the study and the arm; `images` are trained on in all epochs, in `seconds` by a benchmark.
    """

    id: str
    folder: str
    arm: str
    seed: int
    recipe: str
    images: int
    seconds: float
    name: str = ""


@dataclass(frozen=True)
class PlannedArm:
    """An arm with its resolved recipe, and its tasks in the order of the seeds."""

    arm: Arm
    recipe: Recipe
    parameters: int
    tasks: tuple[StudyTask, ...] = ()
    same_as: str = ""

    @property
    def name(self) -> str:
        return self.arm.name


@dataclass(frozen=True)
class StudyPlan:
    """A study with its precision and data.

    `images` are those that the metric is measured on, `test_set` names the test split where there is one.
    """

    name: str
    study: Study
    arms: tuple[PlannedArm, ...]
    study_precision: StudyPrecision
    data: str
    images: int
    test_set: str
    test_images: int
    dataset_cache: DatasetCache

    def tasks(self) -> tuple[StudyTask, ...]:
        """Each run once, the first seeds of all arms first, so that an interrupted study has arms of one size."""
        longest = max(len(arm.tasks) for arm in self.arms)
        rounds = (arm.tasks[turn] for turn in range(longest) for arm in self.arms if turn < len(arm.tasks))
        return tuple({task.id: task for task in reversed(list(rounds))}.values())[::-1]

    def with_fresh_seeds(self, names: Sequence[str], count: int) -> tuple[PlannedArm, ...]:
        """The arms of these names with the seeds of a confirmation."""
        seeds = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + count)
        made_by = environment_digest(self.study_precision.device)
        return tuple(
            replace(arm, tasks=_arm_tasks(self.name, arm, seeds, self.dataset_cache, made_by, arm.tasks[0].seconds))
            for arm in self.arms
            if arm.name in names
        )


@disable_tf32()
def make_plan(
    study: Study,
    name: str,
    context: RunContext = LOCAL,
    *,
    saved_precision: StudyPrecision | None = None,
    dataset_cache: DatasetCache | None = None,
    quick: bool = False,
    measure: bool = False,
) -> StudyPlan:
    """Plan a study: networks are benchmarked, and none is trained.

    Args:
        name: the study's name, with which the names of its run folders begin.
        context: names the device and the data folder.
        saved_precision: the precision of the study's earlier runs; it counts if it is of this device and knows every
            network.
        dataset_cache: data that is open already; by default it is opened with the context.
        quick: for a plan that is only displayed: decode no image, benchmark no precision, estimate speeds.
        measure: with `quick`, time one step of each network.

    Raises:
        SpecError: an arm can't be trained on its data; all its problems are listed with the arm.
        SourceError, DownloadError: the data is not there, or has no split to measure the metric on.
    """
    target, dataset_cache = choose_device(context.device), dataset_cache or DatasetCache(context)
    recipes = [resolve_recipe(_with_sealed_test(arm.recipe, study), context.data_root) for arm in study.list_arms()]
    datasets = [dataset_cache.open(recipe.data, study.seeds[0]) for recipe in recipes]
    _check_images(study, datasets)
    networks = check_networks(study.list_arms(), recipes, datasets, target)
    study_precision = choose_study_precision(
        networks, recipes, datasets, target, saved_precision, quick=quick, measure=measure
    )
    recipes = [recipe_with_precision(recipe, study_precision.precision_config) for recipe in recipes]
    name, made_by, arms = study_name(name), environment_digest(target.type), []
    for arm, recipe, dataset, network in zip(study.list_arms(), recipes, datasets, networks, strict=True):
        parameters = plan_network(recipe.model, dataset.image_spec.shape, len(dataset.classes)).parameters
        seconds = _expected_seconds(recipe, dataset, study_precision.speeds[network])
        planned = PlannedArm(arm, recipe, parameters)
        tasks = _arm_tasks(name, planned, study.seeds, dataset_cache, made_by, seconds)
        arms.append(replace(planned, tasks=tasks))
    arms = _mark_copies(arms, study.baseline)
    num_others = sum(not arm.same_as for arm in arms) - 1
    for index, planned in enumerate(arms):
        if planned.name == study.baseline:
            seeds, seconds = _baseline_seeds(study, num_others), planned.tasks[0].seconds
            arms[index] = replace(planned, tasks=_arm_tasks(name, planned, seeds, dataset_cache, made_by, seconds))
    first = datasets[0]
    return StudyPlan(
        name=name,
        study=study,
        arms=tuple(arms),
        study_precision=study_precision,
        data=file_name(first.name),
        images=first.num_images(study.split),  # type: ignore[arg-type]
        test_set=first.test_set_id() if "test" in first.splits else "",
        test_images=first.num_images("test"),
        dataset_cache=dataset_cache,
    )


def run_id(recipe: Recipe, data: str, made_by: str, backbone: str = "") -> str:
    """The id of a run: hex digits of its experiment, seed and data, and of its environment.

    Args:
        data: a digest of the data's content and split.
        made_by: the `environment_digest`.
        backbone: its `backbone_fingerprint`, if known.

    Raises:
        RunError: the run that the backbone is from can't be read, or has no weights.
    """
    tables = recipe.to_tables()
    tables["data"]["source"] = file_name(recipe.data.source)
    if recipe.model.backbone is not None:
        tables["model"]["backbone"] = backbone or backbone_fingerprint(recipe.model.backbone)
    what: list[Any] = [tables["data"], tables["model"], tables["train"], data]
    work = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return f"{work[:WORK_DIGITS]}-{made_by[:CODE_DIGITS]}"


def environment_digest(device: str) -> str:
    """A digest of cnnlab's code, the version of torch, and the device.

    Args:
        device: cpu, cuda or mps.
    """
    return hashlib.sha256(f"{code_hash()} {torch.__version__} {device}".encode()).hexdigest()


def _with_sealed_test(recipe: Recipe, study: Study) -> Recipe:
    """An arm's recipe with a sealed test set, and one split for all seeds unless the study varies it.

    If the metric is measured on the training split, its predictions are kept.
    """
    train = recipe.train.model_copy(update={"test": "sealed"})
    if study.split == "train":
        train = train.model_copy(update={"predictions": "all"})
    data = recipe.data
    if not study.vary_split and data.split_seed is None:
        data = data.model_copy(update={"split_seed": study.base.train.seed})
    return recipe.model_copy(update={"data": data, "train": train, "claims": {}})


def _check_images(study: Study, datasets: Sequence[Dataset]) -> None:
    """Check that all arms have the same evaluation images, and the same test images."""
    seen: dict[str, str] = {}
    for arm, dataset in zip(study.list_arms(), datasets, strict=True):
        where = f"arms.{arm.name}"
        if study.split not in dataset.splits:
            what = f"'{study.metric}' is measured on the {study.split} split, and there is none"
            raise SpecError(what, where=where, next_step="set data.validation")
        if study.split == "train":
            continue
        source_part, indices = dataset.source_indices(study.split)
        images = hashlib.sha256(repr((dataset.classes, source_part, indices.tolist())).encode()).hexdigest()
        tested = dataset.test_set_id() if "test" in dataset.splits else ""
        seen.setdefault(f"{dataset.content_digest} {images} {tested}", arm.name)
        if len(seen) > 1:
            raise SpecError(
                f"'{arm.name}' is measured on other images than '{next(iter(seen.values()))}'",
                where=where,
                allowed=f"the same {study.split} and test images for all arms",
                next_step="keep data.source, data.classes, data.validation, data.test and data.split_seed alike",
            )


def _mark_copies(arms: Sequence[PlannedArm], baseline: str | None) -> list[PlannedArm]:
    """Name in `same_as` the first arm, or the baseline, whose runs are those of an arm."""
    names: dict[str, str] = {}
    for arm in sorted(arms, key=lambda arm: arm.name != baseline):
        names.setdefault(arm.tasks[0].id, arm.name)
    return [replace(arm, same_as="" if (own := names[arm.tasks[0].id]) == arm.name else own) for arm in arms]


def _baseline_seeds(study: Study, num_others: int) -> tuple[int, ...]:
    """The baseline's seeds: more than those of an arm, since every other arm is compared with it."""
    if study.baseline_seeds is not None:
        return study.baseline_seeds
    wanted = baseline_seeds(len(study.seeds), max(num_others, 1))
    spare = [seed for seed in range(wanted + len(study.seeds)) if seed not in study.seeds]
    return (*study.seeds, *spare[: wanted - len(study.seeds)])


def _arm_tasks(
    name: str, arm: PlannedArm, seeds: Sequence[int], dataset_cache: DatasetCache, made_by: str, seconds: float
) -> tuple[StudyTask, ...]:
    recipe, run_name, tasks = arm.recipe, f"{name}-{slug(arm.name)[:NAME_DIGITS]}", []
    # Once for all seeds: it reads whole files of weights.
    backbone = backbone_fingerprint(recipe.model.backbone) if recipe.model.backbone is not None else ""
    for seed in seeds:
        seeded = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})
        facts = dataset_cache.fingerprint(seeded.data, seed)
        digest = run_id(seeded, facts.digest, made_by, backbone)
        folder, images = f"{run_name}-s{seed}-{digest}", facts.train_size * recipe.train.epochs
        tasks.append(StudyTask(digest, folder, arm.name, seed, seeded.to_toml(), images, seconds, run_name))
    return tuple(tasks)


def _expected_seconds(recipe: Recipe, dataset: Dataset, speed: float) -> float:
    """The expected time of a run in seconds, by the measured speed."""
    train, validation = dataset.num_images("train"), dataset.num_images("validation")
    epochs = recipe.train.epochs
    evaluated = validation * epochs * recipe.train.validations_per_epoch + train + validation
    return OVERHEAD * (train * epochs + EVALUATION * evaluated) / speed
