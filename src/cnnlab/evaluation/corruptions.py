"""Images shifted, and whether a network is still right: the same images and the same draws for every network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.config import corruptions
from cnnlab.data.augmentation import color, degrade, filters, geometry, pixel
from cnnlab.data.augmentation.augment import augment, draw
from cnnlab.data.augmentation.geometry import Move
from cnnlab.data.loader import Feed
from cnnlab.data.sources.base import Indices, Progress, silent
from cnnlab.models.pretrained.transfer import resized
from cnnlab.models.train_mode import evaluating
from cnnlab.randomness import uniforms

Uniforms = npt.NDArray[np.float64]
# Past three standard deviations a bell has a 400th of its weight.
BELL = 3


def right_under(
    network: nn.Module, feed: Feed, shifts: Sequence[Any], *, seed: int = 0, progress: Progress = silent
) -> npt.NDArray[np.bool_]:
    """Whether a network names each image right, as it is and under each shift.

    In eval mode and 32-bit floats; the network is left in the mode in which it was. What an image draws depends on
    (seed, kind of shift, image) alone: it is the same for every network, every strength and every batch.

    Args:
        feed: the images, in whose order the answers stand.

    Returns:
        (1 + S)×N: the images as they are, then the S shifts in their order. Logits that are not all finite are wrong.
    """
    feed = feed.enlarged(resized(network))
    total = len(feed) * (1 + len(shifts))
    found: list[Tensor] = []
    done = 0
    with evaluating(network), torch.inference_mode():
        for images, labels, places in feed.pixels_in_order():
            changed = (images, *(shifted(images, shift, places, seed) for shift in shifts))
            found.append(torch.stack([_right(network(feed.normalised(each)), labels) for each in changed]))
            done += len(images) * len(changed)
            progress("shift", done, total, "images")
    return torch.cat(found, dim=1).cpu().numpy()


def shifted(images: Tensor, shift: Any, places: Indices, seed: int = 0) -> Tensor:
    """Images under a shift.

    Args:
        images: uint8, N×C×H×W; they stay as they are.
        places: the images' places in their part, which with the seed name their draws; shape N.

    Returns:
        uint8, N×C×H×W.
    """
    if isinstance(shift, corruptions.Drawn):
        return augment(images, shift.body, draw(shift.body, seed, 0, places, "shift"))
    numbers = uniforms(seed, f"shift/{shift.kind}", 0, places, 2)
    return _CHANGES[type(shift)](images, shift, numbers)


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels) & logits.isfinite().all(dim=1)


def _sign(numbers: Uniforms) -> Uniforms:
    return np.where(numbers[:, 0] < 0.5, -1.0, 1.0)


def _each(value: float, images: Tensor) -> Uniforms:
    return np.full(len(images), value)


def _translation(images: Tensor, shift: corruptions.Translation, numbers: Uniforms) -> Tensor:
    quarter = (numbers[:, 0] * 4).astype(np.int64)
    right, down = np.array([1, -1, 0, 0])[quarter], np.array([0, 0, 1, -1])[quarter]
    return geometry.move(images, Move(right=shift.pixels * right, down=shift.pixels * down), "nearest")


def _rotation(images: Tensor, shift: corruptions.Rotation, numbers: Uniforms) -> Tensor:
    return geometry.move(images, Move(angle=shift.degrees * _sign(numbers)), "bilinear")


def _scale(images: Tensor, shift: corruptions.Scale, _numbers: Uniforms) -> Tensor:
    return geometry.move(images, Move(scale=shift.factor), "bilinear")


def _hue(images: Tensor, shift: corruptions.Hue, numbers: Uniforms) -> Tensor:
    return color.hue(images, shift.degrees / 360 * _sign(numbers))


def _blur(images: Tensor, shift: corruptions.Blur, _numbers: Uniforms) -> Tensor:
    return filters.blur(images, _each(shift.sigma, images), 2 * ceil(BELL * shift.sigma) + 1)


def _noise(images: Tensor, shift: corruptions.Noise, numbers: Uniforms) -> Tensor:
    return filters.noise(images, (numbers[:, 0] * 2**32).astype(np.int64), shift.std)


def _occlusion(images: Tensor, shift: corruptions.Occlusion, numbers: Uniforms) -> Tensor:
    height, width = images.shape[2:]
    high, wide = min(shift.pixels, height), min(shift.pixels, width)
    tops = (numbers[:, 0] * (height - high + 1)).astype(np.int64)
    lefts = (numbers[:, 1] * (width - wide + 1)).astype(np.int64)
    return geometry.erase(images, tops, lefts, np.full_like(tops, high), np.full_like(lefts, wide))


_CHANGES: dict[type[Any], Callable[[Tensor, Any, Uniforms], Tensor]] = {
    corruptions.Translation: _translation,
    corruptions.Rotation: _rotation,
    corruptions.Scale: _scale,
    corruptions.Brightness: lambda images, shift, _: color.brightness(images, _each(shift.factor, images)),
    corruptions.Contrast: lambda images, shift, _: color.contrast(images, _each(shift.factor, images)),
    corruptions.Saturation: lambda images, shift, _: color.saturation(images, _each(shift.factor, images)),
    corruptions.Hue: _hue,
    corruptions.Greyscale: lambda images, _shift, _: color.greyscale(images),
    corruptions.Invert: lambda images, _shift, _: pixel.invert(images),
    corruptions.Blur: _blur,
    corruptions.Noise: _noise,
    corruptions.Jpeg: lambda images, shift, _: degrade.jpeg(images, shift.quality),
    corruptions.Occlusion: _occlusion,
    corruptions.Resolution: lambda images, shift, _: degrade.fewer_pixels(images, shift.pixels),
}
