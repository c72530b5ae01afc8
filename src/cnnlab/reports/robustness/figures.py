"""Figures of networks under shifts: a curve for each kind of shift, and an image under each shift."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.render.formatting import display_width, format_fraction, pluralize, shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_hwc
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, minimal_axes, new_figure
from cnnlab.reports.study.text import equivalence_band
from cnnlab.runs.robustness.result import ShiftedGroup, ShiftResult, ShiftRow

WIDTH = 760.0
NUM_COLUMNS = 4
LEFT, BOTTOM, PANEL_HEIGHT, BETWEEN, HEAD = 34.0, 30.0, 118.0, 16.0, 24.0
TOP = 34.0
LEGEND, LINE = 16.0, 20.0
# The longest name of a shift of one strength, and the width of a letter in points.
MAX_NAME_LENGTH, CHARACTER_WIDTH = 44, 6.4
# The longest name below a small tile.
MAX_TICKS_TEXT = 10
# Markers of the groups; the next one is used when the colours repeat.
MARKS, SIGNS = "os^Dv", "●■▲◆▼"
HUES = ("train", "validation", "test", "other", "ink", "muted")


def curves_figure(shifted: ShiftResult) -> Figure:
    """Plot accuracy against the strength of each kind of shift, a line per group; below, shifts of one strength."""
    groups = shifted.groups
    kinds = groups[0].kinds
    curves = [kind for kind in kinds if len(kind) > 1]
    single = [kind[0] for kind in kinds if len(kind) == 1]
    top = TOP + LEGEND * len(groups)
    below = top + ceil(len(curves) / NUM_COLUMNS) * (HEAD + PANEL_HEIGHT + BOTTOM)
    height = below + (HEAD + LINE * len(single) + BOTTOM if single else 0)
    figure = new_figure(WIDTH, height)
    _title(figure, shifted, height)
    wide = (WIDTH - LEFT - BETWEEN * (NUM_COLUMNS - 1) - 8) / NUM_COLUMNS
    span = _range(groups)
    for number, kind in enumerate(curves):
        row, column = divmod(number, NUM_COLUMNS)
        bottom = height - top - row * (HEAD + PANEL_HEIGHT + BOTTOM) - HEAD - PANEL_HEIGHT
        axes = minimal_axes(figure, LEFT + column * (wide + BETWEEN), bottom, wide, PANEL_HEIGHT)
        axes.set_ylim(*span)
        if column:
            axes.set_yticklabels([])
        for index, group in enumerate(groups):
            _draw_curve(axes, shifted, group, kind, index)
        _name(axes, f"{shorten(kind[0].shift, 24)}{_unit(kind[0])}")
    if single:
        left = 12 + CHARACTER_WIDTH * max(display_width(shorten(row.title, MAX_NAME_LENGTH)) for row in single)
        axes = minimal_axes(figure, left, BOTTOM, WIDTH - left - 14, LINE * len(single))
        axes.set_xlim(*span)
        for index, group in enumerate(groups):
            _draw_single(axes, shifted, group, single, index)
        _name(axes, "one strength: accuracy")
    return figure


def examples_figure(shifted: ShiftResult, example: npt.NDArray[np.uint8]) -> Figure:
    """Draw one image, unshifted and under each shift, with the accuracy below.

    Args:
        example: uint8, (1 + S)×C×H×W.
    """
    group = shifted.groups[0]
    images = {row.call: to_hwc(pixels) for row, pixels in zip(group.rows, example[1:], strict=True)}
    kinds = group.kinds
    across = max(max(map(len, kinds)), 5)
    single = [kind[0] for kind in kinds if len(kind) == 1]
    strengths = any(row.strength_text for row in single)
    own = ("unshifted", *([""] if strengths else []), format_fraction(group.accuracy))
    clean = Tile(to_hwc(example[0]), own, "ink")
    tiles = (clean, *(Tile(images[row.call], _tile_lines(row, strengths)) for row in single))
    # Wide enough for the names, unless they are short and many.
    single_across = 2 * across if len(tiles) > across and max(len(row.shift) for row in single) <= MAX_TICKS_TEXT else 6
    rows = [[GalleryPanel("", tiles, single_across)]]
    several = [
        GalleryPanel(
            kind[0].shift,
            tuple(Tile(images[row.call], (row.strength_text, format_fraction(row.accuracy))) for row in kind),
            across,
        )
        for kind in kinds
        if len(kind) > 1
    ]
    rows += [several[start : start + 2] for start in range(0, len(several), 2)]
    if rows and len(rows[-1]) == 1 and len(several) % 2:
        rows[-1].append(GalleryPanel("", (), across))  # so that its tiles are as large as the others
    note = f"Below each image: the strength, and the accuracy of {shorten(group.name)} on all images under this shift."
    return draw_gallery("The first image under each shift", rows, [note])


def _title(figure: Figure, shifted: ShiftResult, height: float) -> None:
    title = f"Accuracy under shifts, {shifted.images:,} images of the {shifted.split} split"
    style = {"fontsize": NORMAL + 1, "color": COLOURS["ink"], "weight": "bold", "va": "center"}
    figure.text(8 / WIDTH, 1 - 14 / height, title, style)
    for index, group in enumerate(shifted.groups):
        over = "" if group.n == 1 else f", mean of {pluralize(group.n, 'network')}"
        sign = SIGNS[index // len(HUES) % len(SIGNS)]
        text = f"{sign} {shorten(group.name, 60)}{over}: {format_fraction(group.accuracy)} unshifted (dashed)"
        if index == 0:
            text += f", shaded: {equivalence_band(shifted.delta, 'accuracy')}; bars: 95 % intervals"
        y = 1 - (TOP + LEGEND * index) / height
        style = {"fontsize": SMALL, "color": COLOURS[HUES[index % len(HUES)]], "va": "center"}
        figure.text(8 / WIDTH, y, text, style, parse_math=False)


def _range(groups: Sequence[ShiftedGroup]) -> tuple[float, float]:
    values = [value for group in groups for value in (group.accuracy, group.low, group.high)]
    values += [value for group in groups for row in group.rows for value in (row.accuracy, row.low, row.high)]
    finite = [value for value in values if value is not None and isfinite(value)]
    return max(-0.02, min(finite) - 0.03), min(1.02, max(finite) + 0.03)


def _draw_curve(axes: Axes, shifted: ShiftResult, group: ShiftedGroup, kind: Sequence[ShiftRow], number: int) -> None:
    colour = COLOURS[HUES[number % len(HUES)]]
    axes.axhline(group.accuracy, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    if number == 0:
        axes.axhspan(*_band(shifted, group), color=colour, alpha=0.12, linewidth=0, zorder=0)
    rows = {row.call: row for row in group.rows}
    shown = [rows[each.call] for each in kind]
    strengths = [row.strength for row in shown]
    points = [(row.strength, row.accuracy, row.low, row.high) for row in shown]
    unchanged = shown[0].unchanged
    if min(strengths) < unchanged < max(strengths) and unchanged not in strengths:
        # Between weaker and stronger shifts the unshifted image is a point of its own.
        points.append((unchanged, group.accuracy, None, None))
    points.sort(key=lambda point: point[0])
    positions = list(range(len(points)))
    axes.plot(positions, [point[1] for point in points], "-", color=colour, linewidth=1.6)
    for position, (strength, accuracy, low, high) in zip(positions, points, strict=True):
        own = strength == unchanged
        face, edge = ("none", 1.2) if own else (colour, 0)
        axes.plot([position], [accuracy], _mark(number), mfc=face, mec=colour, mew=edge, markersize=4.5)
        if low is not None and high is not None:
            axes.plot([position, position], [low, high], color=colour, linewidth=1.2)
    axes.set_xlim(-0.5, len(points) - 0.5)
    axes.set_xticks(positions, [f"{point[0]:g}" for point in points])


def _draw_single(
    axes: Axes, shifted: ShiftResult, group: ShiftedGroup, single: Sequence[ShiftRow], number: int
) -> None:
    colour = COLOURS[HUES[number % len(HUES)]]
    axes.axvline(group.accuracy, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    if number == 0:
        axes.axvspan(*_band(shifted, group), color=colour, alpha=0.12, linewidth=0, zorder=0)
    rows = {row.call: row for row in group.rows}
    # Groups that agree would hide one another; offsets stay within the row.
    beside = 0.7 * ((number + 0.5) / len(shifted.groups) - 0.5)
    for position, each in enumerate(single):
        row = rows[each.call]
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [position + beside] * 2, color=colour, linewidth=1.2)
        axes.plot([row.accuracy], [position + beside], _mark(number), color=colour, markersize=4.5, markeredgewidth=0)
    axes.set_ylim(len(single) - 0.5, -0.5)
    axes.set_yticks(range(len(single)), [shorten(row.title, MAX_NAME_LENGTH) for row in single], parse_math=False)


def _mark(number: int) -> str:
    return MARKS[number // len(HUES) % len(MARKS)]


def _band(shifted: ShiftResult, group: ShiftedGroup) -> tuple[float, float]:
    return group.accuracy - shifted.delta, group.accuracy + shifted.delta


def _name(axes: Axes, text: str) -> None:
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


def _tile_lines(row: ShiftRow, strengths: bool) -> tuple[str, ...]:
    """The lines below an image under a shift of one strength; with a line for the strength where any has one."""
    accuracy = format_fraction(row.accuracy)
    return (row.shift, row.strength_text, accuracy) if strengths else (row.shift, accuracy)


def _unit(row: ShiftRow) -> str:
    """The unit of the numbers below a curve, for its title."""
    unit = row.strength_text.replace(f"{row.strength:g}", "").strip()
    name = {"×": "factor", "°": "degrees", "px": "pixels"}.get(unit)
    return f" ({name})" if name else ""
