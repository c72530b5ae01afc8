"""A sheet of example images, to see what a network is going to be shown. No torch."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from cnnlab.data.source import ImageForm, Source

SHOWN_CLASSES = 20
_TILE = 64
_GAP = 4
_MARGIN = 150
_PAPER, _INK = "white", "black"


def contact_sheet(source: Source, form: ImageForm, per_class: int = 8) -> Image.Image:
    """A picture with one row per class (the first 20): its name, and training images spread over the class.

    The images are decoded in `form`, as a network gets them; smaller ones are drawn larger, without smoothing.
    """
    labels = source.labels("train")
    rows = [np.flatnonzero(labels == label) for label in range(min(len(source.classes), SHOWN_CLASSES))]
    chosen = [row[np.unique(np.linspace(0, len(row) - 1, per_class).astype(int))] if len(row) else row for row in rows]
    wanted = np.unique(np.concatenate(chosen))
    pixels = source.pixels("train", wanted, form)
    scale = max(1, round(_TILE / max(form.height, form.width)))
    height, width = form.height * scale + _GAP, form.width * scale + _GAP
    sheet = Image.new("RGB", (_MARGIN + per_class * width, len(chosen) * height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, indices in enumerate(chosen):
        top = _GAP + row * height
        draw.text((_GAP, top + height / 2), source.classes[row][:24], fill=_INK, anchor="lm")
        for column, index in enumerate(indices):
            tile = _picture(pixels[np.searchsorted(wanted, index)])
            tile = tile.resize((form.width * scale, form.height * scale), Image.Resampling.NEAREST)
            sheet.paste(tile, (_MARGIN + column * width, top))
    return sheet


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
