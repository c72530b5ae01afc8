"""The filters of one layer, and what their inputs are: channels of the image, maps, or features in a line. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from cnnlab.records import LayerRecord

# What gives a channel for each channel: behind it the first channel is still the first.
_MIXES_CHANNELS = ("conv", "depthwise", "dense")


@dataclass(frozen=True)
class InputLayout:
    """How the inputs of a layer lie.

    Attributes:
        shape: (C, H, W) of what a dense layer's inputs were flattened from; H = W = 1 where they never had a place.
        reads_image: whether its channels are the image's.
    """

    shape: tuple[int, int, int]
    reads_image: bool


def input_layout(rows: Sequence[LayerRecord], name: str, inputs: int) -> InputLayout:
    """How the inputs of a convolution or a dense layer lie.

    Args:
        inputs: how many channels or numbers go in.
    """
    row = find_row(rows, name)
    if row is None:
        return InputLayout((inputs, 1, 1), reads_image=False)
    shape: tuple[int, int, int] = (inputs, 1, 1)
    for before in (row, *_rows_before(rows, row)):
        if len(before.input) == 3:
            if prod(before.input) == inputs and len(row.input) == 1:
                shape = (before.input[0], before.input[1], before.input[2])
            break
        if before is not row and prod(before.input) != inputs:
            break
    last = [row, *_rows_before(rows, row)][-1]
    return InputLayout(shape, reads_image=not last.inputs and (len(row.input) == 3 or shape[1] * shape[2] > 1))


def find_row(rows: Sequence[LayerRecord], name: str) -> LayerRecord | None:
    """The row of a module, or of what it is a part of; None where there is none."""
    found = [row for row in rows if row.name == name or name.startswith(f"{row.name}.")]
    return max(found, key=lambda row: len(row.name), default=None)


def _rows_before(rows: Sequence[LayerRecord], row: LayerRecord) -> Iterator[LayerRecord]:
    """The rows on the way back to the image, as long as each keeps its channels where they are."""
    known = {each.name: each for each in rows}
    while len(row.inputs) == 1 and row.inputs[0] in known:
        row = known[row.inputs[0]]
        keeps = row.kind == "flatten" or row.input[:1] == row.output[:1]
        if row.kind in _MIXES_CHANNELS or len(row.inputs) > 1 or not keeps:
            return
        yield row


Floats = npt.NDArray[np.floating]
# How the state before training was come by: made anew, and found equal to the digest that the run wrote down; made
# anew by a run that wrote none; made anew and found to be another; or its weights can't be had any more.
InitialWeightsStatus = Literal["checked", "unchecked", "other", "lost", "untrained"]
CHECKED: InitialWeightsStatus = "checked"
UNCHECKED: InitialWeightsStatus = "unchecked"
MISMATCH: InitialWeightsStatus = "other"
LOST: InitialWeightsStatus = "lost"
UNTRAINED: InitialWeightsStatus = "untrained"
WeightScale = Literal["own", "common"]
CHANNEL_NAMES = ("red", "green", "blue")


@dataclass(frozen=True)
class LayerFilters:
    """The weights of one layer, before and after training; both F×C×H×W.

    A convolution has F filters for C channels; a dense layer F units, whose weights lie as what it was flattened from
    did, C×H×W, or with H = W = 1.

    Attributes:
        layer: its name in the table.
        before: None where the weights that it began with can't be had any more, or nothing was trained.
        loaded: which weights it began with; empty where they were random.
        frozen: whether they never trained.
        kind: conv or dense.
        reads_image: whether it looks at the image itself, so that its channels are the image's.
        groups: into how many the channels are split; a filter sees one of them.
        initial_weights: how the state before training was come by.
        reason: why there is none, or why it could not be checked.
    """

    layer: str
    before: Floats | None
    after: Floats
    loaded: str = ""
    frozen: bool = False
    kind: Literal["conv", "dense"] = "conv"
    reads_image: bool = True
    groups: int = 1
    initial_weights: InitialWeightsStatus = UNCHECKED
    reason: str = ""

    @property
    def shows_before_and_after(self) -> bool:
        """Whether the state before training is drawn beside the one after; of what never changed it is not."""
        return self.before is not None and not (self.frozen and np.array_equal(self.before, self.after))

    @property
    def in_colour(self) -> bool:
        """Whether the three channels are red, green and blue."""
        return self.reads_image and self.after.shape[1] == len(CHANNEL_NAMES)

    @property
    def is_single_picture(self) -> bool:
        """Whether a filter is one picture: of an image's colours, or of one channel."""
        return self.is_spatial and (self.in_colour or self.after.shape[1] == 1)

    @property
    def is_spatial(self) -> bool:
        """Whether a filter is more than one number a channel."""
        return bool(self.after[0, 0].size > 1)

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return "filter" if self.kind == "conv" else "unit"

    def channel(self, number: int, within: int) -> int:
        """Which of the layer's input channels a filter's channel is."""
        return int(number * self.groups // len(self.after) * self.after.shape[1] + within)
