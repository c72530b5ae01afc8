"""The effective receptive field: the gradient of one node by each pixel.

Source: W. Luo, Y. Li, R. Urtasun, R. Zemel: Understanding the effective receptive field in deep convolutional neural
networks, NeurIPS 2016. They send a gradient of 1 back from one node; here every channel at the node's position gets ±1
at random, so that the result does not depend on one channel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.architecture.layer import Pair
from cnnlab.architecture.layer_table import find_layer_name, read_table
from cnnlab.architecture.receptive_field.compute import DEFAULT_CLASSES, trace_table
from cnnlab.architecture.receptive_field.spans import SpanTracer, validated_node
from cnnlab.context import LOCAL, RunContext
from cnnlab.errors import UsageError
from cnnlab.interpret.hooks import forward_hooks, module_name
from cnnlab.interpret.loaded_model import build_initial_network, load_target
from cnnlab.interpret.receptive_field.result import EffectiveField, EffectiveFields
from cnnlab.interpret.targets import (
    Image,
    LayerRows,
    NamedBackbone,
    RecipeFile,
    Target,
    TracedRecipe,
    input_shape,
    resolve_target,
    trace_recipe,
    trace_run,
)
from cnnlab.interpret.weights.initial_weights import loaded_initial_network
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.models.network_plan import plan_network
from cnnlab.models.pretrained.transfer import TransferModel
from cnnlab.models.tracing.trace import backbone_table
from cnnlab.models.train_mode import eval_mode
from cnnlab.randomness import generator
from cnnlab.records import LayerRecord
from cnnlab.render.formatting import format_shape
from cnnlab.training.device import choose_device, disable_tf32


class _LayerReached(Exception):  # noqa: N818  (no error)
    """The requested layer has run."""


@disable_tf32()
def effective_field(
    network: nn.Module,
    layer: str,
    shape: tuple[int, int, int],
    *,
    rows: Sequence[LayerRecord] = (),
    images: int = 32,
    seed: int = 0,
    batch: int = 8,
    node: tuple[int, int] | None = None,
    name: str = "a network",
) -> EffectiveField:
    """Compute the mean absolute gradient of one node by each pixel, over random images, in eval mode.

    Args:
        network: its weights, mode, gradients and hooks are left unchanged; its device is used.
        layer: a module, or a row where the module was called again: "relu#2".
        shape: (C, H, W) of the images.
        rows: the network's table for such images, for the theoretical field and the layout of the layer's output.
        images: how many, of independent normally distributed numbers.
        seed: of images and signs; image i is the same for every `batch` and device.
        batch: images in one forward pass.
        node: (row, column) on the layer's map; by default the one in the middle.
        name: the network's name in the result.

    Raises:
        UsageError: the network has no such layer, or the layer gives no map, or no such node.

    >>> field = effective_field(nn.Sequential(nn.AvgPool2d(3, 1)), "0", (1, 9, 9), images=2)
    >>> field.gradient.shape, field.support_size
    ((9, 9), (3, 3))
    """
    if images < 1 or batch < 1:
        raise UsageError("a mean needs one image at least", where="--images", received=str(min(images, batch)))
    tracer = SpanTracer(rows, shape)
    row = tracer.rows.get(layer)
    last = row is not None and tracer.channels_last(row)
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    gradient = np.zeros(shape[1:])
    with eval_mode(network), torch.enable_grad():
        for start in range(0, images, batch):
            numbers = range(start, min(start + batch, images))
            noise = torch.from_numpy(np.stack([_noise(seed, number, shape) for number in numbers]))
            noise = noise.to(device).requires_grad_(True)
            maps = _maps(network, noise, layer, last)
            height, width = maps.shape[2:]
            node = validated_node(node or (height // 2, width // 2), (height, width), layer)
            at_node = maps[:, :, node[0], node[1]]
            signs = np.stack([_signs(seed, number, at_node.shape[1]) for number in numbers])
            (image_gradient,) = torch.autograd.grad((at_node * torch.from_numpy(signs).to(device)).sum(), noise)
            gradient += image_gradient.abs().mean(dim=1).cpu().double().sum(dim=0).numpy()
    assert node is not None
    span = tracer.spans(layer, node)[-1] if row is not None and row.receptive_field is not None else None
    return EffectiveField(
        network=name,
        layer=layer,
        node=node,
        images=images,
        gradient=gradient / images,
        rows=span and span.rows,
        columns=span and span.columns,
    )


def last_layer(network: nn.Module, rows: Sequence[LayerRecord]) -> LayerRecord:
    """The last row that is a module of the network and gives a map with a receptive field.

    Raises:
        UsageError: there is none.
    """
    modules = {name for name, _ in network.named_modules(remove_duplicate=False)}
    order = SpanTracer(rows, (1, 1, 1)).position
    fitting = [row for row in rows if row.receptive_field and len(row.output) == 3 and module_name(row.name) in modules]
    if not fitting:
        raise UsageError(
            "every layer of this network sees the whole image, or gives no map",
            where="--layer",
            next_step="name a layer that gives a map",
        )
    return max(fitting, key=lambda row: order[row.name])


def _noise(seed: int, number: int, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    return generator(seed, "effective field", number).standard_normal(shape, dtype=np.float32)


def _signs(seed: int, number: int, channels: int) -> npt.NDArray[np.float32]:
    return generator(seed, "effective field signs", number).choice(np.array([-1, 1], np.float32), channels)


def _maps(network: nn.Module, images: Tensor, layer: str, channels_last: bool) -> Tensor:
    """The layer's output as N×C×H×W, with its graph."""
    outputs: list[Tensor] = []

    def keep(_: str, output: Tensor) -> None:
        outputs.append(output)
        raise _LayerReached

    # Later layers are not computed: they may need images of another size.
    with forward_hooks(network, [layer], keep), contextlib.suppress(_LayerReached):
        network(images)
    maps = outputs[0] if outputs else None
    if maps is None or maps.ndim != 4:
        gives = "does not run for these images" if maps is None else f"gives {format_shape(tuple(maps.shape[1:]))}"
        raise UsageError(
            f"'{layer}' has no map to look back from: it {gives}",
            where="--layer",
            next_step="choose a layer with a map",
        )
    return maps.permute(0, 3, 1, 2) if channels_last else maps


# Networks by name, and their rows for images of a shape (C, H, W).
_Networks: TypeAlias = tuple[list[tuple[str, nn.Module]], Sequence[LayerRecord], Image]


@disable_tf32()
def target_effective_fields(
    target: Sequence[str],
    *,
    size: Pair | None = None,
    channels: int | None = None,
    layer: str = "",
    node: Pair | None = None,
    images: int = 32,
    seed: int | None = None,
    context: RunContext = LOCAL,
) -> EffectiveFields:
    """Compute effective fields with a run's trained and initial weights, or with random ones.

    Args:
        target: the rows of a table, or one path of a recipe or a run, or one name of a backbone.
        size: (height, width) of the images, instead of their own; for rows, one that is large enough.
        channels: C of the images for rows, by default 3, or for a recipe, instead of its own.
        layer: the node's; by default the last one with a map.
        node: (row, column); by default the one in the middle.
        images: number of random images.
        seed: of images and random weights; by default 0 for images and a recipe's own for its weights.
        context: its device, its data root, and its log, which gets messages about a run's weights.

    Raises:
        SpecError, SourceError, RunError: it can't be used, or nothing of this name is known.
        UsageError: a layer or a node that is not there, or channels for a network that has its own.
    """
    networks, rows, shape = _resolve_networks(resolve_target(target), size, channels, seed, context)
    network = networks[0][1]
    names = (*(row.name for row in rows), *filter(None, dict(network.named_modules(remove_duplicate=False))))
    layer = find_layer_name(layer, names) if layer else last_layer(network, rows).name
    fields = (
        effective_field(network, layer, shape, rows=rows, images=images, seed=seed or 0, node=node, name=name)
        for name, network in networks
    )
    return EffectiveFields(fields=tuple(fields))


def _resolve_networks(
    resolved: LayerRows | Target,
    size: Pair | None,
    channels: int | None,
    seed: int | None,
    context: RunContext,
) -> _Networks:
    device, log = choose_device(context.device), context.callbacks.log
    if isinstance(resolved, LayerRows):
        table = trace_table(read_table(resolved.texts, {}, DEFAULT_CLASSES), size, channels or 3)
        network: nn.Module = build(table)
        init_weights(network, "default", seed or 0)
        depth, height, width = table.input
        name = f"random weights, seed {seed or 0}"
        return [(name, network.to(device))], table.records(), (depth, height, width)
    if isinstance(resolved, RecipeFile):
        recipe = trace_recipe(resolved, size, channels, context.data_root)
        name, network = build_initial_network(recipe, resolved.path.stem, seed, log)
        return [(name, network.to(device))], recipe.rows, recipe.input
    if channels is not None:
        raise UsageError("this network has its channels", where="--channels", next_step="leave --channels out")
    if isinstance(resolved, NamedBackbone):
        model = load_target(resolved, seed, context)
        shape = input_shape(resolved.shape, size)
        rows = backbone_table(resolved.name, shape).layers if size else model.layers
        return [(model.name, model.network)], rows, shape
    # A run has its weights; the seed is for the images.
    model = load_target(resolved, None, context)
    run = trace_run(resolved, size)
    networks = [(model.name, model.network)]
    initial = loaded_initial_network(resolved, log)
    if initial is not None:
        networks.append(("before training", initial.to(device)))
    for _, network in networks:
        _fit_resize(network, run)
    return networks, run.rows, run.input


def _fit_resize(network: nn.Module, run: TracedRecipe) -> None:
    """Let a backbone resize images of this size to its own."""
    if isinstance(network, TransferModel):
        planned = plan_network(run.recipe.model, run.input, run.classes, run.backbone_run_dir).build(0, "meta")
        assert isinstance(planned, TransferModel)
        network.resize = planned.resize
