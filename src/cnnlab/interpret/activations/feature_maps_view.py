"""The feature maps of one image as a worked answer: figures, tables and sentences. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from cnnlab.interpret.activations.feature_maps_result import (
    ActivationsRecord,
    Guess,
    LayerFigures,
    LayerMaps,
    MapFigures,
    map_figures,
)
from cnnlab.render import formatting
from cnnlab.render.document import Sheet
from cnnlab.render.gallery import Panel, Tile, as_picture, gallery, in_heat, in_signs
from cnnlab.render.plots import Plate, to_svg
from cnnlab.render.tables import TextTable

# From this correlation on a map is said to follow what it is compared with.
FOLLOWS = 0.7
# Fewer zeros than this are told of no layer: a convolution gives them by chance.
FEW_ZEROS = 0.005


def seen_on(layer: LayerMaps, figures: tuple[MapFigures, ...]) -> str:
    """What is seen on a layer's maps, by their numbers."""
    passed = f"{layer.name} passes the logits on: the loss works on them." if layer.passed_on else ""
    told = [passed, _of_zeros(layer, figures), _of_peaks(layer, figures)]
    if layer.has_places:
        told += [_of_likeness(figures), _of_view(layer)]
    return " ".join(filter(None, told))


def short(value: float, digits: int = 3) -> str:
    """A number with few digits, as a table or a tile has room for.

    >>> short(0.012345), short(-4.5678), short(-4.5678, 2), short(123456.0)
    ('0.0123', '−4.57', '−4.6', '1.2e+05')
    """
    if not np.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−", 1) if value < 0 else text


def signed(value: float | None) -> str:
    """A correlation with its sign; `–` where there is none."""
    return formatting.NONE if value is None else f"{value:+.2f}".replace("-", "−")


def _of_zeros(layer: LayerMaps, figures: tuple[MapFigures, ...]) -> str:
    zeros = float(np.mean([each.zeros for each in figures]))
    negative = float(np.mean([each.negative for each in figures]))
    if not np.isfinite(layer.values).any():
        return ""
    what = "maps" if layer.values[0].size > 1 else "numbers"
    if zeros < FEW_ZEROS:
        told = "None of its numbers is" if negative == 0 else f"{formatting.percent(negative)} of its numbers are"
        return f"{told} below 0{', which a ReLU would set to 0' if layer.has_places and negative else ''}."
    empty = [each.number for each in figures if each.min == each.max == 0]
    told = f"{formatting.percent(zeros)} of its numbers are 0"
    if not empty or what == "numbers":
        return f"{told}."
    named = "" if len(empty) > 8 else f" ({', '.join(map(str, empty))})"
    count, are = formatting.plural(len(empty), "map"), "is" if len(empty) == 1 else "are"
    return f"{told}; {count}{named} of {len(figures)} {are} 0 everywhere."


def _of_peaks(layer: LayerMaps, figures: tuple[MapFigures, ...]) -> str:
    finite = [each for each in figures if np.isfinite(each.min) and np.isfinite(each.max)]
    if len(finite) < len(figures):
        kind = "map" if layer.values[0].size > 1 else "number"
        what = f"{len(figures) - len(finite):,} of {formatting.plural(len(figures), kind)}"
        return f"{what} {'hold' if kind == 'map' else 'are'} NaN or ±Inf, which are not numbers."
    top = max(figures, key=lambda each: each.max)
    what = "map" if layer.values[0].size > 1 else "unit"
    if not layer.has_places:
        return f"The highest number is {short(top.max)}, of {what} {top.number}."
    row, column = np.unravel_index(int(layer.values[top.number].argmax()), layer.values.shape[1:])
    return f"The highest number is {short(top.max)}, in map {top.number} at row {row}, column {column}."


def _of_likeness(figures: tuple[MapFigures, ...]) -> str:
    known = [each for each in figures if each.brightness is not None and each.edges is not None]
    if not known:
        return ""
    bright, edges = (sum(abs(getattr(each, name)) >= FOLLOWS for each in known) for name in ("brightness", "edges"))
    typical = float(np.median([abs(each.brightness or 0) for each in known]))
    most = max(known, key=lambda each: abs(each.brightness or 0))
    return (
        f"{bright} of {len(figures)} maps follow the image's brightness (|correlation| from {FOLLOWS}), {edges} its "
        f"edges; the median |correlation| with brightness is {typical:.2f}, and map {most.number} has the largest "
        f"({signed(most.brightness)})."
    )


def _of_view(layer: LayerMaps) -> str:
    if layer.view is None:
        return "Each node sees the whole image." if layer.kind else ""
    high, wide = (last - first + 1 for first, last in layer.view)
    return f"The node in the middle sees {high}×{wide} pixels of the image, padding included."


ACROSS = 8
# As wide as the text of a run's page.
PAGE_WIDTH = 1072.0
# Numbers without places are small fields of colour, more of them side by side.
NUMBERS_ACROSS = 12
FIELD = (1, 3)


def maps_figure(found: ActivationMaps) -> Figure:
    """The image, below it the maps of each layer, and what is seen on them."""
    headings = {layer.name: f"{layer.name}, {layer.shape_text()}: {layer.chosen()}" for layer in found.layers}
    rows = [[_image(found)], *([_panel(layer, headings[layer.name])] for layer in found.layers)]
    told = [
        f"Image: {found.image}. {found.called()}",
        *(f"{layer.name}: {found.seen(layer)}" for layer in found.layers),
    ]
    return gallery(f"Activations of {formatting.shown(found.network, 80)}", rows, [*reading_notes(found.layers), *told])


def layer_figure(found: ActivationMaps, layer: LayerMaps) -> Figure:
    """The image beside the maps of one layer, for a page that has its own words."""
    image = Panel("the image", (Tile(as_picture(found.pixels)),), across=1)
    return gallery("", [[image, _panel(layer, f"{layer.name}, {layer.shape_text()}")]], (), PAGE_WIDTH)


def _image(found: ActivationMaps) -> Panel:
    # In the heading, which has the whole row: below the image long names would be cut off.
    named = [f"called {formatting.shown(guess.name)}, {guess.probability:.2f}" for guess in found.guesses[:1]]
    return Panel("; ".join([formatting.shown(found.image, 60), *named]), (Tile(as_picture(found.pixels)),), across=1)


def _panel(layer: LayerMaps, heading: str) -> Panel:
    """The maps of a layer that are shown, numbered."""
    if layer.values[0].size > 1:
        return Panel(heading, tuple(_map(layer, number) for number in layer.shown), ACROSS)
    numbers = layer.values[:, 0, 0]
    largest = float(np.abs(np.nan_to_num(numbers)).max(initial=0.0))
    tiles = tuple(
        Tile(
            in_signs(np.full(FIELD, numbers[number]), largest),
            (str(number), *layer.classes[number : number + 1], short(float(numbers[number]))),
        )
        for number in layer.shown
    )
    # Names of classes need more room than numbers.
    return Panel(heading, tiles, ACROSS if layer.classes else NUMBERS_ACROSS)


def _map(layer: LayerMaps, number: int) -> Tile:
    values = layer.values[number]
    low, high = float(values.min()), float(values.max())
    reach = f"{short(low)} all over" if low == high else f"{short(low, 2)} to {short(high, 2)}"
    return Tile(in_heat(values), (str(number), reach))


def reading_notes(layers: Sequence[LayerMaps]) -> list[str]:
    """What the colours and the numbers of these layers mean."""
    notes = []
    if any(layer.values[0].size > 1 for layer in layers):
        notes.append(
            "Each map has its own scale, from its lowest number (dark blue) by green to its highest (yellow); below it "
            "stand its number in the layer, from 0, and its lowest and highest value."
        )
    if any(layer.values[0].size == 1 for layer in layers):
        notes.append(
            "Units without a place are fields: blue below 0, white at 0, orange above, as deep as the number is large "
            "within its layer; below stand its number, from 0, of a class its name, and its value."
        )
    if any(len(layer.shape) == 2 for layer in layers):
        notes.append("Of a layer that gives tokens, each map is a column of places, one for each token.")
    return notes


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
