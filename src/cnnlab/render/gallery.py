"""Galleries of images, and colour maps.

A gallery has rows of panels; a panel has a heading and tiles. All tiles of a row of panels have the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cnnlab.render.formatting import shorten
from cnnlab.render.palette import LIGHT
from cnnlab.render.plots import (
    CHARACTER_WIDTH,
    LINE,
    MARGIN,
    SMALL,
    TITLE,
    new_canvas,
    new_captioned_figure,
    write_text,
)

Floats = npt.NDArray[np.floating]

WIDTH = 720.0
MAX_TILE, GAP, BETWEEN = 150.0, 6.0, 26.0
HEADING = 22.0


@dataclass(frozen=True)
class Tile:
    """An image with lines of text below it.

    Attributes:
        image: H×W×3 or H×W×4, from 0 to 1.
        lines: shortened to the width of the tile.
        colour: of the lines, a name of `cnnlab.render.plots.COLOURS`.
    """

    image: Floats
    lines: tuple[str, ...] = ()
    colour: str = "muted"


@dataclass(frozen=True)
class GalleryPanel:
    """Tiles under a heading, in `num_columns` columns."""

    heading: str
    tiles: tuple[Tile, ...]
    num_columns: int


def draw_gallery(
    title: str, rows: Sequence[Sequence[GalleryPanel]], notes: Sequence[str] = (), width: float = WIDTH
) -> Figure:
    """Draw rows of panels under a title, with notes below.

    Args:
        title: may be empty.
        width: of the figure, in points, with its margin.
    """
    inner = width - 2 * MARGIN
    layouts = [_row_layout(row, inner) for row in rows]
    figure, _ = new_captioned_figure(width, sum(layout.height for layout in layouts) + MARGIN, title, notes)
    canvas, top = new_canvas(figure, MARGIN), TITLE - MARGIN if title else 0.0
    for row, layout in zip(rows, layouts, strict=True):
        left = 0.0
        for panel in row:
            # The heading of the last panel may extend to the edge.
            room = inner - left if panel is row[-1] else _width(panel, layout.tile_size)
            _draw_panel(canvas, panel, left, top, layout, room)
            left += _width(panel, layout.tile_size) + BETWEEN
        top += layout.height
    return figure


def to_viridis_rgb(values: Floats, low: float | None = None, high: float | None = None) -> Floats:
    """The viridis colours of values, …×3, from the lowest value or `low` to the highest or `high`.

    Constant values are shown as the lowest, and values that are not finite as 0.
    """
    exact = np.nan_to_num(np.asarray(values, dtype=np.float64), posinf=0.0, neginf=0.0)
    least = float(exact.min(initial=np.inf)) if low is None else low
    most = float(exact.max(initial=-np.inf)) if high is None else high
    shares = (exact - least) / (most - least) if most > least else np.zeros_like(exact)
    return np.asarray(matplotlib.colormaps["viridis"](np.clip(shares, 0, 1)))[..., :3]


def to_diverging_rgb(values: Floats, largest: float | None = None) -> Floats:
    """Diverging colours of values, …×3: blue below 0, white at 0, orange above; saturated at ±`largest`."""
    finite = np.nan_to_num(np.asarray(values, dtype=np.float64), posinf=0.0, neginf=0.0)
    size = float(np.abs(finite).max(initial=0.0)) if largest is None else largest
    shares = np.clip(finite / size, -1, 1) if size > 0 else np.zeros_like(finite)
    # Blue and vermillion of M. Okabe and K. Ito, as in the palette.
    ends = np.where(shares[..., None] < 0, to_rgb(LIGHT["train"]), to_rgb(LIGHT["validation"]))
    return np.asarray(1 + np.abs(shares)[..., None] * (ends - 1))


def to_hwc(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Convert uint8 pixels, C×H×W with one channel or three, to H×W×3 from 0 to 1."""
    scaled = np.asarray(pixels, dtype=np.float64) / 255
    return np.broadcast_to(scaled, (3, *scaled.shape[1:])).transpose(1, 2, 0)


@dataclass(frozen=True)
class _RowLayout:
    """The layout of a row of panels: the side of its tiles and its height in points, and the lines below a tile."""

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
    """The height of the tallest image of a row; the longer side of an image is that of the tile."""
    shapes = [each.image.shape[:2] for panel in row for each in panel.tiles]
    return max((tile * high / max(high, wide) for high, wide in shapes), default=tile)


def _width(panel: GalleryPanel, tile: float) -> float:
    return panel.num_columns * (tile + GAP) - GAP


def _draw_panel(axes: Axes, panel: GalleryPanel, left: float, top: float, layout: _RowLayout, room: float) -> None:
    """Draw a panel; `room` is the width of its heading in points."""
    if panel.heading:
        letters = int(max(room, 60) / (CHARACTER_WIDTH * SMALL))
        write_text(axes, left, top + HEADING / 2 - 2, shorten(panel.heading, letters), bold=True)
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
        height = top + tallest + LINE * (number + 0.5) + 1
        write_text(axes, left, height, shorten(line, room), size=size, colour=tile.colour)
