"""What the pictures of a study share: rows with names, dots that don't hide each other, limits, verdict colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from statistics import median
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnnlab.render.plots import COLOURS, POINTS_PER_INCH, SMALL, quiet_axes
from cnnlab.render.svg import text_width
from cnnlab.stats.comparison import Judgement

VERDICT_COLOURS: dict[Judgement, str] = {
    "better": "test",
    "worse": "validation",
    "practically equal": "train",
    "undecided": "muted",
    "no verdict": "muted",
}
VERDICT_MARKERS: dict[Judgement, str] = {
    "better": "o",
    "worse": "o",
    "practically equal": "s",
    "undecided": "|",
    "no verdict": "|",
}
# How much wider bold letters are, in most fonts.
BOLD = 1.15
# Of ticks: numbers that people count in.
STEPS = (1, 2, 2.5, 5, 10)
Side = Literal["left", "center", "right"]


def swarm(places: Sequence[float], gap: float) -> list[int]:
    """The level of each dot, 0 for the lowest, so that dots of one level lie `gap` or more apart.

    >>> swarm([1.0, 1.1, 5.0, 1.2], 0.15)
    [0, 1, 0, 0]
    """
    last: list[float] = []
    levels = dict.fromkeys(range(len(places)), 0)
    for index in sorted(levels, key=lambda index: places[index]):
        level = next((number for number, end in enumerate(last) if places[index] - end >= gap), len(last))
        last[level : level + 1] = [places[index]]
        levels[index] = level
    return list(levels.values())


def limits(points: Iterable[float], bounds: Iterable[tuple[float, float]], least: float = 0.0) -> tuple[float, float]:
    """Where an axis begins and ends: all points are seen, and intervals but for the ends of unusually long ones.

    Args:
        points: what must be seen; those that are not finite are left out.
        least: the axis is at least so long.
    """
    shown = [point for point in points if isfinite(point)]
    spans = [bound for bound in bounds if all(map(isfinite, bound))]
    if not shown:
        return (0.0, least or 1.0)
    low, high = min(shown), max(shown)
    halves = [(end - start) / 2 for start, end in spans]
    room = max(high - low, 3 * median(halves) if halves else 0.0)
    low = min(low, max(min((start for start, _ in spans), default=low), low - room))
    high = max(high, min(max((end for _, end in spans), default=high), high + room))
    pad = max(0.05 * (high - low), (least - (high - low)) / 2) or abs(high) * 0.05 or 1.0
    return low - pad, high + pad


def new_canvas(figure: Figure) -> Axes:
    """Axes over the whole figure in points from its upper left corner, to write on."""
    width, height = figure.get_size_inches() * POINTS_PER_INCH
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def write(
    canvas: Axes,
    x: float,
    y: float,
    text: str,
    *,
    colour: str = "ink",
    ha: Side = "left",
    size: float = SMALL,
    bold: bool = False,
) -> None:
    """One line of text, its middle at this height; a person's words are never read as mathematics."""
    weight = "bold" if bold else "normal"
    canvas.text(x, y, text, fontsize=size, color=COLOURS[colour], ha=ha, va="center", weight=weight, parse_math=False)


def row_axes(figure: Figure, left: float, top: float, width: float, rows: int, row: float) -> Axes:
    """Axes for rows of one height (points), the first at the top; `top` is measured from the figure's upper edge.

    Row number i has its middle at y = i.
    """
    height = figure.get_size_inches()[1] * POINTS_PER_INCH
    axes = quiet_axes(figure, left, height - top - rows * row, width, rows * row)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x", color=COLOURS["line"], linewidth=0.8)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    return axes


def plain_ticks(axes: Axes, width: float, *, signs: bool = False) -> None:
    """Few enough ticks for the width, written in full; with `signs` as differences are."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, int(width / 62)), steps=STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, signs=signs)))


def tick(value: float, *, signs: bool = False) -> str:
    """A tick's number, short; a difference's sign is as long as `+`."""
    text = f"{abs(value):.6g}"
    sign = "−" if value < 0 else "+" if signs and value > 0 else ""
    return text if text == "0" else sign + text


def name_room(names: Iterable[str], most: float) -> float:
    """The width in points of a column of names."""
    return min(max((BOLD * text_width(name, SMALL) for name in names), default=0.0) + 14, most)
