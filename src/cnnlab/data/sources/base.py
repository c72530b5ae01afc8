"""The protocol of all data sources. No torch.

A source knows how many images it has without opening one, and decodes only the images that are asked for, so that a
sealed test set is never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from cnnlab.context import ProgressCallback

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Labels = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSpec:
    """How images are decoded.

    `height`, `width` and `channels` (1 or 3) are those of the result; `interpolation` is Pillow's filter for
    a change of size; `fit` says whether another aspect ratio is stretched, or cropped to the middle of the image.
    """

    channels: int
    height: int
    width: int
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    fit: Literal["stretch", "crop"] = "stretch"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.height, self.width)


class DataSource(Protocol):
    """Images with labels, in one to three splits.

    Attributes:
        name: what the recipe calls it: a catalogue name, or the folder's or archive's path as it was given.
        classes: the class names; a label is an index into them.
        splits: the splits that the source brings itself; "train" is always one of them.
        is_fixed: whether the name and the split alone determine the images, as of a published set and not of a folder.
            Asking a fixed source for labels may open the split's files.
    """

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def splits(self) -> tuple[Split, ...]: ...

    @property
    def is_fixed(self) -> bool: ...

    def native_spec(self) -> ImageSpec:
        """The images' own channels and size, from others than test images; a SourceError names sizes that differ."""
        ...

    def num_images(self, split: Split) -> int:
        """How many images a split has; no file of images is opened for it."""
        ...

    def image_ids(self, split: Split, indices: Indices) -> list[str]:
        """For each image at `indices` a text that does not depend on the source's path; nothing is opened."""
        ...

    def content_digest(self) -> str:
        """A digest in hex of what is known of all splits' images without opening one; see `Dataset.content_digest`."""
        ...

    def labels(self, split: Split) -> Labels:
        """A label for each image of a split, in a fixed order; shape N."""
        ...

    def image_names(self, split: Split) -> list[str]:
        """A name for each image, in the order of `labels`: its path in the source, or "test[17]"."""
        ...

    def pixels(self, split: Split, indices: Indices, image_spec: ImageSpec, progress: ProgressCallback = ...) -> Pixels:
        """The images at `indices`, decoded: uint8, N×C×H×W; a read-only memory map where that is cheaper."""
        ...
