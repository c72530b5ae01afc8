"""Networks under shifts, drawn: a curve for each kind of shift, and an image under each."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.paper import words
from cnnlab.paper.gallery import Panel, Tile, as_picture, gallery
from cnnlab.paper.plots import COLOURS, NORMAL, SMALL, new_figure, quiet_axes
from cnnlab.report.shift_words import by_kind
from cnnlab.report.study_words import smallest
from cnnlab.runs.shifted import Shifted, ShiftedGroup, ShiftRow

WIDTH = 760.0
ACROSS = 4
LEFT, BOTTOM, PANEL_HEIGHT, BETWEEN, HEAD = 34.0, 30.0, 118.0, 16.0, 24.0
TOP = 34.0
LEGEND = 16.0
HUES = ("train", "validation", "test", "other", "ink", "muted")


def curves_figure(shifted: Shifted) -> Figure:
    """Accuracy against the strength of each kind of shift, a line for each group; kinds of one strength together."""
    groups = shifted.groups
    kinds = by_kind(groups[0].rows)
    curves = [kind for kind in kinds if len(kind) > 1]
    single = [kind[0] for kind in kinds if len(kind) == 1]
    panels = len(curves) + bool(single)
    down = ceil(panels / ACROSS)
    legend = LEGEND * len(groups)
    height = TOP + legend + down * (HEAD + PANEL_HEIGHT + BOTTOM)
    figure = new_figure(WIDTH, height)
    _title(figure, shifted, height)
    wide = (WIDTH - LEFT - BETWEEN * (ACROSS - 1) - 8) / ACROSS
    low, high = _range(groups)
    for number in range(panels):
        row, column = divmod(number, ACROSS)
        top = TOP + legend + row * (HEAD + PANEL_HEIGHT + BOTTOM)
        left = LEFT + column * (wide + BETWEEN)
        span = wide
        if number == len(curves):  # what has one strength is named below its dots, for which there is to be room
            slots = min(ACROSS - column, max(ceil(len(single) / 2), 1))
            span = wide + (slots - 1) * (wide + BETWEEN)
        axes = quiet_axes(figure, left, height - top - HEAD - PANEL_HEIGHT, span, PANEL_HEIGHT)
        axes.set_ylim(low, high)
        if column:
            axes.set_yticklabels([])
        for place, group in enumerate(groups):
            rows = {row.title: row for row in group.rows}
            shown = curves[number] if number < len(curves) else single
            _draw(axes, shifted, group, [rows[each.title] for each in shown], place, number < len(curves))
        _name(axes, curves[number] if number < len(curves) else None)
    return figure


def examples_figure(shifted: Shifted, example: npt.NDArray[np.uint8]) -> Figure:
    """One image as it is and under each shift, with the accuracy under it.

    Args:
        example: uint8, (1 + S)×C×H×W.
    """
    group = shifted.groups[0]
    pictures = {row.title: as_picture(pixels) for row, pixels in zip(group.rows, example[1:], strict=True)}
    clean = Tile(as_picture(example[0]), ("as it is", words.fraction(group.accuracy)), "ink")
    kinds = by_kind(group.rows)
    across = max(max(map(len, kinds)), 5)
    single = [kind[0] for kind in kinds if len(kind) == 1]
    tiles = (clean, *(Tile(pictures[row.title], (row.title, words.fraction(row.accuracy))) for row in single))
    panels = [Panel("", tiles[start : start + 2 * across], 2 * across) for start in range(0, len(tiles), 2 * across)]
    rows = [[panel] for panel in panels]
    several = [
        Panel(
            kind[0].shift,
            tuple(Tile(pictures[row.title], (_amount(row), words.fraction(row.accuracy))) for row in kind),
            across,
        )
        for kind in kinds
        if len(kind) > 1
    ]
    rows += [several[start : start + 2] for start in range(0, len(several), 2)]
    if rows and len(rows[-1]) == 1 and len(several) % 2:
        rows[-1].append(Panel("", (), across))  # so that its tiles are as large as the others
    note = f"Below each picture the strength, and the accuracy of {words.shown(group.name)} on all images so shifted."
    return gallery("The first image under each shift", rows, [note])


def _title(figure: Figure, shifted: Shifted, height: float) -> None:
    title = f"Accuracy under shifts, {shifted.images:,} images of the {shifted.part} part"
    style = {"fontsize": NORMAL + 1, "color": COLOURS["ink"], "weight": "bold", "va": "center"}
    figure.text(8 / WIDTH, 1 - 14 / height, title, style)
    for place, group in enumerate(shifted.groups):
        over = "" if group.n == 1 else f", mean of {words.plural(group.n, 'network')}"
        text = f"● {words.shown(group.name, 60)}{over}: {words.fraction(group.accuracy)} as they are (dashed)"
        if place == 0:
            text += f", shaded: {smallest(shifted.delta, 'accuracy')}"
        y = 1 - (TOP + LEGEND * place) / height
        style = {"fontsize": SMALL, "color": COLOURS[HUES[place % len(HUES)]], "va": "center"}
        figure.text(8 / WIDTH, y, text, style, parse_math=False)


def _range(groups: Sequence[ShiftedGroup]) -> tuple[float, float]:
    values = [value for group in groups for value in (group.accuracy, *(row.accuracy for row in group.rows))]
    finite = [value for value in values if isfinite(value)]
    return max(0.0, min(finite) - 0.06), min(1.02, max(finite) + 0.06)


def _draw(
    axes: Axes, shifted: Shifted, group: ShiftedGroup, rows: Sequence[ShiftRow], number: int, joined: bool
) -> None:
    colour = COLOURS[HUES[number % len(HUES)]]
    axes.axhline(group.accuracy, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    if number == 0:
        band = group.accuracy - shifted.delta, group.accuracy + shifted.delta
        axes.axhspan(*band, color=colour, alpha=0.12, linewidth=0, zorder=0)
    places = list(range(len(rows)))
    if joined:
        axes.plot(places, [row.accuracy for row in rows], color=colour, linewidth=1.6)
    for place, row in zip(places, rows, strict=True):
        if row.low is not None and row.high is not None:
            axes.plot([place, place], [row.low, row.high], color=colour, linewidth=1.2)
        axes.plot([place], [row.accuracy], "o", color=colour, markersize=4.5, markeredgewidth=0)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    texts = [f"{row.strength:g}" if joined else row.title for row in rows]
    axes.set_xticks(places, [words.shown(text, 22) for text in texts], parse_math=False)


def _name(axes: Axes, kind: Sequence[ShiftRow] | None) -> None:
    text = "of one strength" if kind is None else f"{words.shown(kind[0].shift, 24)}{_unit(kind[0])}"
    axes.annotate(
        text,
        (0, 1),
        (0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=SMALL,
        color=COLOURS["ink"],
        weight="bold",
        parse_math=False,
    )


def _unit(row: ShiftRow) -> str:
    """What stands behind a kind's name, since the numbers below its curve stand alone."""
    unit = _amount(row).replace(f"{row.strength:g}", "").strip()
    told = {"×": "factor", "°": "degrees", "px": "pixels"}.get(unit)
    return f" ({told})" if told else ""


def _amount(row: ShiftRow) -> str:
    return row.title.removeprefix(row.shift).strip()
