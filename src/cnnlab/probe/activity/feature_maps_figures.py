"""The statistics of maps: their numbers, and how they follow the image. No torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnlab.probe.activity.feature_maps_records import LayerMaps, MapFigures

Exact = npt.NDArray[np.float64]
# Red, green and blue as the eye weighs them (ITU-R BT.601).
BRIGHTNESS = (0.299, 0.587, 0.114)


def map_figures(layer: LayerMaps, pixels: npt.NDArray[np.uint8]) -> tuple[MapFigures, ...]:
    """The statistics of every map of a layer, with the image's pixels, uint8, C×H×W."""
    flat = layer.values.reshape(len(layer.values), -1).astype(np.float64)
    likeness: list[tuple[float | None, float | None]] = [(None, None)] * len(flat)
    if layer.has_places:
        seen = _averaged(_brightness(pixels), layer.values.shape[1:]), _averaged(_edges(pixels), layer.values.shape[1:])
        likeness = list(zip(*(_correlations(flat, each.ravel()) for each in seen), strict=True))
    return tuple(
        MapFigures(
            number=number,
            min=float(values.min()),
            mean=float(values.mean()),
            max=float(values.max()),
            std=float(values.std()),
            zeros=float((values == 0).mean()),
            negative=float((values < 0).mean()),
            brightness=bright,
            edges=edges,
        )
        for number, (values, (bright, edges)) in enumerate(zip(flat, likeness, strict=True))
    )


def _brightness(pixels: npt.NDArray[np.uint8]) -> Exact:
    values = pixels.astype(np.float64)
    return values[0] if len(values) == 1 else np.tensordot(np.array(BRIGHTNESS), values, axes=1)


def _edges(pixels: npt.NDArray[np.uint8]) -> Exact:
    bright = _brightness(pixels)
    if min(bright.shape) < 2:
        return np.zeros_like(bright)
    down, right = np.gradient(bright)
    return np.asarray(np.hypot(down, right))


def _averaged(values: Exact, sides: tuple[int, ...]) -> Exact:
    """H×W numbers brought to other sides, each the mean of what it stands for."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((sides[1], sides[0]), Image.Resampling.BOX), dtype=np.float64)


def _correlations(flat: Exact, other: Exact) -> list[float | None]:
    """Pearson's r of every row with `other`; None where one of them is constant."""
    away = other - other.mean()
    moved = flat - flat.mean(axis=1, keepdims=True)
    sizes = np.linalg.norm(moved, axis=1) * np.linalg.norm(away)
    # What is left of a constant by rounding is no shape.
    flatness = 1e-6 * np.abs(flat).max(axis=1) * np.sqrt(flat.shape[1]) * np.linalg.norm(away)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = moved @ away / sizes
    return [float(r) if size > least else None for r, size, least in zip(found, sizes, flatness, strict=True)]
