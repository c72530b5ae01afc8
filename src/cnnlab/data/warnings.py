"""What the images of a recipe say that deserves a look before training. No torch.

Images are compared by a hash of their pixels as they are trained on: no label and no model is used for that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cnnlab.data.channel_stats import mean_and_std
from cnnlab.data.checks import IMBALANCE
from cnnlab.data.dataset import Dataset
from cnnlab.data.sources.base import Part, Pixels
from cnnlab.records import WarningRecord

# Normalised images have mean 0 and standard deviation 1; numbers of another data set of photographs stay within these.
FAR_MEAN = 0.5
FAR_STD = 2.0


def data_warnings(dataset: Dataset, off: Sequence[str] = ()) -> list[WarningRecord]:
    """What the training and validation parts say; the test part is not touched.

    Args:
        off: names that are not looked at.
    """
    found = [look(dataset) for name, look in _LOOKS.items() if name not in off]
    return [warning for warning in found if warning is not None]


def leaks_into_test(dataset: Dataset, off: Sequence[str] = ()) -> tuple[WarningRecord, ...]:
    """The images that the test part shares with the others; it is decoded for that."""
    if "leak" in off:
        return ()
    pairs: tuple[tuple[Part, Part], ...] = (("train", "test"), ("validation", "test"))
    found = (leak(dataset, pair) for pair in pairs)
    return tuple(warning for warning in found if warning is not None)


def leak(dataset: Dataset, parts: tuple[Part, Part]) -> WarningRecord | None:
    """The images of the second part that the first has, too; None where there are none, or a part is not there."""
    if not set(parts) <= set(dataset.parts):
        return None
    known = {name: row for row, name in reversed(list(enumerate(_hashes(dataset.pixels(parts[0])))))}
    shared = [(known[name], row) for row, name in enumerate(_hashes(dataset.pixels(parts[1]))) if name in known]
    if not shared:
        return None
    there, here = (dataset.image_names(part)[row] for part, row in zip(parts, shared[0], strict=True))
    count = dataset.size(parts[1])
    return WarningRecord(
        name="leak",
        where=f"{parts[0]}, {parts[1]}",
        message=f"{len(shared):,} of {count:,} {parts[1]} images are {parts[0]} images, too, pixel for pixel: "
        f"{here} is {there}",
        fix=f"take them out of one part; 'cnnlab data check {dataset.name}' lists every image that is there twice",
    )


def _hashes(pixels: Pixels) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels]


def _imbalance(dataset: Dataset) -> WarningRecord | None:
    counts = np.bincount(dataset.labels("train"), minlength=len(dataset.classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] < IMBALANCE * counts[least]:
        return None
    return WarningRecord(
        name="class-imbalance",
        where=dataset.classes[least],
        message=f"{counts[most]:,} training images of {dataset.classes[most]!r}, {counts[least]:,} of "
        f"{dataset.classes[least]!r}: a network can be right most of the time without ever naming it",
        fix="choose and judge by balanced_accuracy (train.choose), or even the classes out (data.per_class)",
    )


def _mismatch(dataset: Dataset) -> WarningRecord | None:
    """The numbers that the recipe gives against those of the training images, which else are used."""
    if dataset.given is None:
        return None
    own = mean_and_std(dataset.pixels("train"))
    found = []
    for channel, (mean, std, given_mean, given_std) in enumerate(zip(*own, *dataset.given, strict=True)):
        shifted, scaled = (mean - given_mean) / given_std, std / given_std
        # A channel that is the same everywhere has no scale: `mean_and_std` says 1, which no image's can be.
        scaled = 1.0 if std == 1 else scaled
        found.append(
            (max(abs(shifted) / FAR_MEAN, abs(math.log(scaled)) / math.log(FAR_STD)), channel, shifted, scaled)
        )
    far, channel, shifted, scaled = max(found)
    if far <= 1:
        return None
    spread = "" if own[1][channel] == 1 else f" and standard deviation {scaled:.2f} instead of 1"
    return WarningRecord(
        name="normalization-mismatch",
        where="data.normalize",
        message=f"with these numbers channel {channel} of the training images has mean {shifted:.2f} instead "
        f"of 0{spread}: their own are {own[0][channel]:.4f} and {own[1][channel]:.4f}",
        fix='write normalize = "data", or the numbers of these images',
    )


_LOOKS: Mapping[str, Callable[[Dataset], WarningRecord | None]] = {
    "class-imbalance": _imbalance,
    "normalization-mismatch": _mismatch,
    "leak": lambda dataset: leak(dataset, ("train", "validation")),
}
