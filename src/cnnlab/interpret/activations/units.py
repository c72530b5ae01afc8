"""Dead and saturated units after activation functions, and the share of cases in which each unit is active."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnlab.architecture.layer_table import MAX_LISTED, find_layer_name
from cnnlab.context import NO_CALLBACKS
from cnnlab.data.loader import ImageLoader
from cnnlab.errors import UsageError
from cnnlab.interpret.activations.result import SATURATION_THRESHOLD, LayerUnits, UnitActivity
from cnnlab.interpret.hooks import forward_hooks, frozen_eval, module_name
from cnnlab.interpret.layer_index import LayerIndex
from cnnlab.interpret.loaded_model import LoadedModel, as_loaded_model
from cnnlab.interpret.targets import as_tuple, validate_count
from cnnlab.models.pretrained.transfer import max_resize
from cnnlab.records import LayerRecord
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

    A unit is a channel of a map, or one number of a vector; its cases are all positions of all images. After a ReLU
    it is dead if it is never above 0, after another function if the |derivative| is below 0.001 in every case. Behind
    a tanh or a sigmoid it is saturated if it is farther from the middle of the range than 0.99 of half the range in
    more than 99 % of its cases.

    Args:
        model: of `load_model`, or a name as it takes them; its network is left unchanged.
        split: train, validation or test; an opening of the test split is recorded in the ledger.
        layers: names of rows with activation functions; by default all.
        limit: the largest number of images, spread evenly over the split.
        log: called with messages about images and layers that are left out.

    Raises:
        UsageError: no such split or layer, or no activation function that is a module.
        SourceError: the data can't be used.
    """
    model = as_loaded_model(model)
    validate_count("--limit", limit, sys.maxsize)
    layer_index = LayerIndex(model.network, model.layers, model.image_spec.shape)
    rows = {row.name: row for row in _selected_rows(layer_index, as_tuple(layers), log)}
    loader = model.open_split(split, "inspect activations --units", limit, log)
    counts = count_activations(layer_index, rows, loader)
    return UnitActivity(
        network=model.name,
        split=split,
        images=len(loader),
        layers=tuple(_layer(row, counts[name]) for name, row in rows.items() if name in counts),
    )


@dataclass
class ActivationCounts:
    """Counts of the F units of a layer over the images so far; tensors are on the device.

    Attributes:
        num_cases: positions of all images.
        sums: 3×F counts of cases above 0, with a derivative, and far from the middle of the range.
        maximum: F.
    """

    num_cases: int
    sums: Tensor
    maximum: Tensor

    def add(self, other: ActivationCounts) -> ActivationCounts:
        """The counts of both."""
        maximum = torch.maximum(self.maximum, other.maximum)
        return ActivationCounts(self.num_cases + other.num_cases, self.sums + other.sums, maximum)


def count_activations(
    layer_index: LayerIndex, rows: Mapping[str, LayerRecord], loader: ImageLoader
) -> dict[str, ActivationCounts]:
    """Count over all images, one batch in memory at a time; layers that do not run are missing."""
    network = layer_index.network
    counts: dict[str, ActivationCounts] = {}
    inputs: dict[str, Tensor] = {}

    def before(name: str, tensor: Tensor) -> None:
        # A copy, since the function may work in place.
        inputs[name] = tensor.detach().clone()

    def after(name: str, output: Tensor) -> None:
        slopes = _derivatives(network.get_submodule(module_name(name)), inputs.pop(name))
        maps, steep = (layer_index.refs[name].as_feature_maps(each) for each in (output, slopes))
        if maps is not None and steep is not None:
            new = _count(rows[name].kind, maps, steep)
            counts[name] = counts[name].add(new) if name in counts else new

    with frozen_eval(network), torch.no_grad():
        for images, _ in loader.with_input_size(max_resize(network)).eval_batches():
            # Hooks for each pass: the calls of a module are numbered within it.
            with forward_hooks(network, rows, after, before):
                network(images)
    return counts


def _derivatives(module: nn.Module, inputs: Tensor) -> Tensor:
    """The derivative of an elementwise function at every number; by `forward`, so that no hook is called."""
    with torch.enable_grad():
        point = inputs.requires_grad_(True)
        # A copy, since the function may work in place.
        (slopes,) = torch.autograd.grad(module.forward(point.clone()).sum(), point)
    return slopes


def _count(kind: str, maps: Tensor, slopes: Tensor) -> ActivationCounts:
    axes = (0, 2, 3)
    middle, half = SATURATION_RANGES.get(kind, (0.0, float("inf")))
    conditions = (maps > 0, slopes.abs() >= DERIVATIVE_THRESHOLD, (maps - middle).abs() > SATURATION_THRESHOLD * half)
    return ActivationCounts(
        maps[:, 0].numel(), torch.stack([condition.sum(axes) for condition in conditions]), maps.amax(axes)
    )


def _layer(row: LayerRecord, counts: ActivationCounts) -> LayerUnits:
    # To the CPU first: MPS has no float64.
    above, steep, far = (tuple(shares) for shares in (counts.sums.cpu().double() / counts.num_cases).tolist())
    return LayerUnits(
        name=row.name,
        kind=row.kind,
        text=row.text,
        cases=counts.num_cases,
        above=above,
        steep=steep,
        far=far if row.kind in SATURATION_RANGES else None,
        maximum=tuple(counts.maximum.cpu().double().tolist()),
        dead_by="output" if row.kind in RECTIFIERS else "derivative",
    )


def _selected_rows(layer_index: LayerIndex, layers: Sequence[str], log: Callable[[str], None]) -> Sequence[LayerRecord]:
    rows = {row.name: row for row in layer_index.layers if row.kind in ACTIVATION_KINDS}
    # The derivative needs the module.
    known = [name for name in rows if name in layer_index.refs and not layer_index.refs[name].uses_input]
    if not known:
        raise UsageError(
            "this network has no activation function that is a module",
            where="--layer",
            next_step="show the maps instead: leave --units out",
        )
    selected = [find_layer_name(name, known, what="activation function") for name in layers]
    left_out = [name for name in rows if name not in known]
    if left_out and not layers:
        log(f"! left out, since they are no modules: {shorten(', '.join(left_out), MAX_LISTED)}")
    return [rows[name] for name in selected or known]
