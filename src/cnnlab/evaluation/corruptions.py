"""Images under corruptions, and whether a network is still right: the same images and draws for every network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.config import corruptions
from cnnlab.context import ProgressCallback, no_op
from cnnlab.data.augmentation import color, degrade, filters, geometry, pixel
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.augmentation.geometry import AffineParams
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.base import Indices
from cnnlab.models.pretrained.transfer import max_resize
from cnnlab.models.train_mode import eval_mode
from cnnlab.randomness import uniforms

UniformDraws = npt.NDArray[np.float64]
# Past three standard deviations a bell has a 400th of its weight.
BLUR_RADIUS_SIGMAS = 3


def correct_under_corruptions(
    network: nn.Module,
    loader: ImageLoader,
    corruptions: Sequence[Any],
    *,
    seed: int = 0,
    progress: ProgressCallback = no_op,
) -> npt.NDArray[np.bool_]:
    """Whether a network classifies each image correctly, as it is and under each corruption.

    In eval mode and 32-bit floats; the network is left in the mode in which it was. What an image draws depends on
    (seed, kind of corruption, image) alone: it is the same for every network, every strength and every batch.

    Args:
        loader: the images, in whose order the answers stand.

    Returns:
        (1 + S)×N: the images as they are, then under each of the S corruptions. Logits that are not finite are wrong.
    """
    loader = loader.with_input_size(max_resize(network))
    total = len(loader) * (1 + len(corruptions))
    correct: list[Tensor] = []
    done = 0
    with eval_mode(network), torch.inference_mode():
        for images, labels, indices in loader.pixel_batches():
            changed = (images, *(apply_corruption(images, corruption, indices, seed) for corruption in corruptions))
            correct.append(torch.stack([_is_correct(network(loader.normalize(each)), labels) for each in changed]))
            done += len(images) * len(changed)
            progress("shift", done, total, "images")
    return torch.cat(correct, dim=1).cpu().numpy()


def apply_corruption(images: Tensor, corruption: Any, indices: Indices, seed: int = 0) -> Tensor:
    """Images under a corruption.

    Args:
        images: uint8, N×C×H×W; they stay as they are.
        indices: the images' indices in their split, which with the seed decide their draws; shape N.

    Returns:
        uint8, N×C×H×W.
    """
    if isinstance(corruption, corruptions.AugmentationCorruption):
        return augment(images, corruption.body, sample_params(corruption.body, seed, 0, indices, "shift"))
    numbers = uniforms(seed, f"shift/{corruption.kind}", 0, indices, 2)
    return _CORRUPTIONS[type(corruption)](images, corruption, numbers)


def _is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels) & logits.isfinite().all(dim=1)


def _random_sign(draws: UniformDraws) -> UniformDraws:
    return np.where(draws[:, 0] < 0.5, -1.0, 1.0)


def _per_image(value: float, images: Tensor) -> UniformDraws:
    return np.full(len(images), value)


def _translation(images: Tensor, corruption: corruptions.TranslationCorruption, draws: UniformDraws) -> Tensor:
    quarter = (draws[:, 0] * 4).astype(np.int64)
    right, down = np.array([1, -1, 0, 0])[quarter], np.array([0, 0, 1, -1])[quarter]
    return geometry.affine(
        images, AffineParams(translate_x=corruption.pixels * right, translate_y=corruption.pixels * down), "nearest"
    )


def _rotation(images: Tensor, corruption: corruptions.RotationCorruption, draws: UniformDraws) -> Tensor:
    return geometry.affine(images, AffineParams(angle=corruption.degrees * _random_sign(draws)), "bilinear")


def _scale(images: Tensor, corruption: corruptions.ScaleCorruption, _draws: UniformDraws) -> Tensor:
    return geometry.affine(images, AffineParams(scale=corruption.factor), "bilinear")


def _hue(images: Tensor, corruption: corruptions.HueCorruption, draws: UniformDraws) -> Tensor:
    return color.hue(images, corruption.degrees / 360 * _random_sign(draws))


def _blur(images: Tensor, corruption: corruptions.BlurCorruption, _draws: UniformDraws) -> Tensor:
    return filters.blur(
        images, _per_image(corruption.sigma, images), 2 * ceil(BLUR_RADIUS_SIGMAS * corruption.sigma) + 1
    )


def _noise(images: Tensor, corruption: corruptions.NoiseCorruption, draws: UniformDraws) -> Tensor:
    return filters.noise(images, (draws[:, 0] * 2**32).astype(np.int64), corruption.std)


def _occlusion(images: Tensor, corruption: corruptions.OcclusionCorruption, draws: UniformDraws) -> Tensor:
    height, width = images.shape[2:]
    high, wide = min(corruption.pixels, height), min(corruption.pixels, width)
    tops = (draws[:, 0] * (height - high + 1)).astype(np.int64)
    lefts = (draws[:, 1] * (width - wide + 1)).astype(np.int64)
    return geometry.erase(images, tops, lefts, np.full_like(tops, high), np.full_like(lefts, wide))


_CORRUPTIONS: dict[type[Any], Callable[[Tensor, Any, UniformDraws], Tensor]] = {
    corruptions.TranslationCorruption: _translation,
    corruptions.RotationCorruption: _rotation,
    corruptions.ScaleCorruption: _scale,
    corruptions.BrightnessCorruption: lambda images, corruption, _: color.brightness(
        images, _per_image(corruption.factor, images)
    ),
    corruptions.ContrastCorruption: lambda images, corruption, _: color.contrast(
        images, _per_image(corruption.factor, images)
    ),
    corruptions.SaturationCorruption: lambda images, corruption, _: color.saturation(
        images, _per_image(corruption.factor, images)
    ),
    corruptions.HueCorruption: _hue,
    corruptions.GreyscaleCorruption: lambda images, _corruption, _: color.greyscale(images),
    corruptions.InvertCorruption: lambda images, _corruption, _: pixel.invert(images),
    corruptions.BlurCorruption: _blur,
    corruptions.NoiseCorruption: _noise,
    corruptions.JpegCorruption: lambda images, corruption, _: degrade.jpeg(images, corruption.quality),
    corruptions.OcclusionCorruption: _occlusion,
    corruptions.ResolutionCorruption: lambda images, corruption, _: degrade.downsample(images, corruption.pixels),
}
