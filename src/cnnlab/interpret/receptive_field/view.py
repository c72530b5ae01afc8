"""View of effective receptive fields: a table, and heat maps with the theoretical field. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cnnlab.interpret.receptive_field.result import EffectiveField, EffectiveFields
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import MISSING, format_percent, format_shape, pluralize, shorten
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cnnlab.render.plots import CaptionedFigure

_GRADIENT_FORMULA = Formula(
    "g(p) = mean over images and channels of |∂ Σ_c ±y(c) / ∂x(p)|   (y(c): the node in channel c, signs at random)",
    r"g(p) = \mathrm{mean}_{x,\,\mathrm{channels}} \left| \frac{\partial \sum_c \pm y_c}{\partial x_p} \right|",
)
_DEFINITIONS = (
    "Theoretical: by the layers' windows; padding: its share outside the image. Support: around all pixels with a "
    "gradient. Effective: the side of a square with as many pixels as have more than 4.55 % of the largest gradient "
    "(Luo et al., 2016). Holds 95 %: the square around the middle with so much of the gradient."
)


@document.register
def _(result: EffectiveFields) -> Document:
    first = result.fields[0]
    rows = []
    for field in result.fields:
        theory, padding = field.theoretical_size, field.padding_share
        rows.append(
            (
                field.network,
                format_shape(theory) if theory else MISSING,
                format_shape(field.support_size),
                f"{field.effective_size:.1f}",
                format_shape((field.energy_size, field.energy_size)),
                MISSING if padding is None else format_percent(padding),
            )
        )
    titles = ("network", "#theoretical", "#support", "#effective", "#holds 95 %", "#padding")
    notes = [f"Mean over {pluralize(first.images, 'image')} of normally distributed noise, in eval mode.", _DEFINITIONS]
    dead = [field.network for field in result.fields if not field.gradient.any()]
    if dead:
        notes.append(f"No pixel changes this node: {', '.join(dead)}. Its activations may all be 0.")
    return Document(
        f"Effective receptive field of {first.layer}, node ({first.node[0]}, {first.node[1]})",
        (_GRADIENT_FORMULA,),
        (("", TextTable.from_rows(titles, rows)),),
        tuple(notes),
    )


@document.register
def _(result: EffectiveField) -> Document:
    return document(EffectiveFields(fields=(result,)))


_SIDE, _GAP, _LABELS = 300.0, 40.0, 52.0
# Between the blue of light pages and that of dark ones, from 0 to 1.
_HEAT = (0.17, 0.55, 0.82)
# How far the picture goes beyond the image and the outlines, as a share of their extent.
_MARGIN = 0.05
_LEGEND = "dashed: theoretical field; solid: holds 95 % of the gradient; shade: square root of the gradient"


@figures.register(EffectiveField)
def _(result: EffectiveField) -> dict[str, CaptionedFigure]:
    return figures(EffectiveFields(fields=(result,)))


@figures.register(EffectiveFields)
def _(result: EffectiveFields) -> dict[str, CaptionedFigure]:
    """One heat map for each field, side by side."""
    from cnnlab.render.plots import CaptionedFigure, new_captioned_figure

    fields = result.fields
    heading = f"Effective receptive field of a node of {fields[0].layer}"
    width = _GAP + max(len(fields), 1.5) * (_SIDE + _GAP)
    figure, bottom = new_captioned_figure(width, _SIDE + _LABELS, heading, [_LEGEND])
    height = figure.get_figheight() * 72
    for number, field in enumerate(fields):
        left = _GAP + number * (_SIDE + _GAP)
        axes = figure.add_axes((left / width, bottom / height, _SIDE / width, _SIDE / height))
        _draw_field(axes, field)
    description = ". ".join(f"{field.network}: {_sizes(field)}" for field in fields)
    return {"effective": CaptionedFigure(figure, f"{heading}. {description}.")}


def _sizes(field: EffectiveField) -> str:
    theory = format_shape(field.theoretical_size) if field.theoretical_size else MISSING
    held = format_shape((field.energy_size, field.energy_size))
    return f"theoretical: {theory}; holds 95 %: {held}; effective: {field.effective_size:.1f}"


def _draw_field(axes: Axes, field: EffectiveField) -> None:
    """The square root of the gradient as the opacity of one colour, with the outlines of two fields."""
    from matplotlib.patches import Rectangle

    from cnnlab.render.plots import COLOURS, NORMAL, SMALL

    height, width = field.gradient.shape
    heat = np.empty((height, width, 4))
    heat[..., :3] = _HEAT
    heat[..., 3] = np.sqrt(field.gradient / max(field.gradient.max(), np.finfo(float).tiny))
    axes.imshow(heat, interpolation="none")
    (row, column), side = field.centre, field.energy_size
    outlines = [((-0.5, -0.5), width, height, "muted", "-", 1.0)]
    outlines.append(((column - side / 2, row - side / 2), side, side, "validation", "-", 1.6))
    if field.rows is not None and field.columns is not None and field.theoretical_size is not None:
        high, wide = field.theoretical_size
        outlines.append(((field.columns[0] - 0.5, field.rows[0] - 0.5), wide, high, "ink", "--", 1.6))
    for corner, wide, high, colour, style, line in outlines:
        axes.add_patch(
            Rectangle(corner, wide, high, fill=False, edgecolor=COLOURS[colour], linestyle=style, linewidth=line)
        )
    # An outline that is far larger than the image would leave no room for it.
    shown = [(*corner, wide, high) for corner, wide, high, *_ in outlines if max(wide, high) <= 3 * max(width, height)]
    left, top = (min(outline[axis] for outline in shown) for axis in (0, 1))
    right, foot = (max(outline[axis] + outline[axis + 2] for outline in shown) for axis in (0, 1))
    room = _MARGIN * max(right - left, foot - top)
    axes.set(xlim=(left - room, right + room), ylim=(foot + room, top - room))
    axes.set_axis_off()
    axes.set_title(
        shorten(field.network, 40), loc="left", pad=20, fontsize=NORMAL, color=COLOURS["ink"], parse_math=False
    )
    place = (0, 1), (0, 6), "axes fraction", "offset points"
    axes.annotate(_sizes(field), *place, fontsize=SMALL, color=COLOURS["muted"])
