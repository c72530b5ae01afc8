"""Padding, crops, erased rectangles and affine maps about the centre, on uint8 tensors, N×C×H×W."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cnnlab.data.augmentation.batches import FloatArray, IntArray, per_image, to_device_of


def pad(images: Tensor, margin: int, fill: Literal["zero", "reflect"]) -> Tensor:
    """Pad each side by `margin` pixels: with black, or by reflection at the border pixels."""
    return reflect_pad(images, margin) if fill == "reflect" else F.pad(images, (margin,) * 4)


def reflect_pad(images: Tensor, margin: int) -> Tensor:
    """Pad each side by `margin` pixels by reflection at the border pixels, several times where the image is smaller."""
    for dim in (2, 3):
        order = np.pad(np.arange(images.shape[dim]), margin, mode="reflect")
        images = images.index_select(dim, to_device_of(order, images))
    return images


def crop(images: Tensor, tops: IntArray, lefts: IntArray, height: int, width: int) -> Tensor:
    """Crop a window of height×width from each image, at its own position."""
    # Every possible window, as a view; one indexing step copies a window an image.
    views = images.unfold(2, height, 1).unfold(3, width, 1)
    rows = to_device_of(np.arange(len(images)), images)
    return views[rows, :, to_device_of(tops, images), to_device_of(lefts, images)]


def erase(images: Tensor, tops: IntArray, lefts: IntArray, heights: IntArray, widths: IntArray) -> Tensor:
    """Blacken a rectangle in each image, clipped at the border."""
    inside = []
    for dim, starts, sizes in ((2, tops, heights), (3, lefts, widths)):
        pixels = np.arange(images.shape[dim])
        inside.append(to_device_of((pixels >= starts[:, None]) & (pixels < (starts + sizes)[:, None]), images))
    rows, columns = inside
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)


@dataclass(frozen=True)
class AffineParams:
    """Parameters of an affine map: arrays of shape N, or one value for all images.

    Attributes:
        angle, shear_x, shear_y: degrees, clockwise.
        translate_x, translate_y: pixels.
        scale: above 1 enlarges.
        from_corner: 1 to map about the upper left corner, 0 about the centre.
    """

    angle: FloatArray | float = 0.0
    translate_x: FloatArray | float = 0.0
    translate_y: FloatArray | float = 0.0
    scale: FloatArray | float = 1.0
    shear_x: FloatArray | float = 0.0
    shear_y: FloatArray | float = 0.0
    from_corner: FloatArray | float = 0.0

    def inverse_matrices(self, count: int, height: int, width: int) -> FloatArray:
        """Matrices from output to input pixels, relative to the centre: N×6, [a b c; d e f] by rows, as torchvision's.

        Each is the inverse of translation · rotation · scale · shear in y · shear in x.
        """
        turn, shear_x, shear_y = (np.radians(angle) for angle in (self.angle, self.shear_x, self.shear_y))
        a = np.cos(turn - shear_y) / np.cos(shear_y)
        b = -(a * np.tan(shear_x) + np.sin(turn))
        c = np.sin(turn - shear_y) / np.cos(shear_y)
        d = np.cos(turn) - c * np.tan(shear_x)
        across, up, back, along = d / self.scale, -b / self.scale, -c / self.scale, a / self.scale
        # The fixed point: the corner, or the centre, which is at 0.
        x, y = -0.5 * width * self.from_corner, -0.5 * height * self.from_corner
        to_right = x - across * (x + self.translate_x) - up * (y + self.translate_y)
        to_down = y - back * (x + self.translate_x) - along * (y + self.translate_y)
        rows = [np.broadcast_to(value, count) for value in (across, up, to_right, back, along, to_down)]
        return np.stack(rows, axis=1)


def affine(images: Tensor, params: AffineParams, interpolation: Literal["nearest", "bilinear"]) -> Tensor:
    """Apply an affine map to each image; black outside."""
    count, _, height, width = images.shape
    matrices = params.inverse_matrices(count, height, width)
    # One multiplication and one addition at a time; see `cnnlab.data.augmentation.color`.
    across, up, to_right, back, along, to_down = (per_image(matrices[:, k], images)[:, 0] for k in range(6))
    xs = to_device_of(np.arange(width) - (width - 1) / 2, images)[None, None, :]
    ys = to_device_of(np.arange(height) - (height - 1) / 2, images)[None, :, None]
    from_x = xs * across + (ys * up + to_right)
    from_y = xs * back + (ys * along + to_down)
    if interpolation == "nearest":
        return _sample_nearest(images, from_x + (width - 1) / 2, from_y + (height - 1) / 2)
    grid = torch.stack((from_x.mul_(2 / width), from_y.mul_(2 / height)), dim=3)
    sampled = F.grid_sample(images.to(torch.float32), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.round_().to(torch.uint8)


def _sample_nearest(images: Tensor, from_x: Tensor, from_y: Tensor) -> Tensor:
    """Sample the nearest pixel at each position (N×H×W, in pixels from the upper left one's centre); black outside."""
    count, channels, height, width = images.shape
    columns, rows = from_x.round_(), from_y.round_()
    outside = (columns < 0) | (columns > width - 1) | (rows < 0) | (rows > height - 1)
    indices = rows.clamp_(0, height - 1).mul_(width).add_(columns.clamp_(0, width - 1)).long().view(count, 1, -1)
    sampled = images.flatten(2).gather(2, indices.expand(-1, channels, -1)).view_as(images)
    return sampled.masked_fill_(outside[:, None], 0)
