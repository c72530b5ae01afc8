"""Draw a network from the images to the last layer, in several lines if needed."""

from __future__ import annotations

from cnnlab.records import LayerRecord, LayerTable
from cnnlab.render.formatting import format_shape, pluralize, shorten
from cnnlab.render.svg import NORMAL, SMALL, SvgDrawing, text_width
from cnnlab.reports.architecture.layout import (
    LANE,
    MARGIN,
    NODE,
    STRIP,
    TEXT,
    BlockKind,
    DiagramBlock,
    NetworkDiagram,
    SkipArc,
    block_kind,
    lay_out_network,
)

LEGEND = 30.0
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
    Activations, norms and dropouts are strips joined to the block before them; an arc past other rows leads to
    what reads an earlier row. The rows of a repeat are drawn each time. Frozen layers are pale.
    """
    diagram = lay_out_network(table.layers)
    legend = _legend(table.layers)
    legend_width = sum(36 + text_width(name, SMALL) for name, _, _ in legend)
    width = max(diagram.width, legend_width + 2 * MARGIN, MIN_DRAWING_WIDTH)
    drawing = SvgDrawing(width, diagram.bottom + LEGEND, "architecture", f"The layers of {title}")
    longest = int((width - 2 * MARGIN) / text_width("n", NORMAL))
    drawing.text(MARGIN, 26, shorten(title, longest), bold=True)
    for before, item in zip(diagram.items, diagram.items[1:], strict=False):
        if item.follows:
            _draw_flow(drawing, before, item, diagram.width - MARGIN)
    for arc, lane in diagram.arcs.items():
        _draw_arc(drawing, diagram, arc, lane)
    for item in diagram.items:
        _draw_item(drawing, item, diagram.texts_y[item.line])
    x, y = MARGIN, diagram.bottom + 12
    for name, kind, opacity in legend:
        fill, stroke = COLOURS[kind]
        radius = 5.5 if kind == "sum" else 2
        drawing.rectangle(x, y - 9, 11, 11, fill=fill, stroke=stroke, radius=radius, opacity=opacity)
        drawing.text(x + 17, y, name, size=SMALL, colour="muted")
        x += 36 + text_width(name, SMALL)
    return drawing


def _draw_flow(drawing: SvgDrawing, before: DiagramBlock, item: DiagramBlock, right: float) -> None:
    """Draw an arrow between neighbours; at the end of a line it goes on in the next."""
    start = before.end
    if before.line != item.line:
        drawing.line([(before.end, before.middle), (right, before.middle)])
        start = MARGIN
    drawing.line([(start, item.middle), (item.x, item.middle)])
    drawing.polygon([(item.x, item.middle), (item.x - 5, item.middle - 3), (item.x - 5, item.middle + 3)], fill="muted")


def _draw_arc(drawing: SvgDrawing, diagram: NetworkDiagram, arc: SkipArc, lane: int) -> None:
    """Draw an arc up from its start, along the lane of each line, and down to its end."""
    start, end = diagram.items[arc.start], diagram.items[arc.end]
    first, last = start.top_centre(arc.strip_index), end.top_centre()
    for line in range(start.line, end.line + 1):
        y = diagram.lanes_y[line] - LANE * lane
        begin = [first, (first[0], y)] if line == start.line else [(MARGIN, y)]
        finish = [(last[0], y), last] if line == end.line else [(diagram.width - MARGIN, y)]
        drawing.line([*begin, *finish], thickness=1.2)
    x, y = last
    drawing.polygon([(x, y), (x - 3, y - 5), (x + 3, y - 5)], fill="muted")


def _draw_item(drawing: SvgDrawing, item: DiagramBlock, baseline: float) -> None:
    fill, stroke = COLOURS[item.kind]
    title = _tooltip(item.row) if item.row is not None else f"images of {item.size}"
    radius, opacity = NODE / 2 if item.kind == "sum" else 2.0, _opacity(item.row)
    shape = (item.x, item.middle - item.height / 2, item.width, item.height)
    drawing.rectangle(*shape, fill=fill, stroke=stroke, radius=radius, opacity=opacity, title=title)
    if item.kind == "sum" and item.row is not None:
        sign = "×" if item.row.kind == "multiply" else "+"
        drawing.text(item.x + item.width / 2, item.middle + 4.5, sign, size=14, anchor="middle")
    for number, row in enumerate(item.strips):
        left, top = item.x + item.width + STRIP * number + 1, item.middle - item.strip_height / 2
        fill, _ = COLOURS[block_kind(row)]
        shape = (left, top, STRIP - 1, item.strip_height)
        drawing.rectangle(*shape, fill=fill, radius=1, opacity=_opacity(row), title=_tooltip(row))
    if item.label:
        centre = item.left + item.slot / 2
        drawing.text(centre, baseline, item.label, size=SMALL, anchor="middle")
        drawing.text(centre, baseline + TEXT, item.size, size=SMALL, anchor="middle", colour="muted")
        if name := item.short_name:
            y = baseline + 2 * TEXT
            drawing.text(centre, y, name, size=SMALL - 1, anchor="middle", colour="muted", mono=True)


def _tooltip(row: LayerRecord) -> str:
    parameters = f", {pluralize(row.parameters, 'parameter')}" if row.parameters else ""
    state = ", frozen" if row.frozen else f", trains after epoch {row.unfreeze_at}" if row.unfreeze_at else ""
    return f"{row.name}: {shorten(row.text, 80)} → {format_shape(row.output)}{parameters}{state}"


def _opacity(row: LayerRecord | None) -> float:
    return PALE if row is not None and row.frozen else 1.0


def _legend(rows: tuple[LayerRecord, ...]) -> list[tuple[str, BlockKind, float]]:
    """The entries: label, kind of the colour, opacity."""
    present = {block_kind(row) for row in rows if row.kind != "repeat"}
    entries: list[tuple[str, BlockKind, float]] = [(kind, kind, 1.0) for kind in COLOURS if kind in present]
    frozen = [block_kind(row) for row in rows if row.frozen]
    return [*entries, ("pale: frozen", frozen[0], PALE)] if frozen else entries
