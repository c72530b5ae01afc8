"""The parts of images that excite a filter most, over a split."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.context import NO_CALLBACKS
from cnnlab.data.loader import ImageLoader, evenly_spaced_indices
from cnnlab.errors import UsageError
from cnnlab.interpret.activations.result import FilterPatches, Patch, Patches
from cnnlab.interpret.filter_numbers import validate_numbers
from cnnlab.interpret.layer_index import LayerIndex, LayerRef, capture_outputs
from cnnlab.interpret.limits import MAX_PATCHES
from cnnlab.interpret.loaded_model import LoadedModel, as_loaded_model
from cnnlab.interpret.targets import validate_count
from cnnlab.models.pretrained.transfer import max_resize
from cnnlab.models.train_mode import eval_mode
from cnnlab.render.formatting import format_shape
from cnnlab.training.device import disable_tf32

# The number of filters where none are chosen.
DEFAULT_NUM_FILTERS = 8


@disable_tf32()
def inspect_patches(
    model: LoadedModel | str | Path,
    layer: str,
    filters: Sequence[int] | None = None,
    split: str = "validation",
    *,
    count: int = 8,
    limit: int | None = None,
    log: Callable[[str], None] = NO_CALLBACKS.log,
) -> Patches:
    """Find the patches of a split's images that excite filters of a layer most, one of each image at most.

    A patch is the receptive field of the node with the highest activation (M. Zeiler, R. Fergus: Visualizing and
    understanding convolutional networks, ECCV 2014).

    Args:
        model: of `load_model`, or a name as it takes them; its network is left unchanged.
        layer: the name of a row or a module.
        filters: their numbers, from 1; None: eight, spread evenly over the layer.
        split: train, validation or test; an opening of the test split is recorded in the ledger.
        count: how many patches of each filter, 1 to 64.
        limit: the largest number of images, spread evenly over the split.
        log: called with a message about images that are left out.

    Raises:
        UsageError: no such split, layer or filter, or a layer without maps.
        SourceError: the data can't be used.
    """
    model = as_loaded_model(model)
    validate_count("--top", count, MAX_PATCHES)
    validate_count("--limit", limit, sys.maxsize)
    layer_index = LayerIndex(model.network, model.layers, model.image_spec.shape)
    layer_ref = layer_index.find(layer, "--patches")
    if layer_ref.num_units is not None:
        _selected_filters(layer_ref.name, filters, layer_ref.num_units)
    loader = model.open_split(split, "inspect activations --patches", limit, log)
    top = top_activations(model.network, layer_ref, loader, count)
    image_indices = model.split_indices(split, limit)

    def patch(number: int, rank: int) -> Patch:
        index = number - 1
        image, node = int(top.images[rank, index]), divmod(int(top.positions[rank, index]), top.map_width)
        rows, columns = layer_index.receptive_field(layer_ref, node) or (None, None)
        return Patch(
            value=float(top.values[rank, index]),
            image=int(image_indices[image]),
            label=model.class_name(int(loader.labels[image])),
            node=node,
            rows=rows,
            columns=columns,
            pixels=np.array(loader.pixels[image]),
        )

    return Patches(
        network=model.name,
        layer=layer_ref.name,
        text=layer_index.text(layer_ref),
        filters_in_all=top.values.shape[1],
        split=split,
        images=len(loader),
        filters=tuple(
            FilterPatches(
                number=number,
                patches=tuple(
                    patch(number, int(rank)) for rank in np.flatnonzero(np.isfinite(top.values[:, number - 1]))
                ),
            )
            for number in _selected_filters(layer_ref.name, filters, top.values.shape[1])
        ),
    )


@dataclass(frozen=True)
class TopActivations:
    """The highest activations of each filter, highest first.

    Attributes:
        values, images, positions: K×F values, the indices of their images, and their flat positions on the map.
        map_width: turns a position into row and column.
    """

    values: npt.NDArray[np.float64]
    images: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    map_width: int


def top_activations(network: nn.Module, layer_ref: LayerRef, loader: ImageLoader, count: int) -> TopActivations:
    """Find the `count` images with the highest activation of each filter, and its position on the map, in one pass.

    Of equal activations the earlier image comes first, and the first position, row by row.
    """
    best: tuple[Tensor, ...] = ()
    num_images, map_width = 0, 1

    def record(_: LayerRef, output: Tensor) -> None:
        nonlocal best, map_width
        maps = layer_ref.as_feature_maps(output)
        if maps is None or len(maps) != len(images):
            raise UsageError(
                f"the output of '{layer_ref.name}' has no maps for each image",
                where="--patches",
                received=format_shape(tuple(output.shape)),
                next_step="choose another layer",
            )
        map_width = maps.shape[3]
        values, positions = torch.nan_to_num(maps.flatten(2), nan=-torch.inf).max(dim=2)
        numbers = torch.arange(num_images, num_images + len(maps), device=maps.device)[:, None].expand_as(positions)
        candidates: tuple[Tensor, ...] = (values, numbers, positions)
        if best:
            candidates = tuple(torch.cat(pair) for pair in zip(best, candidates, strict=True))
        # Stable: of equal values the earlier image stays.
        order = candidates[0].sort(dim=0, descending=True, stable=True).indices[:count]
        best = tuple(each.gather(0, order) for each in candidates)

    with eval_mode(network), torch.no_grad():
        for images, _ in loader.with_input_size(max_resize(network)).eval_batches():
            with capture_outputs(network, [layer_ref], record):
                network(images)
            num_images += len(images)
    if not best:
        raise UsageError(f"'{layer_ref.name}' did not run", where="--patches", next_step="choose another layer")
    values, numbers, positions = (tensor.cpu().numpy() for tensor in best)
    return TopActivations(values.astype(np.float64), numbers, positions, map_width)


def _selected_filters(layer: str, filters: Sequence[int] | None, total: int) -> list[int]:
    if filters is None:
        return [int(index) + 1 for index in evenly_spaced_indices(total, DEFAULT_NUM_FILTERS)]
    return validate_numbers(filters, total, layer, "--patches")
