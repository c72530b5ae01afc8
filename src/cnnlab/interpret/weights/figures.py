"""The weights of one layer as figures. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnnlab.interpret.weights.filters import CHANNEL_NAMES, UNTRAINED, Floats, WeightScale
from cnnlab.interpret.weights.measures import MAX_ROWS, nan_to_zero
from cnnlab.interpret.weights.result import LayerWeights
from cnnlab.render.formatting import pluralize, shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_diverging_rgb, to_viridis_rgb
from cnnlab.render.plots import COLOURS, SMALL, CaptionedFigure, minimal_axes, new_captioned_figure

# Pictures and kernels in a row, where before and after stand side by side and where they don't.
PICTURES_BESIDE, PICTURES_ALONE = 8, 14
KERNELS_BESIDE, KERNELS_ALONE = 8, 16
WIDTH, LEFT, RIGHT, ABOVE, BELOW = 720.0, 56.0, 16.0, 24.0, 44.0
MAX_CELL, MIN_HEIGHT, MAX_HEIGHT = 14.0, 60.0, 640.0
MAX_COLUMNS = 1024


def weights_to_rgb(weights: Floats, largest: Floats | None = None) -> npt.NDArray[np.float64]:
    """F×H×W×3 colours from 0 to 1: mid-grey is weight 0, full range the filter's largest absolute weight.

    Three channels are red, green and blue; of any other number the mean over the channels is shown in grey.

    Args:
        weights: F×C×H×W.
        largest: F absolute weights to take as full range instead.
    """
    values = nan_to_zero(weights).astype(np.float64)
    if values.shape[1] not in (1, 3):
        values = values.mean(axis=1, keepdims=True)
    full = np.abs(values).max(axis=(1, 2, 3)) if largest is None else np.asarray(largest, dtype=np.float64)
    scaled = 0.5 + 0.5 * np.clip(values / np.where(full > 0, full, 1.0)[:, None, None, None], -1, 1)
    return np.broadcast_to(scaled, (len(values), 3, *values.shape[2:])).transpose(0, 2, 3, 1)


def channel_to_rgb(weights: Floats, channel: int, largest: Floats | None = None) -> npt.NDArray[np.float64]:
    """One channel of each filter in grey, F×H×W×3, on the scale of the filter in `weights_to_rgb`."""
    return np.repeat(weights_to_rgb(weights, largest)[..., channel : channel + 1], 3, axis=-1)


def draw_filters(result: LayerWeights, scale: WeightScale = "own") -> dict[str, CaptionedFigure]:
    """The figures of a layer by name, the main one first."""
    if result.filters.is_single_picture:
        figures = {"filters": _filters_figure(result, scale)}
        if result.filters.in_colour:
            figures["channels"] = _channels_figure(result, scale)
        return figures
    if result.filters.is_spatial:
        return {"kernels": _kernels_figure(result, scale), "norms": _norms_figure(result)}
    return {"matrix": _matrix_figure(result)}


def _sides(result: LayerWeights) -> list[tuple[str, Floats]]:
    """The shown filters before training, where known, and after it, each under its heading."""
    filters, shown = result.filters, list(result.shown_filters)
    heading = "frozen" if filters.frozen else "" if filters.initial_weights == UNTRAINED else "after training"
    sides = [(heading, filters.after[shown])]
    if filters.before is not None and filters.shows_before_and_after:
        sides.insert(0, ("before training", filters.before[shown]))
    return sides


def _common_scale(sides: Sequence[tuple[str, Floats]], scale: WeightScale) -> npt.NDArray[np.float64] | None:
    """The largest absolute weight of each filter before and after training; None where each side has its own scale."""
    if scale == "own" or len(sides) == 1:
        return None
    return np.asarray(np.max([_largest_weights(weights) for _, weights in sides], axis=0))


def _largest_weights(weights: Floats) -> npt.NDArray[np.float64]:
    """The largest absolute weight of each filter."""
    return np.asarray(np.abs(nan_to_zero(weights)).reshape(len(weights), -1).max(axis=1), dtype=np.float64)


def _filters_figure(result: LayerWeights, scale: WeightScale) -> CaptionedFigure:
    sides = _sides(result)
    largest = _common_scale(sides, scale)
    row = [_panel(result, heading, weights_to_rgb(weights, largest), len(sides)) for heading, weights in sides]
    colours = "red, green and blue as in an image" if result.filters.in_colour else "grey"
    description = f"{_count_text(result)}, {colours}: mid-grey is weight 0."
    title = f"{result.filters.noun.capitalize()}s of {_name(result)}"
    return CaptionedFigure(
        draw_gallery(title, [row], [f"{description} {_scale_text(largest)}"]), f"{title}. {description}"
    )


def _channels_figure(result: LayerWeights, scale: WeightScale) -> CaptionedFigure:
    sides = _sides(result)
    largest = _common_scale(sides, scale)
    rows = [
        [
            _panel(
                result,
                ", ".join(filter(None, (colour, heading))),
                channel_to_rgb(weights, channel, largest),
                len(sides),
            )
            for heading, weights in sides
        ]
        for channel, colour in enumerate(CHANNEL_NAMES)
    ]
    description = f"{_count_text(result)}, each channel alone: black is a negative weight, mid-grey 0, white positive."
    title = f"Red, green and blue alone: {_name(result)}"
    return CaptionedFigure(
        draw_gallery(title, rows, [f"{description} {_scale_text(largest)}"]), f"{title}. {description}"
    )


def _kernels_figure(result: LayerWeights, scale: WeightScale) -> CaptionedFigure:
    filters, sides = result.filters, _sides(result)
    largest = _common_scale(sides, scale)
    num_kernels = min(KERNELS_BESIDE if len(sides) > 1 else KERNELS_ALONE, int(filters.after.shape[1]))
    # For each filter the largest absolute weight on each side, or of both.
    ranges = np.stack([_largest_weights(weights) if largest is None else largest for _, weights in sides], axis=1)
    rows = []
    for position, number in enumerate(result.shown_filters):
        norms = np.linalg.norm(nan_to_zero(filters.after[number]), axis=(1, 2))
        channels = np.argsort(-norms, kind="stable")[:num_kernels]
        lines = [(str(filters.channel(number, int(channel))),) for channel in channels]
        rows.append(
            [
                GalleryPanel(
                    ", ".join(filter(None, (f"{filters.noun} {number}", heading))),
                    tuple(map(Tile, to_diverging_rgb(nan_to_zero(weights[position])[channels], full), lines)),
                    KERNELS_BESIDE if len(sides) > 1 else KERNELS_ALONE,
                )
                for (heading, weights), full in zip(sides, ranges[position], strict=True)
            ]
        )
    description = (
        f"{_count_text(result)}, each with its {num_kernels} kernels of the largest norm, under the number of the "
        "input channel: orange is a positive weight, blue a negative one, white 0."
    )
    title = f"Kernels of {_name(result)}"
    return CaptionedFigure(
        draw_gallery(title, rows, [f"{description} {_scale_text(largest)}"]), f"{title}. {description}"
    )


def _matrix_figure(result: LayerWeights) -> CaptionedFigure:
    """The weights of a layer with one number a channel."""
    filters, rows, columns = result.filters, list(result.shown_filters), _largest_columns(result)
    matrices = [
        (heading, nan_to_zero(weights)[:, columns, 0, 0].astype(np.float64)) for heading, weights in _sides(result)
    ]
    largest = max((float(np.abs(matrix).max(initial=0)) for _, matrix in matrices), default=0.0)
    description = (
        f"{_count_text(result)}, a row for each; a column for {_columns_text(result, columns)}: orange is a positive "
        f"weight, blue a negative one, white 0; full colour at {largest:.3g}."
    )
    images = [(heading, to_diverging_rgb(matrix, largest)) for heading, matrix in matrices]
    title = f"Weights of {_name(result)}"
    return _heatmap_figure(title, images, rows, columns, filters.noun, description)


def _norms_figure(result: LayerWeights) -> CaptionedFigure:
    """The norm of every kernel: from which input channels a filter reads."""
    filters, columns = result.filters, _largest_columns(result)
    norms = np.linalg.norm(nan_to_zero(filters.after), axis=(2, 3)).astype(np.float64)
    rows = _largest(np.linalg.norm(norms, axis=1), MAX_ROWS)
    which = pluralize(len(norms), filters.noun)
    if len(rows) < len(norms):
        which = f"The largest {len(rows):,} of {len(norms):,} {filters.noun}s"
    description = (
        f"{which}, a row for each; a column for {_columns_text(result, columns)}"
        f"{' of its group' if filters.groups > 1 else ''}: the norm of its kernel, from dark blue, 0, to yellow, "
        f"{norms.max(initial=0):.3g}."
    )
    images = [("", to_viridis_rgb(norms[rows][:, columns], 0))]
    return _heatmap_figure(f"Norms of the kernels of {_name(result)}", images, rows, columns, filters.noun, description)


def _scale_text(largest: npt.NDArray[np.float64] | None) -> str:
    when = "" if largest is None else ", of before and after training together"
    return f"Full range is the filter's largest absolute weight{when}."


def _heatmap_figure(
    title: str,
    images: Sequence[tuple[str, npt.NDArray[np.floating]]],
    rows: Sequence[int],
    columns: Sequence[int],
    noun: str,
    description: str,
) -> CaptionedFigure:
    """Images below each other whose rows and columns are numbered."""
    cell = min((WIDTH - LEFT - RIGHT) / len(columns), MAX_CELL)
    height = min(max(len(rows) * cell, MIN_HEIGHT), MAX_HEIGHT)
    each = ABOVE + height + BELOW
    figure, bottom = new_captioned_figure(WIDTH, each * len(images), title, [description])
    for number, (heading, image) in enumerate(images):
        at = bottom + each * (len(images) - 1 - number) + BELOW
        axes = minimal_axes(figure, LEFT, at, cell * len(columns), height)
        axes.grid(visible=False)
        axes.imshow(image, interpolation="none", aspect="auto")
        axes.set_title(heading, fontsize=SMALL, color=COLOURS["ink"], weight="bold", loc="left", pad=6)
        for axis, numbers, length in ((axes.xaxis, columns, cell * len(columns)), (axes.yaxis, rows, height)):
            axis.set_major_locator(MaxNLocator(nbins=max(int(length / 30), 1), integer=True))
            axis.set_major_formatter(
                FuncFormatter(lambda at, _, numbers=numbers: str(numbers[int(at)]) if 0 <= at < len(numbers) else "")
            )
        axes.set_xlabel("input channel" if noun == "filter" else "input", fontsize=SMALL, color=COLOURS["muted"])
        axes.set_ylabel(noun, fontsize=SMALL, color=COLOURS["muted"])
    return CaptionedFigure(figure, description)


def _panel(result: LayerWeights, heading: str, images: npt.NDArray[np.floating], num_sides: int) -> GalleryPanel:
    columns = min(PICTURES_BESIDE if num_sides > 1 else PICTURES_ALONE, max(len(images), 4))
    lines = [(str(number),) for number in result.shown_filters]
    return GalleryPanel(heading, tuple(map(Tile, images, lines)), columns)


def _name(result: LayerWeights) -> str:
    return f"{shorten(result.filters.layer)} of {shorten(result.network, 60)}"


def _count_text(result: LayerWeights) -> str:
    count, shown, noun = len(result.filters.after), len(result.shown_filters), result.filters.noun
    which = "first" if result.order == "number" else "largest"
    return pluralize(count, noun) if shown == count else f"The {which} {shown:,} of {count:,} {noun}s"


def _columns_text(result: LayerWeights, columns: Sequence[int]) -> str:
    count = int(result.filters.after.shape[1])
    noun = "input channel" if result.filters.kind == "conv" else "input"
    return f"each {noun}" if len(columns) == count else f"the {len(columns):,} of {count:,} {noun}s of the largest norm"


def _largest_columns(result: LayerWeights) -> list[int]:
    return _largest((nan_to_zero(result.filters.after) ** 2).sum(axis=(0, 2, 3)), MAX_COLUMNS)


def _largest(sizes: npt.NDArray[np.floating], max_count: int) -> list[int]:
    """The indices of the largest sizes, in ascending order."""
    return sorted(int(index) for index in np.argsort(-sizes, kind="stable")[:max_count])
