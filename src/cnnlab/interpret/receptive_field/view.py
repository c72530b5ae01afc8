"""Effective receptive fields as maps of heat, with the view by the layers' windows and the square of 95 %. No torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnlab.render.formatting import format_percent, format_shape, shorten
from cnnlab.render.svg import SMALL, SvgDrawing, text_width

if TYPE_CHECKING:
    from cnnlab.interpret.receptive_field.result import EffectiveField

SIDE, MARGIN, GAP, LINE = 300.0, 22.0, 30.0, 16.0
# A view that goes further beyond the image than this share of its side is not drawn.
MAX_OVERHANG = 0.25
# (top, bottom, left, right), in pixels of the image.
Box = tuple[float, float, float, float]
# Between the blue of light pages and that of dark ones, for both.
HEAT = (43, 140, 209)


def effective_svg(fields: Sequence[EffectiveField]) -> str:
    """The picture, standing alone: one map for each field, side by side."""
    headline = f"Where a node of {fields[0].layer} looks"
    legend = "solid: holds 95 % of the gradient; shade: square root of the gradient"
    if any(_theoretical_box(field) for field in fields):
        legend = f"dashed: by the windows of the layers; {legend}"
    texts = [_labels(field) for field in fields]
    room = max(SIDE, *(text_width(text, SMALL) for lines in texts for text in lines))
    width = 2 * MARGIN + max(len(fields) * room + (len(fields) - 1) * GAP, text_width(legend, SMALL))
    labels = MARGIN + 24 + max(map(_height, fields)) + 1.4 * LINE
    height = labels + (max(map(len, texts)) + 0.5) * LINE + MARGIN
    drawing = SvgDrawing(width, height, "effective", f"{headline}: {'; '.join(map(', '.join, texts))}.")
    drawing.text(MARGIN, MARGIN + 4, headline, bold=True)
    for number, (field, lines) in enumerate(zip(fields, texts, strict=True)):
        left = MARGIN + number * (room + GAP)
        _draw(drawing, field, left, MARGIN + 24)
        for place, line in enumerate(lines):
            colour = "muted" if place else "ink"
            drawing.text(left, labels + place * LINE, line, size=SMALL, colour=colour, bold=not place)
    drawing.text(MARGIN, height - MARGIN + 4, legend, size=SMALL, colour="muted")
    return drawing.to_svg(standalone=True)


def _labels(field: EffectiveField) -> tuple[str, ...]:
    theory, outside = field.theoretical_size, field.padding_share
    lines = [shorten(field.network)]
    if theory is not None:
        padding = f", {format_percent(outside)} of it padding" if outside else ""
        unseen = "" if _theoretical_box(field) else ", larger than this picture"
        lines.append(f"by the windows: {format_shape(theory)}{padding}{unseen}")
    lines.append(
        f"holds 95 %: {field.energy_size}×{field.energy_size}; effective size (Luo et al.): {field.effective_size:.1f}"
    )
    return tuple(lines)


def _theoretical_box(field: EffectiveField) -> Box | None:
    """The view by the layers' windows, unless it goes far beyond the image."""
    if field.rows is None or field.columns is None:
        return None
    height, width = field.gradient.shape
    room = MAX_OVERHANG * max(height, width)
    box = (field.rows[0], field.rows[1] + 1, field.columns[0], field.columns[1] + 1)
    fits = box[0] >= -room and box[1] <= height + room and box[2] >= -room and box[3] <= width + room
    return box if fits else None


def _energy_box(field: EffectiveField) -> Box | None:
    """The square that holds 95 %."""
    (row, column), reach = field.centre, field.energy_size / 2
    box = (row + 0.5 - reach, row + 0.5 + reach, column + 0.5 - reach, column + 0.5 + reach)
    return box if field.energy_size else None


def _drawn_box(field: EffectiveField) -> Box:
    """What is drawn: the image and both squares."""
    height, width = field.gradient.shape
    boxes = [(0, height, 0, width), *filter(None, (_theoretical_box(field), _energy_box(field)))]
    tops, bottoms, lefts, rights = zip(*boxes, strict=True)
    return min(tops), max(bottoms), min(lefts), max(rights)


def _scale(field: EffectiveField) -> float:
    top, bottom, left, right = _drawn_box(field)
    return SIDE / max(bottom - top, right - left)


def _height(field: EffectiveField) -> float:
    top, bottom, _, _ = _drawn_box(field)
    return (bottom - top) * _scale(field)


def _draw(drawing: SvgDrawing, field: EffectiveField, left: float, top: float) -> None:
    height, width = field.gradient.shape
    scale, edges = _scale(field), _drawn_box(field)
    x, y = left - edges[2] * scale, top - edges[0] * scale
    drawing.rectangle(x, y, width * scale, height * scale, fill="panel")
    drawing.image(x, y, width * scale, height * scale, _png(field.gradient))
    drawing.rectangle(x, y, width * scale, height * scale, stroke="muted")
    for box, colour, dashes in ((_theoretical_box(field), "ink", "5 3"), (_energy_box(field), "validation", "")):
        if box is not None:
            corners = [(box[2], box[0]), (box[3], box[0]), (box[3], box[1]), (box[2], box[1]), (box[2], box[0])]
            points = [(x + column * scale, y + row * scale) for column, row in corners]
            drawing.line(points, stroke=colour, thickness=1.6, dashes=dashes)


def _png(gradient: npt.NDArray[np.float64]) -> bytes:
    """Blue on nothing, so that the page's own ground shows through."""
    largest = gradient.max()
    share = np.sqrt(gradient / largest) if largest > 0 else np.zeros_like(gradient)
    pixels = np.empty((*gradient.shape, 4), np.uint8)
    pixels[..., :3] = HEAT
    pixels[..., 3] = np.round(255 * share)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
