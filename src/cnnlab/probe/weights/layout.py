"""How the inputs of a layer lie, by the rows before it: as channels of the image, as maps, or in a line. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from cnnlab.records import LayerRecord

# What gives a channel for each channel: behind it the first channel is still the first.
_MIXING = ("conv", "depthwise", "dense")


@dataclass(frozen=True)
class Layout:
    """How the inputs of a layer lie.

    Attributes:
        shape: (C, H, W) of what a dense layer's inputs were flattened from; H = W = 1 where they never had a place.
        on_image: whether its channels are the image's.
    """

    shape: tuple[int, int, int]
    on_image: bool


def layout_of(rows: Sequence[LayerRecord], name: str, inputs: int) -> Layout:
    """How the inputs of a convolution or a dense layer lie.

    Args:
        inputs: how many channels or numbers go in.
    """
    row = row_of(rows, name)
    if row is None:
        return Layout((inputs, 1, 1), on_image=False)
    shape: tuple[int, int, int] = (inputs, 1, 1)
    for before in (row, *_behind(rows, row)):
        if len(before.input) == 3:
            if prod(before.input) == inputs and len(row.input) == 1:
                shape = (before.input[0], before.input[1], before.input[2])
            break
        if before is not row and prod(before.input) != inputs:
            break
    last = [row, *_behind(rows, row)][-1]
    return Layout(shape, on_image=not last.inputs and (len(row.input) == 3 or shape[1] * shape[2] > 1))


def row_of(rows: Sequence[LayerRecord], name: str) -> LayerRecord | None:
    """The row of a module, or of what it is a part of; None where there is none."""
    found = [row for row in rows if row.name == name or name.startswith(f"{row.name}.")]
    return max(found, key=lambda row: len(row.name), default=None)


def _behind(rows: Sequence[LayerRecord], row: LayerRecord) -> Iterator[LayerRecord]:
    """The rows on the way back to the image, as long as each keeps its channels where they are."""
    known = {each.name: each for each in rows}
    while len(row.inputs) == 1 and row.inputs[0] in known:
        row = known[row.inputs[0]]
        keeps = row.kind == "flatten" or row.input[:1] == row.output[:1]
        if row.kind in _MIXING or len(row.inputs) > 1 or not keeps:
            return
        yield row
