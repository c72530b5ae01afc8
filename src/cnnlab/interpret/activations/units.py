"""How often each unit behind an activation function is active over a part of the data, and which never are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnlab.context import NO_CALLBACKS
from cnnlab.data.loader import ImageLoader
from cnnlab.errors import UsageError, did_you_mean
from cnnlab.interpret.activations.layer_index import MAX_LISTED, LayerIndex, LayerRef
from cnnlab.interpret.activations.units_result import (
    DERIVATIVE_THRESHOLD,
    SATURATION_THRESHOLD,
    LayerUnits,
    UnitActivity,
)
from cnnlab.interpret.hooks import forward_hooks, frozen_eval, module_name
from cnnlab.interpret.loaded_model import LoadedModel, as_loaded_model
from cnnlab.interpret.targets import as_tuple
from cnnlab.models.pretrained.transfer import max_resize
from cnnlab.render.formatting import shorten
from cnnlab.training.device import disable_tf32

# By the kind of a traced row; what is not here, as a softmax, is no function of one number.
ACTIVATION_KINDS = (
    *("relu", "relu6", "leaky_relu", "rrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus"),
    *("hardswish", "hardtanh", "hardsigmoid", "tanh", "sigmoid", "softsign", "logsigmoid"),
)
# A unit of theirs is dead when it is never above 0: behind it, nothing is ever changed by it.
RECTIFIERS = ("relu", "relu6")
# (middle, half of the range)
SATURATION_RANGES = {"tanh": (0.0, 1.0), "hardtanh": (0.0, 1.0), "sigmoid": (0.5, 0.5), "hardsigmoid": (0.5, 0.5)}


@disable_tf32()
def inspect_units(
    model: LoadedModel | str | Path,
    split: str = "validation",
    *,
    layers: str | Sequence[str] = (),
    limit: int | None = None,
    log: Callable[[str], None] = NO_CALLBACKS.log,
) -> UnitActivity:
    """Which units are dead or saturated over a part of the data, and how often each is active.

    A unit is a channel of a map, or one number of a vector; its cases are all places of all images. It is dead where it
    is never above 0, behind a ReLU, and where the function's |derivative| is below 0.001 in every case, behind
    another one; it is saturated where, behind a tanh or a sigmoid, it is farther from the middle of the range than
    0.99 of half the range in more than 99 % of its cases.

    Args:
        model: of `load_model`, or a name as it takes them; its network is left as it was.
        split: train, validation or test; a look at the test part is written into the ledger.
        layers: names of rows with activation functions; by default all.
        limit: at most so many images, spread evenly over the part.
        log: told of images and layers that are left out.

    Raises:
        UsageError: no such part or layer, or no activation function that is a module.
        SourceError: the data can't be used.
    """
    model = as_loaded_model(model)
    if limit is not None and limit < 1:
        raise UsageError("no image is looked at", where="--limit", received=str(limit), allowed="1 or more")
    shape = (model.image_spec.channels, model.image_spec.height, model.image_spec.width)
    layer_index = LayerIndex(model.network, model.layers, shape)
    layer_refs = _selected_layers(layer_index, as_tuple(layers), log)
    loader = model.open_split(split, "inspect activations --units", limit, log)
    counts = count_activations(model.network, layer_index, layer_refs, loader)
    return UnitActivity(
        network=model.name,
        split=split,
        images=len(loader),
        layers=tuple(_layer(layer_ref, counts[layer_ref.name]) for layer_ref in layer_refs if layer_ref.name in counts),
    )


@dataclass
class ActivationCounts:
    """Of every unit of a layer, over all images so far; tensors lie on the device.

    Attributes:
        num_cases: places of all images.
        sums: 3×F: cases above 0, with a derivative, and far from the middle of the range.
        maximum: F.
    """

    num_cases: int = 0
    sums: Tensor | None = None
    maximum: Tensor | None = None


def count_activations(
    network: nn.Module, layer_index: LayerIndex, layer_refs: Iterable[LayerRef], loader: ImageLoader
) -> dict[str, ActivationCounts]:
    """Count over a whole part, batch by batch; nothing of a batch is held."""
    by_name = {layer_ref.name: layer_ref for layer_ref in layer_refs}
    modules = dict(network.named_modules(remove_duplicate=False))
    counts: dict[str, ActivationCounts] = {}
    inputs: dict[str, Tensor] = {}

    def before(name: str, tensor: Tensor) -> None:
        # A copy, since the function may work in place.
        inputs[name] = tensor.detach().clone()

    def after(name: str, output: Tensor) -> None:
        slopes = _derivatives(modules[module_name(name)], inputs.pop(name))
        maps, steep = (
            layer_index.as_feature_maps(by_name[name], output),
            layer_index.as_feature_maps(by_name[name], slopes),
        )
        if maps is not None and steep is not None:
            _update_counts(counts.setdefault(name, ActivationCounts()), by_name[name], maps, steep)

    with frozen_eval(network), torch.no_grad():
        for images, _ in loader.with_input_size(max_resize(network)).eval_batches():
            # Hooks of one pass: the calls of a module are counted within it.
            with forward_hooks(network, by_name, after, before):
                network(images)
    return counts


def _derivatives(module: nn.Module, inputs: Tensor) -> Tensor:
    """The derivative of an elementwise function at every number; its own `forward`, so that no hook is called."""
    with torch.enable_grad():
        point = inputs.requires_grad_(True)
        # Not the point itself, which a function in place would overwrite.
        (slopes,) = torch.autograd.grad(module.forward(point.clone()).sum(), point)
    return slopes


def _update_counts(counts: ActivationCounts, layer_ref: LayerRef, maps: Tensor, slopes: Tensor) -> None:
    axes = (0, 2, 3)
    middle, half = SATURATION_RANGES.get(_kind(layer_ref), (0.0, float("inf")))
    conditions = (maps > 0, slopes.abs() >= DERIVATIVE_THRESHOLD, (maps - middle).abs() > SATURATION_THRESHOLD * half)
    sums, highest = torch.stack([each.sum(axes) for each in conditions]), maps.amax(axes)
    counts.num_cases += maps.shape[0] * maps.shape[2] * maps.shape[3]
    counts.sums = sums if counts.sums is None else counts.sums + sums
    counts.maximum = highest if counts.maximum is None else torch.maximum(counts.maximum, highest)


def _layer(layer_ref: LayerRef, counts: ActivationCounts) -> LayerUnits:
    assert counts.sums is not None
    assert counts.maximum is not None
    # To the CPU before they become float64, which an Apple GPU has none of.
    above, steep, far = (counts.sums.cpu().double() / counts.num_cases).numpy()
    highest = counts.maximum.cpu().double().numpy()
    kind = _kind(layer_ref)
    return LayerUnits(
        name=layer_ref.name,
        kind=kind,
        text=layer_ref.row.text if layer_ref.row is not None else "",
        cases=counts.num_cases,
        above=above,
        steep=steep,
        far=far if kind in SATURATION_RANGES else None,
        maximum=highest,
        dead_by="output" if kind in RECTIFIERS else "derivative",
    )


def _kind(layer_ref: LayerRef) -> str:
    return layer_ref.row.kind if layer_ref.row is not None else ""


def _selected_layers(layer_index: LayerIndex, layers: Sequence[str], log: Callable[[str], None]) -> list[LayerRef]:
    modules = dict(layer_index.network.named_modules(remove_duplicate=False))
    rows = [row.name for row in layer_index.layers if row.kind in ACTIVATION_KINDS]
    # The function itself is called again for its derivative, so that its module is needed.
    known = [name for name in rows if isinstance(modules.get(module_name(name)), nn.Module)]
    if not known:
        raise UsageError(
            "this network has no activation function that is a module of its own",
            where="--layer",
            received=", ".join(rows) or "no activation function at all",
            next_step="look at the maps: cnnlab inspect activations",
        )
    for name in layers:
        if name not in known:
            raise UsageError(
                f"'{name}' is no activation function that can be read",
                where="--layer",
                received=name,
                allowed=shorten(", ".join(known), MAX_LISTED),
                next_step=layer_index.repeat_option_hint(name)
                or did_you_mean(name, known)
                or "leave --layer out for all of them",
            )
    left_out = [name for name in rows if name not in known]
    if left_out and not layers:
        log(f"! left out, as they are no modules: {shorten(', '.join(left_out), MAX_LISTED)}")
    return [layer_index.find(name) for name in (dict.fromkeys(layers) if layers else known)]
