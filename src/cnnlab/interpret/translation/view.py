"""The sensitivity to translation as tables. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnlab.interpret.translation.result import (
    DIRECTION_TEXT,
    TOLERANCE,
    LayerTranslation,
    MapShift,
    TranslationSensitivity,
    evenly_spaced,
)
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import MISSING, format_count, format_shape
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure

FILL_TEXT = {"edge": "the freed border repeats the edge pixels", "zero": "the freed border is zero, as padding is"}
CHANGE_FORMULA = Formula(
    "change(s) = ‖a(image moved by s) − a(image)‖ / ‖a(image)‖, a: the activations of a layer",
    r"\mathrm{change}(s) = \lVert a(T_s x) - a(x) \rVert \,/\, \lVert a(x) \rVert",
)
# A factor from here on rounds to 1.00.
UNCHANGED = 0.995
# So many shifts have a column of their own; of more, so many spread over all.
MAX_COLUMNS = 6


@document.register
def _(result: TranslationSensitivity) -> Document:
    moved = f"moved {DIRECTION_TEXT[result.direction]}, {FILL_TEXT[result.fill]}"
    at = f"at {result.shifts[1]} px"
    return Document(
        title=f"Sensitivity of {result.network} to small shifts",
        lines=(CHANGE_FORMULA, headline(result)),
        tables=(
            (f"Change after each layer; after/before {at}", _change_table(result)),
            (f"Kinds of layers that work on maps; after/before {at}, geometric mean", _kind_table(result)),
            ("Shifts that maps follow exactly", _equivariance_table(result)),
        ),
        notes=(
            f"Image: {result.image}, {format_shape(result.size)}, {moved}; 32-bit floats, eval mode.",
            "Exactly: the map of the moved image is the image's map, moved by shift / jump nodes; compared over the "
            "nodes whose receptive field lies inside both images. Differences are shares of the map's largest number; "
            f"up to {TOLERANCE:.0e} is rounding.",
        ),
    )


@figures.register(TranslationSensitivity)
def _(result: TranslationSensitivity) -> dict[str, CaptionedFigure]:
    from cnnlab.interpret.translation.figures import translation_figure
    from cnnlab.render.plots import CaptionedFigure

    description = f"Change of the activations against the shift, before and after some layers. {headline(result)}"
    return {"translation": CaptionedFigure(translation_figure(result), description)}


def headline(result: TranslationSensitivity) -> str:
    """The kind of layer that lowers the change most."""
    if not result.changes[1]:
        return "This image is the same when it is moved, so it tells nothing of the layers."
    if not result.kinds or result.kinds[0].mean >= UNCHANGED:
        return f"At a shift of {result.shifts[1]} px no kind of layer lowers the change."
    kind, mean, _ = result.kinds[0]
    return f"At a shift of {result.shifts[1]} px {kind} lowers the change most: to {mean:.2f} of the change before it."


def exact_shifts_text(layer: LayerTranslation) -> str:
    """The shifts that a map follows exactly, by its strides and by the measurement."""
    if layer.period is None:
        return ""
    multiples = "every shift" if layer.period == 1 else f"multiples of {layer.period} px"
    if not any(move.shift % layer.period == 0 for move in layer.moves):
        return f"{multiples}, by the strides alone"
    if all(move.is_equivariant == (move.shift % layer.period == 0) for move in layer.moves):
        return multiples
    return f"of those measured: {', '.join(f'{shift} px' for shift in layer.equivariant_shifts) or 'none'}"


def _change_table(result: TranslationSensitivity) -> TextTable:
    columns = evenly_spaced(range(1, len(result.shifts)), MAX_COLUMNS)
    titles = ["layer", "`row", *(f"#{result.shifts[at]} px" for at in columns), "#after/before"]
    image = ["image", "", *(_format(result.changes[at]) for at in columns), ""]
    rows = [
        [layer.name, layer.text, *(_format(layer.after[at]) for at in columns), _format(layer.factor())]
        for layer in result.layers
    ]
    return TextTable.from_rows(titles, [image, *rows])


def _kind_table(result: TranslationSensitivity) -> TextTable:
    rows = [(each.kind, str(each.layers), _format(each.mean)) for each in result.kinds]
    return TextTable.from_rows(["kind", "#layers", "#after/before"], rows)


def _equivariance_table(result: TranslationSensitivity) -> TextTable:
    """One row for each period and text: layers that repeat the one before are left out."""
    rows: dict[tuple[int, str], tuple[str, ...]] = {}
    for layer in result.layers:
        if layer.period is None:
            continue
        exact = [move for move in layer.moves if move.shift % layer.period == 0]
        others = [move for move in layer.moves if move.shift % layer.period]
        row = (
            layer.name,
            format_shape(layer.map or ()),
            exact_shifts_text(layer),
            ", ".join(str(move.shift) for move in exact) or MISSING,
            format_count(min((move.nodes for move in exact), default=0)),
            _largest_difference(exact),
            _largest_difference(others),
        )
        rows.setdefault((layer.period, exact_shifts_text(layer)), row)
    titles = ["layer", "#map", "follows exactly", "#measured at, px", "#nodes", "#difference there", "#at others"]
    return TextTable.from_rows(titles, rows.values())


def _largest_difference(moves: Sequence[MapShift]) -> str:
    if not moves:
        return MISSING
    largest = max(move.difference for move in moves)
    return f"{largest:.1e}" if 0 < largest < 0.01 else f"{largest:.2g}"


def _format(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"
