"""The weights of one layer as figures. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from cnnlab.interpret.weights.filters import CHANNEL_NAMES, UNTRAINED, Floats, LayerFilters, WeightScale
from cnnlab.interpret.weights.measures import (
    MAX_ROWS,
    SMALL_CHANGE,
    FilterMeasures,
    FilterOrder,
    has_colour_axis,
    is_grey,
    is_oriented,
    nan_to_zero,
    spectrum,
)
from cnnlab.render.formatting import MISSING, pluralize, shorten, wrap
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_diverging_rgb, to_viridis_rgb
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, CaptionedFigure, new_figure


def weights_to_rgb(weights: Floats, largest: Floats | None = None) -> npt.NDArray[np.float64]:
    """F×H×W×3 colours from 0 to 1: weight 0 is mid-grey, and the largest size of weight in a filter is full range.

    Three channels are red, green and blue; one is grey; of any other number the mean over the channels is shown.

    Args:
        weights: F×C×H×W.
        largest: F sizes of weight that are full range instead, such as those before and after training together.
    """
    values = np.nan_to_num(np.asarray(weights, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if values.shape[1] not in (1, 3):
        values = values.mean(axis=1, keepdims=True)
    full = np.abs(values).max(axis=(1, 2, 3)) if largest is None else np.asarray(largest, dtype=np.float64)
    scaled = 0.5 + 0.5 * np.clip(values / np.where(full > 0, full, 1.0)[:, None, None, None], -1, 1)
    return np.broadcast_to(scaled, (len(values), 3, *values.shape[2:])).transpose(0, 2, 3, 1)


def channel_to_rgb(weights: Floats, channel: int, largest: Floats | None = None) -> npt.NDArray[np.float64]:
    """One channel of each filter, F×H×W×3, on the scale that the filter has in `weights_to_rgb`."""
    whole = weights_to_rgb(weights, largest)
    return np.repeat(whole[..., channel : channel + 1], 3, axis=-1)


WIDTH, LEFT, TOP, BOTTOM, BETWEEN = 720.0, 56.0, 50.0, 44.0, 56.0
MAX_CELL, MIN_HEIGHT, MAX_HEIGHT = 14.0, 60.0, 640.0
MAX_COLUMNS = 1024

Cells = npt.NDArray[np.floating]


def matrix_figure(network: str, filters: LayerFilters, shown: Sequence[int], order: FilterOrder) -> CaptionedFigure:
    """The weights of a layer that has one number a channel, before training above after."""
    columns = _columns(filters)
    sides = [
        (
            "" if filters.initial_weights == UNTRAINED else "frozen" if filters.frozen else "after training",
            filters.after,
        )
    ]
    if filters.before is not None and not filters.frozen:
        sides.insert(0, ("before training", filters.before))
    matrices = [
        (side, nan_to_zero(weights)[list(shown)][:, columns, 0, 0].astype(np.float64)) for side, weights in sides
    ]
    largest = max((float(np.abs(matrix).max(initial=0)) for _, matrix in matrices), default=0.0)
    title = f"Weights of {shorten(filters.layer)} of {shorten(network, 60)}"
    kind = "a filter" if filters.kind == "conv" else "a unit"
    description = (
        f"A row is {kind}{_selection_note(len(shown), len(filters.after), order)}, "
        f"a column one of its inputs{_selection_note(len(columns), filters.after.shape[1], 'norm')}: "
        f"orange is a positive weight, blue a negative one, white 0; full colour at {largest:.3g}."
    )
    rows = [str(number) for number in shown]
    images = [(side, to_diverging_rgb(matrix, largest)) for side, matrix in matrices]
    return CaptionedFigure(
        _figure(title, images, rows, [str(number) for number in columns], filters.noun, description), description
    )


def norms_figure(network: str, filters: LayerFilters) -> CaptionedFigure:
    """The norm of each kernel: which input channels a filter looks at."""
    norms = np.linalg.norm(nan_to_zero(filters.after), axis=(2, 3)).astype(np.float64)
    rows = _largest_positions(np.linalg.norm(norms, axis=1), MAX_ROWS)
    columns = _columns(filters)
    title = f"Which channels {shorten(filters.layer)} of {shorten(network, 60)} looks at"
    kind = "a filter" if filters.kind == "conv" else "a unit"
    within = " of its group" if filters.groups > 1 else ""
    description = (
        f"A row is {kind}{_selection_note(len(rows), len(norms), 'norm')}, a column an input channel{within}"
        f"{_selection_note(len(columns), norms.shape[1], 'norm')}: the norm of its kernel, from dark blue, 0, to "
        f"yellow, {norms.max(initial=0):.3g}."
    )
    image = to_viridis_rgb(norms[rows][:, columns], 0)
    texts = [str(number) for number in rows], [str(number) for number in columns]
    return CaptionedFigure(_figure(title, [("", image)], *texts, filters.noun, description), description)


def _columns(filters: LayerFilters) -> list[int]:
    return _largest_positions((nan_to_zero(filters.after) ** 2).sum(axis=(0, 2, 3)), MAX_COLUMNS)


def _largest_positions(sizes: npt.NDArray[np.floating], max_count: int) -> list[int]:
    """The places of the largest numbers, in the order of places."""
    return sorted(int(place) for place in np.argsort(-sizes, kind="stable")[:max_count])


def _selection_note(shown: int, count: int, order: str) -> str:
    if shown == count:
        return ""
    return f" ({'the first' if order == 'number' else 'the largest'} {shown:,} of {count:,})"


def _figure(
    title: str,
    images: Sequence[tuple[str, Cells]],
    rows: Sequence[str],
    columns: Sequence[str],
    noun: str,
    description: str,
) -> Figure:
    """One picture below the other, with the numbers of rows and columns."""
    width = WIDTH - LEFT - 16
    cell = min(width / len(columns), MAX_CELL)
    height = min(max(len(rows) * cell, MIN_HEIGHT), MAX_HEIGHT)
    folded = wrap(description, 105)
    whole = TOP + len(images) * (height + BETWEEN) + 14 * len(folded) + 8
    figure = new_figure(WIDTH, whole)
    figure.text(
        12 / WIDTH,
        1 - 20 / whole,
        title,
        fontsize=NORMAL + 1,
        color=COLOURS["ink"],
        weight="bold",
        va="center",
        parse_math=False,
    )
    top = TOP
    for heading, image in images:
        place = (LEFT / WIDTH, 1 - (top + height) / whole, cell * len(columns) / WIDTH, height / whole)
        axes = figure.add_axes(place)
        axes.imshow(image, interpolation="none", aspect="auto")
        axes.spines[:].set(visible=True, color=COLOURS["line"], linewidth=0.8)
        axes.tick_params(which="both", length=0, labelsize=SMALL - 1, labelcolor=COLOURS["muted"], pad=4)
        axes.set_xticks(*_ticks(columns, 27, cell * len(columns)))
        axes.set_yticks(*_ticks(rows, 13, height))
        axes.set_title(heading, fontsize=SMALL, color=COLOURS["ink"], weight="bold", loc="left", pad=6)
        axes.set_xlabel("input" if noun == "unit" else "input channel", fontsize=SMALL, color=COLOURS["muted"])
        axes.set_ylabel(noun, fontsize=SMALL, color=COLOURS["muted"])
        top += height + BETWEEN
    for number, line in enumerate(folded):
        place_of_line = 1 - (whole - 14 * (len(folded) - number)) / whole
        figure.text(12 / WIDTH, place_of_line, line, fontsize=SMALL, color=COLOURS["muted"], parse_math=False)
    return figure


def _ticks(names: Sequence[str], room: float, length: float) -> tuple[list[int], list[str]]:
    """Some of the names, so that each has room."""
    most = max(int(length / room), 1)
    step = max(-(-len(names) // most), 1)
    step = next(size for power in range(6) for size in (10**power, 2 * 10**power, 5 * 10**power) if size >= step)
    places = list(range(0, len(names), step))
    return places, [names[place] for place in places]


SPECTRUM_SIZE = 32
MAX_KERNELS_BESIDE, MAX_KERNELS_ALONE = 8, 16
Pictures = Sequence[Floats] | Floats


def draw_filters(
    network: str,
    filters: LayerFilters,
    measures: FilterMeasures,
    shown_filters: Sequence[int],
    order: FilterOrder,
    scale: WeightScale = "own",
) -> dict[str, CaptionedFigure]:
    """The pictures of a layer by name, the main one first."""
    drawing = _FilterDrawing(network, filters, measures, shown_filters, order, scale)
    if filters.is_single_picture:
        figures = {"filters": drawing.filters_figure()}
        if filters.in_colour:
            figures["channels"] = drawing.channels_figure()
        return {**figures, "spectra": drawing.spectra_figure()}
    if filters.is_spatial:
        figures = {"kernels": drawing.kernels_figure(), "norms": norms_figure(network, filters)}
        return {**figures, "spectra": drawing.spectra_figure()}
    return {"matrix": matrix_figure(network, filters, shown_filters, order)}


class _FilterDrawing:
    """What all pictures of a layer need."""

    def __init__(
        self,
        network: str,
        filters: LayerFilters,
        measures: FilterMeasures,
        shown_filters: Sequence[int],
        order: FilterOrder,
        scale: WeightScale,
    ) -> None:
        self.name = f"{shorten(filters.layer)} of {shorten(network, 60)}"
        self.filters, self.measures, self.shown, self.order = filters, measures, list(shown_filters), order
        after, before = filters.after[self.shown], filters.before
        self.sides: list[tuple[str, Floats]] = [(self._heading(), after)]
        if before is not None and filters.shows_before_and_after:
            self.sides.insert(0, ("before training", before[self.shown]))
        self.common = scale == "common" and len(self.sides) > 1
        self.largest = _largest_sizes(self.sides) if self.common else None

    def filters_figure(self) -> CaptionedFigure:
        row = [
            self._panel(side, weights_to_rgb(weights, self.largest), self._lines(side)) for side, weights in self.sides
        ]
        colours = "red, green and blue as in an image" if self.filters.in_colour else "grey"
        description = f"{self._count_text()}, {colours}: mid-grey is weight 0."
        scale = _COMMON if self.common else _SCALE
        notes = [f"{description} {scale}", *self._notes()]
        title = f"{self.filters.noun.capitalize()}s of {self.name}"
        return CaptionedFigure(draw_gallery(title, [row], notes), f"{title}. {description}")

    def channels_figure(self) -> CaptionedFigure:
        rows = [
            [
                self._panel(
                    f"{colour}, {side}" if side else colour,
                    channel_to_rgb(weights, channel, self.largest),
                    self._lines(side),
                )
                for side, weights in self.sides
            ]
            for channel, colour in enumerate(CHANNEL_NAMES)
        ]
        description = (
            f"{self._count_text()}, each channel alone: black is a negative weight, mid-grey 0, white a positive one."
        )
        both = ", before and after training together" if self.common else ""
        scale = f"All three channels of a filter have one scale: its largest weight{both}."
        title = f"Red, green and blue alone: {self.name}"
        return CaptionedFigure(
            draw_gallery(title, rows, [f"{description} {scale}", *self._notes()]), f"{title}. {description}"
        )

    def spectra_figure(self) -> CaptionedFigure:
        height, width = self.filters.after.shape[2:]
        size = max(SPECTRUM_SIZE, 1 << (max(height, width) - 1).bit_length())
        spectra = [(side, spectrum(weights, size)) for side, weights in self.sides]
        highest = _largest_sizes(spectra) if self.common else [None] * len(self.shown)
        row = [
            self._panel(
                side, list(map(to_viridis_rgb, spectrum_values, repeat(0), highest)), self._spectrum_lines(side)
            )
            for side, spectrum_values in spectra
        ]
        full = "the highest of a filter's two" if self.common else "its own highest"
        description = (
            f"{self._count_text()}: the magnitude of each one's two-dimensional Fourier transform over all its "
            f"channels. In the middle is frequency 0, at the edges half a cycle a pixel; yellow is {full}, dark blue 0."
        )
        degrees = (
            "Degrees: the direction of the stripes, 0 lying, 90 standing, counter-clockwise; – where no clearer than "
            "in random weights."
        )
        title = f"Spectra of {self.name}"
        return CaptionedFigure(draw_gallery(title, [row], [description, degrees]), f"{title}. {description}")

    def kernels_figure(self) -> CaptionedFigure:
        rows = [self._kernels(position, number) for position, number in enumerate(self.shown)]
        beside = len(self.sides) > 1
        piece = "kernels" if self.filters.kind == "conv" else "maps"
        most = f"its {self._num_kernels()} {piece} of the largest norm"
        description = (
            f"{self._count_text()}, each with {most}, under the number of the input channel: orange is a positive "
            "weight, blue a negative one, white 0."
        )
        scale = "The scale is the largest weight of the row" + (
            f", before and after {'together' if self.common else 'apart'}." if beside else "."
        )
        title = f"{'Kernels' if self.filters.kind == 'conv' else 'Units, map by map,'} of {self.name}"
        return CaptionedFigure(
            draw_gallery(title, rows, [f"{description} {scale}", *self._notes()]), f"{title}. {description}"
        )

    def _kernels(self, position: int, number: int) -> list[GalleryPanel]:
        norms = np.linalg.norm(nan_to_zero(self.filters.after[number]).reshape(self.filters.after.shape[1], -1), axis=1)
        largest = [int(channel) for channel in np.argsort(-norms, kind="stable")[: self._num_kernels()]]
        named = [(str(self.filters.channel(number, channel)),) for channel in largest]
        pair = [nan_to_zero(weights[position][largest]) for _, weights in self.sides]
        full = float(np.abs(pair).max(initial=0)) if self.common else None
        return [
            GalleryPanel(
                f"{self.filters.noun} {number}{self._marks(number)}" + (f", {side}" if side else ""),
                tuple(map(Tile, to_diverging_rgb(weights[position][largest], full), named)),
                MAX_KERNELS_BESIDE if len(self.sides) > 1 else MAX_KERNELS_ALONE,
            )
            for side, weights in self.sides
        ]

    def _num_kernels(self) -> int:
        """How many kernels of a filter are shown."""
        return min(MAX_KERNELS_BESIDE if len(self.sides) > 1 else MAX_KERNELS_ALONE, int(self.filters.after.shape[1]))

    def _panel(self, heading: str, images: Pictures, lines: Sequence[tuple[str, ...]]) -> GalleryPanel:
        across = min(8 if len(self.sides) > 1 else 14, max(len(images), 4))
        colours = ["validation" if " " in line[0] else "muted" for line in lines]  # behind the number stand marks
        return GalleryPanel(heading, tuple(map(Tile, images, lines, colours)), across)

    def _heading(self) -> str:
        if self.filters.frozen:
            return "frozen"
        return "" if self.filters.initial_weights == UNTRAINED else "after training"

    def _count_text(self) -> str:
        count, shown, noun = len(self.filters.after), len(self.shown), self.filters.noun
        if shown == count:
            return pluralize(count, noun)
        which = "first" if self.order == "number" else "largest"
        return f"The {which} {shown:,} of {count:,} {noun}s"

    def _lines(self, side: str) -> list[tuple[str, ...]]:
        """Below each picture: its number, and of the weights as they are, its marks and what it is ordered by."""
        if side != self._heading():
            return [(str(number),) for number in self.shown]
        return [(f"{number}{self._marks(number)}", *self._ordered_by(number)) for number in self.shown]

    def _ordered_by(self, number: int) -> tuple[str, ...]:
        measures = self.measures
        if self.order == "norm":
            return (f"{measures.norm[number]:.3g}",)
        if self.order == "orientation":
            return (self._degrees(number),)
        if self.order == "colour" and measures.axis is not None:
            axis = f"{measures.axis[number]:.0f}°" if has_colour_axis(measures, number) else MISSING
            return ("grey" if is_grey(measures, number) else axis,)
        return ()

    def _spectrum_lines(self, side: str) -> list[tuple[str, ...]]:
        """Below each spectrum; the orientation is that of the weights as they are."""
        if side != self._heading():
            return [(str(number),) for number in self.shown]
        return [(str(number), self._degrees(number)) for number in self.shown]

    def _degrees(self, number: int) -> str:
        if self.measures.orientation is None or not is_oriented(self.measures, number):
            return MISSING
        return f"{self.measures.orientation[number]:.0f}°"

    def _marks(self, number: int) -> str:
        measures = self.measures
        marks = ""
        if measures.equal is not None and not self.filters.frozen and measures.equal[number]:
            marks += "="
        elif measures.change is not None and not self.filters.frozen and measures.change[number] < SMALL_CHANGE:
            marks += "~"
        if number in measures.dead:
            marks += "×"
        if measures.twin[number]:
            marks += "≈"
        return f" {marks}" if marks else ""

    def _notes(self) -> list[str]:
        """What the marks and second lines of this picture mean."""
        marks = "".join(map(self._marks, self.shown))
        meanings = {
            "=": "= is bit for bit what it began as",
            "~": f"~ changed by less than {100 * SMALL_CHANGE:g} %",
            "×": "× is almost 0",
            "≈": "≈ points the same way as another",
        }
        notes = [meaning for mark, meaning in meanings.items() if mark in marks]
        if self.order == "norm" and self.filters.is_single_picture:
            notes.append("below the number stands the norm")
        if self.order == "orientation" and self.filters.is_single_picture:
            notes.append(
                "degrees: of the stripes, 0 lying, 90 standing, counter-clockwise; – no clear ones, at the end"
            )
        if self.order == "colour":
            notes.append(
                "degrees: the axis of its colours, 0 red–cyan, 60 yellow–blue, 120 green–magenta, – none; grey first"
            )
        text = "; ".join(notes)
        return [f"{text[0].upper()}{text[1:]}."] if text else []


def _largest_sizes(sides: Sequence[tuple[str, Floats]]) -> npt.NDArray[np.float64]:
    """The largest size of each filter's numbers on all sides."""
    sizes = [np.abs(nan_to_zero(values)).reshape(len(values), -1).max(axis=1) for _, values in sides]
    return np.asarray(np.max(sizes, axis=0), dtype=np.float64)


_SCALE = "Each has its own scale, its largest weight."
_COMMON = "A filter has one scale before and after training: the largest weight of both."
