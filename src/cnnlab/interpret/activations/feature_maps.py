"""The maps that named layers make of one image, with what the network says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnlab.errors import UsageError
from cnnlab.interpret.activations.feature_maps_result import LayerMaps, TopPrediction
from cnnlab.interpret.activations.feature_maps_view import ActivationMaps
from cnnlab.interpret.activations.layer_index import CONVOLUTIONS, LayerIndex, LayerRef, capture_outputs
from cnnlab.interpret.images import InputImage, normalize_pixels
from cnnlab.interpret.loaded_model import LoadedModel, as_loaded_model, load_model
from cnnlab.interpret.targets import as_tuple, validate_count
from cnnlab.models.train_mode import eval_mode
from cnnlab.render.formatting import format_shape, shorten
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.device import disable_tf32

MAX_TOP_PREDICTIONS = 3


@disable_tf32()
def inspect_activations(
    model: LoadedModel | str | Path,
    image: InputImage | str | Path | None = None,
    *,
    layers: str | Sequence[str] = (),
    maps: int = 16,
) -> ActivationMaps:
    """What layers make of one image: their maps, and statistics of each.

    Args:
        model: of `load_model`, or a name as it takes them; its network is left as it was.
        image: a picture, an image file, or `validation:12`; None: the image that the run keeps, or a drawn one.
        layers: names of rows or modules; by default the first and the last convolution, and, in a network without any,
            the first and the last layer with weights.
        maps: how many of each layer are shown, 1 to 256; all are in the answer.

    Returns:
        A result with the numbers, a document and a figure.

    Raises:
        UsageError: an unknown layer, one that gives no maps or numbers, or no map to show.
        SourceError: the image can't be used.
    """
    model = as_loaded_model(model)
    validate_count("--maps", maps)
    shape = (model.image_spec.channels, model.image_spec.height, model.image_spec.width)
    layer_index = LayerIndex(model.network, model.layers, shape)
    layer_refs = [layer_index.find(name) for name in dict.fromkeys(as_tuple(layers))] or list(
        layer_index.first_and_last()
    )
    # When all else is known to be right: a look at the test part is written down for good.
    input_image = image if isinstance(image, InputImage) else _input_image(model, image)
    outputs: dict[str, Tensor] = {}

    def keep(layer_ref: LayerRef, output: Tensor) -> None:
        outputs[layer_ref.name] = output.detach().clone()

    with eval_mode(model.network), capture_outputs(model.network, layer_refs, keep), torch.no_grad():
        logits = model.network(input_image.values[None].to(model.device, torch.float32))
    layers_found = (_layer(layer_index, one, outputs, maps) for one in layer_refs)
    return ActivationMaps(
        network=model.name,
        image=input_image.name,
        pixels=input_image.pixels,
        label=_class_name(model.classes, input_image.label) if input_image.label is not None else "",
        top_predictions=_top_predictions(logits, model.classes),
        layers=tuple(_with_classes(layer, logits, model.classes) for layer in layers_found),
    )


def example_activations(folder: RunFolder, log: Callable[[str], None]) -> ActivationMaps | None:
    """What the first and the last convolution of a run make of the image that it keeps, as its page shows it.

    Returns:
        None where the run keeps no image, as runs of older versions, or has no convolution.
    """
    if folder.example() is None or not any(row.kind in CONVOLUTIONS for row in folder.table().layers):
        return None
    return inspect_activations(load_model(str(folder.path), device="cpu", log=log))


def stored_example(model: LoadedModel) -> InputImage | None:
    """The image that a run keeps as its example; None where there is no run, or it keeps none."""
    example = model.folder.example() if model.folder is not None else None
    if example is None:
        return None
    about, pixels = example
    name = f"{about.split}:{about.place}, {shorten(_class_name(model.classes, about.label))}"
    return InputImage(pixels, normalize_pixels(pixels, model.mean, model.std), name, about.label)


def _input_image(model: LoadedModel, image: str | Path | None) -> InputImage:
    stored = stored_example(model) if image is None else None
    if stored is not None:
        return stored
    has_own = model.folder is not None and (model.folder.path / "example.png").exists()
    without = "the image that the run keeps" if has_own else "a picture that is drawn"
    return model.load_image(image, "inspect activations", default_hint=without)


def _layer(layer_index: LayerIndex, layer_ref: LayerRef, outputs: dict[str, Tensor], max_maps: int) -> LayerMaps:
    output = outputs.get(layer_ref.name)
    maps = None if output is None or len(output) != 1 else layer_index.as_feature_maps(layer_ref, output)
    if output is None or maps is None:
        raise UsageError(
            f"'{layer_ref.name}' gives nothing that could be shown for one image",
            where="--layer",
            received="it did not run" if output is None else format_shape(tuple(output.shape)),
            allowed="N×C×H×W maps, N×T×F tokens, N×F numbers",
            next_step="choose another layer",
        )
    values = maps[0].float().cpu().numpy()
    row = layer_ref.row
    middle = (values.shape[1] // 2, values.shape[2] // 2)
    return LayerMaps(
        name=layer_ref.name,
        kind=row.kind if row is not None else "",
        text=row.text if row is not None else type(layer_index.network.get_submodule(layer_ref.name)).__name__,
        shape=tuple(output.shape[1:]),
        values=values,
        displayed=_displayed_maps(values, max_maps),
        receptive_field=layer_index.receptive_field(layer_ref, middle) if output.ndim == 4 else None,
        is_identity_softmax=layer_index.is_identity_softmax(layer_ref),
    )


def _with_classes(layer: LayerMaps, logits: object, classes: tuple[str, ...]) -> LayerMaps:
    """The layer with the classes' names for its numbers, where these are the network's logits."""
    if not isinstance(logits, Tensor) or layer.values.shape != (len(classes), 1, 1):
        return layer
    class_logits = logits[0].float().cpu().numpy()
    same = class_logits.shape == (len(classes),) and np.array_equal(layer.values[:, 0, 0], class_logits, equal_nan=True)
    return replace(layer, classes=classes) if same else layer


def _displayed_maps(values: np.ndarray, max_maps: int) -> tuple[int, ...]:
    """The numbers of the maps that are shown, in order: all, or those that vary most."""
    if len(values) <= max_maps:
        return tuple(range(len(values)))
    flat = np.nan_to_num(values.reshape(len(values), -1).astype(np.float64))
    # A single number does not vary: the largest are shown.
    score = flat.std(axis=1) if flat.shape[1] > 1 else np.abs(flat[:, 0])
    return tuple(sorted(int(number) for number in np.argsort(-score, kind="stable")[:max_maps]))


def _top_predictions(logits: object, classes: tuple[str, ...]) -> tuple[TopPrediction, ...]:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        return ()
    # To the CPU before they become float64, which an Apple GPU has none of.
    shares = logits[0].cpu().double().softmax(dim=0).numpy()
    order = np.argsort(-shares, kind="stable")[:MAX_TOP_PREDICTIONS]
    return tuple(TopPrediction(name=_class_name(classes, int(k)), probability=float(shares[k])) for k in order)


def _class_name(classes: tuple[str, ...], number: int) -> str:
    return classes[number] if number < len(classes) else f"class {number}"
