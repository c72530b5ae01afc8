"""Attribution maps of images by several methods, each with its checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
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
    ImageAttributions,
    PerturbationCurve,
)
from cnnlab.interpret.attribution.sanity_checks import (
    MAX_STEPS,
    converged_integrated_gradients,
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
# The default side of occlusion's square, and the standard deviation of the blur, as parts of the shorter side.
WINDOW_DIVISOR, BLUR_DIVISOR = 4, 16
BASELINES = {
    "mean": "the mean colour, which is 0 after the normalisation",
    "black": "black",
    "blur": "the image, blurred (Gaussian, σ = 1/16 of the shorter side)",
}


def parse_class(value: str | int, classes: Sequence[str], count: int) -> int:
    """The number of a class, given by its name or else its number.

    Args:
        classes: all names; empty where they are not known.
        count: the number of classes.

    Raises:
        UsageError: no such class.

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
    """The network's input that stands for the absence of an image, C×H×W floats on the CPU."""
    if baseline == "mean":
        return torch.zeros_like(input_image.values)
    if baseline == "blur":
        sigma = min(input_image.values.shape[1:]) / BLUR_DIVISOR
        return torch.from_numpy(gaussian_filter(input_image.values.numpy(), (0, sigma, sigma), mode="nearest"))
    mean, std = model.mean, model.std
    if mean is None and input_image.label is not None and model.dataset is not None:
        mean, std = model.dataset().mean, model.dataset().std
    black = np.zeros_like(input_image.pixels)
    if mean is not None:
        return normalize_pixels(black, mean, std)
    # The image was normalised by its own mean and standard deviation.
    scaled = torch.from_numpy(input_image.pixels.astype(np.float32)) / 255
    deviation = scaled.std(dim=(1, 2), keepdim=True)
    lowest = -scaled.mean(dim=(1, 2), keepdim=True) / deviation.where(deviation > 0, torch.ones(()))
    return lowest.expand_as(input_image.values).contiguous()


def select_methods(methods: Sequence[str], layer: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The methods to compute, in the order of `METHODS`, and skipped ones with the reason."""
    for name in methods:
        if name not in METHODS:
            raise UsageError(
                "unknown method",
                where="--method",
                received=name,
                allowed=comma_separated(METHODS),
                next_step=did_you_mean(name, METHODS) or "take one of these",
            )
    selected = tuple(name for name in METHODS if not methods or name in methods)
    if layer or "grad-cam" not in selected:
        return selected, {}
    reason = "no layer of this network gives feature maps"
    if "grad-cam" in methods:
        raise UsageError(
            f"Grad-CAM needs feature maps: {reason}",
            where="--method",
            received="grad-cam",
            next_step="take another method, such as occlusion",
        )
    return tuple(name for name in selected if name != "grad-cam"), {"grad-cam": reason}


def occlusion_window(model: LoadedModel, window: int | None, stride: int | None) -> tuple[int, int]:
    """The side and the stride of occlusion's square, in pixels.

    Raises:
        UsageError: the square is larger than the image, or the stride larger than the square.
    """
    shorter = min(model.image_spec.height, model.image_spec.width)
    side = max(1, shorter // WINDOW_DIVISOR) if window is None else window
    move = max(1, side // 2) if stride is None else stride
    for what, given, most in (("window", side, shorter), ("stride", move, side)):
        if not 1 <= given <= most:
            raise UsageError(
                "occlusion's square must lie within the image"
                if what == "window"
                else "occlusion's squares must cover every pixel",
                where=f"--{what}",
                received=f"{given} px",
                allowed=f"1 to {most} px",
                next_step=f"--{what} {most}",
            )
    return side, move


def validate_options(images: Sequence[object], steps: int, baseline: str, draws: int, orders: int) -> None:
    """Check the options that need no model.

    Raises:
        UsageError: an unknown baseline, or a number out of range.
    """
    if baseline not in get_args(Baseline):
        step = "--baseline mean"
        raise UsageError(
            f"unknown baseline '{baseline}'", where="--baseline", allowed=comma_separated(BASELINES), next_step=step
        )
    ranges = (
        ("--image", len(images), 1, MAX_IMAGES),
        ("--steps", steps, 1, MAX_STEPS),
        ("draws", draws, 0, 100),
        ("orders", orders, 1, 100),
    )
    for what, given, least, most in ranges:
        if not least <= given <= most:
            raise UsageError(
                "this number is out of range",
                where=what,
                received=f"{given:,}",
                allowed=f"{least} to {most:,}",
                next_step=f"choose {least} to {most:,}",
            )


Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _AttributionInput:
    """One image, with the settings of the methods and the predicted probabilities."""

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
    """Attribute a class's logit to pixels by saliency, integrated gradients, occlusion and Grad-CAM, with checks.

    Needs the extra `cnnlab[captum]`.

    Args:
        model: of `load_model`, or a name as it takes them; its network is left unchanged.
        images: one or several: a file, or an image of its data such as "validation:12"; None: generated images.
        target: the class, by its name or its number from 0; None: for each image the predicted one.
        methods: some of saliency, integrated-gradients, occlusion and grad-cam; none: all that the network allows.
        layer: the row whose maps Grad-CAM weighs; None: the last one that makes maps.
        steps: of integrated gradients, at least; doubled until their sum is off by less than 1 %, up to 1,024.
        window, stride: of occlusion's square, in pixels; None: a quarter of the shorter side, and half of that.
        baseline: the input that stands for no image: "mean", "black" or "blur".
        draws: how many times the weights are redrawn, in a copy.
        orders: how many random orders of the pixels deletion and insertion are compared with.
        seed: of these draws and orders.
        log: called with the name of each image as it begins.
        progress: called with the number of finished images, then of finished draws.

    Returns:
        H×W maps with deletion, insertion, and correlations with the maps of redrawn weights.

    Raises:
        UsageError: Captum is missing; an unknown class, method or layer; Grad-CAM of a network without feature maps; a
            number out of range.
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
            # Before any image is loaded: an image of the test split is an opening of it, which the ledger records.
            parse_class(target, model.classes, len(model.classes))
        input_images = model.load_images(images, "inspect attribution")
        config = AttributionConfig(0, torch.empty(0), cam_layer, steps, side, move, 1)
        inputs = [_attribution_input(model, each, target, config, baseline) for each in input_images]
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
    """Compute all maps and curves of one image."""
    network, image, config = model.network, inputs.image, inputs.config
    size = (image.shape[1], image.shape[2])
    maps = []
    for name in methods:
        completeness = None
        if name == "integrated-gradients":
            attribution, completeness = converged_integrated_gradients(network, image, config)
        else:
            attribution = METHODS[name](network, image, config)
        heatmap = to_heatmap(name, attribution, size)
        deletion, insertion = _curves(network, image, config, pixel_ranking(heatmap, seed, number))
        maps.append(AttributionMap(name, heatmap, deletion, insertion, (), completeness))
    random = [
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
        random_deletion=tuple(deleted for deleted, _ in random),
        random_insertion=tuple(inserted for _, inserted in random),
    )


def _with_randomization(
    network: nn.Module,
    inputs: Sequence[_AttributionInput],
    images: Sequence[ImageAttributions],
    draws: int,
    seed: int,
    progress: ProgressCallback,
) -> list[ImageAttributions]:
    """Add the correlations with the maps of copies with redrawn weights."""
    correlations: dict[tuple[int, str], list[float | None]] = {}
    times = draws if any(True for _ in network.parameters()) else 0
    for draw in range(times):
        progress("redrawn weights", draw, times, "draws")
        randomized = randomize_weights(network, seed, draw)
        for number, (one_input, image) in enumerate(zip(inputs, images, strict=True)):
            size = (one_input.image.shape[1], one_input.image.shape[2])
            for attribution in image.maps:
                method = attribution.method
                redrawn = METHODS[method](randomized, one_input.image, one_input.config)
                correlation = rank_correlation(attribution.heatmap, to_heatmap(method, redrawn, size))
                correlations.setdefault((number, method), []).append(correlation)
    if times:
        progress("redrawn weights", times, times, "draws")
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
    return PerturbationCurve(deleted), PerturbationCurve(inserted)
