"""The parts of images that excite a filter most, over a part of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnlab.data.loader import Feed, spread_places
from cnnlab.errors import UsageError
from cnnlab.interpret.activations.layer_index import Spot, Spots, reading
from cnnlab.interpret.activations.patches_result import FilterPatches, Patch, Patches
from cnnlab.interpret.loaded_model import Subject, as_subject
from cnnlab.interpret.targets import MOST_PATCHES, require_number
from cnnlab.models.pretrained.transfer import resized
from cnnlab.models.train_mode import evaluating
from cnnlab.render import formatting
from cnnlab.runs.callbacks import NOBODY
from cnnlab.training.device import whole_floats

# Of a layer whose filters nobody chose, so many are shown.
SOME = 8
Pixels = npt.NDArray[np.uint8]


@whole_floats()
def inspect_patches(
    subject: Subject | str | Path,
    layer: str,
    filters: Sequence[int] | None = None,
    part: str = "validation",
    *,
    count: int = 8,
    limit: int | None = None,
    say: Callable[[str], None] = NOBODY.say,
) -> Patches:
    """The patches of a part's images that excite filters of a layer most, one of each image at most.

    A patch is what the node of the highest activation sees of the image, by the layers' windows.

    Args:
        subject: of `open_subject`, or a name as it takes them; its network is left as it was.
        layer: the name of a row or a module.
        filters: their numbers, from 0; None: some, spread evenly over the layer.
        part: train, validation or test; a look at the test part is written into the ledger.
        count: how many patches of each filter, 1 to 64.
        limit: look at so many images at most, spread evenly over the part.
        say: told of images that are left out.

    Raises:
        UsageError: no such part, layer or filter, or a layer that gives no maps.
        SourceError: the data can't be used.
    """
    subject = as_subject(subject)
    require_number("--top", count, MOST_PATCHES)
    if limit is not None and limit < 1:
        raise UsageError("nothing would be shown", where="--limit", received=str(limit), allowed="1 or more")
    shape = (subject.form.channels, subject.form.height, subject.form.width)
    spots = Spots(subject.network, subject.layers, shape)
    spot = spots.named(layer, "--patches")
    known = spots.units(spot)
    if known is not None:
        _chosen(layer, filters, known)
    feed = subject.part(part, "inspect activations --patches", limit, say)
    top = most_exciting(subject, spots, spot, feed, count)
    places = subject.places(part, limit)
    return Patches(
        network=subject.name,
        layer=layer,
        text=spot.row.text if spot.row is not None else "",
        total=top.values.shape[1],
        part=part,
        images=len(feed),
        classes=subject.classes,
        filters=tuple(
            FilterPatches(
                number, tuple(_patch(spots, spot, feed, top, number, rank, places) for rank in top.ranks(number))
            )
            for number in _chosen(layer, filters, top.values.shape[1])
        ),
        passed_on=spots.passes_on(spot),
    )


@dataclass(frozen=True)
class Top:
    """The highest activations so far, highest first, each K×F: their values, images, and places on the map.

    `wide` is the map's width, by which a place is a row and a column.
    """

    values: npt.NDArray[np.float64]
    images: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    wide: int

    def ranks(self, number: int) -> list[int]:
        """The ranks of a filter that are numbers."""
        return [rank for rank in range(len(self.values)) if np.isfinite(self.values[rank, number])]


def most_exciting(subject: Subject, spots: Spots, spot: Spot, feed: Feed, count: int) -> Top:
    """The `count` images with the highest activation of each filter, and where on the map it is; in one pass, of which
    no more is held than that. Of equal ones the earlier image, and the first place, row by row.
    """
    network, kept, wide = subject.network, _Kept(count), 1
    seen = 0

    def see(_: Spot, output: Tensor) -> None:
        nonlocal wide
        maps = spots.maps(spot, output)
        if maps is None or len(maps) != at_once:
            raise UsageError(
                f"'{spot.name}' gives nothing in which each image has its own maps",
                where="--patches",
                received=formatting.sizes(tuple(output.shape)),
                next_step="choose another layer",
            )
        wide = maps.shape[3]
        kept.add(maps, seen)

    with evaluating(network), torch.no_grad():
        for images, _ in feed.enlarged(resized(network)).evaluation():
            at_once = len(images)
            with reading(network, [spot], see):
                network(images)
            seen += at_once
    return kept.found(spot.name, wide)


class _Kept:
    """The highest values of each filter over the batches so far; tensors K×F on the device."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.best: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, maps: Tensor, first: int) -> None:
        """A batch whose first image has this place in the part."""
        flat = torch.nan_to_num(maps.detach().flatten(2), nan=-torch.inf)
        values = flat.amax(dim=2)
        numbers = torch.arange(flat.shape[2], device=flat.device, dtype=torch.int32)
        places = torch.where(flat == values[..., None], numbers, flat.shape[2]).amin(dim=2).long()
        images = torch.arange(first, first + len(flat), device=flat.device)[:, None].expand_as(places)
        if self.best is not None:
            values, images, places = map(torch.cat, zip(self.best, (values, images, places), strict=True))
        # Stable, and earlier images stand first: of equal ones they stay.
        order = values.sort(dim=0, descending=True, stable=True).indices[: self.count]
        self.best = values.gather(0, order), images.gather(0, order), places.gather(0, order)

    def found(self, name: str, wide: int) -> Top:
        if self.best is None:
            raise UsageError(f"'{name}' did not run", where="--patches", next_step="choose another layer")
        values, images, places = (tensor.cpu().numpy() for tensor in self.best)
        return Top(values.astype(np.float64), images, places, wide)


def _patch(
    spots: Spots, spot: Spot, feed: Feed, top: Top, number: int, rank: int, places: npt.NDArray[np.int64]
) -> Patch:
    image = int(top.images[rank, number])
    node = divmod(int(top.places[rank, number]), top.wide)
    return Patch(
        value=float(top.values[rank, number]),
        image=int(places[image]),
        label=int(feed.labels[image]),
        node=node,
        seen=spots.seen(spot, node),
        pixels=np.array(feed.pixels[image]),
    )


def _chosen(layer: str, filters: Sequence[int] | None, total: int) -> list[int]:
    if filters is None:
        return [int(number) for number in spread_places(total, SOME)]
    for number in filters:
        if not 0 <= number < total:
            raise UsageError(
                f"'{layer}' has no filter {number}",
                where="--patches",
                received=str(number),
                allowed=f"0 to {total - 1}",
                next_step="filters are numbered from 0, as torch indexes them",
            )
    return list(dict.fromkeys(filters))
