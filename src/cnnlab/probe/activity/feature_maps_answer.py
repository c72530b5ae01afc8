"""What layers made of one image, as numbers, sentences and pictures. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BeforeValidator, ConfigDict

from cnnlab.paper import words
from cnnlab.paper.plots import Plate, to_svg
from cnnlab.paper.sheet import Sheet
from cnnlab.paper.tables import TextTable
from cnnlab.records import Record

Floats = npt.NDArray[np.float32]
Exact = npt.NDArray[np.float64]
Pair = tuple[int, int]
# From this correlation on a map is said to follow what it is compared with.
FOLLOWS = 0.7
# Fewer zeros than this are told of no layer: a convolution gives them by chance.
FEW_ZEROS = 0.005
# Red, green and blue as the eye weighs them (ITU-R BT.601).
BRIGHTNESS = (0.299, 0.587, 0.114)


# Null in JSON is what was not a number.
Real = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]


class WithNulls(Record):
    """A record whose JSON has null for what is not a number."""

    model_config = ConfigDict(ser_json_inf_nan="null")


class Guess(WithNulls):
    """A class that the network names, with its probability by the softmax."""

    name: str
    probability: Real


class MapFigures(WithNulls):
    """Statistics of one map of one image. `zeros` and `negative` are shares of its numbers; `std` is over its places.

    `brightness` and `edges` are its correlations with those of the image; None where either is constant.
    """

    number: int
    min: Real
    mean: Real
    max: Real
    std: Real
    zeros: float
    negative: float
    brightness: float | None = None
    edges: float | None = None


class LayerFigures(Record):
    """One layer: `shape` of what it gives for the image, `shown` the numbers of the maps in the picture."""

    name: str
    kind: str
    text: str
    shape: tuple[int, ...]
    shown: tuple[int, ...]
    seen: str
    maps: tuple[MapFigures, ...]


class ActivationsRecord(Record):
    """The statistics of `ActivationMaps`, without its arrays; what is not a number is null in its JSON."""

    network: str
    image: str
    size: tuple[int, ...]
    label: str
    guesses: tuple[Guess, ...]
    layers: tuple[LayerFigures, ...]


@dataclass(frozen=True)
class LayerMaps:
    """What one layer gives for one image.

    Attributes:
        text: the row as a table writes it.
        shape: as the layer gives it, without N: (C, H, W), (F,), or (T, F) for tokens.
        values: C×H×W; for numbers without places F×1×1, for tokens F×T×1.
        shown: the numbers of the maps that are shown, from 0, in order.
        view: the first and last row, and column, of the image that the node in the middle sees; None where it sees
            all of it, or where nobody knows, as of a module that holds rows.
    """

    name: str
    kind: str
    text: str
    shape: tuple[int, ...]
    values: Floats
    shown: tuple[int, ...]
    view: tuple[Pair, Pair] | None = None

    @property
    def has_places(self) -> bool:
        """Whether it gives maps of height and width."""
        return len(self.shape) == 3 and self.values[0].size > 1

    def chosen(self) -> str:
        """Which maps are shown, and why these."""
        what = "map" if self.values[0].size > 1 else "number"
        if len(self.shown) == len(self.values):
            return f"all {len(self.values):,} {what}s" if len(self.values) > 1 else f"its one {what}"
        why = "largest standard deviation over the map" if what == "map" else "largest size"
        return f"{len(self.shown)} of {len(self.values):,} {what}s, those of the {why}"

    def shape_text(self) -> str:
        """The shape for one image, as torch has it: `1×64×128×128`."""
        return words.sizes((1, *self.shape))


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
            return {layer.name: _figures(layer, self.pixels) for layer in self.layers}

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
        named = ", ".join(f"{words.quoted(guess.name)} ({guess.probability:.2f})" for guess in self.guesses)
        truth = f" It is {words.quoted(self.label)}." if self.label else ""
        return f"The network calls the image {named}.{truth}"

    def seen(self, layer: LayerMaps) -> str:
        """What is seen on a layer's maps, by their numbers."""
        figures = self.figures[layer.name]
        told = [_of_zeros(layer, figures), _of_peaks(layer, figures)]
        if layer.has_places:
            told += [_of_likeness(figures), _of_view(layer)]
        return " ".join(filter(None, told))

    def sheet(self) -> Sheet:
        """What the network says, what is seen, and the statistics of every map that is shown."""
        return Sheet(
            title=f"Activations of {self.network} for {self.image}, {words.sizes(tuple(self.pixels.shape))}",
            lines=(
                self.called(),
                *(f"{layer.name}, {layer.shape_text()}: {self.seen(layer)}" for layer in self.layers),
            ),
            tables=tuple(
                (f"{layer.name}: {layer.text}, {layer.shape_text()}; {layer.chosen()}", self._table(layer))
                for layer in self.layers
            ),
            notes=(
                "Maps are numbered from 0, as torch indexes them. Zeros and below 0: shares of a map's numbers. Like "
                "brightness and like edges: correlation with the image's brightness and with the size of its gradient, "
                "both averaged down to the map. 32-bit floats, eval mode.",
            ),
        )

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
            return TextTable.of(["#unit", "#value"], [(str(each.number), short(each.mean)) for each in figures])
        titles = ["#map", "#min", "#mean", "#max", "#std", "#zeros", "#below 0"]
        rows = [
            [
                str(each.number),
                *(short(value) for value in (each.min, each.mean, each.max, each.std)),
                words.percent(each.zeros),
                words.percent(each.negative),
            ]
            for each in figures
        ]
        if layer.has_places:
            titles += ["#like brightness", "#like edges"]
            for row, each in zip(rows, figures, strict=True):
                row += [signed(each.brightness), signed(each.edges)]
        return TextTable.of(titles, rows)


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
    return words.NONE if value is None else f"{value:+.2f}".replace("-", "−")


def _figures(layer: LayerMaps, pixels: npt.NDArray[np.uint8]) -> tuple[MapFigures, ...]:
    flat = layer.values.reshape(len(layer.values), -1).astype(np.float64)
    likeness: list[tuple[float | None, float | None]] = [(None, None)] * len(flat)
    if layer.has_places:
        seen = _averaged(_brightness(pixels), layer.values.shape[1:]), _averaged(_edges(pixels), layer.values.shape[1:])
        likeness = list(zip(*(_correlations(flat, each.ravel()) for each in seen), strict=True))
    return tuple(
        MapFigures(
            number=number,
            min=float(values.min()),
            mean=float(values.mean()),
            max=float(values.max()),
            std=float(values.std()),
            zeros=float((values == 0).mean()),
            negative=float((values < 0).mean()),
            brightness=bright,
            edges=edges,
        )
        for number, (values, (bright, edges)) in enumerate(zip(flat, likeness, strict=True))
    )


def _brightness(pixels: npt.NDArray[np.uint8]) -> Exact:
    values = pixels.astype(np.float64)
    return values[0] if len(values) == 1 else np.tensordot(np.array(BRIGHTNESS), values, axes=1)


def _edges(pixels: npt.NDArray[np.uint8]) -> Exact:
    bright = _brightness(pixels)
    if min(bright.shape) < 2:
        return np.zeros_like(bright)
    down, right = np.gradient(bright)
    return np.asarray(np.hypot(down, right))


def _averaged(values: Exact, sides: tuple[int, ...]) -> Exact:
    """H×W numbers brought to other sides, each the mean of what it stands for."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((sides[1], sides[0]), Image.Resampling.BOX), dtype=np.float64)


def _correlations(flat: Exact, other: Exact) -> list[float | None]:
    """Pearson's r of every row with `other`; None where one of them is constant."""
    away = other - other.mean()
    moved = flat - flat.mean(axis=1, keepdims=True)
    sizes = np.linalg.norm(moved, axis=1) * np.linalg.norm(away)
    # What is left of a constant by rounding is no shape.
    flatness = 1e-6 * np.abs(flat).max(axis=1) * np.sqrt(flat.shape[1]) * np.linalg.norm(away)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = moved @ away / sizes
    return [float(r) if size > least else None for r, size, least in zip(found, sizes, flatness, strict=True)]


def _of_zeros(layer: LayerMaps, figures: tuple[MapFigures, ...]) -> str:
    zeros = float(np.mean([each.zeros for each in figures]))
    negative = float(np.mean([each.negative for each in figures]))
    if not np.isfinite(layer.values).any():
        return ""
    what = "maps" if layer.values[0].size > 1 else "numbers"
    if zeros < FEW_ZEROS:
        told = "None of its numbers is" if negative == 0 else f"{words.percent(negative)} of its numbers are"
        return f"{told} below 0{', which a ReLU would set to 0' if layer.has_places and negative else ''}."
    empty = [each.number for each in figures if each.min == each.max == 0]
    told = f"{words.percent(zeros)} of its numbers are 0"
    if not empty or what == "numbers":
        return f"{told}."
    named = "" if len(empty) > 8 else f" ({', '.join(map(str, empty))})"
    count, are = words.plural(len(empty), "map"), "is" if len(empty) == 1 else "are"
    return f"{told}; {count}{named} of {len(figures)} {are} 0 everywhere."


def _of_peaks(layer: LayerMaps, figures: tuple[MapFigures, ...]) -> str:
    finite = [each for each in figures if np.isfinite(each.min) and np.isfinite(each.max)]
    if len(finite) < len(figures):
        kind = "map" if layer.values[0].size > 1 else "number"
        what = f"{len(figures) - len(finite):,} of {words.plural(len(figures), kind)}"
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
