"""View of effective receptive fields: a table, and heat maps with the theoretical field. No torch."""

from __future__ import annotations

import io
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnlab.interpret.receptive_field.result import EffectiveField, EffectiveFields
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import MISSING, format_percent, format_shape, pluralize, shorten
from cnnlab.render.result import document, svg
from cnnlab.render.svg import SMALL, SvgDrawing, text_width
from cnnlab.render.tables import TextTable

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


_SIDE, _MARGIN, _GAP, _LINE = 300.0, 22.0, 30.0, 16.0
# A theoretical field that goes further beyond the image than this share of its side is not drawn.
_MAX_OVERHANG = 0.25
# Between the blue of light pages and that of dark ones.
_HEAT = (43, 140, 209)
# (top, bottom, left, right), in pixels of the image.
_Box: TypeAlias = tuple[float, float, float, float]


@svg.register
def _(result: EffectiveField) -> str:
    return svg(EffectiveFields(fields=(result,)))


@svg.register
def _(result: EffectiveFields) -> str:
    """One heat map for each field, side by side."""
    fields = result.fields
    heading = f"Effective receptive field of a node of {fields[0].layer}"
    legend = "dashed: theoretical field; solid: holds 95 % of the gradient; shade: square root of the gradient"
    texts = [_labels(field) for field in fields]
    room = max(_SIDE, *(text_width(text, SMALL) for lines in texts for text in lines))
    width = 2 * _MARGIN + max(len(fields) * (room + _GAP) - _GAP, text_width(legend, SMALL))
    boxes = [_drawn_box(field) for field in fields]
    labels = _MARGIN + 24 + max((box[1] - box[0]) * _scale(box) for box in boxes) + 1.4 * _LINE
    height = labels + (max(map(len, texts)) + 0.5) * _LINE + _MARGIN
    drawing = SvgDrawing(width, height, "effective", f"{heading}: {'; '.join(map(', '.join, texts))}.")
    drawing.text(_MARGIN, _MARGIN + 4, heading, bold=True)
    for number, (field, lines) in enumerate(zip(fields, texts, strict=True)):
        left = _MARGIN + number * (room + _GAP)
        _draw(drawing, field, left, _MARGIN + 24)
        for row, line in enumerate(lines):
            colour = "muted" if row else "ink"
            drawing.text(left, labels + row * _LINE, line, size=SMALL, colour=colour, bold=not row)
    drawing.text(_MARGIN, height - _MARGIN + 4, legend, size=SMALL, colour="muted")
    return drawing.to_svg(standalone=True)


def _labels(field: EffectiveField) -> tuple[str, ...]:
    theory, padding = field.theoretical_size, field.padding_share
    lines = [shorten(field.network)]
    if theory is not None:
        share = f", {format_percent(padding)} of it padding" if padding else ""
        beyond = "" if _theoretical_box(field) else ", larger than this picture"
        lines.append(f"theoretical: {format_shape(theory)}{share}{beyond}")
    lines.append(f"holds 95 %: {field.energy_size}×{field.energy_size}; effective size: {field.effective_size:.1f}")
    return tuple(lines)


def _theoretical_box(field: EffectiveField) -> _Box | None:
    """The theoretical field, unless it goes far beyond the image."""
    if field.rows is None or field.columns is None:
        return None
    height, width = field.gradient.shape
    room = _MAX_OVERHANG * max(height, width)
    top, bottom, left, right = field.rows[0], field.rows[1] + 1, field.columns[0], field.columns[1] + 1
    fits = min(top, left) >= -room and bottom <= height + room and right <= width + room
    return (top, bottom, left, right) if fits else None


def _energy_box(field: EffectiveField) -> _Box | None:
    """The square that holds 95 % of the gradient."""
    (row, column), reach = field.centre, field.energy_size / 2
    box = (row + 0.5 - reach, row + 0.5 + reach, column + 0.5 - reach, column + 0.5 + reach)
    return box if field.energy_size else None


def _drawn_box(field: EffectiveField) -> _Box:
    """The image with both squares."""
    height, width = field.gradient.shape
    boxes = [(0, height, 0, width), *filter(None, (_theoretical_box(field), _energy_box(field)))]
    tops, bottoms, lefts, rights = zip(*boxes, strict=True)
    return min(tops), max(bottoms), min(lefts), max(rights)


def _scale(box: _Box) -> float:
    top, bottom, left, right = box
    return _SIDE / max(bottom - top, right - left)


def _draw(drawing: SvgDrawing, field: EffectiveField, left: float, top: float) -> None:
    height, width = field.gradient.shape
    whole = _drawn_box(field)
    scale = _scale(whole)
    x, y = left - whole[2] * scale, top - whole[0] * scale
    image = (x, y, width * scale, height * scale)
    drawing.rectangle(*image, fill="panel")
    drawing.image(*image, _png(field.gradient))
    drawing.rectangle(*image, stroke="muted")
    for box, colour, dashes in ((_theoretical_box(field), "ink", "5 3"), (_energy_box(field), "validation", "")):
        if box is not None:
            corners = [(box[2], box[0]), (box[3], box[0]), (box[3], box[1]), (box[2], box[1]), (box[2], box[0])]
            points = [(x + column * scale, y + row * scale) for column, row in corners]
            drawing.line(points, stroke=colour, thickness=1.6, dashes=dashes)


def _png(gradient: npt.NDArray[np.float64]) -> bytes:
    """The square root of the gradient as the opacity of one colour."""
    largest = gradient.max()
    share = np.sqrt(gradient / largest) if largest > 0 else np.zeros_like(gradient)
    pixels = np.empty((*gradient.shape, 4), np.uint8)
    pixels[..., :3] = _HEAT
    pixels[..., 3] = np.round(255 * share)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
