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

from cnnlab.context import NO_CALLBACKS, ProgressCallback, no_op
from cnnlab.errors import RunError, UsageError, comma_separated, did_you_mean
from cnnlab.interpret.attribution.grad_cam_layers import choose_layer
from cnnlab.interpret.attribution.methods import METHODS, AttributionConfig, load_captum, max_batch_size, to_heatmap
from cnnlab.interpret.attribution.result import (
    AttributionMap,
    Attributions,
    Completeness,
    ImageAttributions,
    PerturbationCurve,
)
from cnnlab.interpret.attribution.sanity_checks import (
    MAX_STEPS,
    converged_integrated_gradients,
    curve_auc,
    perturbation_curves,
    pixel_ranking,
    random_rankings,
    randomize_weights,
    rank_correlation,
)
from cnnlab.interpret.hooks import frozen_eval
from cnnlab.interpret.images import InputImage, normalize_pixels
from cnnlab.interpret.loaded_model import LoadedModel, as_loaded_model
from cnnlab.interpret.targets import as_tuple
from cnnlab.render.formatting import shorten
from cnnlab.training.device import disable_tf32

Baseline: TypeAlias = Literal["mean", "black", "blur"]
MAX_IMAGES = 8
# Of occlusion's square where no size is given: a quarter of the shorter side, 8 pixels of 32.
SQUARE = 4
# The blur's standard deviation: 2 pixels of 32.
BLUR = 16
BASELINES = {
    "mean": "the mean colour, which is 0 after the normalisation",
    "black": "black",
    "blur": "the image, blurred (Gaussian, σ = 1/16 of the shorter side)",
}


def parse_class(value: str | int, classes: Sequence[str], count: int) -> int:
    """The number of a class that is given by its name or its number; a name goes before a number.

    Args:
        classes: all names; empty where nobody knows them.
        count: how many classes the network tells apart.

    Raises:
        UsageError: there is no such class.

    >>> parse_class("cat", ["dog", "cat"], 2), parse_class("0", ["1", "0"], 2), parse_class(0, ["1", "0"], 2)
    (1, 1, 0)
    """
    if isinstance(value, str) and value in classes:
        return list(classes).index(value)
    text = str(value).strip()
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < count:
        return int(text)
    names = ", ".join(shorten(name, 24) for name in classes[:20]) + (", …" if len(classes) > 20 else "")
    raise UsageError(
        "the network has no such class",
        where="--class",
        received=shorten(text),
        allowed=f"a number from 0 to {count - 1}" + (f", or a name: {names}" if classes else ""),
        next_step=shorten(did_you_mean(text, classes)) or "leave it out for the class that is predicted",
    )


def baseline_image(model: LoadedModel, input_image: InputImage, baseline: Baseline) -> Tensor:
    """C×H×W floats on the CPU, as the network takes them: what is shown where nothing is to be seen."""
    if baseline == "mean":
        return torch.zeros_like(input_image.values)
    if baseline == "blur":
        sigma = min(input_image.values.shape[1:]) / BLUR
        return torch.from_numpy(gaussian_filter(input_image.values.numpy(), (0, sigma, sigma), mode="nearest"))
    mean, std = model.mean, model.std
    if mean is None and input_image.label is not None and model.dataset is not None:
        mean, std = model.dataset().mean, model.dataset().std
    black = np.zeros_like(input_image.pixels)
    if mean is not None:
        return normalize_pixels(black, mean, std)
    # The image's own mean and spread, as it was normalised itself.
    scaled = torch.from_numpy(input_image.pixels.astype(np.float32)) / 255
    spread = scaled.std(dim=(1, 2), keepdim=True)
    lowest = -scaled.mean(dim=(1, 2), keepdim=True) / spread.where(spread > 0, torch.ones(()))
    return lowest.expand_as(input_image.values).contiguous()


def select_methods(methods: Sequence[str], layer: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The methods in their order, and those that there is nothing for, with the reason."""
    for name in methods:
        if name not in METHODS:
            raise UsageError(
                "there is no such method",
                where="--method",
                received=name,
                allowed=comma_separated(METHODS),
                next_step=did_you_mean(name, METHODS) or "take one of these",
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


def occlusion_window(model: LoadedModel, window: int | None, stride: int | None) -> tuple[int, int]:
    shorter = min(model.image_spec.height, model.image_spec.width)
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


def validate_options(images: Sequence[object], steps: int, baseline: str, draws: int, orders: int) -> None:
    if baseline not in get_args(Baseline):
        raise UsageError(f"unknown baseline '{baseline}'", where="--baseline", allowed=comma_separated(BASELINES))
    ranges = (
        ("--image", len(images), 1, MAX_IMAGES),
        ("--steps", steps, 1, MAX_STEPS),
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
class _AttributionInput:
    """One image with what is asked about it."""

    input_image: InputImage
    image: Tensor
    config: AttributionConfig
    probabilities: Floats


@disable_tf32()
def inspect_attribution(
    model: LoadedModel | str | Path,
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
    log: Callable[[str], None] = NO_CALLBACKS.log,
    progress: ProgressCallback = no_op,
) -> Attributions:
    """Which pixels speak for a class, by saliency, integrated gradients, occlusion and Grad-CAM, with their checks.

    All look at the class's logit. Needs the extra `cnnlab[captum]`.

    Args:
        model: of `load_model`, or a name as it takes them; its network is left as it was.
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
        log: told of each image as it begins.
        progress: told of the images that are done, and then of the draws.

    Returns:
        The maps, H×W each, with deletion, insertion, and correlations with the maps of redrawn weights.

    Raises:
        UsageError: Captum is missing; no such class, method or layer; Grad-CAM was asked for and there are no maps; a
            number that is out of its range.
        SourceError: an image can't be used.
        RunError: the network gives NaN or ±Inf.
    """
    model, methods = as_loaded_model(model), as_tuple(methods)
    images = (images,) if images is None or isinstance(images, str | Path) else tuple(images)
    load_captum()
    network = model.network
    side, move = occlusion_window(model, window, stride)
    validate_options(images, steps, baseline, draws, orders)
    with frozen_eval(network):
        cam_layer = choose_layer(network, model.layers, model.image_spec.shape, layer)
        selected, skipped = select_methods(methods, cam_layer)
        if target is not None and model.classes:
            # Before any image is looked at: a look at the test part is written down for good.
            parse_class(target, model.classes, len(model.classes))
        input_images = model.load_images(images, "inspect attribution")
        inputs = [
            _attribution_input(
                model,
                input_image,
                target,
                AttributionConfig(0, torch.empty(0), cam_layer, steps, side, move, 1),
                baseline,
            )
            for input_image in input_images
        ]
        attributions = []
        for number, one_input in enumerate(inputs):
            log(f"{shorten(one_input.input_image.name)} …")
            progress("attribution", number, len(inputs), "images")
            attributions.append(_attribute_image(model, one_input, selected, orders, seed, number))
        progress("attribution", len(inputs), len(inputs), "images")
        attributions = _with_randomization(network, inputs, attributions, draws, seed, progress)
    return Attributions(
        network=model.name,
        images=tuple(attributions),
        layer=cam_layer if "grad-cam" in selected else "",
        baseline=BASELINES[baseline],
        window=side,
        stride=move,
        skipped_methods=tuple(skipped.items()),
        agreement=_agreement(attributions, selected),
    )


def _attribution_input(
    model: LoadedModel, input_image: InputImage, target: str | int | None, config: AttributionConfig, baseline: Baseline
) -> _AttributionInput:
    image = input_image.values.to(model.device)
    with torch.no_grad():
        logits = model.network(image[None])[0].float()
    probabilities = logits.softmax(dim=0).cpu().double().numpy()
    if not np.isfinite(probabilities).all():
        raise RunError("the network gives NaN or ±Inf for this image", where=input_image.name, received=model.name)
    number = int(probabilities.argmax()) if target is None else parse_class(target, model.classes, len(probabilities))
    baseline_pixels = baseline_image(model, input_image, baseline).to(model.device)
    batch = max_batch_size(model.network, image)
    return _AttributionInput(
        input_image, image, replace(config, target=number, baseline=baseline_pixels, batch_size=batch), probabilities
    )


def _attribute_image(
    model: LoadedModel, inputs: _AttributionInput, methods: Sequence[str], orders: int, seed: int, number: int
) -> ImageAttributions:
    """One image with all maps and curves; nothing is drawn anew yet."""
    network, image, config = model.network, inputs.image, inputs.config
    size = (image.shape[1], image.shape[2])
    maps = []
    for name in methods:
        heatmap, sums = _attribution_map(network, inputs, name)
        deletion, insertion = _curves(network, image, config, pixel_ranking(heatmap, seed, number))
        maps.append(AttributionMap(name, heatmap, deletion, insertion, (), sums))
    chance = [
        _curves(network, image, config, order) for order in random_rankings(size[0] * size[1], seed, number, orders)
    ]
    names = model.classes or tuple(str(number) for number in range(len(inputs.probabilities)))
    return ImageAttributions(
        name=inputs.input_image.name,
        pixels=inputs.input_image.pixels,
        target=config.target,
        class_name=names[config.target],
        probability=float(inputs.probabilities[config.target]),
        predicted=names[int(inputs.probabilities.argmax())],
        maps=tuple(maps),
        random_deletion=tuple(deleted for deleted, _ in chance),
        random_insertion=tuple(inserted for _, inserted in chance),
    )


def _attribution_map(network: nn.Module, inputs: _AttributionInput, name: str) -> tuple[Floats, Completeness | None]:
    image, config, sums = inputs.image, inputs.config, None
    if name == "integrated-gradients":
        attribution, sums = converged_integrated_gradients(network, image, config)
    else:
        attribution = METHODS[name](network, image, config)
    return _to_numpy(to_heatmap(name, attribution, (image.shape[1], image.shape[2]))), sums


def _with_randomization(
    network: nn.Module,
    inputs: Sequence[_AttributionInput],
    images: Sequence[ImageAttributions],
    draws: int,
    seed: int,
    progress: ProgressCallback,
) -> list[ImageAttributions]:
    """The same with the correlations of maps of copies whose weights are drawn anew."""
    correlations: dict[tuple[int, str], list[float | None]] = {}
    # Without weights there is nothing to draw.
    times = draws if any(True for _ in network.parameters()) else 0
    for draw in range(times):
        progress("weights drawn anew", draw, times, "draws")
        other = randomize_weights(network, seed, draw)
        for number, (one_input, image) in enumerate(zip(inputs, images, strict=True)):
            size = (one_input.image.shape[1], one_input.image.shape[2])
            for attribution in image.maps:
                drawn = METHODS[attribution.method](other, one_input.image, one_input.config)
                correlation = rank_correlation(
                    attribution.heatmap, _to_numpy(to_heatmap(attribution.method, drawn, size))
                )
                correlations.setdefault((number, attribution.method), []).append(correlation)
    if times:
        progress("weights drawn anew", times, times, "draws")
    return [
        replace(
            image,
            maps=tuple(
                replace(
                    attribution, randomization_correlations=tuple(correlations.get((number, attribution.method), ()))
                )
                for attribution in image.maps
            ),
        )
        for number, image in enumerate(images)
    ]


def _curves(
    network: nn.Module, image: Tensor, config: AttributionConfig, order: npt.NDArray[np.int64]
) -> tuple[PerturbationCurve, PerturbationCurve]:
    deleted, inserted = perturbation_curves(network, image, config, order)
    return PerturbationCurve(deleted, curve_auc(deleted)), PerturbationCurve(inserted, curve_auc(inserted))


def _agreement(images: Sequence[ImageAttributions], methods: Sequence[str]) -> tuple[tuple[str, str, float], ...]:
    found = []
    for one, other in combinations(methods, 2):
        maps = [{own.method: own.heatmap for own in image.maps} for image in images]
        known = [value for each in maps if (value := rank_correlation(each[one], each[other])) is not None]
        if known:
            found.append((one, other, fmean(known)))
    return tuple(found)


def _to_numpy(tensor: Tensor) -> Floats:
    # To the CPU before they become float64, which an Apple GPU has none of.
    return tensor.cpu().double().numpy()
