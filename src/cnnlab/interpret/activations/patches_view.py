"""A row of patches for each filter, with activation, image and class below each. No torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from cnnlab.interpret.activations.feature_maps_view import format_short
from cnnlab.interpret.activations.patches_result import FilterPatches, Patch, Patches
from cnnlab.render.formatting import shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery

Floats = npt.NDArray[np.float64]
# So many tiles leave room for `validation:4999` below each.
MAX_COLUMNS = 8
WIDTH = 880.0
# A whole image is enlarged to at least so many pixels, so that its frame is thin.
FRAMED_SIDE = 160
FRAME = np.array([0xD5, 0x5E, 0x00]) / 255


def patches_figure(result: Patches) -> Figure:
    """A row of patches for each filter, and what is seen."""
    rows = [[_panel(result, each)] for each in result.filters]
    notes = [
        "Below each patch: the activation, the image's number in its part, from 0, and its class.",
        result.patch_size_text(),
        f"Over {result.images_text()}. {result.summary()}",
    ]
    title = f"What excites {shorten(result.layer, 40)} of {shorten(result.network, 50)} most"
    return draw_gallery(title, rows, notes, WIDTH)


def _panel(result: Patches, filter_patches: FilterPatches) -> GalleryPanel:
    tiles = tuple(
        Tile(
            _patch_pixels(patch), (format_short(patch.value), f"{result.split}:{patch.image}", result.class_name(patch))
        )
        for patch in filter_patches.patches
    )
    return GalleryPanel(f"filter {filter_patches.number}", tiles, MAX_COLUMNS)


def _patch_pixels(patch: Patch) -> Floats:
    pixels = patch.crop()
    if not patch.covers_image or patch.receptive_field is None:
        return pixels
    # The frame is drawn on an enlarged image: it is a mark, and no pixel of it.
    times = max(FRAMED_SIDE // max(pixels.shape[:2]), 1)
    large = pixels.repeat(times, axis=0).repeat(times, axis=1)
    side = max(large.shape[:2])
    radius, thick = max(side // 16, 2), max(side // 80, 1)
    middle = [round((first + last + 1) / 2 * times) for first, last in patch.receptive_field]
    top, left = (int(np.clip(at, 0, side_length - 1)) for at, side_length in zip(middle, large.shape[:2], strict=True))
    box = np.zeros(large.shape[:2], bool)
    box[max(top - radius - thick, 0) : top + radius + thick, max(left - radius - thick, 0) : left + radius + thick] = (
        True
    )
    box[max(top - radius, 0) : top + radius, max(left - radius, 0) : left + radius] = False
    large[box] = FRAME
    return large
