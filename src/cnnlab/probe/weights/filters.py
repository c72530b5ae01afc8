"""The weights of one layer, and how they are to be seen. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
# How the state before training was come by: made anew, and found equal to the digest that the run wrote down; made
# anew by a run that wrote none; made anew and found to be another; or its weights can't be had any more.
Begun = Literal["checked", "unchecked", "other", "lost", "untrained"]
CHECKED: Begun = "checked"
UNCHECKED: Begun = "unchecked"
OTHER: Begun = "other"
LOST: Begun = "lost"
UNTRAINED: Begun = "untrained"
Scale = Literal["own", "common"]
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Filters:
    """The weights of one layer, before and after training; both F×C×H×W.

    A convolution has F filters for C channels; a dense layer F units, whose weights lie as what it was flattened from
    did, C×H×W, or with H = W = 1.

    Attributes:
        layer: its name in the table.
        before: None where the weights that it began with can't be had any more, or nothing was trained.
        loaded: which weights it began with; empty where they were random.
        frozen: whether they never trained.
        kind: conv or dense.
        on_image: whether it looks at the image itself, so that its channels are the image's.
        groups: into how many the channels are parted; a filter sees one of them.
        begun: how the state before training was come by.
        reason: why there is none, or why it could not be checked.
    """

    layer: str
    before: Floats | None
    after: Floats
    loaded: str = ""
    frozen: bool = False
    kind: Literal["conv", "dense"] = "conv"
    on_image: bool = True
    groups: int = 1
    begun: Begun = UNCHECKED
    reason: str = ""

    @property
    def is_paired(self) -> bool:
        """Whether the state before training is drawn beside the one after; of what never changed it is not."""
        return self.before is not None and not (self.frozen and np.array_equal(self.before, self.after))

    @property
    def in_colour(self) -> bool:
        """Whether the three channels are red, green and blue."""
        return self.on_image and self.after.shape[1] == len(COLOURS)

    @property
    def as_pictures(self) -> bool:
        """Whether a filter is one picture: of an image's colours, or of one channel."""
        return self.has_extent and (self.in_colour or self.after.shape[1] == 1)

    @property
    def has_extent(self) -> bool:
        """Whether a filter is more than one number a channel."""
        return bool(self.after[0, 0].size > 1)

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return "filter" if self.kind == "conv" else "unit"

    def channel(self, number: int, within: int) -> int:
        """Which of the layer's input channels a filter's channel is."""
        return int(number * self.groups // len(self.after) * self.after.shape[1] + within)
