"""The weights of one layer as figures. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnnlab.interpret.weights.filters import CHANNEL_NAMES, UNTRAINED, Floats, WeightScale
from cnnlab.interpret.weights.measures import nan_to_zero
from cnnlab.interpret.weights.result import LayerWeights
from cnnlab.render.formatting import pluralize, shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_diverging_rgb, to_viridis_rgb
from cnnlab.render.plots import COLOURS, SMALL, CaptionedFigure, minimal_axes, new_captioned_figure

# Pictures and kernels in a row, where before and after stand side by side and where they don't.
PICTURES_BESIDE, PICTURES_ALONE = 8, 14
KERNELS_BESIDE, KERNELS_ALONE = 8, 16
WIDTH, LEFT, RIGHT, ABOVE, BELOW = 720.0, 56.0, 16.0, 24.0, 44.0
MAX_CELL, MIN_HEIGHT, MAX_HEIGHT = 14.0, 60.0, 640.0

Reals = npt.NDArray[np.float64]


def weights_to_rgb(weights: Floats, largest: Floats | None = None) -> Reals:
    """F×H×W×3 colours from 0 to 1: mid-grey is weight 0, full range the filter's largest absolute weight.

    Three channels are red, green and blue; of any other number the mean over the channels is shown in grey.

    Args:
        weights: F×C×H×W.
        largest: F absolute weights to take as full range instead.
    """
    values = nan_to_zero(weights).astype(np.float64)
    if values.shape[1] not in (1, 3):
        values = values.mean(axis=1, keepdims=True)
    full = _largest_weights(values) if largest is None else np.asarray(largest, dtype=np.float64)
    scaled = 0.5 + 0.5 * np.clip(values / np.where(full > 0, full, 1.0)[:, None, None, None], -1, 1)
    return np.broadcast_to(scaled, (len(values), 3, *values.shape[2:])).transpose(0, 2, 3, 1)


def draw_filters(result: LayerWeights, scale: WeightScale = "own") -> dict[str, CaptionedFigure]:
    """The figures of a layer by name, the main one first."""
    filters, main = result.filters, main_figure(result, scale)
    if not filters.is_spatial:
        return {"matrix": main}
    if not filters.is_single_picture:
        return {"kernels": main, "norms": _norms_figure(result)}
    return {"filters": main, **({"channels": _channels_figure(result, scale)} if filters.in_colour else {})}


def main_figure(result: LayerWeights, scale: WeightScale = "own") -> CaptionedFigure:
    """The filters of a layer: a picture of each, or its kernels, or the rows of a matrix."""
    if not result.filters.is_spatial:
        return _matrix_figure(result)
    if not result.filters.is_single_picture:
        return _kernels_figure(result, scale)
    title = f"{result.filters.noun.capitalize()}s of {_name(result)}"
    return _pictures(result, title, [_images(result, scale)], scale)


def _channels_figure(result: LayerWeights, scale: WeightScale) -> CaptionedFigure:
    """The red, green and blue weights of each filter alone, in grey."""
    images = _images(result, scale)
    rows = [
        [(f"{colour} {heading}".strip(), np.repeat(side[..., [channel]], 3, axis=-1)) for heading, side in images]
        for channel, colour in enumerate(CHANNEL_NAMES)
    ]
    return _pictures(result, f"Red, green and blue alone: {_name(result)}", rows, scale)


def _images(result: LayerWeights, scale: WeightScale) -> list[tuple[str, Reals]]:
    return [(heading, weights_to_rgb(weights, full)) for heading, weights, full in _sides(result, scale)]


def _sides(result: LayerWeights, scale: WeightScale) -> list[tuple[str, Floats, Reals]]:
    """The shown filters before training, where known, and after it: heading, weights, and weight of full colour."""
    filters, shown = result.filters, [number - 1 for number in result.shown_filters]
    heading = "frozen" if filters.frozen else "" if filters.initial_weights == UNTRAINED else "after training"
    sides = [(heading, filters.after[shown])]
    if filters.before is not None and filters.shows_before_and_after:
        sides.insert(0, ("before training", filters.before[shown]))
    largest = [_largest_weights(weights) for _, weights in sides]
    if scale == "common":
        largest = [np.max(largest, axis=0)] * len(sides)
    return [(heading, weights, full) for (heading, weights), full in zip(sides, largest, strict=True)]


def _largest_weights(weights: Floats) -> Reals:
    """The largest absolute weight of each filter."""
    return np.asarray(np.abs(nan_to_zero(weights)).reshape(len(weights), -1).max(axis=1), dtype=np.float64)


def _pictures(
    result: LayerWeights, title: str, rows: Sequence[Sequence[tuple[str, Reals]]], scale: WeightScale
) -> CaptionedFigure:
    """A gallery of filters with their numbers; a row has a panel for before and one for after training."""
    note = f"{result.selection_text}, numbered from 1: mid-grey is weight 0. {_scale_text(scale)}"
    lines = [(str(number),) for number in result.shown_filters]
    columns = min(PICTURES_BESIDE if len(rows[0]) > 1 else PICTURES_ALONE, max(len(lines), 4))
    panels = [
        [GalleryPanel(heading, tuple(map(Tile, images, lines)), columns) for heading, images in row] for row in rows
    ]
    return CaptionedFigure(draw_gallery(title, panels, [note]), f"{title}. {note}")


def _kernels_figure(result: LayerWeights, scale: WeightScale) -> CaptionedFigure:
    """The kernels of the largest norm of each filter."""
    filters, sides = result.filters, _sides(result, scale)
    num_kernels = KERNELS_BESIDE if len(sides) > 1 else KERNELS_ALONE
    rows = []
    for position, number in enumerate(result.shown_filters):
        norms = np.linalg.norm(nan_to_zero(filters.after[number - 1]), axis=(1, 2))
        channels = np.argsort(-norms, kind="stable")[:num_kernels]
        lines = [(str(filters.channel(number, int(channel))),) for channel in channels]
        panels = []
        for heading, weights, full in sides:
            images = to_diverging_rgb(nan_to_zero(weights[position])[channels], full[position])
            name = ", ".join(filter(None, (f"{filters.noun} {number}", heading)))
            panels.append(GalleryPanel(name, tuple(map(Tile, images, lines)), num_kernels))
        rows.append(panels)
    note = (
        f"{result.selection_text}, each with its kernels of the largest norm, under the number of the input channel, "
        "both from 1: "
        f"orange is a positive weight, blue a negative one, white 0. {_scale_text(scale)}"
    )
    title = f"Kernels of {_name(result)}"
    return CaptionedFigure(draw_gallery(title, rows, [note]), f"{title}. {note}")


def _matrix_figure(result: LayerWeights) -> CaptionedFigure:
    """The weights of a layer with one number a channel."""
    matrices = [(heading, nan_to_zero(weights)[..., 0, 0]) for heading, weights, _ in _sides(result, "own")]
    largest = max(float(np.abs(matrix).max(initial=0)) for _, matrix in matrices)
    images = [(heading, to_diverging_rgb(matrix, largest)) for heading, matrix in matrices]
    note = (
        f"{result.selection_text}, a row for each, a column for each input, both from 1: orange is a positive weight, "
        f"blue a negative one, white 0; full colour at {largest:.3g}."
    )
    return _heatmap_figure(result, f"Weights of {_name(result)}", images, result.shown_filters, note)


def _norms_figure(result: LayerWeights) -> CaptionedFigure:
    """The norm of every kernel: from which input channels a filter reads."""
    norms = np.linalg.norm(nan_to_zero(result.filters.after), axis=(2, 3)).astype(np.float64)
    note = (
        f"A row for each of {pluralize(len(norms), result.filters.noun)}, a column for each input channel of its "
        "group, both numbered from 1: the norm of its kernel, from dark blue, 0, to yellow, "
        f"{norms.max(initial=0):.3g}."
    )
    images = [("", to_viridis_rgb(norms, 0))]
    numbers = range(1, len(norms) + 1)
    return _heatmap_figure(result, f"Norms of the kernels of {_name(result)}", images, numbers, note)


def _heatmap_figure(
    result: LayerWeights,
    title: str,
    images: Sequence[tuple[str, npt.NDArray[np.floating]]],
    rows: Sequence[int],
    note: str,
) -> CaptionedFigure:
    """Images below each other, whose rows have these numbers."""
    num_columns = images[0][1].shape[1]
    cell = min((WIDTH - LEFT - RIGHT) / num_columns, MAX_CELL)
    height = min(max(len(rows) * cell, MIN_HEIGHT), MAX_HEIGHT)
    each = ABOVE + height + BELOW
    figure, bottom = new_captioned_figure(WIDTH, each * len(images), title, [note])
    for number, (heading, image) in enumerate(images):
        at = bottom + each * (len(images) - 1 - number) + BELOW
        axes = minimal_axes(figure, LEFT, at, cell * num_columns, height)
        axes.grid(visible=False)
        # Columns are numbered from 1, and rows by `rows`.
        extent = (0.5, num_columns + 0.5, len(rows) - 0.5, -0.5)
        axes.imshow(image, interpolation="none", aspect="auto", extent=extent)
        axes.set_title(heading, fontsize=SMALL, color=COLOURS["ink"], weight="bold", loc="left", pad=6)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=max(int(cell * num_columns / 30), 1), integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=max(int(height / 30), 1), integer=True))
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda row, _: str(rows[int(row)]) if 0 <= row < len(rows) else "")
        )
        axes.set_xlabel("input channel", fontsize=SMALL, color=COLOURS["muted"])
        axes.set_ylabel(result.filters.noun, fontsize=SMALL, color=COLOURS["muted"])
    return CaptionedFigure(figure, f"{title}. {note}")


def _scale_text(scale: WeightScale) -> str:
    when = ", of before and after training together" if scale == "common" else ""
    return f"Full range is the filter's largest absolute weight{when}."


def _name(result: LayerWeights) -> str:
    return f"{shorten(result.filters.layer)} of {shorten(result.network, 60)}"
