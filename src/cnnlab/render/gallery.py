"""Pictures side by side, numbered: filters, maps, patches, mistakes; and numbers as colours.

A gallery has rows of panels, a panel a heading and tiles. All tiles of a row of panels are of one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.render.formatting import shorten, wrap
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, new_figure

Floats = npt.NDArray[np.floating]

WIDTH = 720.0
MARGIN = 12.0
MAX_TILE, GAP, BETWEEN = 150.0, 6.0, 26.0
TITLE, HEADING, LINE = 26.0, 22.0, 14.0
# A letter's width as a share of its size, for texts that must end within a tile.
CHARACTER_WIDTH = 0.58


@dataclass(frozen=True)
class Tile:
    """A picture with what stands below it.

    Attributes:
        image: H×W×3 or H×W×4, from 0 to 1.
        lines: one below the other, cut off where they are wider than the tile.
        colour: a name of `cnnlab.render.plots.COLOURS`, of the lines.
    """

    image: Floats
    lines: tuple[str, ...] = ()
    colour: str = "muted"


@dataclass(frozen=True)
class GalleryPanel:
    """Tiles under a heading, `num_columns` in each row."""

    heading: str
    tiles: tuple[Tile, ...]
    num_columns: int


def draw_gallery(
    title: str, rows: Sequence[Sequence[GalleryPanel]], notes: Sequence[str] = (), width: float = WIDTH
) -> Figure:
    """Rows of panels under a title, with notes below.

    Args:
        title: "" for a place that has a title of its own.
        width: of the figure, in points, its margin included.
    """
    width -= 2 * MARGIN
    places = [_row_layout(row, width) for row in rows]
    folded = [line for note in notes for line in wrap(note, int(width / (CHARACTER_WIDTH * SMALL)))]
    head = TITLE if title else 0.0
    height = head + sum(place.height for place in places) + LINE * len(folded) + (8 if folded else 0)
    figure = new_figure(width + 2 * MARGIN, height + 2 * MARGIN)
    axes = _canvas(figure, width, height)
    _write(axes, 0, 10, title, NORMAL + 1, "ink", bold=True)
    top = head
    for row, place in zip(rows, places, strict=True):
        left = 0.0
        for panel in row:
            # Nothing stands to the right of the last one, so that its heading may go on to the edge.
            room = width - left if panel is row[-1] else _width(panel, place.tile_size)
            _draw_panel(axes, panel, left, top, place, room)
            left += _width(panel, place.tile_size) + BETWEEN
        top += place.height
    for number, line in enumerate(folded):
        _write(axes, 0, top + 8 + LINE * (number + 0.5), line, SMALL, "muted")
    return figure


def to_grey_rgb(values: Floats, low: float | None = None, high: float | None = None) -> Floats:
    """…×3 colours from black, the lowest of the values or `low`, to white, the highest or `high`."""
    return np.repeat(_rescaled(values, low, high)[..., None], 3, axis=-1)


def to_viridis_rgb(values: Floats, low: float | None = None, high: float | None = None) -> Floats:
    """…×3 colours from dark blue by green to yellow (viridis), which is read in grey and by the colour-blind too."""
    return np.asarray(matplotlib.colormaps["viridis"](_rescaled(values, low, high)))[..., :3]


def to_diverging_rgb(values: Floats, largest: float | None = None) -> Floats:
    """…×3 colours: blue below 0, white at 0, orange above; full at `largest`, by default the largest size of all."""
    finite = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    size = float(np.abs(finite).max(initial=0.0)) if largest is None else largest
    shares = np.clip(finite / size, -1, 1) if size > 0 else np.zeros_like(finite)
    # Blue and vermillion of M. Okabe and K. Ito, as everywhere here.
    ends = np.array([[0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00]]) / 255
    towards = np.where(shares[..., None] < 0, ends[0], ends[1])
    return np.asarray(1 + np.abs(shares)[..., None] * (towards - 1))


def to_hwc(pixels: npt.NDArray[np.uint8]) -> Floats:
    """uint8 pixels, C×H×W with one channel or three, as H×W×3 from 0 to 1."""
    shown = np.asarray(pixels, dtype=np.float64) / 255
    return np.broadcast_to(shown, (3, *shown.shape[1:])).transpose(1, 2, 0)


@dataclass(frozen=True)
class _RowLayout:
    """Of a row of panels: the side of its tiles and its height, in points, and the most lines below a tile."""

    tile_size: float
    height: float
    num_lines: int


def _row_layout(row: Sequence[GalleryPanel], width: float) -> _RowLayout:
    columns = sum(panel.num_columns for panel in row)
    gaps = GAP * sum(panel.num_columns - 1 for panel in row) + BETWEEN * (len(row) - 1)
    tile = min((width - gaps) / columns, MAX_TILE)
    lines = max((len(each.lines) for panel in row for each in panel.tiles), default=0)
    down = max(ceil(len(panel.tiles) / panel.num_columns) for panel in row)
    heading = HEADING if any(panel.heading for panel in row) else 0.0
    return _RowLayout(tile, heading + down * (_max_image_height(row, tile) + LINE * lines + GAP) + GAP, lines)


def _max_image_height(row: Sequence[GalleryPanel], tile: float) -> float:
    """How high the highest picture of a row is, whose longer side is the tile's."""
    shapes = [each.image.shape[:2] for panel in row for each in panel.tiles]
    return max((tile * high / max(high, wide) for high, wide in shapes), default=tile)


def _width(panel: GalleryPanel, tile: float) -> float:
    return panel.num_columns * (tile + GAP) - GAP


def _draw_panel(axes: Axes, panel: GalleryPanel, left: float, top: float, layout: _RowLayout, room: float) -> None:
    """`room` is the heading's, in points."""
    if panel.heading:
        letters = int(max(room, 60) / (CHARACTER_WIDTH * SMALL))
        _write(axes, left, top + HEADING / 2 - 2, shorten(panel.heading, letters), SMALL, "ink", bold=True)
    tallest = _max_image_height([panel], layout.tile_size)
    first = top + (HEADING if panel.heading else 0)
    for number, tile in enumerate(panel.tiles):
        x = left + (number % panel.num_columns) * (layout.tile_size + GAP)
        y = first + (number // panel.num_columns) * (tallest + LINE * layout.num_lines + GAP)
        _draw_tile(axes, tile, x, y, layout.tile_size, tallest)


def _draw_tile(axes: Axes, tile: Tile, left: float, top: float, side: float, tallest: float) -> None:
    high, wide = tile.image.shape[:2]
    across, down = side * wide / max(high, wide), side * high / max(high, wide)
    extent = (left, left + across, top + down, top)
    axes.imshow(tile.image, extent=extent, interpolation="none", aspect="auto", clip_on=False, vmin=0, vmax=1)
    size = SMALL - 1
    for number, line in enumerate(tile.lines):
        room = max(int((side + GAP / 2) / (CHARACTER_WIDTH * size)), 2)
        _write(axes, left, top + tallest + LINE * (number + 0.5) + 1, shorten(line, room), size, tile.colour)


def _write(axes: Axes, x: float, y: float, text: str, size: float, colour: str, *, bold: bool = False) -> None:
    weight = "bold" if bold else "normal"
    axes.text(
        x, y, text, fontsize=size, color=COLOURS[colour], weight=weight, va="center", parse_math=False, clip_on=False
    )


def _canvas(figure: Figure, width: float, height: float) -> Axes:
    """Axes over the whole figure, in points from the upper left corner within its margin."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-MARGIN, width + MARGIN)
    axes.set_ylim(height + MARGIN, -MARGIN)
    axes.set_autoscale_on(False)
    return axes


def _rescaled(values: Floats, low: float | None, high: float | None) -> Floats:
    exact = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    least = float(exact.min(initial=np.inf)) if low is None else low
    most = float(exact.max(initial=-np.inf)) if high is None else high
    # What is the same everywhere has no range: it is shown as the lowest.
    return np.clip((exact - least) / (most - least), 0, 1) if most > least else np.zeros_like(exact)
