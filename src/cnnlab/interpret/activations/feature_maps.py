"""Feature maps of named layers for one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from cnnlab.errors import UsageError
from cnnlab.interpret.activations.result import ActivationMaps, LayerMaps, MapStatistics, TopPrediction
from cnnlab.interpret.filter_numbers import validate_numbers
from cnnlab.interpret.images import InputImage
from cnnlab.interpret.layer_index import LayerIndex, LayerRef, capture_outputs
from cnnlab.interpret.loaded_model import LoadedModel, as_loaded_model
from cnnlab.interpret.targets import as_tuple, validate_count
from cnnlab.models.train_mode import eval_mode
from cnnlab.render.formatting import format_shape
from cnnlab.training.device import disable_tf32

FloatArray = npt.NDArray[np.float64]
MAX_TOP_PREDICTIONS = 3
# Weights of red, green and blue in brightness (ITU-R BT.601).
BRIGHTNESS = (0.299, 0.587, 0.114)


@disable_tf32()
def inspect_activations(
    model: LoadedModel | str | Path,
    image: InputImage | str | Path | None = None,
    *,
    layers: str | Sequence[str] = (),
    maps: int = 16,
    filters: Sequence[int] | None = None,
) -> ActivationMaps:
    """Compute the feature maps of layers for one image, with statistics of each map.

    Args:
        model: of `load_model`, or a name as it takes them; its network is left unchanged.
        image: an input image, an image file, or `validation:12`; None: the image kept by the run, or a generated one.
        layers: names of rows or modules; by default the first and the last convolution, and, in a network without any,
            the first and the last layer with weights.
        maps: how many maps of each layer tables and figures show, 1 to 256; the result has all.
        filters: the numbers, from 1, of the maps of each layer to show instead.

    Raises:
        UsageError: an unknown layer, one whose output can't be shown, or one without a map of such a number.
        SourceError: the image can't be used.
    """
    model = as_loaded_model(model)
    validate_count("--maps", maps)
    layer_index = LayerIndex(model.network, model.layers, model.image_spec.shape)
    refs = [layer_index.find(name) for name in dict.fromkeys(as_tuple(layers))] or layer_index.first_and_last()
    if filters is not None:
        for ref in refs:
            if ref.num_units is not None:
                validate_numbers(filters, ref.num_units, ref.name, "--filters", "map")
    # Last of all checks: an image of the test split is an opening of it, which the ledger records.
    if not isinstance(image, InputImage):
        image = (model.example() if image is None else None) or model.load_image(image, "inspect activations")
    outputs: dict[str, Tensor] = {}

    def keep(layer_ref: LayerRef, output: Tensor) -> None:
        outputs[layer_ref.name] = output.detach().clone()

    with eval_mode(model.network), capture_outputs(model.network, refs, keep), torch.no_grad():
        logits = model.network(image.values[None].to(model.device, torch.float32))
    return ActivationMaps(
        network=model.name,
        image=image.name,
        pixels=image.pixels,
        label=model.class_name(image.label) if image.label is not None else "",
        guesses=_top_predictions(model, logits),
        layers=tuple(_layer_maps(layer_index, ref, outputs.get(ref.name), maps, filters, image.pixels) for ref in refs),
    )


def map_statistics(
    values: npt.NDArray[np.float32], pixels: npt.NDArray[np.uint8], *, is_spatial: bool = True
) -> tuple[MapStatistics, ...]:
    """Statistics of the C×H×W maps of a layer.

    Args:
        pixels: of the image, C×H×W, to correlate the maps with.
        is_spatial: whether the maps have height and width; others are not correlated.
    """
    flat = values.reshape(len(values), -1).astype(np.float64)
    brightness: list[float | None] = [None] * len(flat)
    edges = brightness
    # ∞ − ∞ is NaN.
    with np.errstate(invalid="ignore", divide="ignore"):
        if is_spatial:
            grey = np.tensordot(BRIGHTNESS if len(pixels) == 3 else [1.0], pixels.astype(np.float64), axes=1)
            gradient = np.hypot(*np.gradient(grey)) if min(grey.shape) > 1 else np.zeros_like(grey)
            brightness, edges = (_correlations(flat, each, values.shape[1:]) for each in (grey, gradient))
        return tuple(
            MapStatistics(
                number=number + 1,
                min=float(each.min()),
                mean=float(each.mean()),
                max=float(each.max()),
                std=float(each.std()),
                zeros=float((each == 0).mean()),
                negative=float((each < 0).mean()),
                brightness=brightness[number],
                edges=edges[number],
            )
            for number, each in enumerate(flat)
        )


def _correlations(flat: FloatArray, image: FloatArray, sides: tuple[int, ...]) -> list[float | None]:
    """Pearson's r of every map with an image, averaged to the maps' size; None where one of them is constant."""
    resized = Image.fromarray(image.astype(np.float32)).resize((sides[1], sides[0]), Image.Resampling.BOX)
    reference = np.asarray(resized, dtype=np.float64).ravel()
    centred, reference = flat - flat.mean(axis=1, keepdims=True), reference - reference.mean()
    norms = np.linalg.norm(centred, axis=1) * np.linalg.norm(reference)
    # What rounding leaves of a constant is no variation.
    rounding = 1e-6 * np.abs(flat).max(axis=1) * np.sqrt(flat.shape[1]) * np.linalg.norm(reference)
    correlations = centred @ reference / norms
    return [float(r) if norm > least else None for r, norm, least in zip(correlations, norms, rounding, strict=True)]


def _layer_maps(
    layer_index: LayerIndex,
    layer_ref: LayerRef,
    output: Tensor | None,
    max_maps: int,
    filters: Sequence[int] | None,
    pixels: npt.NDArray[np.uint8],
) -> LayerMaps:
    maps = None if output is None or len(output) != 1 else layer_ref.as_feature_maps(output)
    if output is None or maps is None:
        raise UsageError(
            f"the output of '{layer_ref.name}' can't be shown for one image",
            where="--layer",
            received="it did not run" if output is None else format_shape(tuple(output.shape)),
            allowed="N×C×H×W maps, N×T×F tokens, N×F numbers",
            next_step="choose another layer",
        )
    values = maps[0].float().cpu().numpy()
    if filters is None:
        shown = _select_maps(values, max_maps)
    else:
        shown = tuple(validate_numbers(filters, len(values), layer_ref.name, "--filters", "map"))
    shape = tuple(output.shape[1:])
    middle = (values.shape[1] // 2, values.shape[2] // 2)
    return LayerMaps(
        name=layer_ref.name,
        kind=layer_ref.row.kind if layer_ref.row is not None else "",
        text=layer_index.text(layer_ref),
        shape=shape,
        values=values,
        shown=shown,
        chosen=filters is not None,
        maps=map_statistics(values, pixels, is_spatial=len(shape) == 3 and values[0].size > 1),
        receptive_field=layer_index.receptive_field(layer_ref, middle) if output.ndim == 4 else None,
    )


def _select_maps(values: np.ndarray, max_maps: int) -> tuple[int, ...]:
    """The numbers, from 1, of all maps, or of those that vary most, ascending."""
    flat = np.nan_to_num(values.reshape(len(values), -1).astype(np.float64))
    score = flat.std(axis=1) if flat.shape[1] > 1 else np.abs(flat[:, 0])
    return tuple(sorted(int(index) + 1 for index in np.argsort(-score, kind="stable")[:max_maps]))


def _top_predictions(model: LoadedModel, logits: Tensor) -> tuple[TopPrediction, ...]:
    if logits.ndim != 2:
        return ()
    # To the CPU first: MPS has no float64.
    shares = logits[0].cpu().double().softmax(dim=0).numpy()
    order = np.argsort(-shares, kind="stable")[:MAX_TOP_PREDICTIONS]
    return tuple(TopPrediction(name=model.class_name(int(k)), probability=float(shares[k])) for k in order)
