"""The sensitivity to translation as tables and a plot. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from cnnlab.interpret.translation.result import (
    DIRECTION_TEXT,
    TOLERANCE,
    MapShift,
    TranslationSensitivity,
)
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import MISSING, format_count, format_shape, pluralize, shorten
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure

FILL_TEXT = {"edge": "the freed border repeats the edge pixels", "zero": "the freed border is zero, as padding is"}
CHANGE_FORMULA = Formula(
    "change(s) = ‖a(image moved by s) − a(image)‖ / ‖a(image)‖, a: the activations of a layer",
    r"\mathrm{change}(s) = \lVert a(T_s x) - a(x) \rVert \,/\, \lVert a(x) \rVert",
)
WITHOUT_TEXT = (
    "Output without it: the change of the network's output with the pool replaced by a subsampling of the same stride "
    "(one pixel of each window), divided by that of the network as it is; above 1 the pool makes the output less "
    "sensitive. The weights stay those that were trained with the pool."
)
# A factor from here on rounds to 1.00.
UNCHANGED = 0.995
# Of more shifts every second, third, … has a column.
MAX_COLUMNS = 6
# The colour of each stage in the figure; of more stages every second, third, … is drawn.
STAGE_COLOURS = ("train", "validation", "test", "ink")


@document.register
def _(result: TranslationSensitivity) -> Document:
    moved = f"moved {DIRECTION_TEXT[result.direction]}, {FILL_TEXT[result.fill]}"
    at = f"at {result.shifts[1]} px"
    return Document(
        title=f"Sensitivity of {result.network} to small shifts",
        lines=(CHANGE_FORMULA, headline(result)),
        tables=(
            (f"Change after each layer; after/before and output without it {at}", _change_table(result)),
            (f"Kinds of layers that work on maps {at}; after/before: geometric mean", _kind_table(result)),
            ("Shifts that maps follow exactly", _equivariance_table(result)),
        ),
        notes=(
            f"Image: {result.image}, {format_shape(result.size)}, {moved}; 32-bit floats, eval mode.",
            "After/before: the change of a layer's output, divided by the change of its input. It compares the "
            "activations next to a layer; it does not show what the layer does to the network's output. In a trained "
            "network a convolution may lower it more than a pool.",
            f"{WITHOUT_TEXT} {_images_text(result)}",
            "Exact: the map of the moved image is the image's map, moved by shift / jump nodes; compared over the "
            "nodes whose receptive field lies inside both images. Stride: multiples of it are whole steps on this map "
            "and all before it. Difference: the largest at multiples of the stride, and at the other shifts, as a "
            f"share of the map's largest number; up to {TOLERANCE:.0e} is rounding.",
        ),
    )


@figures.register(TranslationSensitivity)
def _(result: TranslationSensitivity) -> dict[str, CaptionedFigure]:
    """The change against the shift: each stage in its own colour, dashed before it and solid after it."""
    from matplotlib.ticker import MaxNLocator

    from cnnlab.render.plots import COLOURS, NORMAL, SMALL, CaptionedFigure, minimal_axes, new_figure

    figure = new_figure(560, 360)
    axes = minimal_axes(figure, 44, 50, 500, 254)
    axes.plot(result.shifts, np.array(result.changes, float), ":", color=COLOURS["muted"], label="the image")
    stages = result.stages[:: ceil(len(result.stages) / len(STAGE_COLOURS)) or 1]
    for colour, stage in zip(STAGE_COLOURS, stages, strict=False):
        axes.plot(result.shifts, np.array(stage.before, float), "--", color=COLOURS[colour], linewidth=1.2)
        line = np.array(stage.after, float)
        axes.plot(result.shifts, line, "o-", color=COLOURS[colour], label=shorten(stage.name, 40), markersize=4)
    axes.set_xlim(0, result.shifts[-1])
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.set_xlabel(f"shift {DIRECTION_TEXT[result.direction]}, pixels", color=COLOURS["muted"], fontsize=SMALL)
    axes.legend(frameon=False, fontsize=SMALL, labelcolor="linecolor", loc="upper left")
    title = "change of the activations, as a share of their length"
    axes.set_title(title, loc="left", pad=28, fontsize=NORMAL, color=COLOURS["ink"], weight="bold")
    note = "dashed: before a layer, solid: after it"
    if len(stages) < len(result.stages):
        note += f"; {len(stages)} of {len(result.stages)} layers"
    axes.annotate(note, (0, 1), (0, 14), "axes fraction", "offset points", fontsize=SMALL, color=COLOURS["muted"])
    description = f"Change of the activations against the shift, before and after some layers. {headline(result)}"
    return {"translation": CaptionedFigure(figure, description)}


def headline(result: TranslationSensitivity) -> str:
    """The kind of layer that lowers the change most, and what pooling does."""
    if not result.changes[1]:
        return "This image is the same when it is moved, so it tells nothing of the layers."
    at = f"At a shift of {result.shifts[1]} px"
    images = "this image" if result.num_images == 1 else f"{result.num_images:,} images"
    without = [
        f"{at} the output for {images} changes {each.output_without:.2f} times as much with every {each.kind} "
        "replaced by a subsampling."
        for each in result.kinds
        if each.output_without is not None
    ]
    if not result.kinds or result.kinds[0].mean >= UNCHANGED:
        return " ".join([*without, f"{at} no kind of layer lowers the change."])
    first, *others = result.kinds
    text = f"{at} {first.kind} lowers the change most, to {first.mean:.2f} of the change before it"
    pools = [f"{each.kind} to {each.mean:.2f}" for each in others if "pool" in each.kind]
    return f"{' '.join([*without, '; '.join([text, *pools])])}."


def _images_text(result: TranslationSensitivity) -> str:
    if result.num_images > 1:
        return f"Mean over {pluralize(result.num_images, 'image')} of the validation split."
    return "For this image; it differs from image to image: --images 64 takes the mean over more."


def _change_table(result: TranslationSensitivity) -> TextTable:
    columns = range(1, len(result.shifts), ceil((len(result.shifts) - 1) / MAX_COLUMNS))
    titles = ["layer", "`row", *(f"#{result.shifts[at]} px" for at in columns), "#after/before", "#output without it"]
    image = ["image", "", *(_format(result.changes[at]) for at in columns), "", ""]
    rows = [
        [
            layer.name,
            layer.text,
            *(_format(layer.after[at]) for at in columns),
            _format(layer.factor()),
            _format(result.output_ratio(layer.output_change_without)),
        ]
        for layer in result.layers
    ]
    return TextTable.from_rows(titles, [image, *rows])


def _kind_table(result: TranslationSensitivity) -> TextTable:
    rows = [(each.kind, str(each.layers), _format(each.mean), _format(each.output_without)) for each in result.kinds]
    return TextTable.from_rows(["kind", "#layers", "#after/before", "#output without them"], rows)


def _equivariance_table(result: TranslationSensitivity) -> TextTable:
    """One row for each stride and set of shifts: layers that repeat the one before are left out."""
    rows: dict[tuple[int, tuple[int, ...]], tuple[str, ...]] = {}
    for layer in result.layers:
        if layer.period is None:
            continue
        multiples = [move for move in layer.moves if move.shift % layer.period == 0]
        others = [move for move in layer.moves if move.shift % layer.period]
        row = (
            layer.name,
            format_shape(layer.map or ()),
            str(layer.period),
            ", ".join(str(move.shift) for move in layer.moves) or MISSING,
            ", ".join(map(str, layer.equivariant_shifts)) or MISSING,
            format_count(min((move.nodes for move in multiples), default=0)),
            _largest_difference(multiples),
            _largest_difference(others),
        )
        rows.setdefault((layer.period, layer.equivariant_shifts), row)
    titles = ("layer", "#map", "#stride, px", "#measured at", "#exact at", "#nodes", "#difference", "#at others")
    return TextTable.from_rows(titles, rows.values())


def _largest_difference(moves: Sequence[MapShift]) -> str:
    if not moves:
        return MISSING
    largest = max(move.difference for move in moves)
    return f"{largest:.1e}" if 0 < largest < 0.01 else f"{largest:.2g}"


def _format(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"
