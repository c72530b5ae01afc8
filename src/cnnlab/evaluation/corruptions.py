"""Predictions of networks on corrupted images: the same images and random numbers for every network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnlab.config.corruptions import AugmentationCorruption
from cnnlab.context import ProgressCallback, no_op
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.augmentation.transforms import apply_fixed
from cnnlab.data.loader import ImageLoader
from cnnlab.data.sources.base import Indices
from cnnlab.models.pretrained.transfer import max_resize
from cnnlab.models.train_mode import eval_mode
from cnnlab.randomness import uniforms


def correct_under_corruptions(
    network: nn.Module,
    loader: ImageLoader,
    corruptions: Sequence[Any],
    *,
    seed: int = 0,
    name: str = "shift",
    progress: ProgressCallback = no_op,
) -> npt.NDArray[np.bool_]:
    """Compute which images a network classifies correctly, unchanged and under each corruption.

    In eval mode and 32-bit floats; the network's mode is restored. The random numbers of an image depend on (seed, kind
    of corruption, image) alone: they are the same for every network, every strength and every batch.

    Returns:
        (1 + S)×N, in the loader's order: the unchanged images, then each of the S corruptions. Logits that are not
        finite count as wrong.
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
            progress(name, done, total, "images")
    return torch.cat(correct, dim=1).cpu().numpy()


def apply_corruption(images: Tensor, corruption: Any, indices: Indices, seed: int = 0) -> Tensor:
    """Apply a corruption.

    Args:
        images: uint8, N×C×H×W; not changed in place.
        indices: the images' indices in their split, shape N, which with the seed decide their random numbers.

    Returns:
        uint8, N×C×H×W.
    """
    if isinstance(corruption, AugmentationCorruption):
        return augment(images, corruption.body, sample_params(corruption.body, seed, 0, indices, "shift"))
    numbers = uniforms(seed, f"shift/{corruption.kind}", 0, indices, 2)
    return apply_fixed(images, corruption.kind, corruption.strength, numbers)


def _is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels) & logits.isfinite().all(dim=1)
