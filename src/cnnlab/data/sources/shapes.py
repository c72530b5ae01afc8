"""The generated data set `shapes`: 32×32 RGB pictures of ten plane figures, drawn offline from a fixed seed.

Position, size, rotation and colours differ from image to image, on a shaded background with stripes, scraps and grain,
so that no single pixel and no colour gives the class away: a linear model gets about a fifth of the test images right,
LeNet nearly all. An image depends on its split and its index alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnlab.context import ProgressCallback, no_op
from cnnlab.data.sources.base import ImageSpec, Indices, Labels, Pixels, Split
from cnnlab.data.sources.formats import convert_pixels
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.randomness import uniforms

FloatImages = npt.NDArray[np.floating[Any]]

INFO = CATALOGUE["shapes"]
CLASSES = INFO.classes
SIZE = INFO.height

_SEED = 2019
_CHUNK = 500
_NUM_DISTRACTORS = 3
_DISTRACTOR_NUMBERS = 8
_DARKER_PROBABILITY = 0.1


@dataclass(frozen=True)
class ShapesSource:
    """A `cnnlab.data.sources.base.DataSource` of the generated pictures; nothing is read or stored."""

    name: str = "shapes"
    classes: tuple[str, ...] = CLASSES
    splits: tuple[Split, ...] = ("train", "test")
    is_fixed: bool = True

    def native_spec(self) -> ImageSpec:
        return ImageSpec(channels=3, height=SIZE, width=SIZE)

    def num_images(self, split: Split) -> int:
        return INFO.split_sizes[split]

    def image_ids(self, split: Split, indices: Indices) -> list[str]:
        return [f"{self.name}/{split}/{index}" for index in indices]

    def content_digest(self) -> str:
        return hashlib.sha256(f"{self.name} {_SEED} {dict(INFO.split_sizes)}".encode()).hexdigest()

    def labels(self, split: Split) -> Labels:
        return np.arange(INFO.split_sizes[split], dtype=np.int64) % len(CLASSES)

    def image_names(self, split: Split) -> list[str]:
        return [f"{split}[{index}]" for index in range(INFO.split_sizes[split])]

    def pixels(
        self, split: Split, indices: Indices, image_spec: ImageSpec, progress: ProgressCallback = no_op
    ) -> Pixels:
        return convert_pixels(render(split, indices, progress), image_spec)


def render(split: Split, indices: Indices, progress: ProgressCallback = no_op) -> Pixels:
    """Draw the pictures at `indices` of a split: uint8, N×3×32×32."""
    pictures = np.empty((len(indices), 3, SIZE, SIZE), np.uint8)
    for start in range(0, len(indices), _CHUNK):
        chosen = indices[start : start + _CHUNK]
        pictures[start : start + len(chosen)] = _render_chunk(split, chosen)
        progress("drawing shapes", start + len(chosen), len(indices), "images")
    return pictures


def _render_chunk(split: Split, indices: Indices) -> Pixels:
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + np.float32(0.5)
    background = _background(_random_numbers(split, "background", indices, 12), rows, columns)
    scraps = _random_numbers(split, "scraps", indices, _NUM_DISTRACTORS * _DISTRACTOR_NUMBERS)
    for scrap in np.split(scraps, _NUM_DISTRACTORS, axis=1):
        background = _add_distractor(background, scrap, rows, columns)
    figure = _random_numbers(split, "figure", indices, 12)
    coverage = _coverage(indices % len(CLASSES), figure, rows, columns)[:, None]
    painted = _paint(background, coverage, figure, rows, columns)
    grain = _random_numbers(split, "grain", indices, 3 * SIZE * SIZE).reshape(painted.shape)
    strength = 0.12 * _random_numbers(split, "grain strength", indices, 1)[:, :, None, None]
    return np.rint(255 * np.clip(painted + strength * (2 * grain - 1), 0, 1)).astype(np.uint8)


def _random_numbers(split: Split, purpose: str, indices: Indices, count: int) -> FloatImages:
    return uniforms(_SEED, f"shapes {split} {purpose}", 0, indices.astype(np.int64), count).astype(np.float32)


def _background(numbers: FloatImages, rows: FloatImages, columns: FloatImages) -> FloatImages:
    """Two dim colours shaded into each other, with soft stripes over them: N×3×32×32 in [0, 1]."""
    first = 0.18 + 0.42 * numbers[:, 0, None] + 0.25 * (numbers[:, 1:4] - 0.5)
    second = first + 0.30 * (numbers[:, 4:7] - 0.5)
    slope = _along(numbers[:, 7], rows, columns)
    colour = _blend(first[:, :, None, None], second[:, :, None, None], 0.5 + slope / SIZE)
    waves = np.sin(
        _along(numbers[:, 8], rows, columns) * _column(0.4 + 1.2 * numbers[:, 9]) + _column(6.3 * numbers[:, 10])
    )
    return np.clip(colour + _column(0.10 * numbers[:, 11]) * waves, 0, 1)


def _add_distractor(
    background: FloatImages, numbers: FloatImages, rows: FloatImages, columns: FloatImages
) -> FloatImages:
    """Draw a short stroke of some colour anywhere in the picture."""
    across, along = _rotated_coordinates(numbers[:, 0] * SIZE, numbers[:, 1] * SIZE, numbers[:, 2], rows, columns)
    length, width = _column(1 + 3 * numbers[:, 3]), _column(0.6 + 1.0 * numbers[:, 4])
    distance = np.maximum(np.abs(across) - length, np.abs(along) - width)
    coverage = np.clip(0.5 - distance, 0, 1)
    return _blend(background, numbers[:, 5:8, None, None], 0.6 * coverage)


def _coverage(labels: Labels, numbers: FloatImages, rows: FloatImages, columns: FloatImages) -> FloatImages:
    """How much of each pixel the figure covers, N×32×32; the edges are smoothed over one pixel."""
    radius = 7.5 + 5.5 * numbers[:, 0]
    room = SIZE - 1.8 * radius
    centre_row, centre_column = 0.9 * radius + room * numbers[:, 1], 0.9 * radius + room * numbers[:, 2]
    across, along = _rotated_coordinates(centre_row, centre_column, numbers[:, 3], rows, columns)
    across, along = across / radius[:, None, None, None], along / radius[:, None, None, None]
    coverage = np.empty((len(labels), SIZE, SIZE), np.float32)
    for label in np.unique(labels):
        chosen = labels == label
        distance = _FIGURES[CLASSES[label]](across[chosen, 0], along[chosen, 0]) * radius[chosen, None, None]
        coverage[chosen] = np.clip(0.5 - distance, 0, 1)
    return coverage


def _paint(
    background: FloatImages, coverage: FloatImages, numbers: FloatImages, rows: FloatImages, columns: FloatImages
) -> FloatImages:
    """Paint the figure in a colour that is mostly lighter, at times darker than the background behind it."""
    behind = (background * coverage).sum((2, 3)) / coverage.sum((2, 3))
    sign = np.where(numbers[:, 10] < _DARKER_PROBABILITY, -1, 1).astype(np.float32)[:, None]
    contrast = sign * (0.16 + 0.40 * numbers[:, 4, None]) + 0.25 * (numbers[:, 5:8] - 0.5)
    shade = _column(0.2 * (numbers[:, 8] - 0.5)) * _along(numbers[:, 9], rows, columns) / SIZE
    return _blend(background, (behind + contrast)[:, :, None, None] + shade, coverage)


def _rotated_coordinates(
    row: FloatImages, column: FloatImages, turn: FloatImages, rows: FloatImages, columns: FloatImages
) -> tuple[FloatImages, FloatImages]:
    """Coordinates (across, along), N×1×32×32 in pixels, about a centre for each image, turned by `turn` of a circle."""
    down, right = rows - _column(row), columns - _column(column)
    cosine, sine = _column(np.cos(2 * np.pi * turn)), _column(np.sin(2 * np.pi * turn))
    return cosine * right + sine * down, cosine * down - sine * right


def _along(turn: FloatImages, rows: FloatImages, columns: FloatImages) -> FloatImages:
    middle = np.full_like(turn, SIZE / 2)
    return _rotated_coordinates(middle, middle, turn, rows, columns)[0]


def _blend(below: FloatImages, above: FloatImages, weight: FloatImages) -> FloatImages:
    return below + (above - below) * weight


def _column(values: FloatImages) -> FloatImages:
    return values.astype(np.float32)[:, None, None, None]


# Signed distances to the figures' edges, negative inside, for figures of about radius 1. The constructions are
# the usual ones: intersections are maxima, unions minima, a star one edge mirrored ten times.


def _box(x: FloatImages, y: FloatImages, half_width: float, half_height: float) -> FloatImages:
    return np.maximum(np.abs(x) - np.float32(half_width), np.abs(y) - np.float32(half_height))


def _heart(x: FloatImages, y: FloatImages) -> FloatImages:
    lobes = np.minimum(np.hypot(x - 0.62, y + 0.05), np.hypot(x + 0.05, y - 0.62)) - 0.5
    distance: FloatImages = np.minimum(lobes, _box(x + 0.05, y + 0.05, 0.5, 0.5))
    return distance


def _star(x: FloatImages, y: FloatImages) -> FloatImages:
    radius, tenth = np.hypot(x, y), np.float32(np.pi / 5)
    angle = np.abs((np.arctan2(y, x) + tenth) % (2 * tenth) - tenth)
    inner_x, inner_y = 0.42 * np.cos(tenth), 0.42 * np.sin(tenth)
    edge_x, edge_y = inner_x - 1.0, inner_y
    beside = edge_x * radius * np.sin(angle) - edge_y * (radius * np.cos(angle) - 1.0)
    return np.asarray(-beside / np.hypot(edge_x, edge_y), np.float32)


def _triangle(x: FloatImages, y: FloatImages) -> FloatImages:
    slope = np.float32(np.sqrt(3) / 2)
    return np.maximum(np.maximum(slope * x - y / 2, -slope * x - y / 2), y) - np.float32(0.5)


_FIGURES: dict[str, Callable[[FloatImages, FloatImages], FloatImages]] = {
    "bar": lambda x, y: _box(x, y, 0.95, 0.27),
    "circle": lambda x, y: np.hypot(x, y) - np.float32(0.85),
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.95, 0.78 - np.hypot(x - 0.48, y)),
    "cross": lambda x, y: np.minimum(_box(x, y, 0.95, 0.26), _box(x, y, 0.26, 0.95)),
    "half_circle": lambda x, y: np.maximum(np.hypot(x, y - 0.4) - 0.98, y - 0.4),
    "heart": _heart,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - np.float32(0.70)) - np.float32(0.22),
    "square": lambda x, y: _box(x, y, 0.72, 0.72),
    "star": _star,
    "triangle": _triangle,
}
