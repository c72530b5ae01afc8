"""The weights of one layer, before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cnnlab.architecture.layer_table import find_layer_name
from cnnlab.context import LogFn
from cnnlab.errors import UsageError
from cnnlab.interpret.filter_numbers import validate_numbers
from cnnlab.interpret.loaded_model import LoadedModel, as_loaded_model
from cnnlab.interpret.targets import validate_count
from cnnlab.interpret.weights.filters import UNTRAINED, Floats, InputLayout, LayerFilters, find_row, input_layout
from cnnlab.interpret.weights.initial_weights import InitialNetwork, initial_network
from cnnlab.interpret.weights.measures import (
    FilterOrder,
    FilterSelection,
    measure_filters,
    resolve_order,
    select_filters,
)
from cnnlab.interpret.weights.result import LayerWeights


def inspect_weights(
    model: LoadedModel | str | Path,
    layer: str = "",
    *,
    filters: Sequence[int] | None = None,
    max_filters: int | None = None,
    order: FilterOrder | None = None,
) -> LayerWeights:
    """Measure the filters of one layer, before and after training.

    The initial weights are restored from the run's seed, and compared with the digest in the run. Where they differ or
    are not available, the result has none, and `filters.reason` says why.

    Args:
        model: of `load_model`, or a name as it takes them; its network is left unchanged.
        layer: the name of a convolution or a dense layer; "": the first convolution, or the first dense layer of a
            network without any.
        filters: the numbers, from 1, of those in table and figures, in this order; None: by `max_filters` and `order`.
        max_filters: the number of filters in table and figures, 1 to 256; None: 64 pictures, 12 rows of kernels, 256
            rows of a matrix.
        order: number or norm; None: norm for rows of kernels, else number.

    Raises:
        UsageError: no such layer, filter or order, or a layer without filters; `filters` with `max_filters` or `order`.
        SpecError, SourceError, RunError: as `load_model`.
    """
    validate_count("--most", max_filters)
    if filters is not None and (max_filters is not None or order is not None):
        raise UsageError(
            "filters that are chosen by number have their own order",
            where="--filters",
            received=", ".join(map(str, filters)),
            next_step="leave --most and --order out, or --filters",
        )
    model = as_loaded_model(model)
    read = _read_filters(model, layer)
    measures = measure_filters(read)
    selection: FilterSelection
    if filters is None:
        selection = resolved = resolve_order(order, read)
        shown = select_filters(read, measures, resolved, max_filters)
    else:
        selection = "chosen"
        shown = validate_numbers(filters, len(read.after), read.layer, "--filters", read.noun)
    return LayerWeights(
        network=model.name, filters=read, measures=measures, shown_filters=tuple(shown), order=selection
    )


def first_convolution(model: LoadedModel, log: LogFn) -> LayerWeights | None:
    """The filters of a run's first convolution; None for a network without convolutions.

    Args:
        log: called with a warning where the initial weights are not verified.
    """
    if not any(isinstance(module, nn.Conv2d) for module in model.network.modules()):
        return None
    weights = inspect_weights(model)
    if weights.filters.reason and not weights.filters.frozen:
        log(f"! the initial weights of {model.name} are not verified: {weights.filters.reason}")
    return weights


def _read_filters(model: LoadedModel, layer: str) -> LayerFilters:
    name, module = _find_layer(model.network, layer)
    folder, row = model.folder, find_row(model.layers, name)
    inputs = module.in_channels if isinstance(module, nn.Conv2d) else module.in_features
    layout = input_layout(model.layers, name, inputs)
    initial = initial_network(folder) if folder is not None else InitialNetwork(None, UNTRAINED)
    loaded = folder.loaded_weights() if folder is not None else None
    return LayerFilters(
        name,
        before=None if initial.network is None else _weights(initial.network.get_submodule(name), layout),
        after=_weights(module, layout),
        loaded=loaded.source if loaded is not None and name.startswith("backbone.") else "",
        frozen=folder is not None and row is not None and row.frozen,
        kind="conv" if isinstance(module, nn.Conv2d) else "dense",
        reads_image=layout.reads_image,
        groups=module.groups if isinstance(module, nn.Conv2d) else 1,
        initial_weights=initial.status,
        reason=initial.reason,
    )


def _find_layer(network: nn.Module, name: str) -> tuple[str, nn.Conv2d | nn.Linear]:
    """A convolution or dense layer by its name, or by default the first convolution, else the first dense layer."""
    known = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    if not name and known:
        return next((each for each in known.items() if isinstance(each[1], nn.Conv2d)), next(iter(known.items())))
    if not known:
        raise UsageError(
            "this network has no filters", where="--layer", received=name, next_step="name another network"
        )
    full_name = find_layer_name(name, known, what="convolution or dense layer")
    return full_name, known[full_name]


def _weights(module: nn.Module, layout: InputLayout) -> Floats:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    values: Floats = np.array(weight.detach().cpu().float().numpy())
    return values if values.ndim == 4 else values.reshape(len(values), *layout.shape)
