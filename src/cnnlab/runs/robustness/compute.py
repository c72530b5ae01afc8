"""A run's network tested under shifts, on the images of one part of its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.loader import Feed
from cnnlab.data.sources.base import Part, Progress, silent
from cnnlab.data.sources.cifar10c import CLASSES, Corrupted
from cnnlab.data.sources.formats import in_form
from cnnlab.errors import RunError, UsageError, listed
from cnnlab.evaluation.corruptions import right_under, shifted
from cnnlab.runs.callbacks import NOBODY
from cnnlab.runs.checks import check_same_data
from cnnlab.runs.environment import recipe_from_here
from cnnlab.runs.final_evaluation import open_test_part, trained_network
from cnnlab.runs.robustness.result import Shifted, ShiftedRun, differences, shifted_group
from cnnlab.runs.setup import Opener, feed_of
from cnnlab.stats.comparison import Rules
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import choose_device, whole_floats

PURPOSE = "shift"


@dataclass(frozen=True)
class Setting:
    """How runs are tested: on which part of their data, on how many images, where, and who is told.

    Attributes:
        part: train, validation or test.
        limit: at most so many images, spread evenly over the part.
        root: where catalogue data lives.
        device: auto, cpu, cuda or mps.
        purpose: what the ledger tells of a look at the test part.
    """

    part: str = "test"
    limit: int | None = None
    root: Path | None = None
    device: str = "auto"
    purpose: str = PURPOSE
    opener: Opener = open_dataset
    say: Callable[[str], None] = NOBODY.say
    progress: Progress = silent

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
        recipe = recipe_from_here(folder, self.root)
        dataset = self.opener(recipe.data, seed=recipe.train.seed, root=self.root, progress=self.progress)
        check_same_data(folder, dataset)
        return trained_network(folder, choose_device(self.device), self.say), dataset

    def feed(self, folder: RunFolder, dataset: Dataset) -> Feed:
        """The images; a look at the test part is written down before it is read.

        Raises:
            UsageError: the data has no such part.
        """
        known: list[Part] = [name for name in get_args(Part) if name in dataset.parts]
        part = next((name for name in known if name == self.part), None)
        if part is None:
            allowed = listed(known)
            raise UsageError("the data has no such part", where="--part", received=self.part, allowed=allowed)
        device = choose_device(self.device)
        if part == "test":
            feed = open_test_part(folder, dataset, device, folder.way(), self.purpose)
        else:
            feed = feed_of(dataset, part, device, folder.way())
        return feed if self.limit is None else feed.some(self.limit)


@whole_floats()
def shift_run(
    folder: RunFolder, choose: Callable[[Dataset], Sequence[Any]], setting: Setting, seed: int = 0
) -> ShiftedRun:
    """Test a run's selected weights under shifts.

    Args:
        choose: the shifts, from the data that the run was trained on.
        seed: of the draws; the same for all runs that are to be compared.

    Raises:
        RunError: as `Setting.open`.
        UsageError: no such part, or no shifts.
    """
    network, dataset = setting.open(folder)
    shifts = tuple(choose(dataset))
    if not shifts:
        grey = "; grey images are not tested for what only moves colours" if dataset.form.channels == 1 else ""
        what = f"there is no shift to test under{grey}"
        raise UsageError(what, where="--shift", next_step="name one: --shift rotation")
    feed = setting.feed(folder, dataset)

    def told(_what: str, done: int, total: int, unit: str) -> None:
        setting.progress(folder.name, done, total, unit)

    right = right_under(network, feed, shifts, seed=seed, progress=told)
    first = torch.from_numpy(np.array(feed.pixels[:1]))
    place = np.zeros(1, dtype=np.int64)
    example = torch.cat([first, *(shifted(first, shift, place, seed) for shift in shifts)])
    return ShiftedRun(folder.name, shifts, right, np.asarray(feed.labels), example.numpy(), len(dataset.classes))


@whole_floats()
def corrupt_run(folder: RunFolder, corrupted: Corrupted, setting: Setting) -> ShiftedRun:
    """Test a run's selected weights on CIFAR-10-C.

    Raises:
        RunError: as `Setting.open`.
        UsageError: the run's test images are not those of CIFAR-10 in their own order.
    """
    network, dataset = setting.open(folder)
    if set(dataset.classes) != set(CLASSES) or dataset.size("test") != len(corrupted.labels):
        raise _not_cifar(folder, dataset, len(corrupted.labels))  # before the test part is opened for nothing
    feed = setting.feed(folder, dataset)
    named = [CLASSES[label] for label in corrupted.labels]
    own = [dataset.classes[label] for label in dataset.labels("test")]
    if own != named:
        raise _not_cifar(folder, dataset, len(named))
    rows, examples = [right_under(network, feed, ())[0]], [np.array(feed.pixels[:1])]
    for number, corruption in enumerate(corrupted.corruptions, 1):
        pixels = in_form(corrupted.pixels(corruption), dataset.form)
        changed = replace(feed, pixels=pixels, labels=dataset.labels("test"), resident=None)
        changed = changed if setting.limit is None else changed.some(setting.limit)
        rows.append(right_under(network, changed, ())[0])
        examples.append(np.array(changed.pixels[:1]))
        setting.progress(folder.name, number, len(corrupted.corruptions), "corruptions")
    answers, shown = np.stack(rows), np.concatenate(examples)
    return ShiftedRun(folder.name, corrupted.corruptions, answers, feed.labels, shown, len(dataset.classes))


def _not_cifar(folder: RunFolder, dataset: Dataset, images: int) -> UsageError:
    return UsageError(
        "this run's test images are not those of which CIFAR-10-C was made",
        where=folder.name,
        received=f"{dataset.size('test'):,} test images of {dataset.name}",
        allowed=f"CIFAR-10's {images:,} test images in their own order",
        next_step='train with data.source = "cifar10"',
    )


def shift_groups(
    groups: Mapping[str, Sequence[RunFolder]],
    measure: Callable[[RunFolder], ShiftedRun],
    rules: Rules,
    *,
    part: str = "test",
    seed: int = 0,
    notes: Sequence[str] = (),
) -> tuple[Shifted, tuple[ShiftedRun, ...]]:
    """Test groups of runs, each of one recipe over seeds, under the same shifts of the same images.

    Args:
        groups: the runs of each, by name.
        measure: tests a run; see `shift_run` and `corrupt_run`.
        rules: delta and alpha, of accuracies.
        notes: what a reader must know of the runs.

    Returns:
        What came out, and every run's answers.

    Raises:
        UsageError: the runs were not shown the same images; and what `measure` raises.
    """
    rules.check()
    check_same_kind([folder for folders in groups.values() for folder in folders], part)
    made: dict[str, list[ShiftedRun]] = {}
    first: ShiftedRun | None = None
    for name, folders in groups.items():
        for folder in folders:
            found = measure(folder)
            first = first or found
            _check_same_images(first, found)
            made.setdefault(name, []).append(found)
    assert first is not None
    several = list(made.values())
    whole = Shifted(
        part=part,
        notes=tuple(notes),
        images=len(first.labels),
        chance=1 / first.classes,
        seed=seed,
        delta=rules.delta,
        alpha=rules.alpha,
        groups=tuple(shifted_group(name, runs, rules) for name, runs in made.items()),
        between=differences(several[0], several[1], rules) if len(several) == 2 else (),
    )
    return whole, tuple(run for runs in several for run in runs)


def check_same_kind(folders: Sequence[RunFolder], part: str) -> None:
    """Refuse runs whose records tell that their images are not the same, before any is looked at.

    Raises:
        UsageError: two of them are named.
    """
    told: dict[tuple[object, ...], str] = {}
    for folder in folders:
        about = folder.data()
        form = about.preprocessing
        images = about.test_set if part == "test" else about.split_hash
        told.setdefault((images, form.channels, form.height, form.width), folder.name)
    if len(told) > 1:
        raise _not_the_same(*list(told.values())[:2])


def _check_same_images(first: ShiftedRun, other: ShiftedRun) -> None:
    same = (
        first.shifts == other.shifts
        and np.array_equal(first.labels, other.labels)
        and np.array_equal(first.example, other.example)
    )
    if not same:
        raise _not_the_same(first.name, other.name)


def _not_the_same(first: str, other: str) -> UsageError:
    return UsageError(
        "these runs are not shown the same images",
        where="RUN",
        received=f"{first} and {other}",
        allowed="runs on one data set, with images of one size; for --part validation, of one split",
        next_step="shift them one at a time",
    )
