"""Draw a network from the images to the last layer, in several lines if needed."""

from __future__ import annotations

from collections import defaultdict

from cnnlab.records import LayerRecord, LayerTable
from cnnlab.render.formatting import format_shape, pluralize, shorten
from cnnlab.render.svg import NORMAL, SMALL, SvgDrawing, text_width
from cnnlab.reports.architecture.layout import (
    BLOCK_KIND,
    GAP,
    MARGIN,
    NODE,
    STRIP,
    BlockKind,
    DiagramBlock,
    NetworkDiagram,
    RepeatBracket,
    SkipArc,
    lay_out_network,
)

TOP, LEGEND = 44.0, 30.0
LANE, BRACKET, TEXT = 9.0, 18.0, 15.0
MIN_DRAWING_WIDTH = 420.0
PALE = 0.35
# Medium tones, distinct on white and on black; colours that are not the page's are of Okabe and Ito (2008).
COLOURS: dict[BlockKind, tuple[str, str]] = {
    "image": ("panel", "muted"),
    "convolution": ("train", "none"),
    "dense": ("validation", "none"),
    "pooling": ("test", "none"),
    "activation": ("#e69f00", "none"),
    "normalisation": ("#cc79a7", "none"),
    "dropout": ("#8d949b", "none"),
    "reshaping": ("line", "muted"),
    "sum": ("paper", "ink"),
    "other": ("panel", "ink"),
}


def draw_architecture(table: LayerTable, title: str) -> SvgDrawing:
    """Draw a network from the image to the classes.

    A block's height grows with the square root of the image's side, its width with the logarithm of the channels.
    Activations, norms and dropouts are strips joined to the block in front of them; an arc past other rows leads to a
    sum. Frozen layers are pale.
    """
    placed = lay_out_network(table.layers)
    lines = _LineHeights(placed)
    width = max(placed.width, _legend_width(placed) + 2 * MARGIN, MIN_DRAWING_WIDTH)
    drawing = SvgDrawing(width, lines.bottom + LEGEND, "architecture", f"The layers of {title}")
    longest = int((width - 2 * MARGIN) / text_width("n", NORMAL))
    drawing.text(MARGIN, 26, shorten(title, longest), bold=True)
    _draw_flow(drawing, placed, lines)
    for arc, lane in zip(placed.arcs, lines.lanes, strict=True):
        _draw_arc(drawing, placed, lines, arc, lane)
    for item in placed.items:
        _draw_item(drawing, item, lines)
    for bracket in placed.brackets:
        _draw_bracket(drawing, placed, lines, bracket)
    _draw_legend(drawing, placed, lines.bottom + 12)
    return drawing


class _LineHeights:
    """The heights of each line: lanes of arcs, blocks around the middle, texts, brackets."""

    def __init__(self, diagram: NetworkDiagram) -> None:
        self.lanes, counts = _lanes(diagram)
        self.right = diagram.width - MARGIN
        self.top: list[float] = []
        self.middle: list[float] = []
        self.text: list[float] = []
        self.below: list[float] = []
        top = TOP
        for line in range(diagram.lines):
            items = [item for item in diagram.items if item.line == line]
            tallest = max(_height(item) for item in items)
            levels = [bracket.level + 1 for bracket in diagram.brackets if _on_line(diagram, bracket, line)]
            self.top.append(top + LANE * counts[line])
            self.middle.append(self.top[-1] + 6 + tallest / 2)
            self.text.append(self.middle[-1] + tallest / 2 + TEXT)
            self.below.append(self.text[-1] + 2 * TEXT)
            top = self.below[-1] + BRACKET * max(levels, default=0) + 14
        self.bottom = top


def _height(item: DiagramBlock) -> float:
    return _strip_height(item) if item.strips else item.height


def _strip_height(item: DiagramBlock) -> float:
    return item.height if item.kind != "sum" else 2 * NODE


def _lanes(diagram: NetworkDiagram) -> tuple[list[int], dict[int, int]]:
    """The lane of each arc, the same on all its lines, counted from the blocks; and the lanes of each line."""
    taken: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    chosen: dict[SkipArc, int] = {}
    for arc in sorted(diagram.arcs, key=lambda arc: arc.end - arc.start):
        lane = 0
        while any(arc.start < end and start < arc.end for start, end, used in taken[0] if used == lane):
            lane += 1
        taken[0].append((arc.start, arc.end, lane))
        chosen[arc] = lane
    counts: dict[int, int] = defaultdict(int)
    for arc, lane in chosen.items():
        for line in range(diagram.items[arc.start].line, diagram.items[arc.end].line + 1):
            counts[line] = max(counts[line], lane + 1)
    return [chosen[arc] for arc in diagram.arcs], counts


def _draw_flow(drawing: SvgDrawing, diagram: NetworkDiagram, lines: _LineHeights) -> None:
    for before, item in zip(diagram.items, diagram.items[1:], strict=False):
        if not item.is_connected:
            continue
        middle = lines.middle[item.line]
        start = before.end
        if before.line != item.line:
            drawing.line([(before.end, lines.middle[before.line]), (lines.right, lines.middle[before.line])])
            start = MARGIN
        drawing.line([(start, middle), (item.x, middle)])
        drawing.polygon([(item.x, middle), (item.x - 5, middle - 3), (item.x - 5, middle + 3)], fill="muted")


def _draw_arc(drawing: SvgDrawing, diagram: NetworkDiagram, lines: _LineHeights, arc: SkipArc, lane: int) -> None:
    """Draw an arc up from its start, along the lane, and down to its end; over the edges at line breaks."""
    start, end = diagram.items[arc.start], diagram.items[arc.end]
    inner = arc.strip_index < len(start.strips)
    x = start.x + start.width + STRIP * arc.strip_index - 2 if inner else start.end + GAP / 3
    first = start.line
    if not inner and start.line < end.line and diagram.items[arc.start + 1].line > start.line:
        first, x = start.line + 1, MARGIN + GAP / 3  # it begins with the next line
    stop = end.x + end.width / 2 if end.kind == "sum" else end.x - GAP / 3
    foot = lines.middle[end.line] - (end.height / 2 if end.kind == "sum" else 0)
    head = lines.middle[first] - (_arc_clearance(start, arc.strip_index) if inner else 0)
    for line in range(first, end.line + 1):
        level = lines.top[line] - LANE * lane
        left, right = (x if line == first else MARGIN), (stop if line == end.line else lines.right)
        points = [(left, level), (right, level)]
        if line == first:
            points.insert(0, (left, head))
            if not inner and first == start.line:
                points.insert(0, (start.end, head))
        if line == end.line:
            points.append((right, foot))
        drawing.line(points, thickness=1.2)
    if end.kind == "sum":
        drawing.polygon([(stop, foot), (stop - 3, foot - 5), (stop + 3, foot - 5)], fill="muted")
    else:
        drawing.line([(stop, foot), (end.x, foot)], thickness=1.2)
        drawing.polygon([(end.x, foot), (end.x - 5, foot - 3), (end.x - 5, foot + 3)], fill="muted")


def _arc_clearance(item: DiagramBlock, piece: int) -> float:
    """How far above the middle an arc starts between two strips."""
    return _height(item) / 2 if piece or item.kind != "sum" else 0.63 * NODE / 2


def _draw_item(drawing: SvgDrawing, item: DiagramBlock, lines: _LineHeights) -> None:
    middle, baseline = lines.middle[item.line], lines.text[item.line]
    fill, stroke = COLOURS[item.kind]
    pale = _opacity(item.row)
    title = _tooltip(item.row) if item.row is not None else f"images of {item.size}"
    radius = NODE / 2 if item.kind == "sum" else 2.0
    drawing.rectangle(
        item.x,
        middle - item.height / 2,
        item.width,
        item.height,
        fill=fill,
        stroke=stroke,
        radius=radius,
        opacity=pale,
        title=title,
    )
    if item.kind == "sum" and item.row is not None:
        sign = "×" if item.row.kind == "multiply" else "+"
        drawing.text(item.x + item.width / 2, middle + 4.5, sign, size=14, anchor="middle")
    for number, row in enumerate(item.strips):
        height = _strip_height(item)
        fill, _ = COLOURS[BLOCK_KIND.get(row.kind, "other")]
        left = item.x + item.width + STRIP * number + 1
        top, pale = middle - height / 2, _opacity(row)
        drawing.rectangle(left, top, STRIP - 1, height, fill=fill, radius=1, opacity=pale, title=_tooltip(row))
    centre = item.left + item.slot / 2
    if item.label:
        drawing.text(centre, baseline, item.label, size=SMALL, anchor="middle")
        drawing.text(centre, baseline + TEXT, item.size, size=SMALL, anchor="middle", colour="muted")
    if item.short_name and item.label:
        drawing.text(
            centre, baseline + 2 * TEXT, item.short_name, size=SMALL - 1, anchor="middle", colour="muted", mono=True
        )


def _tooltip(row: LayerRecord) -> str:
    parameters = f", {pluralize(row.parameters, 'parameter')}" if row.parameters else ""
    state = ", frozen" if row.frozen else f", trains after epoch {row.unfreeze_at}" if row.unfreeze_at else ""
    return f"{row.name}: {shorten(row.text, 80)} → {format_shape(row.output)}{parameters}{state}"


def _opacity(row: LayerRecord | None) -> float:
    return PALE if row is not None and row.frozen else 1.0


def _on_line(diagram: NetworkDiagram, bracket: RepeatBracket, line: int) -> bool:
    return diagram.items[bracket.first].line <= line <= diagram.items[bracket.last].line


def _draw_bracket(drawing: SvgDrawing, diagram: NetworkDiagram, lines: _LineHeights, bracket: RepeatBracket) -> None:
    """Draw a bar under the items of a repeat row on each line, with its name under the first."""
    members = diagram.items[bracket.first : bracket.last + 1]
    for line in sorted({item.line for item in members}):
        here = [item for item in members if item.line == line]
        y = lines.below[line] + BRACKET * bracket.level + 6
        left, right = here[0].left, here[-1].left + here[-1].slot
        first = line == members[0].line
        drawing.rectangle(left, y, right - left, 2, fill="muted", title=_tooltip(bracket.row) if first else "")
        if first:
            drawing.text(left, y + 13, _bracket_label(bracket.row), size=SMALL - 1, colour="muted")


def _bracket_label(row: LayerRecord) -> str:
    count = row.text.partition("(")[2].partition(",")[0]
    return f"{shorten(row.name, 40)}: {count} times"


def _rows(diagram: NetworkDiagram) -> list[LayerRecord]:
    return [row for item in diagram.items for row in (item.row, *item.strips) if row is not None]


def _legend(diagram: NetworkDiagram) -> list[tuple[str, BlockKind, float]]:
    """The entries: label, kind of the colour, opacity."""
    rows = _rows(diagram)
    present = {BLOCK_KIND.get(row.kind, "other") for row in rows}
    found: list[tuple[str, BlockKind, float]] = [(kind, kind, 1.0) for kind in COLOURS if kind in present]
    frozen = next((BLOCK_KIND.get(row.kind, "other") for row in rows if row.frozen), None)
    return found if frozen is None else [*found, ("pale: frozen", frozen, PALE)]


def _legend_width(diagram: NetworkDiagram) -> float:
    return sum(20 + text_width(name, SMALL) + 16 for name, _, _ in _legend(diagram))


def _draw_legend(drawing: SvgDrawing, diagram: NetworkDiagram, y: float) -> None:
    x = MARGIN
    for name, kind, opacity in _legend(diagram):
        fill, stroke = COLOURS[kind]
        radius = 5.5 if kind == "sum" else 2
        drawing.rectangle(x, y - 9, 11, 11, fill=fill, stroke=stroke, radius=radius, opacity=opacity)
        drawing.text(x + 17, y, name, size=SMALL, colour="muted")
        x += 20 + text_width(name, SMALL) + 16
