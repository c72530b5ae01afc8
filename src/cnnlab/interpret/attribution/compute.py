"""Attribution maps of images by several methods, each with its checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from cnnlab.architecture.layer_table import MAX_LISTED
from cnnlab.context import NO_CALLBACKS, ProgressCallback, no_op
from cnnlab.errors import RunError, UsageError, comma_separated, did_you_mean
from cnnlab.interpret.attribution.methods import METHODS, AttributionConfig, Floats, max_batch_size, to_heatmap
from cnnlab.interpret.attribution.result import AttributionMap, Attributions, ImageAttributions
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
from cnnlab.interpret.layer_index import LayerIndex, LayerRef
from cnnlab.interpret.loaded_model import LoadedModel, as_loaded_model
from cnnlab.interpret.targets import as_tuple, validate_count
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
NO_MAPS = "no layer of this network gives feature maps"


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
    names = shorten(", ".join(classes), MAX_LISTED)
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
    if mean is None:
        # The image was normalised by its own mean and standard deviation.
        channels = input_image.pixels.reshape(len(input_image.pixels), -1) / 255
        mean = tuple(channels.mean(axis=1).tolist())
        std = tuple(deviation or 1.0 for deviation in channels.std(axis=1, ddof=1).tolist())
    return normalize_pixels(np.zeros_like(input_image.pixels), mean, std)


def select_methods(methods: Sequence[str], layer: LayerRef | None) -> tuple[str, ...]:
    """The methods to compute, in the order of `METHODS`; Grad-CAM only where a layer gives feature maps."""
    for name in methods:
        if name not in METHODS:
            raise UsageError(
                "unknown method",
                where="--method",
                received=name,
                allowed=comma_separated(METHODS),
                next_step=did_you_mean(name, METHODS) or "take one of these",
            )
    if layer is None and "grad-cam" in methods:
        raise UsageError(
            f"Grad-CAM needs feature maps: {NO_MAPS}",
            where="--method",
            received="grad-cam",
            next_step="take another method, such as occlusion",
        )
    return tuple(name for name in METHODS if name in (methods or METHODS) and (layer or name != "grad-cam"))


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

    Args:
        model: of `load_model`, or a name as it takes them; its network is left unchanged.
        images: one or several: a file, or an image of its data such as "validation:12"; None: generated images.
        target: the class, by its name or its number from 0; None: for each image the predicted one.
        methods: some of saliency, integrated-gradients, occlusion and grad-cam; none: all that the network allows.
        layer: the row whose maps Grad-CAM weighs; None: the last one that makes maps.
        steps: of integrated gradients, at least; doubled until their sum is off by less than 1 %, up to 1,024.
        window, stride: of occlusion's square, in pixels; None: a quarter of the shorter side, and half of that.
        baseline: the input that stands for no image: "mean", "black" or "blur".
        draws: the number of copies with random weights.
        orders: how many random orders of the pixels deletion and insertion are compared with.
        seed: of these draws and orders.
        log: called with the name of each image as it begins.
        progress: called with the number of finished images.

    Returns:
        H×W maps with deletion, insertion, and correlations with the maps of randomized weights.

    Raises:
        UsageError: an unknown class, method or layer; Grad-CAM of a network without feature maps; a number out of
            range.
        SourceError: an image can't be used.
        RunError: the network gives NaN or ±Inf.
    """
    model, methods = as_loaded_model(model), as_tuple(methods)
    images = (images,) if images is None or isinstance(images, str | Path) else tuple(images)
    shorter = min(model.image_spec.height, model.image_spec.width)
    window = max(1, shorter // WINDOW_DIVISOR) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    validate_count("--window", window, shorter)
    validate_count("--stride", stride, window)
    validate_count("--image", len(images), MAX_IMAGES)
    validate_count("--steps", steps, MAX_STEPS)
    validate_count("orders", orders, 100)
    if baseline not in BASELINES:
        raise UsageError(f"unknown baseline '{baseline}'", where="--baseline", allowed=comma_separated(BASELINES))
    with frozen_eval(model.network):
        layer_index = LayerIndex(model.network, model.layers, model.image_spec.shape)
        cam_layer = layer_index.last_maps() if layer is None else layer_index.find(layer)
        selected = select_methods(methods, cam_layer)
        if target is not None and model.classes:
            # Before any image is loaded: an image of the test split is an opening of it, which the ledger records.
            parse_class(target, model.classes, len(model.classes))
        attributions = []
        input_images = model.load_images(images, "inspect attribution")
        for number, input_image in enumerate(input_images):
            log(f"{shorten(input_image.name)} …")
            progress("attribution", number, len(images), "images")
            probabilities = _probabilities(model, input_image)
            image = input_image.values.to(model.device)
            config = AttributionConfig(
                target=int(probabilities.argmax())
                if target is None
                else parse_class(target, model.classes, len(probabilities)),
                baseline=baseline_image(model, input_image, baseline).to(model.device),
                layer=cam_layer,
                steps=steps,
                window=window,
                stride=stride,
                batch_size=max_batch_size(model.network, image),
            )
            maps = _maps(model.network, image, config, selected, draws, seed, number)
            rankings = random_rankings(image[0].numel(), seed, number, orders)
            random = [perturbation_curves(model.network, image, config, ranking) for ranking in rankings]
            names = model.classes or tuple(map(str, range(len(probabilities))))
            attributions.append(
                ImageAttributions(
                    name=input_image.name,
                    pixels=input_image.pixels,
                    target=config.target,
                    class_name=names[config.target],
                    probability=float(probabilities[config.target]),
                    predicted=names[int(probabilities.argmax())],
                    maps=maps,
                    random_deletion=tuple(deletion for deletion, _ in random),
                    random_insertion=tuple(insertion for _, insertion in random),
                )
            )
        progress("attribution", len(images), len(images), "images")
    return Attributions(
        network=model.name,
        images=tuple(attributions),
        layer=cam_layer.name if cam_layer and "grad-cam" in selected else "",
        baseline=BASELINES[baseline],
        window=window,
        stride=stride,
        skipped_methods=() if cam_layer or methods else (("grad-cam", NO_MAPS),),
    )


@torch.no_grad()
def _probabilities(model: LoadedModel, input_image: InputImage) -> Floats:
    """The softmax of the logits.

    Raises:
        RunError: they are not finite.
    """
    logits = model.network(input_image.values[None].to(model.device))[0].float()
    probabilities: Floats = logits.softmax(dim=0).cpu().double().numpy()
    if not np.isfinite(probabilities).all():
        raise RunError("the network gives NaN or ±Inf for this image", where=input_image.name, received=model.name)
    return probabilities


def _maps(
    network: nn.Module,
    image: Tensor,
    config: AttributionConfig,
    methods: Sequence[str],
    draws: int,
    seed: int,
    number: int,
) -> tuple[AttributionMap, ...]:
    """Compute the map of each method with its checks; `number` is that of the image."""
    heatmaps: dict[str, Floats] = {}
    completeness = None
    for name in methods:
        if name == "integrated-gradients":
            attribution, completeness = converged_integrated_gradients(network, image, config)
        else:
            attribution = METHODS[name](network, image, config)
        heatmaps[name] = to_heatmap(name, attribution, image.shape[1:])
    correlations: dict[str, list[float | None]] = {name: [] for name in methods}
    for draw in range(draws):
        randomized = randomize_weights(network, seed, draw)
        for name, heatmap in heatmaps.items():
            of_randomized = to_heatmap(name, METHODS[name](randomized, image, config), image.shape[1:])
            correlations[name].append(rank_correlation(heatmap, of_randomized))
    maps = []
    for name, heatmap in heatmaps.items():
        curves = perturbation_curves(network, image, config, pixel_ranking(heatmap, seed, number))
        own_completeness = completeness if name == "integrated-gradients" else None
        maps.append(AttributionMap(name, heatmap, *curves, tuple(correlations[name]), own_completeness))
    return tuple(maps)
