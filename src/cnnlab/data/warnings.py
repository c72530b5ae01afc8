"""Warnings about the images of a recipe before training. No torch.

Images are compared by a hash of their pixels as they are trained on: no label and no model is used for that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from cnnlab.architecture.warnings import Finding, WarningChecks
from cnnlab.data.checks import IMBALANCE_RATIO
from cnnlab.data.dataset import Dataset, mean_and_std
from cnnlab.data.sources.base import Pixels, Split
from cnnlab.records import WarningRecord

# Normalised images have mean 0 and standard deviation 1; with another photographic data set's numbers, they are within
# these bounds.
MEAN_TOLERANCE = 0.5
STD_RATIO = 2.0

checks = WarningChecks()


def data_warnings(dataset: Dataset, disabled: Sequence[str] = ()) -> list[WarningRecord]:
    """The warnings about the training and validation splits; the test split is not touched.

    Args:
        disabled: names of checks that are skipped.
    """
    return checks.find(dataset, disabled=disabled)


def leakage_warnings(dataset: Dataset, disabled: Sequence[str] = ()) -> tuple[WarningRecord, ...]:
    """The warnings about images that the test split shares with the others; it is decoded for that."""
    if "leak" in disabled:
        return ()
    pairs: tuple[tuple[Split, Split], ...] = (("train", "test"), ("validation", "test"))
    findings = (find_leak(dataset, pair) for pair in pairs)
    return tuple(finding.named("leak") for finding in findings if finding is not None)


def find_leak(dataset: Dataset, splits: tuple[Split, Split]) -> Finding | None:
    """The images of the second split that the first has, too; None where it has none, or a split does not exist."""
    if not set(splits) <= set(dataset.splits):
        return None
    known = {name: row for row, name in reversed(list(enumerate(_hashes(dataset.pixels(splits[0])))))}
    shared = [(known[name], row) for row, name in enumerate(_hashes(dataset.pixels(splits[1]))) if name in known]
    if not shared:
        return None
    there, here = (dataset.image_names(split)[row] for split, row in zip(splits, shared[0], strict=True))
    count = dataset.num_images(splits[1])
    return Finding(
        where=f"{splits[0]}, {splits[1]}",
        message=f"{len(shared):,} of {count:,} {splits[1]} images are {splits[0]} images, too, pixel for pixel: "
        f"{here} is {there}",
        fix=f"take them out of one split; 'cnnlab data check {dataset.name}' lists every image that is there twice",
    )


def _hashes(pixels: Pixels) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels]


@checks.register("leak")
def _leak(dataset: Dataset) -> Finding | None:
    return find_leak(dataset, ("train", "validation"))


@checks.register("class-imbalance")
def _imbalance(dataset: Dataset) -> Finding | None:
    counts = np.bincount(dataset.labels("train"), minlength=len(dataset.classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] < IMBALANCE_RATIO * counts[least]:
        return None
    return Finding(
        where=dataset.classes[least],
        message=f"{counts[most]:,} training images of {dataset.classes[most]!r}, {counts[least]:,} of "
        f"{dataset.classes[least]!r}: a network can be right most of the time without ever naming it",
        fix="choose and judge by balanced_accuracy (train.choose), or even the classes out (data.per_class)",
    )


@checks.register("normalization-mismatch")
def _normalization_mismatch(dataset: Dataset) -> Finding | None:
    """Compare the recipe's normalisation with the mean and standard deviation of the training images."""
    if dataset.given_stats is None:
        return None
    own = mean_and_std(dataset.pixels("train"))
    found = []
    for channel, (mean, std, given_mean, given_std) in enumerate(zip(*own, *dataset.given_stats, strict=True)):
        shifted, scaled = (mean - given_mean) / given_std, std / given_std
        # A constant channel has no scale: `mean_and_std` returns 1, which no other channel can have.
        scaled = 1.0 if std == 1 else scaled
        found.append(
            (max(abs(shifted) / MEAN_TOLERANCE, abs(math.log(scaled)) / math.log(STD_RATIO)), channel, shifted, scaled)
        )
    far, channel, shifted, scaled = max(found)
    if far <= 1:
        return None
    spread = "" if own[1][channel] == 1 else f" and standard deviation {scaled:.2f} instead of 1"
    return Finding(
        where="data.normalize",
        message=f"with these numbers channel {channel} of the training images has mean {shifted:.2f} instead "
        f"of 0{spread}: their own are {own[0][channel]:.4f} and {own[1][channel]:.4f}",
        fix='write normalize = "data", or the numbers of these images',
    )
