"""Layers whose maps Grad-CAM can weigh, and the modules by which Captum hooks them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cnnlab.architecture.receptive_field.spans import SpanTracer
from cnnlab.errors import UsageError, did_you_mean
from cnnlab.interpret.hooks import CALL_SEPARATOR, forward_hooks, module_name
from cnnlab.models.pretrained.transfer import Resize, TransferModel
from cnnlab.records import LayerRecord
from cnnlab.render.formatting import format_shape, shorten

# Modules that make no maps of their own.
_POOLS_AND_DROPOUT = (
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.Dropout, nn.Dropout2d, nn.Identity),
)
MAX_NAMED = 20


def choose_layer(
    network: nn.Module, rows: Sequence[LayerRecord], shape: tuple[int, int, int], layer: str | None = None
) -> str:
    """The layer whose maps Grad-CAM weighs: `layer`, or by default the last that makes maps; "" without any.

    Pools and dropout behind that layer are passed over, since its own maps are larger.

    Args:
        network: in eval mode; left unchanged.
        rows: of the network, for images of `shape`, (C, H, W).
        layer: a row or a module; "relu#2" is the second call of "relu".

    Raises:
        UsageError: no such layer, or one without feature maps.
    """
    outputs = _outputs(network, rows, shape)
    fitting = [name for name, output in outputs.items() if _is_map(output, rows, shape)]
    if layer is None:
        making = [name for name in fitting if not _is_pool_or_dropout(network, name)]
        return (making or fitting or [""])[-1]
    if layer in fitting:
        return layer
    again = next((name for name in fitting if module_name(name) == module_name(layer)), "")
    if again:
        what, received = "this layer is called more than once, and Grad-CAM uses its last call", layer
    elif layer in outputs:
        what, received = (
            "this layer gives no feature maps",
            f"{layer}, whose output is {format_shape(outputs[layer])}",
        )
    else:
        what, received = "the network has no layer of this name", shorten(layer)
    raise UsageError(
        what,
        where="--layer",
        received=received,
        allowed=", ".join(fitting[-MAX_NAMED:]) or "none: no layer of this network gives feature maps",
        next_step=f"write it as '{again}'" if again else did_you_mean(layer, fitting) or "take a name from the list",
    )


def find_hook_point(network: nn.Module, layer: str) -> tuple[nn.Module, bool]:
    """The module to hook for a layer's maps, and whether they are its input.

    The module at which a backbone is cut never returns, so its hook does not run: its maps are the head's input.
    """
    for cut, head in _cut_points(network).items():
        if module_name(layer) == cut:
            return network.get_submodule(head), True
    return network.get_submodule(module_name(layer)), False


def _outputs(
    network: nn.Module, rows: Sequence[LayerRecord], shape: tuple[int, int, int]
) -> dict[str, tuple[int, ...]]:
    """The output shape of each module for one image, in the order in which they finish; of several calls the last."""
    modules = {name: module for name, module in network.named_modules() if name and not isinstance(module, Resize)}
    cuts = {head: cut for cut, head in _cut_points(network).items()}
    calls = [row.name for row in rows if CALL_SEPARATOR in row.name and module_name(row.name) in modules]
    shapes: dict[str, tuple[int, ...]] = {}

    def on_output(name: str, output: Tensor) -> None:
        for earlier in [known for known in shapes if module_name(known) == module_name(name)]:
            del shapes[earlier]
        shapes[name] = tuple(output.shape[1:])

    def on_input(name: str, inputs: Tensor) -> None:
        if name in cuts:
            shapes[cuts[name]] = tuple(inputs.shape[1:])

    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with forward_hooks(network, [*modules, *calls], on_output, on_input), torch.no_grad():
        network(torch.zeros(1, *shape, device=device))
    return shapes


def _cut_points(network: nn.Module) -> dict[str, str]:
    """The name of each module at which a backbone is cut → the name of the head behind it."""
    heads = {}
    for outer, module in network.named_modules():
        if isinstance(module, TransferModel) and module.cut_point.module and not module.cut_point.before:
            prefix = f"{outer}." if outer else ""
            heads[f"{prefix}backbone.{module.cut_point.module}"] = f"{prefix}head"
    return heads


def _is_map(output: tuple[int, ...], rows: Sequence[LayerRecord], shape: tuple[int, int, int]) -> bool:
    """Whether an output is C×H×W with more than one row and column; in some transformers the channels are last."""
    if len(output) != 3 or min(output[1:]) < 2:
        return False
    spans = SpanTracer(rows, shape)
    last = [spans.channels_last(row) for row in rows if row.output == output]
    return not last or not all(last)


def _is_pool_or_dropout(network: nn.Module, name: str) -> bool:
    """Whether a module, or the last one of a sequence, is a pool or dropout."""
    module = network.get_submodule(module_name(name))
    while type(module) is nn.Sequential and len(module):
        module = module[-1]
    return isinstance(module, _POOLS_AND_DROPOUT)
