"""A sheet of example images, to see what a network is going to be shown. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from cnnlab.data.sources.base import DataSource, ImageSpec

MAX_SHOWN_CLASSES = 20
_TILE = 64
_GAP = 4
_MARGIN = 150
_LINE = 16
_LETTER = 6.5
# Narrower columns have no room for what stands above them.
_HEAD = 44
_PAPER, _INK, _FAINT = "white", "black", "#595959"


@dataclass(frozen=True)
class SheetRow:
    """What stands in front of a row, and its pictures: uint8, C×H×W."""

    name: str
    images: Sequence[npt.NDArray[np.uint8]]


def contact_sheet(source: DataSource, image_spec: ImageSpec, per_class: int = 8) -> Image.Image:
    """A picture with one row per class (the first 20): its name, and training images spread over the class.

    The images are decoded in `image_spec`, as a network gets them; smaller ones are drawn larger, without smoothing.
    """
    chosen = sample_per_class(source, per_class)
    wanted = np.unique(np.concatenate([indices for _, indices in chosen]))
    pixels = source.pixels("train", wanted, image_spec)
    rows = [SheetRow(name, [pixels[np.searchsorted(wanted, index)] for index in indices]) for name, indices in chosen]
    return render_sheet(rows, image_spec, per_class)


def sample_per_class(source: DataSource, per_class: int) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """The first 20 classes, each with the indices of some of its training images, spread over the class."""
    labels = source.labels("train")
    found = []
    for label, name in enumerate(source.classes[:MAX_SHOWN_CLASSES]):
        row = np.flatnonzero(labels == label)
        spread = np.unique(np.linspace(0, len(row) - 1, per_class).astype(int))
        found.append((name, row[spread] if len(row) else row))
    return found


def render_sheet(
    rows: Sequence[SheetRow],
    image_spec: ImageSpec,
    columns: int,
    column_titles: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Image.Image:
    """Rows of images of one shape, under `column_titles` and above `notes`, where there are any."""
    scale = max(1, round(_TILE / max(image_spec.height, image_spec.width)))
    height, width = image_spec.height * scale + _GAP, image_spec.width * scale + _GAP
    across = _MARGIN + columns * width
    lines = [line for note in notes for line in textwrap.wrap(note, int((across - 2 * _GAP) / _LETTER))]
    column_titles = column_titles if width >= _HEAD else ()
    above = _LINE + _GAP if column_titles else 0
    below = len(lines) * _LINE + _GAP if lines else 0
    made = Image.new("RGB", (across, above + len(rows) * height + _GAP + below), _PAPER)
    draw = ImageDraw.Draw(made)
    for column, head in enumerate(column_titles):
        middle = _MARGIN + column * width + (width - _GAP) / 2
        draw.text((middle, _GAP + _LINE / 2), head, fill=_FAINT, anchor="mm")
    for place, row in enumerate(rows):
        top = above + _GAP + place * height
        draw.text((_GAP, top + height / 2), row.name[:24], fill=_INK, anchor="lm")
        for column, pixels in enumerate(row.images):
            tile = _to_pil(pixels)
            tile = tile.resize((image_spec.width * scale, image_spec.height * scale), Image.Resampling.NEAREST)
            made.paste(tile, (_MARGIN + column * width, top))
    for place, line in enumerate(lines):
        draw.text((_GAP, above + len(rows) * height + _GAP + (place + 0.5) * _LINE), line, fill=_FAINT, anchor="lm")
    return made


def _to_pil(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
