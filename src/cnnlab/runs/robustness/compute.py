"""A run's network tested under shifts, on the images of one split of its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from cnnlab.context import LOCAL, RunContext
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.base import Split
from cnnlab.data.sources.cifar10c import CLASSES, Cifar10C
from cnnlab.data.sources.formats import convert_pixels
from cnnlab.errors import RunError, UsageError, comma_separated
from cnnlab.evaluation.corruptions import apply_corruption, correct_under_corruptions
from cnnlab.runs.checks import check_same_data
from cnnlab.runs.environment import relocate_recipe
from cnnlab.runs.final_evaluation import open_test_split, trained_network
from cnnlab.runs.robustness.result import ShiftedRun, ShiftResult, group_differences, shifted_group
from cnnlab.runs.setup import DatasetFactory, make_image_loader
from cnnlab.stats.comparison import DecisionRules
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import choose_device, disable_tf32

PURPOSE = "shift"


@dataclass(frozen=True)
class ShiftSettings:
    """How runs are tested: on which split of their data, on how many images, where, and the callbacks.

    Attributes:
        split: train, validation or test.
        limit: at most so many images, spread evenly over the split.
        context: names the device and the data folder.
        purpose: what the ledger tells of a look at the test split.
    """

    split: str = "test"
    limit: int | None = None
    context: RunContext = LOCAL
    purpose: str = PURPOSE
    dataset_factory: DatasetFactory = open_dataset

    def open(self, folder: RunFolder) -> tuple[nn.Module, Dataset]:
        """A run's network with its selected weights, and its data.

        Raises:
            RunError: the run has not finished, has no figures, or its weights can't be used.
        """
        result = folder.result()
        if result is None or result.train is None:
            what = "this run has not finished" if result is None else "this run diverged, and has no figures"
            step = f"finish it: cnnlab train --resume {folder.path}" if result is None else "test another run"
            raise RunError(what, where=str(folder.path), next_step=step)
        recipe = relocate_recipe(folder, self.context.data_root)
        dataset = self.dataset_factory(recipe.data, recipe.train.seed, self.context)
        check_same_data(folder, dataset)
        return trained_network(folder, choose_device(self.context.device), self.context.callbacks.log), dataset

    def image_loader(self, folder: RunFolder, dataset: Dataset) -> ImageLoader:
        """The images; a look at the test split is written down before it is read.

        Raises:
            UsageError: the data has no such split.
        """
        known: list[Split] = [name for name in get_args(Split) if name in dataset.splits]
        split = next((name for name in known if name == self.split), None)
        if split is None:
            allowed = comma_separated(known)
            raise UsageError("the data has no such part", where="--part", received=self.split, allowed=allowed)
        device = choose_device(self.context.device)
        if split == "test":
            loader = open_test_split(folder, dataset, device, folder.precision_config(), self.purpose)
        else:
            loader = make_image_loader(dataset, split, device, folder.precision_config())
        return loader if self.limit is None else loader.subset(self.limit)


@disable_tf32()
def shift_run(
    folder: RunFolder, choose_shifts: Callable[[Dataset], Sequence[Any]], settings: ShiftSettings, seed: int = 0
) -> ShiftedRun:
    """Test a run's selected weights under shifts.

    Args:
        choose_shifts: the shifts, from the data that the run was trained on.
        seed: of the draws; the same for all runs that are to be compared.

    Raises:
        RunError: as `ShiftSettings.open`.
        UsageError: no such split, or no shifts.
    """
    network, dataset = settings.open(folder)
    shifts = tuple(choose_shifts(dataset))
    if not shifts:
        grey = "; grey images are not tested for what only moves colours" if dataset.image_spec.channels == 1 else ""
        what = f"there is no shift to test under{grey}"
        raise UsageError(what, where="--shift", next_step="name one: --shift rotation")
    loader = settings.image_loader(folder, dataset)

    def report_progress(_what: str, done: int, total: int, unit: str) -> None:
        settings.context.callbacks.progress(folder.name, done, total, unit)

    right = correct_under_corruptions(network, loader, shifts, seed=seed, progress=report_progress)
    first = torch.from_numpy(np.array(loader.pixels[:1]))
    place = np.zeros(1, dtype=np.int64)
    example = torch.cat([first, *(apply_corruption(first, shift, place, seed) for shift in shifts)])
    return ShiftedRun(folder.name, shifts, right, np.asarray(loader.labels), example.numpy(), len(dataset.classes))


@disable_tf32()
def corrupt_run(folder: RunFolder, corrupted: Cifar10C, settings: ShiftSettings) -> ShiftedRun:
    """Test a run's selected weights on CIFAR-10-C.

    Raises:
        RunError: as `ShiftSettings.open`.
        UsageError: the run's test images are not those of CIFAR-10 in their own order.
    """
    network, dataset = settings.open(folder)
    if set(dataset.classes) != set(CLASSES) or dataset.num_images("test") != len(corrupted.labels):
        raise _not_cifar_error(folder, dataset, len(corrupted.labels))  # before the test split is opened for nothing
    loader = settings.image_loader(folder, dataset)
    named = [CLASSES[label] for label in corrupted.labels]
    own = [dataset.classes[label] for label in dataset.labels("test")]
    if own != named:
        raise _not_cifar_error(folder, dataset, len(named))
    rows, examples = [correct_under_corruptions(network, loader, ())[0]], [np.array(loader.pixels[:1])]
    for number, corruption in enumerate(corrupted.corruptions, 1):
        pixels = convert_pixels(corrupted.pixels(corruption), dataset.image_spec)
        changed = replace(loader, pixels=pixels, labels=dataset.labels("test"), resident=None)
        changed = changed if settings.limit is None else changed.subset(settings.limit)
        rows.append(correct_under_corruptions(network, changed, ())[0])
        examples.append(np.array(changed.pixels[:1]))
        settings.context.callbacks.progress(folder.name, number, len(corrupted.corruptions), "corruptions")
    answers, shown = np.stack(rows), np.concatenate(examples)
    return ShiftedRun(folder.name, corrupted.corruptions, answers, loader.labels, shown, len(dataset.classes))


def _not_cifar_error(folder: RunFolder, dataset: Dataset, images: int) -> UsageError:
    return UsageError(
        "this run's test images are not those of which CIFAR-10-C was made",
        where=folder.name,
        received=f"{dataset.num_images('test'):,} test images of {dataset.name}",
        allowed=f"CIFAR-10's {images:,} test images in their own order",
        next_step='train with data.source = "cifar10"',
    )


def shift_groups(
    groups: Mapping[str, Sequence[RunFolder]],
    measure: Callable[[RunFolder], ShiftedRun],
    rules: DecisionRules,
    *,
    split: str = "test",
    seed: int = 0,
    notes: Sequence[str] = (),
) -> tuple[ShiftResult, tuple[ShiftedRun, ...]]:
    """Test groups of runs, each of one recipe over seeds, under the same shifts of the same images.

    Args:
        groups: the runs of each, by name.
        measure: tests a run; see `shift_run` and `corrupt_run`.
        rules: delta and alpha, of accuracies.
        notes: what a reader must know of the runs.

    Returns:
        What came out, and every run's answers.

    Raises:
        UsageError: the runs were not shown the same images; and what `shift_run` raises.
    """
    rules.validate()
    check_same_images([folder for folders in groups.values() for folder in folders], split)
    made: dict[str, list[ShiftedRun]] = {}
    first: ShiftedRun | None = None
    for name, folders in groups.items():
        for folder in folders:
            found = measure(folder)
            first = first or found
            _check_equal_images(first, found)
            made.setdefault(name, []).append(found)
    assert first is not None
    several = list(made.values())
    whole = ShiftResult(
        split=split,
        notes=tuple(notes),
        images=len(first.labels),
        chance=1 / first.classes,
        seed=seed,
        delta=rules.delta,
        alpha=rules.alpha,
        groups=tuple(shifted_group(name, runs, rules) for name, runs in made.items()),
        between=group_differences(several[0], several[1], rules) if len(several) == 2 else (),
    )
    return whole, tuple(run for runs in several for run in runs)


def check_same_images(folders: Sequence[RunFolder], split: str) -> None:
    """Refuse runs whose records tell that their images are not the same, before any is looked at.

    Raises:
        UsageError: two of them are named.
    """
    first_runs: dict[tuple[object, ...], str] = {}
    for folder in folders:
        about = folder.data()
        preprocessing = about.preprocessing
        images = about.test_set if split == "test" else about.split_hash
        first_runs.setdefault((images, preprocessing.channels, preprocessing.height, preprocessing.width), folder.name)
    if len(first_runs) > 1:
        raise _different_images_error(*list(first_runs.values())[:2])


def _check_equal_images(first: ShiftedRun, other: ShiftedRun) -> None:
    same = (
        first.shifts == other.shifts
        and np.array_equal(first.labels, other.labels)
        and np.array_equal(first.example, other.example)
    )
    if not same:
        raise _different_images_error(first.name, other.name)


def _different_images_error(first: str, other: str) -> UsageError:
    return UsageError(
        "these runs are not shown the same images",
        where="RUN",
        received=f"{first} and {other}",
        allowed="runs on one data set, with images of one size; for --part validation, of one split",
        next_step="shift them one at a time",
    )
