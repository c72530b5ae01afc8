"""How often units were active over a part of the data, as numbers, sentences and pictures. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cnnlab.records import Record
from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_percent, pluralize
from cnnlab.render.plots import CaptionedFigure, to_svg
from cnnlab.render.tables import TextTable

Floats = npt.NDArray[np.float64]
# A derivative below this lets nothing through that training could use.
DERIVATIVE_THRESHOLD = 1e-3
# As a share of half the range, from its middle; and the share of cases from which on a unit counts as saturated.
SATURATION_THRESHOLD, SATURATED_SHARE = 0.99, 0.99
MAX_NAMED = 12


class UnitsRecord(Record):
    """One layer's units: `above` the share of a unit's cases above 0, `steep` that with a |derivative| from 0.001 on,
    `far` that near the ends of the range, where it has ends. `dead` and `saturated` are numbers of units, from 0.
    """

    name: str
    kind: str
    text: str
    cases: int
    dead_by: Literal["output", "derivative"]
    dead: tuple[int, ...]
    saturated: tuple[int, ...]
    above: tuple[float, ...]
    steep: tuple[float, ...]
    far: tuple[float, ...] | None = None
    broken: tuple[int, ...] = ()


class UnitActivityRecord(Record):
    """`UnitActivity` as JSON has it."""

    network: str
    split: str
    images: int
    layers: tuple[UnitsRecord, ...]


@dataclass(frozen=True)
class LayerUnits:
    """The units behind one activation function; arrays of one number a unit.

    Attributes:
        cases: how often each unit was seen: places of all images.
        above: the share of cases in which it was above 0.
        steep: the share in which the function's |derivative| was 0.001 or more.
        far: the share in which it was farther from the middle of the range than 0.99 of half the range; None for a
            function without ends on both sides.
        maximum: the highest number that it gave.
        dead_by: "output": dead where it was never above 0; "derivative": where `steep` is 0.
    """

    name: str
    kind: str
    text: str
    cases: int
    above: Floats
    steep: Floats
    far: Floats | None
    maximum: Floats
    dead_by: Literal["output", "derivative"]

    @property
    def dead(self) -> tuple[int, ...]:
        """The units that did nothing in any case, from 0."""
        idle = self.maximum <= 0 if self.dead_by == "output" else self.steep == 0
        return _numbers(idle & np.isfinite(self.maximum))

    @property
    def broken(self) -> tuple[int, ...]:
        """The units that gave NaN or ±Inf in some case; none of them counts as dead."""
        return _numbers(~np.isfinite(self.maximum))

    @property
    def saturated(self) -> tuple[int, ...]:
        """The units near the ends of the range in more than 99 % of the cases."""
        return () if self.far is None else _numbers(self.far > SATURATED_SHARE)

    @property
    def displayed_shares(self) -> Floats:
        """What a picture shows of each unit: the share above 0, or, between two ends, the share away from them."""
        return self.above if self.far is None else 1 - self.far

    def record(self) -> UnitsRecord:
        """These numbers, as JSON has them."""
        return UnitsRecord(
            name=self.name,
            kind=self.kind,
            text=self.text,
            cases=self.cases,
            dead_by=self.dead_by,
            dead=self.dead,
            saturated=self.saturated,
            above=tuple(map(float, self.above)),
            steep=tuple(map(float, self.steep)),
            far=None if self.far is None else tuple(map(float, self.far)),
            broken=self.broken,
        )


@dataclass(frozen=True)
class UnitActivity:
    """How the units of a network fared over a part of the data, layer by layer."""

    network: str
    split: str
    images: int
    layers: tuple[LayerUnits, ...]

    def layer(self, name: str) -> LayerUnits:
        """The layer of this name; a KeyError for one that was not measured."""
        return {layer.name: layer for layer in self.layers}[name]

    def record(self) -> UnitActivityRecord:
        """All numbers, as JSON has them."""
        layers = tuple(layer.record() for layer in self.layers)
        return UnitActivityRecord(network=self.network, split=self.split, images=self.images, layers=layers)

    def to_json(self, indent: int | None = None) -> str:
        """The record as JSON."""
        return self.record().to_json(indent)

    def summary(self) -> str:
        """How many units are dead or saturated, and where most of them are."""
        units = sum(len(layer.above) for layer in self.layers)
        sentences = []
        if broken := [layer for layer in self.layers if layer.broken]:
            count = sum(len(layer.broken) for layer in broken)
            gave = f"{count:,} of the {pluralize(units, 'unit')} gave NaN or ±Inf, which are not numbers"
            sentences.append(
                f"{gave}: in {', '.join(layer.name for layer in broken)}. They count as neither dead nor alive."
            )
            units -= count
        if units:
            sentences.append(self._units_text("dead", [layer.dead for layer in self.layers], units))
        if ranged := [layer for layer in self.layers if layer.far is not None]:
            count = sum(len(layer.above) for layer in ranged)
            sentences.append(self._units_text("saturated", [layer.saturated for layer in self.layers], count))
        sound = [layer for layer in self.layers if not layer.broken]
        if not sound:
            return " ".join(sentences)
        least = min(sound, key=lambda layer: float(np.median(layer.displayed_shares)))
        share = "above 0" if least.far is None else "away from the ends of its range"
        sentences.append(
            f"{least.name} is the least active layer: its median unit is {share} in "
            f"{format_percent(float(np.median(least.displayed_shares)))} of its cases."
        )
        return " ".join(sentences)

    def document(self) -> Document:
        """The answer, and a row for each layer with its dead and saturated units named."""
        titles = ["layer", "function", "#units", "#dead", "#saturated", "#median share", "#lowest", "#highest", "which"]
        rows = [self._row(layer) for layer in self.layers]
        return Document(
            title=f"Units of {self.network} over {pluralize(self.images, 'image')} of the {self.split} part",
            lines=(self.summary(),),
            tables=(("", TextTable.from_rows(titles, rows)),),
            notes=self.definitions(),
        )

    def definitions(self) -> tuple[str, ...]:
        """What the words mean, for those functions that were measured."""
        notes = [
            "Units are channels of maps, or numbers of vectors, from 0; a unit's cases are all places of all images."
        ]
        if any(layer.dead_by == "output" for layer in self.layers):
            notes.append("Dead behind a ReLU: never above 0.")
        if any(layer.dead_by == "derivative" for layer in self.layers):
            notes.append("Dead behind another function: its |derivative| is below 0.001 in every case.")
        if any(layer.far is not None for layer in self.layers):
            notes.append(
                "Saturated: farther from the middle of the range than 0.99 of half the range, in more than 99 % of the "
                "cases; the share is then that of the cases away from the ends."
            )
        if any(layer.far is None for layer in self.layers):
            notes.append("The share is that of the cases above 0.")
        return tuple(notes)

    def figures(self) -> dict[str, CaptionedFigure]:
        """A strip for each layer: the share of every unit."""
        from cnnlab.interpret.activations.units_view import units_figure

        return {
            "units": CaptionedFigure(
                units_figure(self), f"How often each unit is active, layer by layer. {self.summary()}"
            )
        }

    def _repr_html_(self) -> str:
        captioned = self.figures()["units"]
        return self.document().to_html(to_svg(captioned.figure, "units", captioned.description, standalone=True))

    def _units_text(self, what: str, numbers: Sequence[tuple[int, ...]], units: int) -> str:
        found = sum(map(len, numbers))
        of = f"of the {pluralize(units, 'unit')}" + (" with a range" if what == "saturated" else "")
        if not found:
            return f"None {of} is {what}."
        most = max(range(len(numbers)), key=lambda place: len(numbers[place]))
        layer = self.layers[most]
        all_there = len(numbers[most]) == found
        where = f"all of them in {layer.name}" if all_there else f"{len(numbers[most])} of them in {layer.name}"
        return f"{found} {of} {'is' if found == 1 else 'are'} {what}, {where if found > 1 else f'in {layer.name}'}."

    def _row(self, layer: LayerUnits) -> tuple[str, ...]:
        named = [f"not a number: {_unit_list_text(layer.broken)}"] if layer.broken else []
        named += [f"dead: {_unit_list_text(layer.dead)}"] if layer.dead else []
        named += [f"saturated: {_unit_list_text(layer.saturated)}"] if layer.saturated else []
        shares = layer.displayed_shares
        return (
            layer.name,
            layer.kind,
            str(len(shares)),
            str(len(layer.dead)),
            MISSING if layer.far is None else str(len(layer.saturated)),
            *(format_percent(float(value)) for value in (np.median(shares), shares.min(), shares.max())),
            "; ".join(named),
        )


def _numbers(which: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(number) for number in np.flatnonzero(which))


def _unit_list_text(numbers: tuple[int, ...]) -> str:
    more = len(numbers) - MAX_NAMED
    return ", ".join(map(str, numbers[:MAX_NAMED])) + (f" and {more} more" if more > 0 else "")
