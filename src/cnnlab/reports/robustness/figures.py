"""Figures of networks under shifts: a curve for each kind of shift, and an image under each shift."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.render.formatting import display_width, format_fraction, pluralize, shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_hwc
from cnnlab.render.plots import COLOURS, SMALL, minimal_axes, new_captioned_figure
from cnnlab.reports.study.text import equivalence_band
from cnnlab.runs.robustness.result import ShiftedGroup, ShiftResult, ShiftRow

# In points.
WIDTH, LEFT, RIGHT, BETWEEN = 760.0, 34.0, 14.0, 16.0
PANEL_HEIGHT, HEAD, BELOW, LINE = 118.0, 24.0, 30.0, 20.0
NUM_COLUMNS = 4
# The longest name of a shift of one strength, and the width of a letter in points.
MAX_NAME_LENGTH, CHARACTER_WIDTH = 44, 6.4
# Of the groups; further groups repeat the colours with another marker.
HUES, MARKERS = ("train", "validation", "test", "other", "ink", "muted"), "os^Dv"
# Columns of tiles: of shifts of one strength, and of each kind with several.
SINGLE_COLUMNS, KIND_COLUMNS = 6, 5


def curves_figure(shifted: ShiftResult) -> Figure:
    """Plot accuracy against the strength of each kind of shift, a line per group; below, shifts of one strength."""
    curves = [kind for kind in shifted.groups[0].kinds if len(kind) > 1]
    single = [kind[0] for kind in shifted.groups[0].kinds if len(kind) == 1]
    panel = HEAD + PANEL_HEIGHT + BELOW
    below = HEAD + LINE * len(single) + BELOW if single else 0.0
    legend = LINE * len(shifted.groups)
    height = legend + panel * ceil(len(curves) / NUM_COLUMNS) + below
    title = f"Accuracy under shifts, {shifted.images:,} images of the {shifted.split} split"
    note = f"Bars: 95 % intervals. Shaded: {equivalence_band(shifted.delta, 'accuracy')} of the first network."
    figure, bottom = new_captioned_figure(WIDTH, height, title, [note])
    width = (WIDTH - LEFT - RIGHT - BETWEEN * (NUM_COLUMNS - 1)) / NUM_COLUMNS
    limits = _limits(shifted.groups)
    axes: Axes | None = None
    for number, kind in enumerate(curves):
        row, column = divmod(number, NUM_COLUMNS)
        y = bottom + height - legend - (row + 1) * panel + BELOW
        axes = minimal_axes(figure, LEFT + column * (width + BETWEEN), y, width, PANEL_HEIGHT)
        axes.set_ylim(*limits)
        axes.tick_params(axis="y", labelleft=column == 0)
        _draw_curves(axes, shifted, kind)
    if single:
        left = RIGHT + CHARACTER_WIDTH * max(display_width(shorten(row.title, MAX_NAME_LENGTH)) for row in single)
        axes = minimal_axes(figure, left, bottom + BELOW, WIDTH - left - RIGHT, LINE * len(single))
        axes.set_xlim(*limits)
        _draw_single(axes, shifted, single)
    assert axes is not None
    handles, labels = axes.get_legend_handles_labels()
    at = (0.0, (bottom + height) / (figure.get_figheight() * figure.dpi))
    shown = figure.legend(handles, labels, loc="upper left", bbox_to_anchor=at, frameon=False, fontsize=SMALL)
    for text in shown.get_texts():
        text.set(parse_math=False, color=COLOURS["ink"])
    return figure


def examples_figure(shifted: ShiftResult, example: npt.NDArray[np.uint8]) -> Figure:
    """Draw one image, unshifted and under each shift, with the accuracy below.

    Args:
        example: uint8, (1 + S)×C×H×W.
    """
    group = shifted.groups[0]
    images = {row.call: to_hwc(pixels) for row, pixels in zip(group.rows, example[1:], strict=True)}
    single = [Tile(to_hwc(example[0]), ("unshifted", "", format_fraction(group.accuracy)), "ink")]
    panels = []
    for kind in group.kinds:
        names = [(row.shift, row.strength_text) if len(kind) == 1 else (row.strength_text,) for row in kind]
        tiles = [
            Tile(images[row.call], (*name, format_fraction(row.accuracy)))
            for row, name in zip(kind, names, strict=True)
        ]
        if len(kind) == 1:
            single += tiles
        else:
            panels.append(GalleryPanel(kind[0].shift, tuple(tiles), KIND_COLUMNS))
    if len(panels) % 2:
        panels.append(GalleryPanel("", (), KIND_COLUMNS))  # so that all tiles have one size
    rows = [[GalleryPanel("", tuple(single), SINGLE_COLUMNS)]]
    rows += [panels[start : start + 2] for start in range(0, len(panels), 2)]
    note = f"Below each image: the strength, and the accuracy of {shorten(group.name)} on all images under this shift."
    return draw_gallery("The first image under each shift", rows, [note])


def _limits(groups: Sequence[ShiftedGroup]) -> tuple[float, float]:
    intervals = [_interval(group) for group in groups]
    intervals += [_interval(row) for group in groups for row in group.rows]
    accuracies = [value for interval in intervals for value in interval]
    return max(-0.02, min(accuracies) - 0.03), min(1.02, max(accuracies) + 0.03)


def _interval(each: ShiftedGroup | ShiftRow) -> tuple[float, float]:
    """The interval of an accuracy; the accuracy itself where there is none."""
    low, high = each.low, each.high
    return each.accuracy if low is None else low, each.accuracy if high is None else high


def _draw_curves(axes: Axes, shifted: ShiftResult, kind: Sequence[ShiftRow]) -> None:
    """A curve for each group, with the unshifted images as a point of their own; strengths are evenly spaced."""
    first = shifted.groups[0]
    axes.axhspan(first.accuracy - shifted.delta, first.accuracy + shifted.delta, color=COLOURS["train"], alpha=0.12)
    calls = {row.call for row in kind}
    unchanged = kind[0].unchanged
    for number, group in enumerate(shifted.groups):
        points = [(row.strength, row.accuracy, _interval(row)) for row in group.rows if row.call in calls]
        if isfinite(unchanged) and unchanged not in (row.strength for row in kind):
            points.append((unchanged, group.accuracy, _interval(group)))
        points.sort(key=lambda point: point[0])
        accuracies, intervals = [point[1] for point in points], [point[2] for point in points]
        axes.errorbar(range(len(points)), accuracies, yerr=_bars(accuracies, intervals), **_style(number, group))
        axes.set_xticks(range(len(points)), [f"{point[0]:g}" for point in points])
    unit = kind[0].strength_text.replace(f"{kind[0].strength:g}", "").strip()
    name = {"×": " (factor)", "°": " (degrees)", "px": " (pixels)"}.get(unit, "")
    _set_title(axes, f"{shorten(kind[0].shift, 24)}{name}")


def _draw_single(axes: Axes, shifted: ShiftResult, single: Sequence[ShiftRow]) -> None:
    """A row for each shift, a point for each group; the lines are the accuracies on unshifted images."""
    first = shifted.groups[0]
    axes.axvspan(first.accuracy - shifted.delta, first.accuracy + shifted.delta, color=COLOURS["train"], alpha=0.12)
    for number, group in enumerate(shifted.groups):
        rows = {row.call: row for row in group.rows}
        accuracies = [rows[each.call].accuracy for each in single]
        intervals = [_interval(rows[each.call]) for each in single]
        style = _style(number, group)
        # Groups that agree would hide one another; offsets stay within the row.
        y = np.arange(len(single)) + 0.7 * ((number + 0.5) / len(shifted.groups) - 0.5)
        axes.errorbar(accuracies, y, xerr=_bars(accuracies, intervals), linestyle="none", **style)
        axes.axvline(group.accuracy, color=style["color"], linewidth=0.9, linestyle="--")
    axes.set_ylim(len(single) - 0.5, -0.5)
    axes.set_yticks(range(len(single)), [shorten(row.title, MAX_NAME_LENGTH) for row in single], parse_math=False)
    _set_title(axes, "one strength: accuracy")


def _bars(accuracies: Sequence[float], intervals: Sequence[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """The lengths of error bars, 2×N."""
    centres = np.array(accuracies)[:, None]
    return np.asarray(np.abs(np.array(intervals) - centres).T)


def _style(number: int, group: ShiftedGroup) -> dict[str, Any]:
    over = "" if group.n == 1 else f", mean of {pluralize(group.n, 'network')}"
    return {
        "color": COLOURS[HUES[number % len(HUES)]],
        "marker": MARKERS[number // len(HUES) % len(MARKERS)],
        "markersize": 4.5,
        "linewidth": 1.6,
        "elinewidth": 1.2,
        "label": f"{shorten(group.name, 60)}{over}: {format_fraction(group.accuracy)} unshifted",
    }


def _set_title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=SMALL, color=COLOURS["ink"], weight="bold", loc="left", parse_math=False)
