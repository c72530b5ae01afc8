"""Examples of augmented images: what a network is shown of the same images, epoch after epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from cnnlab.config.augmentations import augmentations as registry
from cnnlab.data.augmentation.augment import augment, draw
from cnnlab.data.contact_sheet import SHOWN_CLASSES, Row, of_each_class, sheet
from cnnlab.data.sources.base import ImageForm, Source

# About so many images are shown where there are few classes.
SHOWN_IMAGES = 8


def augmented_sheet(
    source: Source,
    form: ImageForm,
    augmentations: Sequence[Any],
    *,
    seed: int = 0,
    epochs: int = 8,
    per_class: int | None = None,
) -> Image.Image:
    """A picture with one row per image: its class, the image as it is, and what it becomes in the first epochs.

    Args:
        form: how the images are decoded before they are augmented.
        per_class: training images of each class (the first 20); None: one, or more where there are few classes.
    """
    per_class = per_class or max(1, SHOWN_IMAGES // min(len(source.classes), SHOWN_CLASSES))
    chosen = of_each_class(source, per_class)
    images = np.array([index for _, indices in chosen for index in indices])
    wanted = np.unique(images)
    pixels = np.asarray(source.pixels("train", wanted, form))[np.searchsorted(wanted, images)]
    versions = [pixels]
    for epoch in range(epochs):
        draws = draw(augmentations, seed, epoch, images.astype(np.int64))
        versions.append(augment(torch.from_numpy(pixels), augmentations, draws).numpy())
    names = [name for name, indices in chosen for _ in indices]
    rows = [Row(name, [version[n] for version in versions]) for n, name in enumerate(names)]
    heads = ["as it is", *(f"epoch {epoch}" for epoch in range(epochs))]
    notes = [str(registry.write(choice, defaults=True)) for choice in augmentations]
    return sheet(rows, form, 1 + epochs, heads, notes)
