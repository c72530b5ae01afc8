"""What every data source answers, whatever its files look like. No torch.

A source tells how many images it has without opening one, and decodes only the images that are asked for, so that a
test set that stays sealed is never read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Part = Literal["train", "validation", "test"]
PART_ORDER: tuple[Part, ...] = ("train", "validation", "test")
Labels = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]

# Long work reports itself: (what is being done, how much is done, how much there is, the unit: "images" or "bytes").
Progress = Callable[[str, int, int, str], None]


def silent(what: str, done: int, total: int, unit: str) -> None:
    """The progress of a caller that shows none."""


@dataclass(frozen=True)
class ImageForm:
    """How images are decoded.

    `height`, `width` and `channels` (1 or 3) are those of the result; `interpolation` is Pillow's filter for
    a change of size.
    """

    channels: int
    height: int
    width: int
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.height, self.width)


class Source(Protocol):
    """Images with labels, in one to three parts.

    Attributes:
        name: what the recipe calls it: a catalogue name, or the folder's or archive's path as it was given.
        classes: the class names; a label is an index into them.
        parts: the parts that the source brings itself; "train" is always one of them.
        fixed: whether the name and the part alone say which images these are: so for a published set, not for a
            folder. Asking a fixed source for labels may open the part's files.
    """

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def parts(self) -> tuple[Part, ...]: ...

    @property
    def fixed(self) -> bool: ...

    def natural_form(self) -> ImageForm:
        """The images' own channels and size, from others than test images; a SourceError names sizes that differ."""
        ...

    def count(self, part: Part) -> int:
        """How many images a part has; no file of images is opened for it."""
        ...

    def identity(self, part: Part, indices: Indices) -> list[str]:
        """For each image at `indices` a text that is the same wherever the source lies; nothing is opened."""
        ...

    def content_digest(self) -> str:
        """A digest in hex of what is known of all parts' images without opening one; see `Dataset.content_digest`."""
        ...

    def labels(self, part: Part) -> Labels:
        """A label for each image of a part, in a fixed order; shape N."""
        ...

    def image_names(self, part: Part) -> list[str]:
        """A name for each image, in the order of `labels`: its path in the source, or "test[17]"."""
        ...

    def pixels(self, part: Part, indices: Indices, form: ImageForm, progress: Progress = silent) -> Pixels:
        """The images at `indices`, decoded: uint8, N×C×H×W; a read-only memory map where that is cheaper."""
        ...
