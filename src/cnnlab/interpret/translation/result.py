"""What a small shift of the image did to every layer, as numbers and sentences. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log, prod
from statistics import fmean
from typing import Literal, TypeAlias, TypeVar

from cnnlab.records import Record
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import MISSING, format_count, format_shape
from cnnlab.render.tables import TextTable

T = TypeVar("T")
Direction: TypeAlias = Literal["right", "down", "diagonal"]
Fill: TypeAlias = Literal["edge", "zero"]

DIRECTION_TEXT = {"right": "to the right", "down": "down", "diagonal": "down and to the right"}
FILL_TEXT = {
    "edge": "the freed border repeats the pixels at the edge",
    "zero": "the freed border is zero, as padding is",
}
POOLS = ("maxpool", "avgpool", "globalpool", "adaptivepool")
CHANGE_FORMULA = Formula(
    "change(s) = ‖a(image moved by s) − a(image)‖ / ‖a(image)‖, a: all numbers that a layer gives",
    r"\mathrm{change}(s) = \lVert a(T_s x) - a(x) \rVert \,/\, \lVert a(x) \rVert",
)
# Below this share of a map's largest number two maps are equal: so much is rounding in 32-bit floats.
TOLERANCE = 1e-5
# From this factor on a layer lowers nothing that a reader could see in two digits.
UNCHANGED = 0.995
# As many shifts have a column of their own; of more, so many spread over all.
MAX_COLUMNS = 6


class MapShift(Record):
    """A layer's map of the moved image against the map of the image, moved by as many nodes.

    `shift` is in pixels; `steps` is how many nodes the map was moved, (down, right): the whole numbers next to
    shift / jump that fit best; `nodes` is how many places were compared: those whose view lies inside both images;
    `difference` is the largest one, as a share of the map's largest number.
    """

    shift: int
    steps: tuple[int, int]
    nodes: int
    difference: float

    @property
    def is_equivariant(self) -> bool:
        """Whether the two are equal, but for rounding."""
        return self.difference <= TOLERANCE


class LayerTranslation(Record):
    """One layer's answer to the shifts.

    `before` and `after` are the changes of what goes in and what comes out, at each of `TranslationSensitivity.shifts`;
    None where all numbers of the unmoved image are zero. `map` is (height, width) of what comes out, None where that is
    no map of places; `period` is the pixels whose multiples the strides keep. `moves` are the comparisons that could be
    made.
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

    def factor(self, at: int = 1) -> float | None:
        """The change after the layer as a multiple of the change in front of it, at the shift of this number."""
        before, after = self.before[at], self.after[at]
        return after / before if before and after is not None else None

    @property
    def equivariant_shifts(self) -> tuple[int, ...]:
        """The measured shifts that the map follows exactly."""
        return tuple(move.shift for move in self.moves if move.is_equivariant)

    def equivariance_text(self) -> str:
        """Which shifts the map follows exactly, in words."""
        if self.period is None:
            return ""
        strides = "every shift" if self.period == 1 else f"multiples of {self.period} px"
        if not any(move.shift % self.period == 0 for move in self.moves):
            return f"{strides}, by the strides alone"
        if all(move.is_equivariant == (move.shift % self.period == 0) for move in self.moves):
            return strides
        return f"of those measured: {', '.join(f'{shift} px' for shift in self.equivariant_shifts) or 'none'}"


class TranslationSensitivity(Record):
    """What shifts of an image did to every layer of a network.

    Attributes:
        network: what it is called, with where its weights are from.
        image: what was shown.
        size: (channels, height, width) of it.
        shifts: in pixels, from 0 on.
        changes: of the image itself, at each shift.
        layers: in the order in which they are computed; those that are modules of the network.
    """

    network: str
    image: str
    size: tuple[int, int, int]
    direction: Direction
    fill: Fill
    shifts: tuple[int, ...]
    changes: tuple[float | None, ...]
    layers: tuple[LayerTranslation, ...]

    @property
    def pools(self) -> tuple[LayerTranslation, ...]:
        """The pooling layers; one that gives what it gets, as VGG's last on 224×224 images does, pools nothing."""
        return tuple(layer for layer in self.layers if layer.kind in POOLS and prod(layer.input) != prod(layer.output))

    @property
    def stages(self) -> tuple[LayerTranslation, ...]:
        """The pooling layers, or, in a network without any, those that make its maps smaller, or else all layers."""
        periods = [layer.period for layer in self.layers]
        shrinking = [
            layer
            for front, layer in zip((1, *periods), self.layers, strict=False)
            if layer.period is not None and layer.period > (front or layer.period)
        ]
        return self.pools or tuple(shrinking) or self.layers

    def summary(self) -> str:
        """Which layers make this network less sensitive to a small shift, by what was measured."""
        if not self.changes[1]:
            return "Moving this image changes nothing in it, so it tells nothing of the layers."
        return f"{self._pooling_text()} {self._kinds_text()}"

    def stage_lines(self) -> tuple[str, ...]:
        """The change before and after each stage at the smallest shift: `maxpool1: 0.62 before, 0.41 after, …`."""
        return tuple(
            f"{layer.name}: {_number(layer.before[1])} before, {_number(layer.after[1])} after, "
            f"at a shift of {self.shifts[1]} px"
            for layer in self.stages
        )

    def document(self) -> Document:
        """The answer, the change after every layer, and the shifts that each map follows exactly."""
        filled = f"moved {DIRECTION_TEXT[self.direction]}, {FILL_TEXT[self.fill]}"
        return Document(
            title=f"What a small shift does to {self.network}",
            lines=(CHANGE_FORMULA, self.summary(), *self.stage_lines()),
            tables=(
                (f"Change after each layer; after/before at {self.shifts[1]} px", self._change_table()),
                ("Shifts that maps follow exactly", self._equivariance_table()),
            ),
            notes=(
                f"Image: {self.image}, {format_shape(self.size)}, {filled}; 32-bit floats, eval mode.",
                "Exactly: the map of the moved image is the image's map, moved by shift / jump nodes; compared where a "
                "node's whole view lies inside both images. Differences are shares of the map's largest number: up to "
                f"{TOLERANCE:.0e} is rounding.",
            ),
        )

    def svg(self) -> str:
        """The plot of the change against the shift, before and after each stage; it stands alone."""
        from cnnlab.interpret.translation.view import translation_svg

        return translation_svg(self)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())

    def _pooling_text(self) -> str:
        factors = [factor for factor in (pool.factor() for pool in self.pools) if factor is not None]
        if not factors:
            return "No pooling layer was measured."
        fell = sum(factor < 1 for factor in factors)
        if len(factors) == 1:
            verb = "falls" if fell else "does not fall"
            where = f"{verb} at the pooling layer: after it, it is {factors[0]:.2f} of what it is in front"
        else:
            places = f"each of {len(factors)}" if fell == len(factors) else f"{fell or 'none'} of {len(factors)}"
            where = (
                f"falls at {places} pooling layers: over all of them it is {_geometric_mean(factors):.2f} of what it "
                "is in front (geometric mean)"
            )
        return f"At a shift of {self.shifts[1]} px the change {where}."

    def _kinds_text(self) -> str:
        kinds: dict[str, list[float]] = {}
        for layer in self.layers:
            # Without a map there are no places; and a row of rows is what those within it make together.
            if layer.kind in ("residual", "repeat", "flatten") or len(layer.input) < 3 or layer.input[1:] == (1, 1):
                continue
            if factor := layer.factor():
                kinds.setdefault(layer.kind, []).append(factor)
        means = {kind: _geometric_mean(factors) for kind, factors in kinds.items()}
        if not means:
            return ""
        lowest, *_ = ordered = sorted(means, key=lambda kind: means[kind])
        listed = ", ".join(f"{kind} {means[kind]:.2f}" for kind in ordered)
        first = f"{lowest} lowers it most" if means[lowest] < UNCHANGED else "none lowers it"
        return f"Of the kinds of layers that work on maps {first}: {listed}."

    def _change_table(self) -> TextTable:
        columns = evenly_spaced(range(1, len(self.shifts)), MAX_COLUMNS)
        titles = ["layer", "`row", *(f"#{self.shifts[at]} px" for at in columns), "#after/before"]
        image = ["image", "", *(_number(self.changes[at]) for at in columns), ""]
        rows = [
            [layer.name, layer.text, *(_number(layer.after[at]) for at in columns), _number(layer.factor())]
            for layer in self.layers
        ]
        return TextTable.from_rows(titles, [image, *rows])

    def _equivariance_table(self) -> TextTable:
        titles = ["layer", "#map", "follows exactly", "#measured at, px", "#nodes", "#difference there", "#at others"]
        rows, seen = [], set()
        for layer in self.layers:
            # Of layers that say the same, the first.
            if layer.period is None or (layer.period, layer.equivariance_text()) in seen:
                continue
            seen.add((layer.period, layer.equivariance_text()))
            kept = [move for move in layer.moves if move.shift % layer.period == 0]
            elsewhere = [move for move in layer.moves if move.shift % layer.period]
            rows.append(
                (
                    layer.name,
                    format_shape(layer.map or ()),
                    layer.equivariance_text(),
                    ", ".join(str(move.shift) for move in kept) or MISSING,
                    format_count(min(move.nodes for move in kept)) if kept else "0",
                    _largest(kept),
                    _largest(elsewhere),
                )
            )
        return TextTable.from_rows(titles, rows)


def evenly_spaced(things: Sequence[T], max_items: int) -> list[T]:
    """All of them, or so many that are spread over them, the first and the last among them.

    >>> evenly_spaced(range(1, 10), 3)
    [1, 5, 9]
    """
    if len(things) <= max_items:
        return list(things)
    return [things[round(number * (len(things) - 1) / (max_items - 1))] for number in range(max_items)]


def _largest(moves: Sequence[MapShift]) -> str:
    if not moves:
        return MISSING
    largest = max(move.difference for move in moves)
    return f"{largest:.1e}" if 0 < largest < 0.01 else f"{largest:.2g}"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _geometric_mean(factors: Iterable[float]) -> float:
    """Of factors, which multiply along the network; 0 where one is."""
    values = list(factors)
    return exp(fmean(map(log, values))) if all(values) else 0.0
