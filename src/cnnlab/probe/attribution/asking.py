"""What may be asked of maps of attribution: methods, a class, a square, and what stands for nothing to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from cnnlab.errors import UsageError, listed, nearest
from cnnlab.probe.attribution.checks import MOST_STEPS
from cnnlab.probe.attribution.methods import METHODS
from cnnlab.probe.pictures import Picture, normalised
from cnnlab.probe.subjects import Subject
from cnnlab.render import formatting

Baseline: TypeAlias = Literal["mean", "black", "blur"]
MOST_IMAGES = 8
# Of occlusion's square where no size is given: a quarter of the shorter side, 8 pixels of 32.
SQUARE = 4
# The blur's standard deviation: 2 pixels of 32.
BLUR = 16
BASELINES = {
    "mean": "the mean colour, which is 0 after the normalisation",
    "black": "black",
    "blur": "the image, blurred (Gaussian, σ = 1/16 of the shorter side)",
}


def read_class(given: str | int, classes: Sequence[str], count: int) -> int:
    """The number of a class that is given by its name or its number; a name goes before a number.

    Args:
        classes: all names; empty where nobody knows them.
        count: how many classes the network tells apart.

    Raises:
        UsageError: there is no such class.

    >>> read_class("cat", ["dog", "cat"], 2), read_class("0", ["1", "0"], 2), read_class(0, ["1", "0"], 2)
    (1, 1, 0)
    """
    if isinstance(given, str) and given in classes:
        return list(classes).index(given)
    text = str(given).strip()
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < count:
        return int(text)
    names = ", ".join(formatting.shown(name, 24) for name in classes[:20]) + (", …" if len(classes) > 20 else "")
    raise UsageError(
        "the network has no such class",
        where="--class",
        received=formatting.shown(text),
        allowed=f"a number from 0 to {count - 1}" + (f", or a name: {names}" if classes else ""),
        next_step=formatting.shown(nearest(text, classes)) or "leave it out for the class that is predicted",
    )


def background(subject: Subject, picture: Picture, baseline: Baseline) -> Tensor:
    """C×H×W floats on the CPU, as the network takes them: what is shown where nothing is to be seen."""
    if baseline == "mean":
        return torch.zeros_like(picture.values)
    if baseline == "blur":
        sigma = min(picture.values.shape[1:]) / BLUR
        return torch.from_numpy(gaussian_filter(picture.values.numpy(), (0, sigma, sigma), mode="nearest"))
    mean, std = subject.mean, subject.std
    if mean is None and picture.label is not None and subject.dataset is not None:
        mean, std = subject.dataset().mean, subject.dataset().std
    black = np.zeros_like(picture.pixels)
    if mean is not None:
        return normalised(black, mean, std)
    # The image's own mean and spread, as it was normalised itself.
    scaled = torch.from_numpy(picture.pixels.astype(np.float32)) / 255
    spread = scaled.std(dim=(1, 2), keepdim=True)
    lowest = -scaled.mean(dim=(1, 2), keepdim=True) / spread.where(spread > 0, torch.ones(()))
    return lowest.expand_as(picture.values).contiguous()


def choose_methods(methods: Sequence[str], layer: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The methods in their order, and those that there is nothing for, with the reason."""
    for name in methods:
        if name not in METHODS:
            raise UsageError(
                "there is no such method",
                where="--method",
                received=name,
                allowed=listed(METHODS),
                next_step=nearest(name, METHODS) or "take one of these",
            )
    wanted = tuple(name for name in METHODS if not methods or name in methods)
    if layer or "grad-cam" not in wanted:
        return wanted, {}
    reason = "no layer of this network gives maps of places"
    if "grad-cam" in methods:
        raise UsageError(
            f"Grad-CAM has nothing to weigh: {reason}",
            where="--method",
            next_step="take another method, such as occlusion",
        )
    return tuple(name for name in wanted if name != "grad-cam"), {"grad-cam": reason}


def square(subject: Subject, window: int | None, stride: int | None) -> tuple[int, int]:
    shorter = min(subject.form.height, subject.form.width)
    side = max(1, shorter // SQUARE) if window is None else window
    move = max(1, side // 2) if stride is None else stride
    for what, given, most in (("window", side, shorter), ("stride", move, side)):
        if not 1 <= given <= most:
            raise UsageError(
                "occlusion's square lies within the image" if what == "window" else "each pixel is covered by a square",
                where=f"--{what}",
                received=f"{given} px",
                allowed=f"1 to {most} px",
            )
    return side, move


def require(images: Sequence[object], steps: int, baseline: str, draws: int, orders: int) -> None:
    if baseline not in get_args(Baseline):
        raise UsageError(f"unknown baseline '{baseline}'", where="--baseline", allowed=listed(BASELINES))
    ranges = (
        ("--image", len(images), 1, MOST_IMAGES),
        ("--steps", steps, 1, MOST_STEPS),
        ("draws", draws, 0, 100),
        ("orders", orders, 1, 100),
    )
    for what, given, least, most in ranges:
        if not least <= given <= most:
            raise UsageError(
                "this number is out of its range", where=what, received=f"{given:,}", allowed=f"{least} to {most:,}"
            )
