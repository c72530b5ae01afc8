"""What maps of attribution show, in sentences made from their numbers. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from cnnlab.probe.attribution.answer import COMPLETE, TITLES, signed
from cnnlab.render import formatting

if TYPE_CHECKING:
    from cnnlab.probe.attribution.answer import Attribution, Attributions, Explained

# From this correlation on a map hardly changes when the weights are drawn anew.
HARDLY = 0.7
QUARTERS = ("upper left", "upper right", "lower left", "lower right")
NOTES = (
    "Deletion and insertion: the area under the class's probability while the pixels are exchanged, the highest first: "
    "deletion makes the image the baseline, where less is better; insertion makes the baseline the image, where more "
    "is better (Petsiuk et al., 2018).",
    "Redrawn: rank correlation of |map| with that of the same network with weights drawn anew; near 1, the map depends "
    "on the image alone (Adebayo et al., 2018). Half on: the smallest share of the pixels that holds half of |map|. "
    "Centre: the share of |map| in the middle half of the rows and columns; of random orders, of the pixels.",
)


def findings(found: Attributions) -> tuple[str, ...]:
    """A sentence each on the place, the order, the weights, the agreement, and the sum."""
    return tuple(filter(None, (_places(found), _orders(found), _weights(found), _agreement(found), _sums(found))))


def quarter(found: Attribution) -> tuple[str, float]:
    """The quarter of the image with the most of the mass, and its share."""
    high, wide = found.heat.shape
    parts = [half for rows in np.split(found.mass, [high // 2]) for half in np.split(rows, [wide // 2], axis=1)]
    shares = [float(part.sum()) for part in parts]
    most = int(np.argmax(shares))
    return QUARTERS[most], shares[most]


def _places(found: Attributions) -> str:
    if len(found.images) == 1:
        image = found.images[0]
        told = [
            f"{map_.title}: {formatting.percent(share)} in the {name} quarter"
            for map_ in image.maps
            if map_.heat.any()
            for name, share in [quarter(map_)]
        ]
        empty = [map_.title for map_ in image.maps if not map_.heat.any()]
        told += [f"{', '.join(empty)}: zero everywhere"] if empty else []
        return "Where it lies: " + "; ".join(told) + "."
    shares = {name: [map_.centre for map_ in found.of(name) if map_.heat.any()] for name in found.methods}
    told = [f"{_title(name)} {formatting.percent(fmean(each))}" for name, each in shares.items() if each]
    area = formatting.percent(found.images[0].centre_area)
    return f"Of |map| the centre, {area} of the pixels, has on average: {', '.join(told)}." if told else ""


def _orders(found: Attributions) -> str:
    count, orders = len(found.images), len(found.images[0].random_deletion)
    told = []
    for name in found.methods:
        pairs = list(zip(found.images, found.of(name), strict=True))
        deleted = sum(map_.deletion.area < min(_areas(image, "deletion")) for image, map_ in pairs)
        inserted = sum(map_.insertion.area > max(_areas(image, "insertion")) for image, map_ in pairs)
        told.append(f"{_title(name)} {deleted} and {inserted}")
    of = f"of {formatting.plural(count, 'image')}"
    return f"Better than each of {orders} random orders at deletion and at insertion, {of}: {', '.join(told)}."


def _weights(found: Attributions) -> str:
    means = {
        name: [each for map_ in found.of(name) if (each := map_.independence) is not None] for name in found.methods
    }
    known = {name: fmean(each) for name, each in means.items() if each}
    if not known:
        return ""
    told = ", ".join(f"{_title(name)} {signed(value)}" for name, value in known.items())
    still = [_title(name) for name, value in known.items() if value >= HARDLY]
    verdict = f"; {' and '.join(still)} barely depends on the weights" if len(still) == 1 else ""
    if len(still) > 1:
        verdict = f"; {', '.join(still)} barely depend on the weights"
    return f"With weights drawn anew the maps correlate with these by: {told}{verdict}."


def _agreement(found: Attributions) -> str:
    if not found.agreement:
        return ""
    ordered = sorted(found.agreement, key=lambda pair: pair[2])
    told = [(f"{_title(one)} and {_title(other)}", signed(value)) for one, other, value in ordered]
    (least, low), (most, high) = told[0], told[-1]
    if len(told) == 1:
        return f"The maps of {most} agree by a rank correlation of {high}."
    return f"Most alike are the maps of {most} (rank correlation {high}), least those of {least} ({low})."


def _sums(found: Attributions) -> str:
    sums = [map_.completeness for image in found.images for map_ in image.maps if map_.completeness]
    if not sums:
        return ""
    worst = max(sums, key=lambda each: each.gap)
    if worst.gap < COMPLETE:
        return f"Integrated gradients add up to the logit's rise, to {formatting.percent(worst.gap)} at worst."
    short = sum(each.gap >= COMPLETE for each in sums)
    return (
        f"Integrated gradients do not add up to the logit's rise on {short} of {formatting.plural(len(sums), 'image')}: "
        f"they are off by up to {formatting.percent(worst.gap)} with {formatting.count(worst.steps)} steps."
    )


def _title(method: str) -> str:
    return TITLES.get(method, method)


def _areas(image: Explained, which: str) -> Iterator[float]:
    for curve in image.random_deletion if which == "deletion" else image.random_insertion:
        yield curve.area
