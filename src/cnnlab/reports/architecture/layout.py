"""The layout of a network's drawing: blocks, strips and sums in lines, with arcs past other rows.

`cnnlab.reports.architecture.drawing` draws it. All lengths are in pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import isqrt, log2, sqrt
from typing import Any, Literal

from cnnlab.architecture.layer_graph import IMAGE_KEY, execution_order, layer_from_record
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
TOP, LANE, TEXT = 44.0, 9.0, 15.0

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

    `left` and `slot` are the start and width of the space for the block and its texts, `middle` the height of its
    centre. `follows` tells whether it reads the block before it.
    """

    row: LayerRecord | None
    kind: BlockKind
    label: str
    size: str
    width: float
    height: float
    strips: list[LayerRecord] = field(default_factory=list)
    follows: bool = True
    line: int = 0
    left: float = 0.0
    slot: float = 0.0
    middle: float = 0.0

    @property
    def short_name(self) -> str:
        """The name, without its beginning where it is long."""
        name = self.row.name if self.row is not None else ""
        return name if len(name) <= MAX_LABEL_LENGTH else "…" + name[1 - MAX_LABEL_LENGTH :].lstrip(".")

    @property
    def strip_height(self) -> float:
        return 2 * NODE if self.kind == "sum" else self.height

    @property
    def x(self) -> float:
        """Where the block starts."""
        return self.left + (self.slot - self.width - STRIP * len(self.strips)) / 2

    @property
    def end(self) -> float:
        """Where the last strip ends."""
        return self.x + self.width + STRIP * len(self.strips)

    def top_centre(self, strip: int = 0) -> tuple[float, float]:
        """The middle of the upper edge of the block (0) or of a strip (1, 2, …)."""
        if strip:
            return self.x + self.width + STRIP * (strip - 0.5), self.middle - self.strip_height / 2
        return self.x + self.width / 2, self.middle - self.height / 2


@dataclass(frozen=True)
class SkipArc:
    """An arc past other items: from a block (0) or strip (1, 2, …) of one item to another item."""

    start: int
    strip_index: int
    end: int


@dataclass(frozen=True)
class NetworkDiagram:
    """A whole network in lines of items.

    Attributes:
        arcs: each with its lane, counted from the blocks.
        lanes_y: the height of each line's lowest lane.
        texts_y: the height of each line's first line of text.
    """

    items: tuple[DiagramBlock, ...]
    arcs: dict[SkipArc, int]
    lanes_y: tuple[float, ...]
    texts_y: tuple[float, ...]
    width: float

    @property
    def bottom(self) -> float:
        """Where the last line ends."""
        return self.texts_y[-1] + 2 * TEXT + 14


def lay_out_network(rows: Sequence[LayerRecord]) -> NetworkDiagram:
    """Lay out a table from the images to the last row."""
    items, arcs = _make_blocks(rows)
    lanes = _lanes(arcs)
    width = _place_in_lines(items, arcs)
    lanes_y: list[float] = []
    texts_y: list[float] = []
    top = TOP
    for line in range(items[-1].line + 1):
        crossing = [lane + 1 for arc, lane in lanes.items() if items[arc.start].line <= line <= items[arc.end].line]
        here = [item for item in items if item.line == line]
        tallest = max(item.strip_height if item.strips else item.height for item in here)
        lanes_y.append(top + LANE * max(crossing, default=0))
        for item in here:
            item.middle = lanes_y[-1] + 6 + tallest / 2
        texts_y.append(lanes_y[-1] + 6 + tallest + TEXT)
        top = texts_y[-1] + 2 * TEXT + 14
    return NetworkDiagram(tuple(items), lanes, tuple(lanes_y), tuple(texts_y), width)


def block_kind(row: LayerRecord) -> BlockKind:
    """What a row is in the drawing."""
    return BLOCK_KIND.get(row.kind, "other")


def height_of(side: int, largest: int) -> float:
    """A block's height grows with the square root of the side, so that small images are visible."""
    return MIN_HEIGHT + (MAX_HEIGHT - MIN_HEIGHT) * sqrt(side / largest)


def width_of(channels: int, max_channels: int) -> float:
    """A block's width grows with the logarithm of the channels."""
    return MIN_WIDTH + (MAX_WIDTH - MIN_WIDTH) * log2(1 + channels) / log2(1 + max_channels)


def _make_blocks(rows: Sequence[LayerRecord]) -> tuple[list[DiagramBlock], list[SkipArc]]:
    """The items in the order of the data, and an arc for each input that is not the item before it.

    A row with very many inputs has their number in place of arcs.
    """
    ordered = execution_order(rows)
    image = ordered[0].input
    shapes = [image, *(row.output for row in rows)]
    largest, most = max(map(_side, shapes)), max(map(_channels, shapes))
    width, height = width_of(image[0], most), height_of(_side(image), largest)
    items = [DiagramBlock(None, "image", "images", format_shape(image), width, height)]
    arcs: dict[SkipArc, None] = {}
    where = {IMAGE_KEY: (0, 0)}  # the item and strip of each row
    for row in ordered:
        sources = [where[name] for name in row.inputs or (IMAGE_KEY,)]
        last = (len(items) - 1, len(items[-1].strips))
        if row.kind == "repeat":  # its output is that of its last row
            where[row.name] = sources[0]
        elif last in sources and _is_strip(row):
            items[-1].strips.append(row)
            where[row.name] = (len(items) - 1, len(items[-1].strips))
        else:
            if len(sources) <= MANY_INPUTS:
                arcs |= {SkipArc(*source, len(items)): None for source in sources if source != last}
            items.append(_make_block(row, largest, most, last in sources))
            where[row.name] = (len(items) - 1, 0)
    return items, list(arcs)


def _side(shape: tuple[int, ...]) -> int:
    """The height of an image; of tokens the side of a square of them; 1 for a vector."""
    return shape[1] if len(shape) == 3 else isqrt(shape[0]) if len(shape) == 2 else 1


def _channels(shape: tuple[int, ...]) -> int:
    return shape[-1] if len(shape) == 2 else shape[0]


def _is_strip(row: LayerRecord) -> bool:
    kind = block_kind(row)
    return kind in _STRIP_KINDS or (
        kind == "other" and row.input == row.output and not row.parameters and len(row.inputs) < 2
    )


def _make_block(row: LayerRecord, largest: int, max_channels: int, follows: bool) -> DiagramBlock:
    kind = block_kind(row)
    if kind == "sum":
        return DiagramBlock(row, kind, "", "", NODE, NODE, follows=follows)
    shape = row.output
    if kind == "dense" and len(shape) == 3:  # channels are last
        shape = (shape[2], *shape[:2])
    width, height = width_of(_channels(shape), max_channels), height_of(_side(shape), largest)
    label = f"{short_label(row)} {len(row.inputs)}" if len(row.inputs) > MANY_INPUTS else short_label(row)
    return DiagramBlock(row, kind, label, format_shape(row.output), width, height, follows=follows)


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


def _lanes(arcs: Sequence[SkipArc]) -> dict[SkipArc, int]:
    """A lane for each arc, the same on all its lines, so that arcs over the same items don't overlap."""
    lanes: dict[SkipArc, int] = {}
    for arc in sorted(arcs, key=lambda arc: arc.end - arc.start):
        taken = {lane for other, lane in lanes.items() if arc.start < other.end and other.start < arc.end}
        lanes[arc] = next(lane for lane in count() if lane not in taken)
    return lanes


def _place_in_lines(items: Sequence[DiagramBlock], arcs: Sequence[SkipArc]) -> float:
    """Set every item's line and position, and return the width of the longest line with its margins."""
    for item in items:
        texts = (item.label, item.size, item.short_name if item.label else "")
        own = item.width + STRIP * len(item.strips)
        item.slot = max(own, *(WIDE * text_width(text, SMALL) for text in texts))
    # Items that an arc connects with the one before them; a break directly after an arc's start cuts little.
    inside = {number for arc in arcs for number in range(arc.start + 2, arc.end + 1)}
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


def _line_end(items: Sequence[DiagramBlock], start: int, inside: Collection[int]) -> int:
    """The end of a line: where it is full, or, if it is half full, before items that an arc connects."""
    room = PAGE - 2 * MARGIN - 2 * GAP
    end, used = start, -GAP
    best = start
    while end < len(items) and (end == start or used + GAP + items[end].slot <= room):
        used += GAP + items[end].slot
        end += 1
        if end not in inside and used >= room / 2:
            best = end
    return end if end == len(items) or best == start else best
