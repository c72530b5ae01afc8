"""Contact sheets of example images, and of augmented ones; only the latter load torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from cnnlab.data.sources.base import DataSource, ImageSpec
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_hwc

MAX_SHOWN_CLASSES = 20
# The number of augmented images where there are few classes.
NUM_PREVIEW_IMAGES = 8


def contact_sheet(source: DataSource, image_spec: ImageSpec, per_class: int = 8) -> Figure:
    """Draw a row for each class (the first 20): training images evenly spaced over the class.

    The images are decoded by `image_spec`, as for a network.
    """
    chosen = sample_per_class(source, per_class)
    wanted = np.unique(np.concatenate([indices for _, indices in chosen]))
    pixels = source.pixels("train", wanted, image_spec)
    rows = []
    for name, indices in chosen:
        tiles = tuple(Tile(to_hwc(pixels[np.searchsorted(wanted, index)])) for index in indices)
        rows.append([GalleryPanel(name, tiles, per_class)])
    return draw_gallery("", rows)


def augmented_sheet(
    source: DataSource,
    image_spec: ImageSpec,
    augmentations: Sequence[Any],
    *,
    seed: int = 0,
    epochs: int = 8,
    per_class: int | None = None,
) -> Figure:
    """Draw a row for each image: the unaugmented image, and the image in the first epochs.

    Args:
        image_spec: of the decoded images, before augmentation.
        per_class: training images of each class (the first 20); None: one, or more where there are few classes.
    """
    import torch

    from cnnlab.config.image_changes import augmentations as registry
    from cnnlab.data.augmentation.augment import augment, sample_params

    per_class = per_class or max(1, NUM_PREVIEW_IMAGES // min(len(source.classes), MAX_SHOWN_CLASSES))
    chosen = sample_per_class(source, per_class)
    images = np.concatenate([indices for _, indices in chosen])
    wanted = np.unique(images)
    pixels = np.asarray(source.pixels("train", wanted, image_spec))[np.searchsorted(wanted, images)]
    versions = {"unaugmented": pixels}
    for epoch in range(epochs):
        params = sample_params(augmentations, seed, epoch, images)
        versions[f"epoch {epoch}"] = augment(torch.from_numpy(pixels), augmentations, params).numpy()
    rows = []
    for number, name in enumerate(name for name, indices in chosen for _ in indices):
        tiles = tuple(Tile(to_hwc(version[number]), (title,)) for title, version in versions.items())
        rows.append([GalleryPanel(name, tiles, len(tiles))])
    return draw_gallery("", rows, [str(registry.to_call(choice, defaults=True)) for choice in augmentations])


def sample_per_class(source: DataSource, per_class: int) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """The first 20 classes, each with indices of training images, evenly spaced over the class."""
    labels = source.labels("train")
    samples = []
    for label, name in enumerate(source.classes[:MAX_SHOWN_CLASSES]):
        indices = np.flatnonzero(labels == label)
        spaced = np.unique(np.linspace(0, len(indices) - 1, per_class).astype(int))
        samples.append((name, indices[spaced] if len(indices) else indices))
    return samples
