"""The filters of one layer, and the layout of their inputs. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from cnnlab.records import LayerRecord

# Rows whose output channels are mixtures of their input channels.
_MIXES_CHANNELS = ("conv", "depthwise", "dense")


@dataclass(frozen=True)
class InputLayout:
    """The layout of a layer's inputs.

    Attributes:
        shape: (C, H, W) of the map that a dense layer's inputs were flattened from; H = W = 1 where there was none.
        reads_image: whether the channels are the image's.
    """

    shape: tuple[int, int, int]
    reads_image: bool


def input_layout(rows: Sequence[LayerRecord], name: str, inputs: int) -> InputLayout:
    """Find the layout of the inputs of a convolution or a dense layer.

    Args:
        inputs: the number of input channels or features.
    """
    row = find_row(rows, name)
    if row is None:
        return InputLayout((inputs, 1, 1), reads_image=False)
    path = [row, *_rows_before(rows, row)]
    maps = next((each.input for each in path if len(each.input) == 3), ())
    shape = (inputs, 1, 1)
    if len(row.input) == 1 and maps and prod(maps) == inputs:
        shape = (maps[0], maps[1], maps[2])
    return InputLayout(shape, reads_image=not path[-1].inputs and (len(row.input) == 3 or shape[1] * shape[2] > 1))


def find_row(rows: Sequence[LayerRecord], name: str) -> LayerRecord | None:
    """The row of a module, or of the innermost row that contains it; None without either."""
    matches = [row for row in rows if row.name == name or name.startswith(f"{row.name}.")]
    return max(matches, key=lambda row: len(row.name), default=None)


def _rows_before(rows: Sequence[LayerRecord], row: LayerRecord) -> Iterator[LayerRecord]:
    """The rows before this one, back to the first that mixes channels."""
    by_name = {each.name: each for each in rows}
    while len(row.inputs) == 1 and row.inputs[0] in by_name:
        row = by_name[row.inputs[0]]
        keeps = row.kind == "flatten" or row.input[:1] == row.output[:1]
        if row.kind in _MIXES_CHANNELS or len(row.inputs) > 1 or not keeps:
            return
        yield row


Floats = npt.NDArray[np.floating]
# The initial weights are restored from the seed, and equal the digest in the run; restored, without a digest to check
# them by; restored, and differ from the digest; not available any more; or nothing was trained.
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
    """The weights of one layer, before and after training, both F×C×H×W.

    A convolution has F filters of C channels; a dense layer F units, whose weights are arranged as the C×H×W map that
    was flattened before it, or with H = W = 1.

    Attributes:
        layer: its name in the table.
        before: the initial weights; None where they are not available or nothing was trained.
        loaded: the name of pretrained initial weights; empty for random ones.
        frozen: whether they never trained.
        reads_image: whether the channels are the image's.
        groups: of the convolution; a filter reads the channels of one.
        initial_weights: how `before` is known.
        reason: why it is not available or not verified.
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
        """Whether figures show the initial weights too; not those of a frozen layer that never changed."""
        return self.before is not None and not (self.frozen and np.array_equal(self.before, self.after))

    @property
    def in_colour(self) -> bool:
        """Whether the three channels are red, green and blue."""
        return self.reads_image and self.after.shape[1] == len(CHANNEL_NAMES)

    @property
    def is_single_picture(self) -> bool:
        """Whether a filter is one picture: in the image's colours, or of one channel."""
        return self.is_spatial and (self.in_colour or self.after.shape[1] == 1)

    @property
    def is_spatial(self) -> bool:
        """Whether a filter has more than one number a channel."""
        return bool(self.after[0, 0].size > 1)

    @property
    def noun(self) -> str:
        """`filter` of a convolution, `unit` of a dense layer."""
        return "filter" if self.kind == "conv" else "unit"

    def channel(self, number: int, within: int) -> int:
        """The number, from 1, of the input channel of a filter's kernel at index `within`; a group has its own ones."""
        return int((number - 1) * self.groups // len(self.after) * self.after.shape[1] + within) + 1
