"""Contact sheets of example images, and of augmented ones; only the latter load torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from cnnlab.data.sources.base import DataSource, ImageSpec

MAX_SHOWN_CLASSES = 20
# The number of augmented images where there are few classes.
NUM_PREVIEW_IMAGES = 8
_TILE = 64
_GAP = 4
_MARGIN = 150
_LINE = 16
_LETTER = 6.5
# Narrower columns have no room for a title.
_HEAD = 44
_PAPER, _INK, _FAINT = "white", "black", "#595959"


@dataclass(frozen=True)
class SheetRow:
    """A row of images, uint8, C×H×W, with its name."""

    name: str
    images: Sequence[npt.NDArray[np.uint8]]


def contact_sheet(source: DataSource, image_spec: ImageSpec, per_class: int = 8) -> Image.Image:
    """Draw one row per class (the first 20): its name, and training images evenly spaced over the class.

    The images are decoded by `image_spec`, as for a network; small ones are enlarged without smoothing.
    """
    chosen = sample_per_class(source, per_class)
    wanted = np.unique(np.concatenate([indices for _, indices in chosen]))
    pixels = source.pixels("train", wanted, image_spec)
    rows = [SheetRow(name, [pixels[np.searchsorted(wanted, index)] for index in indices]) for name, indices in chosen]
    return render_sheet(rows, image_spec, per_class)


def augmented_sheet(
    source: DataSource,
    image_spec: ImageSpec,
    augmentations: Sequence[Any],
    *,
    seed: int = 0,
    epochs: int = 8,
    per_class: int | None = None,
) -> Image.Image:
    """Draw one row per image: its class, the unaugmented image, and the image in the first epochs.

    Args:
        image_spec: of the decoded images, before augmentation.
        per_class: training images of each class (the first 20); None: one, or more where there are few classes.
    """
    import torch

    from cnnlab.config.image_changes import augmentations as registry
    from cnnlab.data.augmentation.augment import augment, sample_params

    per_class = per_class or max(1, NUM_PREVIEW_IMAGES // min(len(source.classes), MAX_SHOWN_CLASSES))
    chosen = sample_per_class(source, per_class)
    images = np.array([index for _, indices in chosen for index in indices])
    wanted = np.unique(images)
    pixels = np.asarray(source.pixels("train", wanted, image_spec))[np.searchsorted(wanted, images)]
    versions = [pixels]
    for epoch in range(epochs):
        params = sample_params(augmentations, seed, epoch, images.astype(np.int64))
        versions.append(augment(torch.from_numpy(pixels), augmentations, params).numpy())
    names = [name for name, indices in chosen for _ in indices]
    rows = [SheetRow(name, [version[n] for version in versions]) for n, name in enumerate(names)]
    heads = ["unaugmented", *(f"epoch {epoch}" for epoch in range(epochs))]
    notes = [str(registry.to_call(choice, defaults=True)) for choice in augmentations]
    return render_sheet(rows, image_spec, 1 + epochs, heads, notes)


def sample_per_class(source: DataSource, per_class: int) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """The first 20 classes, each with indices of training images, evenly spaced over the class."""
    labels = source.labels("train")
    samples = []
    for label, name in enumerate(source.classes[:MAX_SHOWN_CLASSES]):
        indices = np.flatnonzero(labels == label)
        spaced = np.unique(np.linspace(0, len(indices) - 1, per_class).astype(int))
        samples.append((name, indices[spaced] if len(indices) else indices))
    return samples


def render_sheet(
    rows: Sequence[SheetRow],
    image_spec: ImageSpec,
    columns: int,
    column_titles: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Image.Image:
    """Draw rows of images of one shape, with optional column titles above and notes below."""
    scale = max(1, round(_TILE / max(image_spec.height, image_spec.width)))
    height, width = image_spec.height * scale + _GAP, image_spec.width * scale + _GAP
    across = _MARGIN + columns * width
    lines = [line for note in notes for line in textwrap.wrap(note, int((across - 2 * _GAP) / _LETTER))]
    column_titles = column_titles if width >= _HEAD else ()
    above = _LINE + _GAP if column_titles else 0
    below = len(lines) * _LINE + _GAP if lines else 0
    sheet = Image.new("RGB", (across, above + len(rows) * height + _GAP + below), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, head in enumerate(column_titles):
        middle = _MARGIN + column * width + (width - _GAP) / 2
        draw.text((middle, _GAP + _LINE / 2), head, fill=_FAINT, anchor="mm")
    for position, row in enumerate(rows):
        top = above + _GAP + position * height
        draw.text((_GAP, top + height / 2), row.name[:24], fill=_INK, anchor="lm")
        for column, pixels in enumerate(row.images):
            tile = _to_pil(pixels)
            tile = tile.resize((image_spec.width * scale, image_spec.height * scale), Image.Resampling.NEAREST)
            sheet.paste(tile, (_MARGIN + column * width, top))
    for position, line in enumerate(lines):
        draw.text((_GAP, above + len(rows) * height + _GAP + (position + 0.5) * _LINE), line, fill=_FAINT, anchor="lm")
    return sheet


def _to_pil(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
