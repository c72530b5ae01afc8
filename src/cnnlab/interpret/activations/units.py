"""Dead and saturated units behind activation functions, and the share of cases in which each unit is active."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnlab.context import NO_CALLBACKS
from cnnlab.data.loader import ImageLoader
from cnnlab.errors import UsageError, did_you_mean
from cnnlab.interpret.activations.result import SATURATION_THRESHOLD, LayerUnits, UnitActivity
from cnnlab.interpret.hooks import forward_hooks, frozen_eval, module_name
from cnnlab.interpret.layer_index import MAX_LISTED, LayerIndex, LayerRef
from cnnlab.interpret.loaded_model import LoadedModel, as_loaded_model
from cnnlab.interpret.targets import as_tuple
from cnnlab.models.pretrained.transfer import max_resize
from cnnlab.render.formatting import shorten
from cnnlab.training.device import disable_tf32

# Kinds of rows that are functions of one number; a softmax is not.
ACTIVATION_KINDS = (
    *("relu", "relu6", "leaky_relu", "rrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus"),
    *("hardswish", "hardtanh", "hardsigmoid", "tanh", "sigmoid", "softsign", "logsigmoid"),
)
# Their units are dead when they are never above 0.
RECTIFIERS = ("relu", "relu6")
# A unit whose |derivative| is below this in every case gets no gradient to train by.
DERIVATIVE_THRESHOLD = 1e-3
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
    """Find the dead and saturated units over a split, and how often each unit is active.

    A unit is a channel of a map, or one number of a vector; its cases are all positions of all images. Behind a ReLU
    it is dead if it is never above 0, behind another function if the |derivative| is below 0.001 in every case. Behind
    a tanh or a sigmoid it is saturated if it is farther from the middle of the range than 0.99 of half the range in
    more than 99 % of its cases.

    Args:
        model: of `load_model`, or a name as it takes them; its network is left unchanged.
        split: train, validation or test; an opening of the test split is recorded in the ledger.
        layers: names of rows with activation functions; by default all.
        limit: at most so many images, spread evenly over the split.
        log: called with messages about images and layers that are left out.

    Raises:
        UsageError: no such split or layer, or no activation function that is a module.
        SourceError: the data can't be used.
    """
    model = as_loaded_model(model)
    if limit is not None and limit < 1:
        raise UsageError(
            "no image would be used", where="--limit", received=str(limit), allowed="1 or more", next_step="--limit 1"
        )
    layer_index = LayerIndex(model.network, model.layers, model.image_spec.shape)
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
    """Counts of the F units of a layer over the images so far; tensors are on the device.

    Attributes:
        num_cases: positions of all images.
        sums: 3×F counts of cases above 0, with a derivative, and far from the middle of the range.
        maximum: F.
    """

    num_cases: int = 0
    sums: Tensor | None = None
    maximum: Tensor | None = None


def count_activations(
    network: nn.Module, layer_index: LayerIndex, layer_refs: Iterable[LayerRef], loader: ImageLoader
) -> dict[str, ActivationCounts]:
    """Count over all images, one batch in memory at a time."""
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
            # Hooks for each pass: the calls of a module are numbered within it.
            with forward_hooks(network, by_name, after, before):
                network(images)
    return counts


def _derivatives(module: nn.Module, inputs: Tensor) -> Tensor:
    """The derivative of an elementwise function at every number; by `forward`, so that no hook is called."""
    with torch.enable_grad():
        point = inputs.requires_grad_(True)
        # A copy, since the function may work in place.
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
    # To the CPU first: MPS has no float64.
    above, steep, far = (tuple(shares) for shares in (counts.sums.cpu().double() / counts.num_cases).tolist())
    kind = _kind(layer_ref)
    return LayerUnits(
        name=layer_ref.name,
        kind=kind,
        text=layer_ref.row.text if layer_ref.row is not None else "",
        cases=counts.num_cases,
        above=above,
        steep=steep,
        far=far if kind in SATURATION_RANGES else None,
        maximum=tuple(counts.maximum.cpu().double().tolist()),
        dead_by="output" if kind in RECTIFIERS else "derivative",
    )


def _kind(layer_ref: LayerRef) -> str:
    return layer_ref.row.kind if layer_ref.row is not None else ""


def _selected_layers(layer_index: LayerIndex, layers: Sequence[str], log: Callable[[str], None]) -> list[LayerRef]:
    modules = dict(layer_index.network.named_modules(remove_duplicate=False))
    rows = [row.name for row in layer_index.layers if row.kind in ACTIVATION_KINDS]
    # The derivative needs the module.
    known = [name for name in rows if isinstance(modules.get(module_name(name)), nn.Module)]
    if not known:
        raise UsageError(
            "this network has no activation function that is a module",
            where="--layer",
            received=", ".join(rows) or "no activation function at all",
            next_step="show the maps instead: leave --units out",
        )
    for name in layers:
        if name not in known:
            raise UsageError(
                f"'{name}' is no activation function that is a module",
                where="--layer",
                received=name,
                allowed=shorten(", ".join(known), MAX_LISTED),
                next_step=layer_index.repeat_option_hint(name)
                or did_you_mean(name, known)
                or "leave --layer out for all of them",
            )
    left_out = [name for name in rows if name not in known]
    if left_out and not layers:
        log(f"! left out, since they are no modules: {shorten(', '.join(left_out), MAX_LISTED)}")
    return [layer_index.find(name) for name in (dict.fromkeys(layers) if layers else known)]
