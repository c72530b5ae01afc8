"""Figures of feature maps, of the activity of units, and of most exciting patches. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnlab.interpret.activations.result import ActivationMaps, LayerMaps, LayerUnits, Patch, Patches, UnitActivity
from cnnlab.render.formatting import format_shape, format_short, pluralize, shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_diverging_rgb, to_hwc, to_viridis_rgb
from cnnlab.render.plots import COLOURS, SMALL, minimal_axes, new_captioned_figure

MAPS_PER_ROW, UNITS_PER_ROW = 8, 12
# The width of the text of a run's page.
PAGE_WIDTH = 1072.0
# Height and width of the field of a single number.
FIELD_SHAPE = (1, 3)
UNITS_WIDTH, LEFT, RIGHT = 720.0, 56.0, 12.0
HEADING, STRIP, TICKS = 24.0, 64.0, 26.0
# The depth of a mark below the strip, as a share of its height.
MARK = 0.12
# So many tiles leave room for `validation:4999` below each.
PATCHES_PER_ROW, PATCHES_WIDTH = 8, 880.0
MARK_COLOUR = np.array([0xD5, 0x5E, 0x00]) / 255
OUTSIDE_GREY = 0.5


def maps_figure(result: ActivationMaps, notes: Sequence[str]) -> Figure:
    """Draw the image, and below it the maps of each layer."""
    heading = [shorten(result.image, 60)]
    heading += [f"predicted: {shorten(guess.name)}, {guess.probability:.2f}" for guess in result.guesses[:1]]
    rows = [[GalleryPanel("; ".join(heading), (Tile(to_hwc(result.pixels)),), num_columns=1)]]
    for layer in result.layers:
        noun = "maps" if layer.is_map else "numbers"
        rows.append([_layer_panel(layer, f"{_shape_text(layer)}: {len(layer.shown)} of {len(layer.values):,} {noun}")])
    return draw_gallery(f"Activations of {shorten(result.network, 80)}", rows, notes)


def layer_figure(result: ActivationMaps, layer: LayerMaps) -> Figure:
    """Draw the image beside the maps of one layer, without a title, for a page."""
    image = GalleryPanel("the image", (Tile(to_hwc(result.pixels)),), num_columns=1)
    return draw_gallery("", [[image, _layer_panel(layer, _shape_text(layer))]], (), PAGE_WIDTH)


def units_figure(result: UnitActivity, notes: Sequence[str]) -> Figure:
    """Draw a strip for each layer: a bar for each unit, and marks below for dead and saturated ones."""
    each = HEADING + STRIP + TICKS
    title = f"Activity of units: {shorten(result.network, 60)}"
    figure, bottom = new_captioned_figure(UNITS_WIDTH, each * len(result.layers), title, notes)
    for number, layer in enumerate(result.layers):
        at = bottom + each * (len(result.layers) - 1 - number) + TICKS
        axes = minimal_axes(figure, LEFT, at, UNITS_WIDTH - LEFT - RIGHT, STRIP)
        _draw_units(axes, layer)
        heading = f"{shorten(layer.name, 40)}, {layer.kind}, {pluralize(len(layer.above), 'unit')}"
        style = {"fontsize": SMALL, "color": COLOURS["ink"], "weight": "bold", "parse_math": False}
        axes.set_title(heading, style, loc="left", pad=6)
    return figure


def patches_figure(result: Patches, notes: Sequence[str]) -> Figure:
    """Draw a row of patches for each filter."""
    rows = []
    for each in result.filters:
        tiles = tuple(
            Tile(_patch_pixels(patch), (format_short(patch.value), f"{result.split}:{patch.image}", patch.label))
            for patch in each.patches
        )
        rows.append([GalleryPanel(f"filter {each.number}", tiles, PATCHES_PER_ROW)])
    title = f"Patches that excite {shorten(result.layer, 40)} of {shorten(result.network, 50)} most"
    return draw_gallery(title, rows, notes, PATCHES_WIDTH)


def crop_patch(patch: Patch) -> npt.NDArray[np.floating]:
    """The receptive field, H×W×3, grey outside the image; the whole image where the field covers it."""
    whole = to_hwc(patch.pixels)
    if patch.size is None or patch.rows is None or patch.columns is None or patch.covers_image:
        return whole
    (top, bottom), (left, right) = patch.rows, patch.columns
    high, wide = whole.shape[:2]
    outside = ((max(-top, 0), max(bottom + 1 - high, 0)), (max(-left, 0), max(right + 1 - wide, 0)), (0, 0))
    padded = np.pad(whole, outside, constant_values=OUTSIDE_GREY)
    top, left = max(top, 0), max(left, 0)
    return padded[top : top + patch.size[0], left : left + patch.size[1]]


def _shape_text(layer: LayerMaps) -> str:
    return f"{layer.name}, {format_shape(layer.batch_shape)}"


def _layer_panel(layer: LayerMaps, heading: str) -> GalleryPanel:
    """The shown maps, or numbers, of a layer."""
    if layer.is_map:
        return GalleryPanel(heading, tuple(_map_tile(layer, number) for number in layer.shown), MAPS_PER_ROW)
    numbers = layer.values[:, 0, 0]
    largest = float(np.abs(np.nan_to_num(numbers)).max(initial=0.0))
    tiles = tuple(
        Tile(
            to_diverging_rgb(np.full(FIELD_SHAPE, numbers[number - 1]), largest),
            (str(number), format_short(float(numbers[number - 1]))),
        )
        for number in layer.shown
    )
    return GalleryPanel(heading, tiles, UNITS_PER_ROW)


def _map_tile(layer: LayerMaps, number: int) -> Tile:
    values = layer.values[number - 1]
    low, high = float(values.min()), float(values.max())
    return Tile(to_viridis_rgb(values), (str(number), format_short(low), format_short(high)))


def _draw_units(axes: Axes, layer: LayerUnits) -> None:
    shares = layer.active_shares
    count = len(shares)
    axes.bar(np.arange(1, count + 1), shares, color=COLOURS["train"], linewidth=0)
    for units, colour in ((layer.dead, "validation"), (layer.saturated, "other")):
        axes.bar(units, -MARK, width=max(0.8, count / 240), color=COLOURS[colour], linewidth=0)
    axes.set_xlim(0.4, count + 0.6)
    axes.set_ylim(-MARK, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=16, integer=True))
    axes.tick_params(axis="x", pad=2)


def _patch_pixels(patch: Patch) -> npt.NDArray[np.floating]:
    """The crop of a patch; in a whole image a square marks the middle of the receptive field."""
    pixels = crop_patch(patch)
    if not patch.covers_image or patch.rows is None or patch.columns is None:
        return pixels
    marked = pixels.copy()
    radius = max(pixels.shape) // 32
    row, column = (sum(ends) // 2 for ends in (patch.rows, patch.columns))
    marked[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1] = MARK_COLOUR
    return marked
