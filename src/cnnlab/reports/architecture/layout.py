"""The layout of a network's drawing: blocks, strips and sums in lines, with arcs.

`cnnlab.reports.architecture.drawing` draws it. All lengths are in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isqrt, log2, sqrt
from typing import Any, Literal

from cnnlab.architecture.layer_graph import execution_order, layer_from_record
from cnnlab.records import LayerRecord
from cnnlab.render.formatting import format_shape, shorten
from cnnlab.render.svg import SMALL, text_width

PAGE, MARGIN, GAP = 1100.0, 24.0, 24.0
MAX_HEIGHT, MIN_HEIGHT = 110.0, 12.0
MAX_WIDTH, MIN_WIDTH = 56.0, 10.0
STRIP, NODE = 7.0, 18.0
MAX_LABEL_LENGTH = 16
MANY_INPUTS = 6  # the last rows of a dense block have more, and their arcs would hide everything
WIDE = 1.2  # digits and × are wider than a mean letter
IMAGE_ROW = ""  # the batch itself, among the names of rows

BlockKind = Literal[
    "image", "convolution", "dense", "pooling", "activation", "normalisation", "dropout", "reshaping", "sum", "other"
]
_KINDS: dict[BlockKind, str] = {
    "convolution": "conv depthwise",
    "dense": "dense",
    "pooling": "maxpool avgpool globalpool adaptivepool",
    "activation": "relu leaky_relu elu gelu silu tanh sigmoid softmax hardswish hardsigmoid relu6 prelu mish selu",
    "normalisation": "batchnorm layernorm groupnorm lrn",
    "dropout": "dropout dropout2d",
    "reshaping": "flatten upsample permute transpose reshape view pad",
    "sum": "residual add multiply",
}
BLOCK_KIND: dict[str, BlockKind] = {word: kind for kind, names in _KINDS.items() for word in names.split()}
_STRIP_KINDS = ("activation", "normalisation", "dropout")


@dataclass
class DiagramBlock:
    """A block or a sum with the strips that are joined to it. `row` is None for the images.

    `left` and `slot` are the start and width of the space for the block and its texts.
    """

    row: LayerRecord | None
    kind: BlockKind
    label: str
    size: str
    width: float
    height: float
    strips: list[LayerRecord] = field(default_factory=list)
    line: int = 0
    left: float = 0.0
    slot: float = 0.0
    is_connected: bool = True

    @property
    def short_name(self) -> str:
        """As many of the last words of the name as there is room for."""
        name = self.row.name if self.row is not None else ""
        if len(name) <= MAX_LABEL_LENGTH:
            return name
        pieces = name.split(".")
        ends = (".".join(pieces[start:]) for start in range(1, len(pieces)))
        short = next((end for end in ends if len(end) < MAX_LABEL_LENGTH), pieces[-1])
        return "…" + short if len(short) < MAX_LABEL_LENGTH else shorten(short, MAX_LABEL_LENGTH)

    @property
    def total_width(self) -> float:
        """The width of the block with its strips."""
        return self.width + STRIP * len(self.strips)

    @property
    def x(self) -> float:
        """Where the block starts."""
        return self.left + (self.slot - self.total_width) / 2

    @property
    def end(self) -> float:
        """Where the last strip ends."""
        return self.x + self.total_width


@dataclass(frozen=True)
class SkipArc:
    """An arc past other items: from a block (0) or strip (1, 2, …) of one item to another item."""

    start: int
    strip_index: int
    end: int


@dataclass(frozen=True)
class RepeatBracket:
    """The items of a repeat row, the first and the last; `level` counts from the innermost."""

    row: LayerRecord
    first: int
    last: int
    level: int


@dataclass(frozen=True)
class NetworkDiagram:
    """A whole network in lines of items."""

    items: tuple[DiagramBlock, ...]
    arcs: tuple[SkipArc, ...]
    brackets: tuple[RepeatBracket, ...]
    lines: int
    width: float


def lay_out_network(rows: Sequence[LayerRecord]) -> NetworkDiagram:
    """Lay out a table from the images to the last row."""
    items, where, resolved = _make_blocks(rows)
    arcs = _skip_arcs(items, where, resolved)
    width = _lay_out(items, arcs)
    return NetworkDiagram(tuple(items), arcs, _brackets(rows, where), items[-1].line + 1, width)


def height_of(side: int, largest: int) -> float:
    """A block's height grows with the square root of the side, so that small images are visible."""
    return MIN_HEIGHT + (MAX_HEIGHT - MIN_HEIGHT) * sqrt(side / largest)


def width_of(channels: int, max_channels: int) -> float:
    """A block's width grows with the logarithm of the channels."""
    return MIN_WIDTH + (MAX_WIDTH - MIN_WIDTH) * log2(1 + channels) / log2(1 + max_channels)


def _make_blocks(rows: Sequence[LayerRecord]) -> tuple[list[DiagramBlock], dict[str, tuple[int, int]], dict[str, str]]:
    """The items, the (item, strip) of each row that is drawn, and the row that replaces one that is not."""
    ordered = execution_order(rows)
    image = ordered[0].input
    shapes = [image, *(row.output for row in rows)]
    largest, most = max(map(_side, shapes)), max(map(_channels, shapes))
    items = [
        DiagramBlock(
            None,
            "image",
            "images",
            format_shape(image),
            width_of(image[0], most),
            height_of(_side(image), largest),
        )
    ]
    where, stands_for = {IMAGE_ROW: (0, 0)}, {IMAGE_ROW: IMAGE_ROW}
    before = IMAGE_ROW
    for row in ordered:
        inputs = [stands_for[name] for name in row.inputs or (IMAGE_ROW,) if name in stands_for]
        if row.kind == "repeat":
            stands_for[row.name] = inputs[0]
            continue
        stands_for[row.name] = row.name
        follows = before in inputs
        if follows and _is_strip(row, inputs):
            items[-1].strips.append(row)
            where[row.name] = (len(items) - 1, len(items[-1].strips))
        else:
            items.append(_make_block(row, largest, most, follows))
            where[row.name] = (len(items) - 1, 0)
        before = row.name
    return items, where, stands_for


def _side(shape: tuple[int, ...]) -> int:
    """The height of an image; of tokens the side of a square of them; 1 for a vector."""
    return shape[1] if len(shape) == 3 else isqrt(shape[0]) if len(shape) == 2 else 1


def _channels(shape: tuple[int, ...]) -> int:
    return shape[-1] if len(shape) == 2 else shape[0]


def _is_strip(row: LayerRecord, inputs: Sequence[str]) -> bool:
    kind = BLOCK_KIND.get(row.kind, "other")
    return kind in _STRIP_KINDS or (
        kind == "other" and row.input == row.output and not row.parameters and len(inputs) == 1
    )


def _make_block(row: LayerRecord, largest: int, max_channels: int, follows: bool) -> DiagramBlock:
    kind = BLOCK_KIND.get(row.kind, "other")
    if kind == "sum":
        return DiagramBlock(row, kind, "", "", NODE, NODE, is_connected=follows)
    shape = row.output
    if kind == "dense" and len(shape) == 3:  # channels are last
        shape = (shape[2], *shape[:2])
    width, height = width_of(_channels(shape), max_channels), height_of(_side(shape), largest)
    label = f"{short_label(row)} {len(row.inputs)}" if len(row.inputs) > MANY_INPUTS else short_label(row)
    return DiagramBlock(row, kind, label, format_shape(row.output), width, height, is_connected=follows)


def short_label(row: LayerRecord) -> str:
    """A row in a few words: `conv 5×5, 32`."""
    layer: Any = layer_from_record(row)
    if layer is None:
        return shorten(row.kind, MAX_LABEL_LENGTH)
    window = layer.window()
    labels = {"dense": f"dense {row.output[-1]}", "upsample": f"upsample ×{getattr(layer, 'scale', 1)}"}
    if window is None:
        return labels.get(
            row.kind, {"globalpool": "global pool", "adaptivepool": "adaptive pool"}.get(row.kind, row.kind)
        )
    kernel, usual = window.kernel, window.kernel if row.kind.endswith("pool") else (1, 1)
    stride = "" if window.stride == usual else f" /{_sizes(window.stride)}"
    filters = f", {row.output[0]}" if row.kind == "conv" else ""
    name = "depthw." if row.kind == "depthwise" else row.kind
    return f"{name} {_sizes(kernel) if row.kind.endswith('pool') else format_shape(kernel)}{filters}{stride}"


def _sizes(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else format_shape(pair)


def _skip_arcs(
    items: Sequence[DiagramBlock], where: dict[str, tuple[int, int]], stands_for: dict[str, str]
) -> tuple[SkipArc, ...]:
    """Arcs for inputs that are not the previous item; rows with many inputs have their number instead."""
    found: dict[SkipArc, None] = {}
    for end, item in enumerate(items):
        if item.row is None:
            continue
        inputs = [stands_for[name] for name in item.row.inputs or (IMAGE_ROW,) if name in stands_for]
        for name in inputs if len(inputs) <= MANY_INPUTS else ():
            start, piece = where[name]
            last = start == end - 1 and piece == len(items[start].strips)
            if not last:
                found[SkipArc(start, piece, end)] = None
    return tuple(found)


def _brackets(rows: Sequence[LayerRecord], where: dict[str, tuple[int, int]]) -> tuple[RepeatBracket, ...]:
    found: list[RepeatBracket] = []
    for row in reversed(rows):  # inner rows come after outer ones
        if row.kind != "repeat":
            continue
        within = [place for name, (place, _) in where.items() if name.startswith(row.name + ".")] or [0]
        inner = [bracket.level for bracket in found if bracket.row.name.startswith(row.name + ".")]
        found.append(RepeatBracket(row, min(within), max(within), max(inner, default=-1) + 1))
    return tuple(reversed(found))


def _lay_out(items: Sequence[DiagramBlock], arcs: Sequence[SkipArc]) -> float:
    """Set every item's line and position, and return the width of the longest line with its margins."""
    for item in items:
        texts = (item.label, item.size, item.short_name if item.label else "")
        item.slot = max(item.total_width, *(WIDE * text_width(text, SMALL) for text in texts))
    inside = _breaks_arc(len(items), arcs)
    start, line, longest = 0, 0, 0.0
    while start < len(items):
        end = _line_end(items, start, inside)
        left = MARGIN + (GAP if line else 0.0)
        for item in items[start:end]:
            item.line, item.left = line, left
            left += item.slot + GAP
        longest = max(longest, left - GAP)
        start, line = end, line + 1
    return longest + MARGIN + (GAP if line > 1 else 0.0)


def _breaks_arc(count: int, arcs: Sequence[SkipArc]) -> list[bool]:
    """For each item, whether a line break in front of it would cut an arc.

    A break directly behind an arc's start does not: the arc then starts with the new line.
    """
    inside = [False] * (count + 1)
    for arc in arcs:
        for place in range(arc.start + 2, arc.end + 1):
            inside[place] = True
    return inside


def _line_end(items: Sequence[DiagramBlock], start: int, inside: Sequence[bool]) -> int:
    """The end of a line: where it is full, or, if it is half full, before items that an arc connects."""
    room = PAGE - 2 * MARGIN - 2 * GAP
    end, used = start, -GAP
    best = start
    while end < len(items) and (end == start or used + GAP + items[end].slot <= room):
        used += GAP + items[end].slot
        end += 1
        if not inside[end] and used >= room / 2:
            best = end
    return end if end == len(items) or best == start else best
