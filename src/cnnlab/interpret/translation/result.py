"""How the activations of every layer change when the image is moved. No torch."""

from __future__ import annotations

from collections import defaultdict
from math import exp, log, prod
from statistics import fmean
from typing import Literal, NamedTuple, TypeAlias

from pydantic import Field

from cnnlab.records import Record
from cnnlab.render.result import Result

Direction: TypeAlias = Literal["right", "down", "diagonal"]
Fill: TypeAlias = Literal["edge", "zero"]

DIRECTION_TEXT = {"right": "to the right", "down": "down", "diagonal": "down and to the right"}
POOLS = ("maxpool", "avgpool", "globalpool", "adaptivepool")
# Rows that hold other rows, or that move no number.
CONTAINERS = ("residual", "repeat", "flatten")
# Two maps are equal up to this share of the largest number: the rounding of 32-bit floats.
TOLERANCE = 1e-5


class MapShift(Record):
    """The map of the moved image against the map of the image, moved by whole nodes.

    Attributes:
        shift: of the image, in pixels.
        steps: nodes by which the map is moved, (down, right): of the whole numbers next to shift / jump the best fit.
        nodes: nodes compared: those whose receptive field lies inside both images.
        difference: the largest one, as a share of the map's largest number.
    """

    shift: int
    steps: tuple[int, int]
    nodes: int
    difference: float

    @property
    def is_equivariant(self) -> bool:
        """Whether the two maps are equal up to rounding."""
        return self.difference <= TOLERANCE


class LayerTranslation(Record):
    """The effect of the shifts on one layer.

    Attributes:
        before, after: relative change of the layer's input and output at each of `TranslationSensitivity.shifts`; None
            where the activations of the unmoved image are all zero.
        map: (height, width) of the output; None where it is no feature map.
        period: multiples of this many pixels are whole steps on this map and on all earlier maps.
        moves: comparisons of the map with the moved map, one for each shift that leaves nodes to compare.
        output_change_without: `TranslationSensitivity.output_change` with this pool replaced by a subsampling of the
            same stride; None for other layers.
    """

    name: str
    kind: str
    text: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    before: tuple[float | None, ...]
    after: tuple[float | None, ...]
    map: tuple[int, int] | None = None
    period: int | None = None
    moves: tuple[MapShift, ...] = ()
    output_change_without: float | None = None

    def factor(self, at: int = 1) -> float | None:
        """The change after the layer divided by the change before it, at `shifts[at]`."""
        before, after = self.before[at], self.after[at]
        return after / before if before and after is not None else None

    @property
    def equivariant_shifts(self) -> tuple[int, ...]:
        """The measured shifts that the map follows exactly."""
        return tuple(move.shift for move in self.moves if move.is_equivariant)


class KindFactor(NamedTuple):
    """The layers of one kind.

    Attributes:
        mean: the geometric mean of their `LayerTranslation.factor`.
        layers: how many they are.
        output_without: the output's change with all of them replaced, divided by the output's change; None where they
            are no pools.
    """

    kind: str
    mean: float
    layers: int
    output_without: float | None = None


class TranslationSensitivity(Result):
    """The effect of shifts of an image on every layer of a network.

    Attributes:
        network: its name, with the origin of its weights.
        image: its name.
        size: (channels, height, width) of the image.
        shifts: in pixels, from 0 on.
        changes: of the image itself, at each shift.
        layers: the layers that are modules of the network, in execution order.
        output_change: relative change of the network's output at a shift of `shifts[1]`, the mean over `num_images`;
            None where it is not known or zero.
        output_changes_without: the same with all pools of a kind replaced, by kind.
        num_images: of the changes of the output.
    """

    network: str
    image: str
    size: tuple[int, int, int]
    direction: Direction
    fill: Fill
    shifts: tuple[int, ...]
    changes: tuple[float | None, ...]
    layers: tuple[LayerTranslation, ...]
    output_change: float | None = None
    output_changes_without: dict[str, float] = Field(default_factory=dict)
    num_images: int = 1

    def output_ratio(self, without: float | None) -> float | None:
        """The output's change with something replaced, divided by the output's change as it is."""
        return None if without is None or self.output_change is None else without / self.output_change

    @property
    def pools(self) -> tuple[LayerTranslation, ...]:
        """The pooling layers, without those whose output is as large as their input."""
        return tuple(layer for layer in self.layers if layer.kind in POOLS and prod(layer.input) != prod(layer.output))

    @property
    def stages(self) -> tuple[LayerTranslation, ...]:
        """The layers that are drawn: the pooling layers, or all where there are none."""
        return self.pools or self.layers

    @property
    def kinds(self) -> tuple[KindFactor, ...]:
        """The kinds of layers that work on maps, those that lower the change most first."""
        factors = defaultdict(list)
        for layer in self.layers:
            on_map = len(layer.input) == 3 and layer.input[1:] != (1, 1)
            if on_map and layer.kind not in CONTAINERS and (factor := layer.factor()):
                factors[layer.kind].append(factor)
        means = [
            KindFactor(
                kind,
                exp(fmean(map(log, values))),
                len(values),
                self.output_ratio(self.output_changes_without.get(kind)),
            )
            for kind, values in factors.items()
        ]
        return tuple(sorted(means, key=lambda each: each.mean))
