"""Examples of augmented images: the same images in several epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from cnnlab.config.image_changes import augmentations as registry
from cnnlab.data.augmentation.augment import augment, sample_params
from cnnlab.data.contact_sheet import MAX_SHOWN_CLASSES, SheetRow, render_sheet, sample_per_class
from cnnlab.data.sources.base import DataSource, ImageSpec

# The number of images where there are few classes.
NUM_PREVIEW_IMAGES = 8


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
