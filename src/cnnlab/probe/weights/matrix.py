"""Weights without a place, and norms of kernels, as one picture: a row a filter, a column a channel. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from cnnlab.probe.weights.filters import UNTRAINED, Filters
from cnnlab.probe.weights.measures import finite
from cnnlab.probe.weights.ordering import MOST_ROWS, Order
from cnnlab.render import formatting
from cnnlab.render.gallery import in_heat, in_signs
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, Plate, new_figure

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
    rows = _largest(np.linalg.norm(norms, axis=1), MOST_ROWS)
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
    return _largest((finite(filters.after) ** 2).sum(axis=(0, 2, 3)), MOST_COLUMNS)


def _largest(sizes: npt.NDArray[np.floating], most: int) -> list[int]:
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
