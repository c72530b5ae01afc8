"""Evaluates trained networks under shifts, on the images of one split of their data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnnlab.context import LOCAL, RunContext
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.cifar10c import CLASSES, Cifar10C
from cnnlab.data.sources.formats import convert_pixels
from cnnlab.errors import UsageError, comma_separated
from cnnlab.evaluation.corruptions import apply_corruption, correct_under_corruptions
from cnnlab.runs.checks import check_same_data
from cnnlab.runs.environment import relocate_recipe
from cnnlab.runs.final_evaluation import open_split, trained_network
from cnnlab.runs.robustness.result import GroupDifference, ShiftedGroup, ShiftResult, ShiftRow
from cnnlab.runs.setup import DatasetFactory
from cnnlab.stats.comparison import DecisionRules, compare
from cnnlab.stats.intervals import wilson_interval
from cnnlab.stats.paired import effects_over_images, effects_over_runs
from cnnlab.stats.sample import Interval, Sample
from cnnlab.stats.welch import family_level
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import choose_device, disable_tf32

PURPOSE = "shift"
LEVEL = 0.95


@dataclass(frozen=True)
class ShiftedRun:
    """Which images a run's network classifies correctly, unshifted and under each of S shifts.

    Attributes:
        name: of the run.
        correct: (1 + S)×N; the first row is for the unshifted images.
        labels: N class indices.
        example: the first image, unshifted and under each shift: uint8, (1 + S)×C×H×W.
        classes: K.
    """

    name: str
    shifts: tuple[Any, ...]
    correct: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    example: npt.NDArray[np.uint8]
    classes: int

    @property
    def accuracies(self) -> tuple[float, ...]:
        """The accuracy on the unshifted images, then under each shift."""
        return tuple(float(share) for share in self.correct.mean(axis=1))


@dataclass(frozen=True)
class ShiftSettings:
    """How runs are evaluated.

    Attributes:
        split: train, validation or test.
        limit: the largest number of images, evenly spaced over the split.
        context: names the device and the data folder.
        purpose: of an opening of the test split, for the ledger.
    """

    split: str = "test"
    limit: int | None = None
    context: RunContext = LOCAL
    purpose: str = PURPOSE
    dataset_factory: DatasetFactory = open_dataset

    def open(self, folder: RunFolder) -> tuple[nn.Module, Dataset]:
        """Load the network of a finished run with its selected weights, and open its data.

        Raises:
            RunError: the run's weights can't be used, or its data is another.
        """
        recipe = relocate_recipe(folder, self.context.data_root)
        dataset = self.dataset_factory(recipe.data, recipe.train.seed, self.context)
        check_same_data(folder, dataset)
        return trained_network(folder, choose_device(self.context.device), self.context.callbacks.log), dataset

    def image_loader(self, folder: RunFolder, dataset: Dataset) -> ImageLoader:
        """Load the images; an opening of the test split is recorded first.

        Raises:
            UsageError: the data has no such split.
        """
        device = choose_device(self.context.device)
        loader = open_split(dataset, self.split, device, folder.precision_config(), folder, self.purpose)
        return loader if self.limit is None else loader.subset(self.limit)


@disable_tf32()
def shift_run(
    folder: RunFolder, choose_shifts: Callable[[Dataset], Sequence[Any]], settings: ShiftSettings, seed: int = 0
) -> ShiftedRun:
    """Evaluate a run's selected weights under shifts.

    Args:
        choose_shifts: returns the shifts for the data of the run.
        seed: of the random numbers of each image; use the same for all runs that are compared.

    Raises:
        RunError: as `ShiftSettings.open`.
        UsageError: no such split, or no shifts.
    """
    network, dataset = settings.open(folder)
    shifts = tuple(choose_shifts(dataset))
    if not shifts:
        what = "there is no shift to test under; grey images are not tested for what only moves colours"
        raise UsageError(what, where="--shift", next_step="name one: --shift rotation")
    loader = settings.image_loader(folder, dataset)
    progress = settings.context.callbacks.progress
    correct = correct_under_corruptions(network, loader, shifts, seed=seed, name=folder.name, progress=progress)
    first, index = torch.from_numpy(np.array(loader.pixels[:1])), np.zeros(1, dtype=np.int64)
    example = torch.cat([first, *(apply_corruption(first, shift, index, seed) for shift in shifts)])
    return ShiftedRun(folder.name, shifts, correct, np.asarray(loader.labels), example.numpy(), len(dataset.classes))


@disable_tf32()
def corrupt_run(folder: RunFolder, corrupted: Cifar10C, settings: ShiftSettings) -> ShiftedRun:
    """Evaluate a run's selected weights on CIFAR-10-C.

    Raises:
        RunError: as `ShiftSettings.open`.
        UsageError: the run's test images are not those of CIFAR-10 in their own order.
    """
    network, dataset = settings.open(folder)
    count = dataset.num_images("test") if "test" in dataset.splits else 0
    other = UsageError(
        "CIFAR-10-C was made from other images than this run's test images",
        where=folder.name,
        received=f"{count:,} test images of {dataset.name}",
        allowed=f"CIFAR-10's {len(corrupted.labels):,} test images in their own order",
        next_step='train with data.source = "cifar10"',
    )
    # Labels are read after the ledger has the opening.
    if count != len(corrupted.labels) or set(dataset.classes) != set(CLASSES):
        raise other
    loader = settings.image_loader(folder, dataset)
    if [dataset.classes[label] for label in dataset.labels("test")] != [CLASSES[label] for label in corrupted.labels]:
        raise other
    rows, examples = [correct_under_corruptions(network, loader, ())[0]], [np.array(loader.pixels[:1])]
    for number, corruption in enumerate(corrupted.corruptions, 1):
        pixels = convert_pixels(corrupted.pixels(corruption), dataset.image_spec)
        changed = replace(loader, pixels=pixels, labels=dataset.labels("test"), resident=None)
        changed = changed if settings.limit is None else changed.subset(settings.limit)
        rows.append(correct_under_corruptions(network, changed, ())[0])
        examples.append(np.array(changed.pixels[:1]))
        settings.context.callbacks.progress(folder.name, number, len(corrupted.corruptions), "corruptions")
    correct, example = np.stack(rows), np.concatenate(examples)
    return ShiftedRun(folder.name, corrupted.corruptions, correct, loader.labels, example, len(dataset.classes))


def shift_groups(
    groups: Mapping[str, Sequence[RunFolder]],
    measure: Callable[[RunFolder], ShiftedRun],
    rules: DecisionRules,
    *,
    split: str = "test",
    seed: int = 0,
    notes: Sequence[str] = (),
) -> ShiftResult:
    """Evaluate groups of runs, each of one recipe over seeds, under the same shifts of the same images.

    Args:
        groups: the runs of each group, by name.
        measure: evaluates a run; see `shift_run` and `corrupt_run`.
        rules: delta and alpha, for accuracies.
        notes: remarks on the runs.

    Raises:
        UsageError: the runs do not have the same images; and what `measure` raises.
    """
    rules.validate()
    check_same_images([folder for folders in groups.values() for folder in folders], split)
    runs = {name: [measure(folder) for folder in folders] for name, folders in groups.items()}
    first = next(iter(runs.values()))[0]
    several = list(runs.values())
    return ShiftResult(
        split=split,
        notes=tuple(notes),
        images=len(first.labels),
        chance=1 / first.classes,
        seed=seed,
        delta=rules.delta,
        alpha=rules.alpha,
        groups=tuple(shifted_group(name, members, rules) for name, members in runs.items()),
        between=group_differences(several[0], several[1], rules) if len(several) == 2 else (),
        example=first.example,
    )


def shifted_group(name: str, runs: Sequence[ShiftedRun], rules: DecisionRules) -> ShiftedGroup:
    """Summarize networks that differ in their seeds only.

    Raises:
        UsageError: a delta or an alpha out of range.
    """
    table = np.array([run.accuracies for run in runs])
    if len(runs) == 1:
        effects = effects_over_images(runs[0].correct[0], runs[0].correct[1:], rules)
    else:
        effects = effects_over_runs(list(table[:, 0]), [list(column) for column in table.T[1:]], rules)
    rows = tuple(
        ShiftRow(
            shift=shift.name,
            strength=shift.strength,
            unchanged=shift.identity_strength,
            title=shift.title,
            call=str(shift.as_call()),
            effect=effect,
            **_accuracy_fields(runs, index),
        )
        for index, (shift, effect) in enumerate(zip(runs[0].shifts, effects, strict=True), 1)
    )
    return ShiftedGroup(name=name, runs=tuple(run.name for run in runs), rows=rows, **_accuracy_fields(runs, 0))


def _accuracy_fields(runs: Sequence[ShiftedRun], index: int) -> dict[str, Any]:
    """The accuracies in row `index` of `ShiftedRun.correct`, their mean and its 95 % interval."""
    values = tuple(float(run.correct[index].mean()) for run in runs)
    interval: Interval | None
    if len(runs) == 1:
        interval = wilson_interval(int(runs[0].correct[index].sum()), len(runs[0].labels), LEVEL)
    else:
        interval = Sample(name="", values=values).interval(LEVEL)
    low, high = (None, None) if interval is None else (max(interval[0], 0.0), min(interval[1], 1.0))
    return {"accuracy": float(np.mean(values)), "low": low, "high": high, "values": values}


def group_differences(
    first: Sequence[ShiftedRun], second: Sequence[ShiftedRun], rules: DecisionRules
) -> tuple[GroupDifference, ...]:
    """Differences between two groups on the unshifted images and under each shift: first minus second.

    One network against one is compared on their images, which are the same; else by Welch's test over seeds. Each of k
    differences is judged at alpha/k, Welch's size-corrected, so that all hold together.
    """
    titles = ["", *(shift.title for shift in first[0].shifts)]
    level = family_level(rules.alpha, len(titles), len(first), len(second))
    rules = rules._replace(alpha=rules.alpha / len(titles))
    differences = []
    for index, title in enumerate(titles):
        if len(first) == len(second) == 1:
            (effect,) = effects_over_images(second[0].correct[index], first[0].correct[index][None], rules)
            fields = effect.model_dump(include={"difference", "low", "high", "verdict"})
        else:
            a, b = (Sample(name="", values=tuple(run.accuracies[index] for run in runs)) for runs in (first, second))
            comparison = compare(a, b, rules._replace(alpha=level))
            fields = comparison.model_dump(include={"difference", "low", "high", "verdict"})
        differences.append(GroupDifference(title=title, **fields))
    return tuple(differences)


def check_same_images(folders: Sequence[RunFolder], split: str) -> None:
    """Check by the runs' records, before any image is read, that their images are the same.

    Raises:
        UsageError: they differ.
    """
    first_runs: dict[tuple[object, ...], str] = {}
    for folder in folders:
        about = folder.data()
        preprocessing = about.preprocessing
        images = about.test_set if split == "test" else about.split_hash
        first_runs.setdefault((images, preprocessing.channels, preprocessing.height, preprocessing.width), folder.name)
    if len(first_runs) > 1:
        raise UsageError(
            "these runs do not have the same images",
            where="RUN",
            received=comma_separated(first_runs.values()),
            allowed="runs on one data set, with images of one size; for --split validation, of one split",
            next_step="shift them one at a time",
        )
