"""View of effective receptive fields: a table, and heat maps with the theoretical field. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cnnlab.interpret.receptive_field.result import EffectiveField, EffectiveFields
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import MISSING, format_shape, pluralize, shorten
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
    "Theoretical: by the layers' windows. Support: around all pixels with a gradient. Effective: the side of a square "
    "with as many pixels as have more than 4.55 % of the largest gradient (Luo et al., 2016)."
)


@document.register
def _(result: EffectiveFields) -> Document:
    first = result.fields[0]
    rows = [
        (field.network, _theoretical(field), format_shape(field.support_size), f"{field.effective_size:.1f}")
        for field in result.fields
    ]
    titles = ("network", "#theoretical", "#support", "#effective")
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
_LEGEND = "dashed: theoretical field; solid: square of the effective size; shade: square root of the gradient"


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


def _theoretical(field: EffectiveField) -> str:
    return format_shape(field.theoretical_size) if field.theoretical_size else MISSING


def _sizes(field: EffectiveField) -> str:
    return f"theoretical: {_theoretical(field)}; effective: {field.effective_size:.1f}"


def _draw_field(axes: Axes, field: EffectiveField) -> None:
    """The square root of the gradient as the opacity of one colour, with the outlines of two fields."""
    from matplotlib.patches import Rectangle

    from cnnlab.render.plots import COLOURS, NORMAL, SMALL

    height, width = field.gradient.shape
    heat = np.empty((height, width, 4))
    heat[..., :3] = _HEAT
    heat[..., 3] = np.sqrt(field.gradient / max(field.gradient.max(), np.finfo(float).tiny))
    axes.imshow(heat, interpolation="none")
    outlines: list[tuple[tuple[float, float], float, float, str, str, float]] = [
        ((-0.5, -0.5), width, height, "muted", "-", 1.0)
    ]
    if field.rows is not None and field.columns is not None and field.theoretical_size is not None:
        high, wide = field.theoretical_size
        side, middle = field.effective_size, (sum(field.columns) / 2, sum(field.rows) / 2)
        outlines += [
            ((middle[0] - side / 2, middle[1] - side / 2), side, side, "validation", "-", 1.6),
            ((middle[0] - wide / 2, middle[1] - high / 2), wide, high, "ink", "--", 1.6),
        ]
    for corner, across, down, colour, style, line in outlines:
        if max(across, down) <= 3 * max(width, height):  # a larger one would leave no room for the image
            axes.add_patch(
                Rectangle(corner, across, down, fill=False, edgecolor=COLOURS[colour], linestyle=style, linewidth=line)
            )
    axes.use_sticky_edges = False
    axes.autoscale()
    axes.margins(_MARGIN)
    axes.set_axis_off()
    axes.set_title(
        shorten(field.network, 40), loc="left", pad=20, fontsize=NORMAL, color=COLOURS["ink"], parse_math=False
    )
    place = (0, 1), (0, 6), "axes fraction", "offset points"
    axes.annotate(_sizes(field), *place, fontsize=SMALL, color=COLOURS["muted"])
