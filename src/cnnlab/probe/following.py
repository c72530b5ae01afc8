"""Whether the maps of a moved image are those of the image, moved by whole nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil, floor, lcm

from torch import Tensor

from cnnlab.architecture.layer_graph import data_order
from cnnlab.probe.translation_answer import Moved
from cnnlab.records import LayerRecord

Pair = tuple[int, int]


def periods(layers: Sequence[LayerRecord], moves: Pair) -> dict[str, int | None]:
    """For each row the pixels whose multiples are whole steps on its map and on every map in front of it.

    Args:
        layers: rows, as `Trace.records` or `trace_network` give them.
        moves: whether the image moves (down, right): 1 or 0.

    Returns:
        By the row's name; None for one that gives no map.
    """
    found: dict[str, int | None] = {}
    for layer in data_order(layers):
        found[layer.name] = None
        if layer.jump is not None:
            own = [Fraction(jump).numerator for jump, moving in zip(layer.jump, moves, strict=True) if moving]
            found[layer.name] = lcm(*own, *(period for name in layer.inputs if (period := found.get(name))))
    return found


def compare(
    layer: LayerRecord, maps: Tensor, shifts: Sequence[int], moves: Pair, size: Pair, period: int
) -> tuple[Moved, ...]:
    """A layer's maps of the moved images against its map of the image.

    Args:
        maps: N×C×H×W, one for each shift.
        shifts: in pixels; the first is 0.
        moves: as in `periods`.
        size: (height, width) of the image.
        period: the layer's, of `periods`.

    Returns:
        For each shift but 0 the best fit of the moves by whole nodes next to it; none where no node's view lies inside
        both images, or where the map is zero.
    """
    axes = [_Axis.of(layer, axis, period) for axis in (0, 1)]
    inside = [axes[axis].inside(maps.shape[2 + axis], size[axis]) for axis in (0, 1)]
    found = []
    for image, shift in enumerate(shifts):
        ways = [axes[axis].steps(shift * moves[axis]) for axis in (0, 1)]
        fits = [_fit(maps, image, inside, (down, right)) for down, right in product(*ways)] if shift else []
        best = min((fit for fit in fits if fit is not None), key=lambda fit: fit[1], default=None)
        if best is not None:
            steps, difference, nodes = best
            found.append(Moved(shift=shift, steps=steps, nodes=nodes, difference=difference))
    return tuple(found)


@dataclass(frozen=True)
class _Axis:
    """Where the nodes of a map look along one axis of the image, in pixels."""

    first: Fraction
    jump: Fraction
    reach: Fraction

    @classmethod
    def of(cls, layer: LayerRecord, axis: int, period: int) -> _Axis:
        assert layer.jump is not None
        assert layer.first_centre is not None
        assert layer.receptive_field is not None
        jump, reach = Fraction(layer.jump[axis]), Fraction(layer.receptive_field[axis] - 1, 2)
        # On an enlarged map the views lie unevenly: a node's own centre is off by less than a period.
        uneven = period if jump < period else 0
        return cls(Fraction(layer.first_centre[axis]), jump, reach + uneven)

    def steps(self, pixels: int) -> list[int]:
        """The whole steps on the map next to a shift: one, or the two around it."""
        exact = pixels / self.jump
        return sorted({floor(exact), ceil(exact)})

    def inside(self, nodes: int, size: int) -> Pair:
        """From and to which node the whole view lies in the image; the end is not part of it."""
        first = ceil((self.reach - self.first) / self.jump)
        last = floor((size - 1 - self.reach - self.first) / self.jump)
        return max(first, 0), min(last + 1, nodes)


def _fit(maps: Tensor, image: int, inside: Sequence[Pair], steps: Pair) -> tuple[Pair, float, int] | None:
    """The steps, the largest difference as a share of the largest number, and the nodes that were compared."""
    here, there = maps[0], maps[image]
    for axis, ((start, end), step) in enumerate(zip(inside, steps, strict=True)):
        if end - start - step < 1:
            return None
        here = here.narrow(1 + axis, start, end - start - step)
        there = there.narrow(1 + axis, start + step, end - start - step)
    difference, largest = float((there - here).abs().max()), float(here.abs().max())
    # Zeros everywhere, as after a batch norm that begins with weights of zero, follow any shift: that tells nothing.
    return (steps, difference / largest, here.shape[1] * here.shape[2]) if largest else None
