"""Attribution maps of an image by several methods, each with its sanity checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from cnnlab.data.sources.base import Progress, silent
from cnnlab.errors import RunError, UsageError, listed, nearest
from cnnlab.interpret.attribution.grad_cam_layers import choose_layer
from cnnlab.interpret.attribution.methods import METHODS, Setting, at_a_time, heat, load_captum
from cnnlab.interpret.attribution.result import Attribution, Attributions, Completeness, Curve, Explained
from cnnlab.interpret.attribution.sanity_checks import (
    MOST_STEPS,
    area,
    complete,
    curves,
    order_of,
    random_orders,
    rank_correlation,
    redrawn,
)
from cnnlab.interpret.hooks import probing
from cnnlab.interpret.images import Picture, normalised
from cnnlab.interpret.loaded_model import Subject, as_subject
from cnnlab.interpret.targets import one_or_more
from cnnlab.render import formatting
from cnnlab.runs.callbacks import NOBODY
from cnnlab.training.device import whole_floats

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


Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Question:
    """One image with what is asked about it."""

    picture: Picture
    image: Tensor
    setting: Setting
    probabilities: Floats


@whole_floats()
def inspect_attribution(
    subject: Subject | str | Path,
    images: str | Path | Sequence[str | Path | None] | None = None,
    *,
    target: str | int | None = None,
    methods: str | Sequence[str] = (),
    layer: str | None = None,
    steps: int = 64,
    window: int | None = None,
    stride: int | None = None,
    baseline: Baseline = "mean",
    draws: int = 3,
    orders: int = 8,
    seed: int = 0,
    say: Callable[[str], None] = NOBODY.say,
    progress: Progress = silent,
) -> Attributions:
    """Which pixels speak for a class, by saliency, integrated gradients, occlusion and Grad-CAM, with their checks.

    All look at the class's logit. Needs the extra `cnnlab[captum]`.

    Args:
        subject: of `open_subject`, or a name as it takes them; its network is left as it was.
        images: one or several: a file, or a place in its data such as "validation:12"; None: pictures that the
            program draws.
        target: the class, by its name or its number from 0; None: for each image the one that is predicted.
        methods: some of saliency, integrated-gradients, occlusion and grad-cam; none: all that the network has.
        layer: the row whose maps Grad-CAM weighs; None: the last one that gives maps.
        steps: of integrated gradients, at least; doubled until their sum is off by less than 1 %, or 1,024 are reached.
        window, stride: of occlusion's square, in pixels; None: a quarter of the shorter side, and half of that.
        baseline: what stands for nothing to be seen: "mean", "black" or "blur".
        draws: how many times the weights are drawn anew, in a copy.
        orders: how many random orders of the pixels deletion and insertion are held against.
        seed: of these draws and orders.
        say: told of each image as it begins.
        progress: told of the images that are done, and then of the draws.

    Returns:
        The maps, H×W each, with deletion, insertion, and correlations with the maps of redrawn weights.

    Raises:
        UsageError: Captum is missing; no such class, method or layer; Grad-CAM was asked for and there are no maps; a
            number that is out of its range.
        SourceError: an image can't be used.
        RunError: the network gives NaN or ±Inf.
    """
    subject, methods = as_subject(subject), one_or_more(methods)
    images = (images,) if images is None or isinstance(images, str | Path) else tuple(images)
    load_captum()
    network = subject.network
    side, move = square(subject, window, stride)
    require(images, steps, baseline, draws, orders)
    with probing(network):
        place = choose_layer(network, subject.layers, subject.form.shape, layer)
        chosen, left_out = choose_methods(methods, place)
        if target is not None and subject.classes:
            # Before any image is looked at: a look at the test part is written down for good.
            read_class(target, subject.classes, len(subject.classes))
        pictures = subject.pictures(images, "inspect attribution")
        questions = [
            _question(subject, picture, target, Setting(0, torch.empty(0), place, steps, side, move, 1), baseline)
            for picture in pictures
        ]
        explained = []
        for number, question in enumerate(questions):
            say(f"{formatting.shown(question.picture.name)} …")
            progress("attribution", number, len(questions), "images")
            explained.append(_explained(subject, question, chosen, orders, seed, number))
        progress("attribution", len(questions), len(questions), "images")
        explained = _with_redrawn(network, questions, explained, draws, seed, progress)
    return Attributions(
        network=subject.name,
        images=tuple(explained),
        layer=place if "grad-cam" in chosen else "",
        baseline=BASELINES[baseline],
        window=side,
        stride=move,
        left_out=tuple(left_out.items()),
        agreement=_agreement(explained, chosen),
    )


def _question(
    subject: Subject, picture: Picture, target: str | int | None, setting: Setting, baseline: Baseline
) -> _Question:
    image = picture.values.to(subject.device)
    with torch.no_grad():
        logits = subject.network(image[None])[0].float()
    found = logits.softmax(dim=0).cpu().double().numpy()
    if not np.isfinite(found).all():
        raise RunError("the network gives NaN or ±Inf for this image", where=picture.name, received=subject.name)
    number = int(found.argmax()) if target is None else read_class(target, subject.classes, len(found))
    behind = background(subject, picture, baseline).to(subject.device)
    batch = at_a_time(subject.network, image)
    return _Question(picture, image, replace(setting, target=number, baseline=behind, batch=batch), found)


def _explained(
    subject: Subject, question: _Question, methods: Sequence[str], orders: int, seed: int, number: int
) -> Explained:
    """One image with all maps and curves; nothing is drawn anew yet."""
    network, image, setting = subject.network, question.image, question.setting
    size = (image.shape[1], image.shape[2])
    maps = []
    for name in methods:
        found, sums = _map(network, question, name)
        deletion, insertion = _curves(network, image, setting, order_of(found, seed, number))
        maps.append(Attribution(name, found, deletion, insertion, (), sums))
    chance = [
        _curves(network, image, setting, order) for order in random_orders(size[0] * size[1], seed, number, orders)
    ]
    names = subject.classes or tuple(str(number) for number in range(len(question.probabilities)))
    return Explained(
        name=question.picture.name,
        pixels=question.picture.pixels,
        target=setting.target,
        class_name=names[setting.target],
        probability=float(question.probabilities[setting.target]),
        predicted=names[int(question.probabilities.argmax())],
        maps=tuple(maps),
        random_deletion=tuple(deleted for deleted, _ in chance),
        random_insertion=tuple(inserted for _, inserted in chance),
    )


def _map(network: nn.Module, question: _Question, name: str) -> tuple[Floats, Completeness | None]:
    image, setting, sums = question.image, question.setting, None
    if name == "integrated-gradients":
        found, sums = complete(network, image, setting)
    else:
        found = METHODS[name](network, image, setting)
    return _numbers(heat(name, found, (image.shape[1], image.shape[2]))), sums


def _with_redrawn(
    network: nn.Module,
    questions: Sequence[_Question],
    explained: Sequence[Explained],
    draws: int,
    seed: int,
    progress: Progress,
) -> list[Explained]:
    """The same with the correlations of maps of copies whose weights are drawn anew."""
    found: dict[tuple[int, str], list[float | None]] = {}
    # Without weights there is nothing to draw.
    times = draws if any(True for _ in network.parameters()) else 0
    for draw in range(times):
        progress("weights drawn anew", draw, times, "draws")
        other = redrawn(network, seed, draw)
        for number, (question, image) in enumerate(zip(questions, explained, strict=True)):
            size = (question.image.shape[1], question.image.shape[2])
            for own in image.maps:
                drawn = METHODS[own.method](other, question.image, question.setting)
                correlation = rank_correlation(own.heat, _numbers(heat(own.method, drawn, size)))
                found.setdefault((number, own.method), []).append(correlation)
    if times:
        progress("weights drawn anew", times, times, "draws")
    return [
        replace(
            image, maps=tuple(replace(own, redrawn=tuple(found.get((number, own.method), ()))) for own in image.maps)
        )
        for number, image in enumerate(explained)
    ]


def _curves(network: nn.Module, image: Tensor, setting: Setting, order: npt.NDArray[np.int64]) -> tuple[Curve, Curve]:
    deleted, inserted = curves(network, image, setting, order)
    return Curve(deleted, area(deleted)), Curve(inserted, area(inserted))


def _agreement(explained: Sequence[Explained], methods: Sequence[str]) -> tuple[tuple[str, str, float], ...]:
    found = []
    for one, other in combinations(methods, 2):
        maps = [{own.method: own.heat for own in image.maps} for image in explained]
        known = [value for each in maps if (value := rank_correlation(each[one], each[other])) is not None]
        if known:
            found.append((one, other, fmean(known)))
    return tuple(found)


def _numbers(found: Tensor) -> Floats:
    # To the CPU before they become float64, which an Apple GPU has none of.
    return found.cpu().double().numpy()
