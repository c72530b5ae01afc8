"""A study before it runs: its arms ready for this machine, and one task for each run that it needs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cnnlab.config.arms import Arm, file_name
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import FRESH_SEEDS, Study
from cnnlab.data.dataset import Dataset
from cnnlab.data.dataset_cache import Shelf
from cnnlab.data.sources.base import Progress, silent
from cnnlab.errors import SpecError
from cnnlab.models.network_plan import plan_network
from cnnlab.models.pretrained.source import identity
from cnnlab.runs.environment import code_hash
from cnnlab.runs.resolve_recipe import resolve
from cnnlab.stats.ablation import baseline_seeds
from cnnlab.storage.run_folder import slug
from cnnlab.studies.folder import NAME_DIGITS, study_name
from cnnlab.studies.precision import check_networks, choose_study_way, computed_in
from cnnlab.studies.result import StudyWay
from cnnlab.training.device import choose_device, whole_floats

# Of the experiment and of the code, in an id.
WORK_DIGITS, CODE_DIGITS = 12, 6
# A trial leaves out the optimiser, augmentation and reading; an evaluation passes forwards only.
OVERHEAD = 1.4
EVALUATION = 0.4
# Where no trial was made, nothing is known of the speed.
UNKNOWN = math.nan


@dataclass(frozen=True)
class Task:
    """One run to do.

    `id` is a digest of recipe, seed, data and of what makes it: equal work has one id, whatever it is called. `images`
    are those that it trains on in all its epochs, `seconds` how long that will take by a trial; `data` is the digest of
    the data with its split.
    """

    id: str
    folder: str
    arm: str
    seed: int
    recipe: str
    images: int
    seconds: float
    data: str = ""


@dataclass(frozen=True)
class PlannedArm:
    """An arm, its recipe as this study runs it, and its tasks by rising place in the list of seeds."""

    arm: Arm
    recipe: Recipe
    parameters: int
    tasks: tuple[Task, ...]
    same_as: str = ""

    @property
    def name(self) -> str:
        return self.arm.name


@dataclass(frozen=True)
class Plan:
    """A study with everything that decides its runs: way of computing, code, data.

    `images` are those that the metric is measured on, `test_set` names the test part where there is one.
    """

    name: str
    study: Study
    arms: tuple[PlannedArm, ...]
    way: StudyWay
    data: str
    images: int
    test_set: str
    test_images: int
    shelf: Shelf

    def tasks(self) -> tuple[Task, ...]:
        """Each run once, all arms with their first seed first: a study that is cut short has arms of one size."""
        longest = max(len(arm.tasks) for arm in self.arms)
        rounds = (arm.tasks[turn] for turn in range(longest) for arm in self.arms if turn < len(arm.tasks))
        return tuple({task.id: task for task in reversed(list(rounds))}.values())[::-1]

    def fresh(self, names: Sequence[str], count: int) -> tuple[PlannedArm, ...]:
        """The arms of these names with seeds that no first stage has."""
        seeds = range(FRESH_SEEDS, FRESH_SEEDS + count)
        return tuple(self._reseeded(arm, seeds) for arm in self.arms if arm.name in names)

    def _reseeded(self, arm: PlannedArm, seeds: Sequence[int]) -> PlannedArm:
        made, seconds = maker(self.way.device), arm.tasks[0].seconds
        return replace(arm, tasks=tuple(_tasks(self.name, arm.arm, arm.recipe, seeds, self.shelf, made, seconds)))


@whole_floats()
def make_plan(
    study: Study,
    name: str,
    *,
    root: Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
    kept: StudyWay | None = None,
    shelf: Shelf | None = None,
    quick: bool = False,
) -> Plan:
    """Everything that is known of a study before it runs; a network is tried for its speed, and none is trained.

    Args:
        name: what the study is called; its runs' folders begin with it.
        root: where catalogue data lives; None: the cache folder.
        device: auto, cpu, cuda or mps.
        kept: how the study computed before; it counts where it is of this device and knows every network.
        shelf: data that is open already; it has a root and a progress of its own.
        quick: the plan is only to be looked at: no image is decoded, one step of a network is timed, and no way of
            computing is tried.

    Raises:
        SpecError: an arm can't be trained on its data; all problems are told with the arm.
        SourceError, DownloadError: the data is not there, or has no part to measure the metric on.
    """
    target, shelf = choose_device(device), shelf or Shelf(root, progress)
    recipes = [resolve(_sealed(arm.recipe, study), root) for arm in study.list_arms()]
    datasets = [shelf.open(recipe.data, study.seeds[0]) for recipe in recipes]
    _check_images(study, datasets)
    networks = check_networks(study.list_arms(), recipes, datasets, target)
    way = choose_study_way(networks, recipes, datasets, target, kept, quick=quick)
    recipes = [computed_in(recipe, way.way) for recipe in recipes]
    speeds = [way.speeds[network] for network in networks]
    first = datasets[0]
    return Plan(
        name=study_name(name),
        study=study,
        arms=tuple(_planned(study_name(name), study, recipes, speeds, shelf, maker(target.type))),
        way=way,
        data=file_name(first.name),
        images=first.size(study.part),  # type: ignore[arg-type]
        test_set=first.test_set_id() if "test" in first.parts else "",
        test_images=first.size("test"),
        shelf=shelf,
    )


def run_id(recipe: Recipe, data: str, made: str, backbone: str = "") -> str:
    """What is the same for equal work: hex digits of one experiment, seed and data set, and of what makes it.

    Args:
        data: what names the data's content and split.
        made: hex digits of code, torch and device, as `maker` has them.
        backbone: its `identity` where that is known.

    Raises:
        RunError: the run that the backbone is from can't be read, or has no weights.
    """
    tables = recipe.to_tables()
    tables["data"]["source"] = file_name(recipe.data.source)
    if recipe.model.backbone is not None:
        tables["model"]["backbone"] = backbone or identity(recipe.model.backbone)
    what: list[Any] = [tables["data"], tables["model"], tables["train"], data]
    work = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return f"{work[:WORK_DIGITS]}-{made[:CODE_DIGITS]}"


def maker(device: str) -> str:
    """Hex digits of what makes a run what it is beside its recipe and data: cnnlab's code, torch, and the device.

    Args:
        device: cpu, cuda or mps.
    """
    return hashlib.sha256(f"{code_hash()} {torch.__version__} {device}".encode()).hexdigest()


def _sealed(recipe: Recipe, study: Study) -> Recipe:
    """An arm's recipe as a study runs it: the test set shut, and one split for all seeds unless the study varies it.

    A study that measures on the training part has the answers there kept, image by image.
    """
    train = recipe.train.model_copy(update={"test": "sealed"})
    if study.part == "train":
        train = train.model_copy(update={"predictions": "all"})
    data = recipe.data
    if not study.vary_split and data.split_seed is None:
        data = data.model_copy(update={"split_seed": study.base.train.seed})
    return recipe.model_copy(update={"data": data, "train": train, "claims": {}})


def _check_images(study: Study, datasets: Sequence[Dataset]) -> None:
    """All arms are measured on the same images, and would be tested on the same ones."""
    seen: dict[str, str] = {}
    for arm, dataset in zip(study.list_arms(), datasets, strict=True):
        where = f"arms.{arm.name}"
        if study.part not in dataset.parts:
            what = f"'{study.metric}' is measured on the {study.part} part, and there is none"
            raise SpecError(what, where=where, next_step="set data.validation")
        if study.part == "train":
            continue
        source_part, indices = dataset.indices[study.part]
        images = hashlib.sha256(repr((dataset.classes, source_part, indices.tolist())).encode()).hexdigest()
        tested = dataset.test_set_id() if "test" in dataset.parts else ""
        seen.setdefault(f"{dataset.content_digest} {images} {tested}", arm.name)
        if len(seen) > 1:
            raise SpecError(
                f"'{arm.name}' is measured on other images than '{next(iter(seen.values()))}'",
                where=where,
                allowed=f"the same {study.part} and test images for all arms",
                next_step="keep data.source, data.classes, data.validation, data.test and data.split_seed alike",
            )


def _planned(
    name: str, study: Study, recipes: Sequence[Recipe], speeds: Sequence[float], shelf: Shelf, made: str
) -> Iterator[PlannedArm]:
    arms = study.list_arms()
    # Arms whose runs with one seed are one run are one experiment, which the baseline's name stands for.
    work = [next(_tasks(name, arm, recipe, study.seeds, shelf)).id for arm, recipe in zip(arms, recipes, strict=True)]
    names = {digest: arm.name for digest, arm in reversed(list(zip(work, arms, strict=True)))}
    names |= {digest: arm.name for digest, arm in zip(work, arms, strict=True) if arm.name == study.baseline}
    for arm, recipe, speed, digest in zip(arms, recipes, speeds, work, strict=True):
        dataset = shelf.open(recipe.data, study.seeds[0])
        seeds = _seeds(study, arm, len(names) - 1)
        parameters = plan_network(recipe.model, dataset.form.shape, len(dataset.classes)).parameters
        tasks = tuple(_tasks(name, arm, recipe, seeds, shelf, made, _expected_s(recipe, dataset, speed)))
        first = names[digest]
        yield PlannedArm(arm, recipe, parameters, tasks, "" if first == arm.name else first)


def _seeds(study: Study, arm: Arm, others: int) -> tuple[int, ...]:
    """An arm's seeds; the baseline has more, since every other arm is compared with it."""
    if arm.name != study.baseline:
        return study.seeds
    if study.baseline_seeds is not None:
        return study.baseline_seeds
    wanted = baseline_seeds(len(study.seeds), max(others, 1))
    spare = (seed for seed in range(FRESH_SEEDS) if seed not in study.seeds)
    return (*study.seeds, *(next(spare) for _ in range(wanted - len(study.seeds))))


def _tasks(
    name: str, arm: Arm, recipe: Recipe, seeds: Sequence[int], shelf: Shelf, made: str = "", seconds: float = 0.0
) -> Iterator[Task]:
    # One for all seeds: whole files of weights are read for it.
    backbone = identity(recipe.model.backbone) if recipe.model.backbone is not None else ""
    for seed in seeds:
        seeded = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})
        facts = shelf.facts(seeded.data, seed)
        digest = run_id(seeded, facts.digest, made, backbone)
        folder = f"{name}-{slug(arm.name)[:NAME_DIGITS]}-s{seed}-{digest}"
        images = facts.train * recipe.train.epochs
        yield Task(digest, folder, arm.name, seed, seeded.to_toml(), images, seconds, facts.digest)


def _expected_s(recipe: Recipe, dataset: Dataset, speed: float) -> float:
    """How long a run of all its epochs will take, from the speed of a trial, in seconds."""
    train, validation = dataset.size("train"), dataset.size("validation")
    epochs = recipe.train.epochs
    evaluated = validation * epochs * recipe.train.validations_per_epoch + train + validation
    return OVERHEAD * (train * epochs + EVALUATION * evaluated) / speed
