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
    LayerMaps,
    LayerStatistics,
    MapStatistics,
    TopPrediction,
    map_statistics,
)
from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_percent, format_shape, pluralize, quote, shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_diverging_rgb, to_hwc, to_viridis_rgb
from cnnlab.render.plots import CaptionedFigure, to_svg
from cnnlab.render.tables import TextTable

# From this correlation on a map is said to follow what it is compared with.
CORRELATION_THRESHOLD = 0.7
# Fewer zeros than this are told of no layer: a convolution gives them by chance.
FEW_ZEROS = 0.005


def describe_maps(layer: LayerMaps, statistics: tuple[MapStatistics, ...]) -> str:
    """What is seen on a layer's maps, by their numbers."""
    passed = f"{layer.name} passes the logits on: the loss works on them." if layer.is_identity_softmax else ""
    sentences = [passed, _zeros_text(layer, statistics), _peaks_text(layer, statistics)]
    if layer.is_spatial:
        sentences += [_similarity_text(statistics), _receptive_field_text(layer)]
    return " ".join(filter(None, sentences))


def format_short(value: float, digits: int = 3) -> str:
    """A number with few digits, as a table or a tile has room for.

    >>> format_short(0.012345), format_short(-4.5678), format_short(-4.5678, 2), format_short(123456.0)
    ('0.0123', '−4.57', '−4.6', '1.2e+05')
    """
    if not np.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−", 1) if value < 0 else text


def format_correlation(value: float | None) -> str:
    """A correlation with its sign; `–` where there is none."""
    return MISSING if value is None else f"{value:+.2f}".replace("-", "−")


def _zeros_text(layer: LayerMaps, statistics: tuple[MapStatistics, ...]) -> str:
    zeros = float(np.mean([each.zeros for each in statistics]))
    negative = float(np.mean([each.negative for each in statistics]))
    if not np.isfinite(layer.values).any():
        return ""
    what = "maps" if layer.values[0].size > 1 else "numbers"
    if zeros < FEW_ZEROS:
        text = "None of its numbers is" if negative == 0 else f"{format_percent(negative)} of its numbers are"
        return f"{text} below 0{', which a ReLU would set to 0' if layer.is_spatial and negative else ''}."
    empty = [each.number for each in statistics if each.min == each.max == 0]
    text = f"{format_percent(zeros)} of its numbers are 0"
    if not empty or what == "numbers":
        return f"{text}."
    numbers_text = "" if len(empty) > 8 else f" ({', '.join(map(str, empty))})"
    count, are = pluralize(len(empty), "map"), "is" if len(empty) == 1 else "are"
    return f"{text}; {count}{numbers_text} of {len(statistics)} {are} 0 everywhere."


def _peaks_text(layer: LayerMaps, statistics: tuple[MapStatistics, ...]) -> str:
    finite = [each for each in statistics if np.isfinite(each.min) and np.isfinite(each.max)]
    if len(finite) < len(statistics):
        kind = "map" if layer.values[0].size > 1 else "number"
        what = f"{len(statistics) - len(finite):,} of {pluralize(len(statistics), kind)}"
        return f"{what} {'hold' if kind == 'map' else 'are'} NaN or ±Inf, which are not numbers."
    top = max(statistics, key=lambda each: each.max)
    what = "map" if layer.values[0].size > 1 else "unit"
    if not layer.is_spatial:
        return f"The highest number is {format_short(top.max)}, of {what} {top.number}."
    row, column = np.unravel_index(int(layer.values[top.number].argmax()), layer.values.shape[1:])
    return f"The highest number is {format_short(top.max)}, in map {top.number} at row {row}, column {column}."


def _similarity_text(statistics: tuple[MapStatistics, ...]) -> str:
    known = [each for each in statistics if each.brightness is not None and each.edges is not None]
    if not known:
        return ""
    bright, edges = (
        sum(abs(getattr(each, name)) >= CORRELATION_THRESHOLD for each in known) for name in ("brightness", "edges")
    )
    typical = float(np.median([abs(each.brightness or 0) for each in known]))
    closest = max(known, key=lambda each: abs(each.brightness or 0))
    return (
        f"{bright} of {len(statistics)} maps follow the image's brightness "
        f"(|correlation| from {CORRELATION_THRESHOLD}), {edges} its edges; the median |correlation| "
        f"with brightness is {typical:.2f}, and map {closest.number} has the largest "
        f"({format_correlation(closest.brightness)})."
    )


def _receptive_field_text(layer: LayerMaps) -> str:
    if layer.receptive_field is None:
        return "Each node sees the whole image." if layer.kind else ""
    height, width = (last - first + 1 for first, last in layer.receptive_field)
    return f"The node in the middle sees {height}×{width} pixels of the image, padding included."


ACROSS = 8
# As wide as the text of a run's page.
PAGE_WIDTH = 1072.0
# Numbers without places are small fields of colour, more of them side by side.
NUMBERS_ACROSS = 12
SWATCH_SHAPE = (1, 3)


def maps_figure(result: ActivationMaps) -> Figure:
    """The image, below it the maps of each layer, and what is seen on them."""
    headings = {layer.name: f"{layer.name}, {layer.shape_text()}: {layer.selection_note()}" for layer in result.layers}
    rows = [[_image(result)], *([_panel(layer, headings[layer.name])] for layer in result.layers)]
    sentences = [
        f"Image: {result.image}. {result.prediction_text()}",
        *(f"{layer.name}: {result.describe_layer(layer)}" for layer in result.layers),
    ]
    return draw_gallery(
        f"Activations of {shorten(result.network, 80)}", rows, [*reading_notes(result.layers), *sentences]
    )


def layer_figure(result: ActivationMaps, layer: LayerMaps) -> Figure:
    """The image beside the maps of one layer, for a page that has its own words."""
    image = GalleryPanel("the image", (Tile(to_hwc(result.pixels)),), num_columns=1)
    return draw_gallery("", [[image, _panel(layer, f"{layer.name}, {layer.shape_text()}")]], (), PAGE_WIDTH)


def _image(result: ActivationMaps) -> GalleryPanel:
    # In the heading, which has the whole row: below the image long names would be cut off.
    prediction = [f"called {shorten(guess.name)}, {guess.probability:.2f}" for guess in result.top_predictions[:1]]
    return GalleryPanel(
        "; ".join([shorten(result.image, 60), *prediction]), (Tile(to_hwc(result.pixels)),), num_columns=1
    )


def _panel(layer: LayerMaps, heading: str) -> GalleryPanel:
    """The maps of a layer that are shown, numbered."""
    if layer.values[0].size > 1:
        return GalleryPanel(heading, tuple(_map(layer, number) for number in layer.displayed), ACROSS)
    numbers = layer.values[:, 0, 0]
    largest = float(np.abs(np.nan_to_num(numbers)).max(initial=0.0))
    tiles = tuple(
        Tile(
            to_diverging_rgb(np.full(SWATCH_SHAPE, numbers[number]), largest),
            (str(number), *layer.classes[number : number + 1], format_short(float(numbers[number]))),
        )
        for number in layer.displayed
    )
    # Names of classes need more room than numbers.
    return GalleryPanel(heading, tiles, ACROSS if layer.classes else NUMBERS_ACROSS)


def _map(layer: LayerMaps, number: int) -> Tile:
    values = layer.values[number]
    low, high = float(values.min()), float(values.max())
    range_text = (
        f"{format_short(low)} all over" if low == high else f"{format_short(low, 2)} to {format_short(high, 2)}"
    )
    return Tile(to_viridis_rgb(values), (str(number), range_text))


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
        top_predictions: what the network calls it, most probable first; none where it gives no logits.
    """

    network: str
    image: str
    pixels: npt.NDArray[np.uint8]
    label: str
    top_predictions: tuple[TopPrediction, ...]
    layers: tuple[LayerMaps, ...]

    def layer(self, name: str) -> LayerMaps:
        """The layer of this name; a KeyError for one that was not asked for."""
        return {layer.name: layer for layer in self.layers}[name]

    @cached_property
    def statistics(self) -> dict[str, tuple[MapStatistics, ...]]:
        """The statistics of every map of every layer, by the layer's name."""
        # ∞ − ∞ is NaN, which is told.
        with np.errstate(invalid="ignore"):
            return {layer.name: map_statistics(layer, self.pixels) for layer in self.layers}

    def record(self) -> ActivationsRecord:
        """The statistics without the arrays."""
        return ActivationsRecord(
            network=self.network,
            image=self.image,
            size=tuple(self.pixels.shape),
            label=self.label,
            guesses=self.top_predictions,
            layers=tuple(
                LayerStatistics(
                    name=layer.name,
                    kind=layer.kind,
                    text=layer.text,
                    shape=layer.shape,
                    shown=layer.displayed,
                    seen=self.describe_layer(layer),
                    maps=self.statistics[layer.name],
                )
                for layer in self.layers
            ),
        )

    def to_json(self, indent: int | None = None) -> str:
        """The record as JSON."""
        return self.record().to_json(indent)

    def prediction_text(self) -> str:
        """What the network says of the image."""
        if not self.top_predictions:
            return "The network gives no logits that would name a class."
        if not all(np.isfinite(guess.probability) for guess in self.top_predictions):
            return "The network names no class: its logits are not numbers (NaN or ±Inf)."
        predicted = ", ".join(f"{quote(guess.name)} ({guess.probability:.2f})" for guess in self.top_predictions)
        truth = f" It is {quote(self.label)}." if self.label else ""
        return f"The network calls the image {predicted}.{truth}"

    def describe_layer(self, layer: LayerMaps) -> str:
        """What is seen on a layer's maps, by their numbers."""
        return describe_maps(layer, self.statistics[layer.name])

    def document(self) -> Document:
        """What the network says, what is seen, and the statistics of every map that is shown."""
        return Document(
            title=f"Activations of {self.network} for {self.image}, {format_shape(tuple(self.pixels.shape))}",
            lines=(
                self.prediction_text(),
                *(f"{layer.name}, {layer.shape_text()}: {self.describe_layer(layer)}" for layer in self.layers),
            ),
            tables=tuple(
                (f"{layer.name}: {layer.text}, {layer.shape_text()}; {layer.selection_note()}", self._table(layer))
                for layer in self.layers
            ),
            notes=(self._columns_note(),),
        )

    def _columns_note(self) -> str:
        """What the columns of these layers' tables mean."""
        notes = ["Maps and units are numbered from 0, as torch indexes them."]
        if any(layer.values[0].size > 1 for layer in self.layers):
            notes.append("Zeros and below 0: shares of a map's numbers.")
        if any(layer.is_spatial for layer in self.layers):
            notes.append(
                "Like brightness and like edges: correlation with the image's brightness and with the size of its "
                "gradient, both averaged down to the map."
            )
        return " ".join([*notes, "32-bit floats, eval mode."])

    def figures(self) -> dict[str, CaptionedFigure]:
        """The image and the maps of every layer, numbered."""

        description = " ".join(f"{layer.name}: {self.describe_layer(layer)}" for layer in self.layers)
        return {
            "activations": CaptionedFigure(
                maps_figure(self), f"The image and activations for it. {self.prediction_text()} {description}"
            )
        }

    def _repr_html_(self) -> str:
        captioned = self.figures()["activations"]
        return self.document().to_html(to_svg(captioned.figure, "activations", captioned.description, standalone=True))

    def _table(self, layer: LayerMaps) -> TextTable:
        statistics = [self.statistics[layer.name][number] for number in layer.displayed]
        if layer.values[0].size == 1:
            units = [(str(each.number), format_short(each.mean)) for each in statistics]
            if not layer.classes:
                return TextTable.from_rows(["#unit", "#value"], units)
            named = [(number, shorten(layer.classes[int(number)]), value) for number, value in units]
            return TextTable.from_rows(["#unit", "class", "#value"], named)
        titles = ["#map", "#min", "#mean", "#max", "#std", "#zeros", "#below 0"]
        rows = [
            [
                str(each.number),
                *(format_short(value) for value in (each.min, each.mean, each.max, each.std)),
                format_percent(each.zeros),
                format_percent(each.negative),
            ]
            for each in statistics
        ]
        if layer.is_spatial:
            titles += ["#like brightness", "#like edges"]
            for row, each in zip(rows, statistics, strict=True):
                row += [format_correlation(each.brightness), format_correlation(each.edges)]
        return TextTable.from_rows(titles, rows)
