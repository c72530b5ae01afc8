"""Random changes of training images: whole batches on the device, a draw per image.

What an image gets depends on (seed, epoch, image) alone: not on its batch, the device, or how the data is fed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cnnlab.data.source import Indices
from cnnlab.randomness import uniforms
from cnnlab.spec import choices


def draw(choice_list: Sequence[Any], seed: int, epoch: int, images: Indices) -> list[Tensor]:
    """The random numbers of an epoch: for each augmentation a tensor N×D of 32-bit floats, uniform in [0, 1).

    Args:
        images: the images' indices, shape N; row n belongs to image `images[n]`.
    """
    found = (
        uniforms(seed, f"augment/{place}/{choice.kind}", epoch, images, _OPERATIONS[type(choice)][0])
        for place, choice in enumerate(choice_list)
    )
    # Cut to the 24 bits that a 32-bit float holds (MPS has no others), since rounding could give 1.
    return [torch.from_numpy((numbers * 2**24).astype(np.int32)).float() * 2.0**-24 for numbers in found]


def augment(images: Tensor, choice_list: Sequence[Any], draws: Sequence[Tensor]) -> Tensor:
    """Carry out augmentations one after the other.

    Args:
        images: uint8, N×C×H×W.
        draws: what `draw` gave for these images, on their device.

    Returns:
        uint8, N×C×H×W.
    """
    for choice, numbers in zip(choice_list, draws, strict=True):
        images = _OPERATIONS[type(choice)][1](images, choice, numbers)
    return images


def _crop(images: Tensor, choice: choices.Crop, draws: Tensor) -> Tensor:
    count, _, height, width = images.shape
    margin = choice.padding
    padded = F.pad(images, (margin, margin, margin, margin))
    places = (draws * (2 * margin + 1)).long()
    # Every possible window, as a view; one indexing step copies a window an image.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, places[:, 0], places[:, 1]]


def _flip(images: Tensor, choice: choices.Flip, draws: Tensor) -> Tensor:
    return torch.where((draws < choice.p)[:, :, None, None], images.flip(3), images)


# Each augmentation: how many numbers an image needs, and what is done with them.
_OPERATIONS: dict[type, tuple[int, Callable[[Tensor, Any, Tensor], Tensor]]] = {
    choices.Crop: (2, _crop),
    choices.Flip: (1, _flip),
}
