"""The weights of one layer as figures. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from cnnlab.interpret.weights.filters import CHANNEL_NAMES, UNTRAINED, Filters, Floats, Scale
from cnnlab.interpret.weights.measures import (
    MOST_ROWS,
    STILL,
    Measures,
    Order,
    finite,
    has_axis,
    is_clear,
    is_grey,
    spectrum,
)
from cnnlab.render import formatting
from cnnlab.render.gallery import Panel, Tile, gallery, in_heat, in_signs
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, Plate, new_figure


def around_grey(weights: Floats, largest: Floats | None = None) -> npt.NDArray[np.float64]:
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


def channel_around_grey(weights: Floats, channel: int, largest: Floats | None = None) -> npt.NDArray[np.float64]:
    """One channel of each filter, F×H×W×3, on the scale that the filter has in `around_grey`."""
    whole = around_grey(weights, largest)
    return np.repeat(whole[..., channel : channel + 1], 3, axis=-1)


WIDTH, LEFT, TOP, BOTTOM, BETWEEN = 720.0, 56.0, 50.0, 44.0, 56.0
LARGEST_CELL, LEAST_HEIGHT, MOST_HEIGHT = 14.0, 60.0, 640.0
MOST_COLUMNS = 1024

Cells = npt.NDArray[np.floating]


def matrix_plate(network: str, filters: Filters, shown: Sequence[int], order: Order) -> Plate:
    """The weights of a layer that has one number a channel, before training above after."""
    columns = _columns(filters)
    sides = [("" if filters.begun == UNTRAINED else "frozen" if filters.frozen else "after training", filters.after)]
    if filters.before is not None and not filters.frozen:
        sides.insert(0, ("before training", filters.before))
    matrices = [(side, finite(weights)[list(shown)][:, columns, 0, 0].astype(np.float64)) for side, weights in sides]
    largest = max((float(np.abs(matrix).max(initial=0)) for _, matrix in matrices), default=0.0)
    title = f"Weights of {formatting.shown(filters.layer)} of {formatting.shown(network, 60)}"
    kind = "a filter" if filters.kind == "conv" else "a unit"
    seen = (
        f"A row is {kind}{_which(len(shown), len(filters.after), order)}, "
        f"a column one of its inputs{_which(len(columns), filters.after.shape[1], 'norm')}: orange is a positive "
        f"weight, blue a negative one, white 0; full colour at {largest:.3g}."
    )
    rows = [str(number) for number in shown]
    pictures = [(side, in_signs(matrix, largest)) for side, matrix in matrices]
    return Plate(_figure(title, pictures, rows, [str(number) for number in columns], filters.noun, seen), seen)


def norms_plate(network: str, filters: Filters) -> Plate:
    """The norm of each kernel: which input channels a filter looks at."""
    norms = np.linalg.norm(finite(filters.after), axis=(2, 3)).astype(np.float64)
    rows = _largest_positions(np.linalg.norm(norms, axis=1), MOST_ROWS)
    columns = _columns(filters)
    title = f"Which channels {formatting.shown(filters.layer)} of {formatting.shown(network, 60)} looks at"
    kind = "a filter" if filters.kind == "conv" else "a unit"
    within = " of its group" if filters.groups > 1 else ""
    seen = (
        f"A row is {kind}{_which(len(rows), len(norms), 'norm')}, a column an input channel{within}"
        f"{_which(len(columns), norms.shape[1], 'norm')}: the norm of its kernel, from dark blue, 0, to yellow, "
        f"{norms.max(initial=0):.3g}."
    )
    picture = in_heat(norms[rows][:, columns], 0)
    texts = [str(number) for number in rows], [str(number) for number in columns]
    return Plate(_figure(title, [("", picture)], *texts, filters.noun, seen), seen)


def _columns(filters: Filters) -> list[int]:
    return _largest_positions((finite(filters.after) ** 2).sum(axis=(0, 2, 3)), MOST_COLUMNS)


def _largest_positions(sizes: npt.NDArray[np.floating], most: int) -> list[int]:
    """The places of the largest numbers, in the order of places."""
    return sorted(int(place) for place in np.argsort(-sizes, kind="stable")[:most])


def _which(shown: int, count: int, order: str) -> str:
    if shown == count:
        return ""
    return f" ({'the first' if order == 'number' else 'the largest'} {shown:,} of {count:,})"


def _figure(
    title: str, pictures: Sequence[tuple[str, Cells]], rows: Sequence[str], columns: Sequence[str], noun: str, seen: str
) -> Figure:
    """One picture below the other, with the numbers of rows and columns."""
    wide = WIDTH - LEFT - 16
    cell = min(wide / len(columns), LARGEST_CELL)
    height = min(max(len(rows) * cell, LEAST_HEIGHT), MOST_HEIGHT)
    folded = formatting.folded(seen, 105)
    whole = TOP + len(pictures) * (height + BETWEEN) + 14 * len(folded) + 8
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
    for heading, picture in pictures:
        place = (LEFT / WIDTH, 1 - (top + height) / whole, cell * len(columns) / WIDTH, height / whole)
        axes = figure.add_axes(place)
        axes.imshow(picture, interpolation="none", aspect="auto")
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
KERNELS_BESIDE, KERNELS_ALONE = 8, 16
Pictures = Sequence[Floats] | Floats


def draw(
    network: str,
    filters: Filters,
    measures: Measures,
    shown: Sequence[int],
    order: Order,
    scale: Scale = "own",
) -> dict[str, Plate]:
    """The pictures of a layer by name, the main one first."""
    drawing = _Drawing(network, filters, measures, shown, order, scale)
    if filters.as_pictures:
        plates = {"filters": drawing.filters_plate()}
        if filters.in_colour:
            plates["channels"] = drawing.channels_plate()
        return {**plates, "spectra": drawing.spectra_plate()}
    if filters.has_extent:
        plates = {"kernels": drawing.kernels_plate(), "norms": norms_plate(network, filters)}
        return {**plates, "spectra": drawing.spectra_plate()}
    return {"matrix": matrix_plate(network, filters, shown, order)}


class _Drawing:
    """What all pictures of a layer need."""

    def __init__(
        self,
        network: str,
        filters: Filters,
        measures: Measures,
        shown: Sequence[int],
        order: Order,
        scale: Scale,
    ) -> None:
        self.name = f"{formatting.shown(filters.layer)} of {formatting.shown(network, 60)}"
        self.filters, self.measures, self.shown, self.order = filters, measures, list(shown), order
        after, before = filters.after[self.shown], filters.before
        self.sides: list[tuple[str, Floats]] = [(self._headed(), after)]
        if before is not None and filters.is_paired:
            self.sides.insert(0, ("before training", before[self.shown]))
        self.common = scale == "common" and len(self.sides) > 1
        self.largest = _largest_sizes(self.sides) if self.common else None

    def filters_plate(self) -> Plate:
        row = [self._panel(side, around_grey(weights, self.largest), self._lines(side)) for side, weights in self.sides]
        colours = "red, green and blue as in an image" if self.filters.in_colour else "grey"
        seen = f"{self._counted()}, {colours}: mid-grey is weight 0."
        scale = _COMMON if self.common else _SCALE
        notes = [f"{seen} {scale}", *self._notes()]
        title = f"{self.filters.noun.capitalize()}s of {self.name}"
        return Plate(gallery(title, [row], notes), f"{title}. {seen}")

    def channels_plate(self) -> Plate:
        rows = [
            [
                self._panel(
                    f"{colour}, {side}" if side else colour,
                    channel_around_grey(weights, channel, self.largest),
                    self._lines(side),
                )
                for side, weights in self.sides
            ]
            for channel, colour in enumerate(CHANNEL_NAMES)
        ]
        seen = f"{self._counted()}, each channel alone: black is a negative weight, mid-grey 0, white a positive one."
        both = ", before and after training together" if self.common else ""
        scale = f"All three channels of a filter have one scale: its largest weight{both}."
        title = f"Red, green and blue alone: {self.name}"
        return Plate(gallery(title, rows, [f"{seen} {scale}", *self._notes()]), f"{title}. {seen}")

    def spectra_plate(self) -> Plate:
        high, wide = self.filters.after.shape[2:]
        size = max(SPECTRUM_SIZE, 1 << (max(high, wide) - 1).bit_length())
        spectra = [(side, spectrum(weights, size)) for side, weights in self.sides]
        highest = _largest_sizes(spectra) if self.common else [None] * len(self.shown)
        row = [
            self._panel(side, list(map(in_heat, found, repeat(0), highest)), self._turned(side))
            for side, found in spectra
        ]
        full = "the highest of a filter's two" if self.common else "its own highest"
        seen = (
            f"{self._counted()}: the magnitude of each one's two-dimensional Fourier transform over all its channels. "
            f"In the middle is frequency 0, at the edges half a cycle a pixel; yellow is {full}, dark blue 0."
        )
        degrees = (
            "Degrees: the direction of the stripes, 0 lying, 90 standing, counter-clockwise; – where no clearer than "
            "in random weights."
        )
        title = f"Spectra of {self.name}"
        return Plate(gallery(title, [row], [seen, degrees]), f"{title}. {seen}")

    def kernels_plate(self) -> Plate:
        rows = [self._kernels(place, number) for place, number in enumerate(self.shown)]
        beside = len(self.sides) > 1
        piece = "kernels" if self.filters.kind == "conv" else "maps"
        most = f"its {self._across()} {piece} of the largest norm"
        seen = (
            f"{self._counted()}, each with {most}, under the number of the input channel: orange is a positive "
            "weight, blue a negative one, white 0."
        )
        scale = "The scale is the largest weight of the row" + (
            f", before and after {'together' if self.common else 'apart'}." if beside else "."
        )
        title = f"{'Kernels' if self.filters.kind == 'conv' else 'Units, map by map,'} of {self.name}"
        return Plate(gallery(title, rows, [f"{seen} {scale}", *self._notes()]), f"{title}. {seen}")

    def _kernels(self, place: int, number: int) -> list[Panel]:
        norms = np.linalg.norm(finite(self.filters.after[number]).reshape(self.filters.after.shape[1], -1), axis=1)
        largest = [int(channel) for channel in np.argsort(-norms, kind="stable")[: self._across()]]
        named = [(str(self.filters.channel(number, channel)),) for channel in largest]
        pair = [finite(weights[place][largest]) for _, weights in self.sides]
        full = float(np.abs(pair).max(initial=0)) if self.common else None
        return [
            Panel(
                f"{self.filters.noun} {number}{self._marks(number)}" + (f", {side}" if side else ""),
                tuple(map(Tile, in_signs(weights[place][largest], full), named)),
                KERNELS_BESIDE if len(self.sides) > 1 else KERNELS_ALONE,
            )
            for side, weights in self.sides
        ]

    def _across(self) -> int:
        """How many kernels of a filter are shown."""
        return min(KERNELS_BESIDE if len(self.sides) > 1 else KERNELS_ALONE, int(self.filters.after.shape[1]))

    def _panel(self, heading: str, pictures: Pictures, lines: Sequence[tuple[str, ...]]) -> Panel:
        across = min(8 if len(self.sides) > 1 else 14, max(len(pictures), 4))
        colours = ["validation" if " " in line[0] else "muted" for line in lines]  # behind the number stand marks
        return Panel(heading, tuple(map(Tile, pictures, lines, colours)), across)

    def _headed(self) -> str:
        if self.filters.frozen:
            return "frozen"
        return "" if self.filters.begun == UNTRAINED else "after training"

    def _counted(self) -> str:
        count, shown, noun = len(self.filters.after), len(self.shown), self.filters.noun
        if shown == count:
            return formatting.plural(count, noun)
        which = "first" if self.order == "number" else "largest"
        return f"The {which} {shown:,} of {count:,} {noun}s"

    def _lines(self, side: str) -> list[tuple[str, ...]]:
        """Below each picture: its number, and of the weights as they are, its marks and what it is ordered by."""
        if side != self._headed():
            return [(str(number),) for number in self.shown]
        return [(f"{number}{self._marks(number)}", *self._ordered_by(number)) for number in self.shown]

    def _ordered_by(self, number: int) -> tuple[str, ...]:
        measures = self.measures
        if self.order == "norm":
            return (f"{measures.norm[number]:.3g}",)
        if self.order == "orientation":
            return (self._degrees(number),)
        if self.order == "colour" and measures.axis is not None:
            axis = f"{measures.axis[number]:.0f}°" if has_axis(measures, number) else formatting.NONE
            return ("grey" if is_grey(measures, number) else axis,)
        return ()

    def _turned(self, side: str) -> list[tuple[str, ...]]:
        """Below each spectrum; the orientation is that of the weights as they are."""
        if side != self._headed():
            return [(str(number),) for number in self.shown]
        return [(str(number), self._degrees(number)) for number in self.shown]

    def _degrees(self, number: int) -> str:
        if self.measures.orientation is None or not is_clear(self.measures, number):
            return formatting.NONE
        return f"{self.measures.orientation[number]:.0f}°"

    def _marks(self, number: int) -> str:
        measures = self.measures
        marks = ""
        if measures.equal is not None and not self.filters.frozen and measures.equal[number]:
            marks += "="
        elif measures.change is not None and not self.filters.frozen and measures.change[number] < STILL:
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
            "~": f"~ changed by less than {100 * STILL:g} %",
            "×": "× is almost 0",
            "≈": "≈ points the same way as another",
        }
        told = [meaning for mark, meaning in meanings.items() if mark in marks]
        if self.order == "norm" and self.filters.as_pictures:
            told.append("below the number stands the norm")
        if self.order == "orientation" and self.filters.as_pictures:
            told.append("degrees: of the stripes, 0 lying, 90 standing, counter-clockwise; – no clear ones, at the end")
        if self.order == "colour":
            told.append(
                "degrees: the axis of its colours, 0 red–cyan, 60 yellow–blue, 120 green–magenta, – none; grey first"
            )
        text = "; ".join(told)
        return [f"{text[0].upper()}{text[1:]}."] if text else []


def _largest_sizes(sides: Sequence[tuple[str, Floats]]) -> npt.NDArray[np.float64]:
    """The largest size of each filter's numbers on all sides."""
    sizes = [np.abs(finite(values)).reshape(len(values), -1).max(axis=1) for _, values in sides]
    return np.asarray(np.max(sizes, axis=0), dtype=np.float64)


_SCALE = "Each has its own scale, its largest weight."
_COMMON = "A filter has one scale before and after training: the largest weight of both."
