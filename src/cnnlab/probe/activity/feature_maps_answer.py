"""What layers made of one image, as numbers, sentences and pictures. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cnnlab.probe.activity.feature_maps_figures import map_figures
from cnnlab.probe.activity.feature_maps_records import ActivationsRecord, Guess, LayerFigures, LayerMaps, MapFigures
from cnnlab.probe.activity.feature_maps_words import seen_on, short, signed
from cnnlab.render import formatting
from cnnlab.render.document import Sheet
from cnnlab.render.plots import Plate, to_svg
from cnnlab.render.tables import TextTable


@dataclass(frozen=True)
class ActivationMaps:
    """What layers of a network made of one image.

    Attributes:
        network: what it is called, with where its weights are from.
        image: what was shown.
        pixels: it, uint8, C×H×W, before the normalisation.
        label: its true class; "" where nobody knows it.
        guesses: what the network calls it, most probable first; none where it gives no logits.
    """

    network: str
    image: str
    pixels: npt.NDArray[np.uint8]
    label: str
    guesses: tuple[Guess, ...]
    layers: tuple[LayerMaps, ...]

    def layer(self, name: str) -> LayerMaps:
        """The layer of this name; a KeyError for one that was not asked for."""
        return {layer.name: layer for layer in self.layers}[name]

    @cached_property
    def figures(self) -> dict[str, tuple[MapFigures, ...]]:
        """The statistics of every map of every layer, by the layer's name."""
        # ∞ − ∞ is NaN, which is told.
        with np.errstate(invalid="ignore"):
            return {layer.name: map_figures(layer, self.pixels) for layer in self.layers}

    def record(self) -> ActivationsRecord:
        """The statistics without the arrays."""
        return ActivationsRecord(
            network=self.network,
            image=self.image,
            size=tuple(self.pixels.shape),
            label=self.label,
            guesses=self.guesses,
            layers=tuple(
                LayerFigures(
                    name=layer.name,
                    kind=layer.kind,
                    text=layer.text,
                    shape=layer.shape,
                    shown=layer.shown,
                    seen=self.seen(layer),
                    maps=self.figures[layer.name],
                )
                for layer in self.layers
            ),
        )

    def to_json(self, indent: int | None = None) -> str:
        """The record as JSON."""
        return self.record().to_json(indent)

    def called(self) -> str:
        """What the network says of the image."""
        if not self.guesses:
            return "The network gives no logits that would name a class."
        if not all(np.isfinite(guess.probability) for guess in self.guesses):
            return "The network names no class: its logits are not numbers (NaN or ±Inf)."
        named = ", ".join(f"{formatting.quoted(guess.name)} ({guess.probability:.2f})" for guess in self.guesses)
        truth = f" It is {formatting.quoted(self.label)}." if self.label else ""
        return f"The network calls the image {named}.{truth}"

    def seen(self, layer: LayerMaps) -> str:
        """What is seen on a layer's maps, by their numbers."""
        return seen_on(layer, self.figures[layer.name])

    def sheet(self) -> Sheet:
        """What the network says, what is seen, and the statistics of every map that is shown."""
        return Sheet(
            title=f"Activations of {self.network} for {self.image}, {formatting.sizes(tuple(self.pixels.shape))}",
            lines=(
                self.called(),
                *(f"{layer.name}, {layer.shape_text()}: {self.seen(layer)}" for layer in self.layers),
            ),
            tables=tuple(
                (f"{layer.name}: {layer.text}, {layer.shape_text()}; {layer.chosen()}", self._table(layer))
                for layer in self.layers
            ),
            notes=(self._columns(),),
        )

    def _columns(self) -> str:
        """What the columns of these layers' tables mean."""
        told = ["Maps and units are numbered from 0, as torch indexes them."]
        if any(layer.values[0].size > 1 for layer in self.layers):
            told.append("Zeros and below 0: shares of a map's numbers.")
        if any(layer.has_places for layer in self.layers):
            told.append(
                "Like brightness and like edges: correlation with the image's brightness and with the size of its "
                "gradient, both averaged down to the map."
            )
        return " ".join([*told, "32-bit floats, eval mode."])

    def plates(self) -> dict[str, Plate]:
        """The image and the maps of every layer, numbered."""
        from cnnlab.probe.activity.feature_maps_drawing import maps_figure

        seen = " ".join(f"{layer.name}: {self.seen(layer)}" for layer in self.layers)
        return {"activations": Plate(maps_figure(self), f"The image and activations for it. {self.called()} {seen}")}

    def _repr_html_(self) -> str:
        plate = self.plates()["activations"]
        return self.sheet().to_html(to_svg(plate.figure, "activations", plate.description, alone=True))

    def _table(self, layer: LayerMaps) -> TextTable:
        figures = [self.figures[layer.name][number] for number in layer.shown]
        if layer.values[0].size == 1:
            units = [(str(each.number), short(each.mean)) for each in figures]
            if not layer.classes:
                return TextTable.of(["#unit", "#value"], units)
            named = [(number, formatting.shown(layer.classes[int(number)]), value) for number, value in units]
            return TextTable.of(["#unit", "class", "#value"], named)
        titles = ["#map", "#min", "#mean", "#max", "#std", "#zeros", "#below 0"]
        rows = [
            [
                str(each.number),
                *(short(value) for value in (each.min, each.mean, each.max, each.std)),
                formatting.percent(each.zeros),
                formatting.percent(each.negative),
            ]
            for each in figures
        ]
        if layer.has_places:
            titles += ["#like brightness", "#like edges"]
            for row, each in zip(rows, figures, strict=True):
                row += [signed(each.brightness), signed(each.edges)]
        return TextTable.of(titles, rows)
