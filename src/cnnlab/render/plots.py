"""The style of plots, and their conversion to SVG and PNG.

A figure is drawn in the light colours below; in its SVG each becomes a CSS variable with that colour as the fallback,
so that a page can change them. Text stays text, in the reader's fonts.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.render.formatting import shorten, wrap
from cnnlab.render.palette import LIGHT
from cnnlab.render.svg import NORMAL as NORMAL
from cnnlab.render.svg import SMALL as SMALL
from cnnlab.render.svg import describe_svg, make_standalone

# Each must be unique in the text of an SVG, so white is not exactly white.
COLOURS = {
    **{name: LIGHT[name] for name in ("ink", "muted", "line", "train", "validation", "test", "other")},
    "on-dark": "#fffffe",
    "paper": "#fffffd",
}
POINTS_PER_INCH = 72
MARGIN, LINE, TITLE = 12.0, 14.0, 30.0
# Mean width of a character relative to the font size, for wrapped text.
CHARACTER_WIDTH = 0.58
HorizontalAlignment = Literal["left", "center", "right"]
_FONT = re.compile(r"font-family: [^;]*")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure and its alternative text."""

    figure: Figure
    description: str


def new_figure(width: float, height: float) -> Figure:
    """An empty figure without a background, of a size in points (1/72 inch)."""
    return Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), dpi=POINTS_PER_INCH, facecolor="none")


def minimal_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes with faint horizontal lines only; positions are in points from the lower left corner."""
    whole_width, whole_height = figure.get_size_inches() * POINTS_PER_INCH
    axes = figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))
    style_axes(axes)
    return axes


def style_axes(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    """Leave of axes' lines only a faint grid."""
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.grid(axis=grid, color=COLOURS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelsize=SMALL, labelcolor=COLOURS["muted"], pad=5)


def new_canvas(figure: Figure, margin: float = 0.0) -> Axes:
    """Add axes over the whole figure to write on, in points from the upper left corner within a margin."""
    width, height = figure.get_size_inches() * POINTS_PER_INCH
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-margin, width - margin), ylim=(height - margin, -margin))
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    return axes


def write_text(
    canvas: Axes,
    x: float,
    y: float,
    text: str,
    *,
    colour: str = "ink",
    ha: HorizontalAlignment = "left",
    size: float = SMALL,
    bold: bool = False,
) -> None:
    """Write a line of text, centred vertically on y; `$` is not read as mathematics."""
    weight = "bold" if bold else "normal"
    canvas.text(x, y, text, fontsize=size, color=COLOURS[colour], ha=ha, va="center", weight=weight, parse_math=False)


def new_captioned_figure(width: float, height: float, title: str, notes: Sequence[str]) -> tuple[Figure, float]:
    """A figure with a title above and notes below an area of this height, and the bottom of that area.

    Args:
        width: of the figure, in points; notes are wrapped to it.
        title: without one there is no room for it.
        notes: each begins on a new line.
    """
    most = int((width - 2 * MARGIN) / (CHARACTER_WIDTH * SMALL))
    lines = [line for note in notes for line in wrap(note, most)]
    bottom = LINE * len(lines) + (2 * MARGIN if lines else 0)
    whole = bottom + height + (TITLE if title else 0)
    figure = new_figure(width, whole)
    # Bold letters are wider.
    style = {"fontsize": NORMAL + 1, "color": COLOURS["ink"], "weight": "bold", "va": "center"}
    short = shorten(title, int(0.8 * most))
    figure.text(MARGIN / width, 1 - (TITLE / 2 + 2) / whole, short, style, parse_math=False)
    style = {"fontsize": SMALL, "color": COLOURS["muted"], "va": "center"}
    for number, line in enumerate(lines):
        y = (bottom - MARGIN - LINE * (number + 0.5)) / whole
        figure.text(MARGIN / width, y, line, style, parse_math=False)
    return figure, bottom


def label_line_ends(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Write each line's name at its end, right of the axes, in its colour; apart where ends are close.

    Args:
        ends: (name, the line's last value, colour as CSS) for each.
    """
    heights = [float(axes.transData.transform((0, value))[1]) for _, value, _ in ends]
    bottom, top = axes.bbox.y0, axes.bbox.y1
    for (name, _, colour), height in zip(ends, spread_positions(heights, 14, bottom, top), strict=True):
        axes.annotate(
            name,
            (1, (height - bottom) / (top - bottom)),
            xycoords="axes fraction",
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=NORMAL,
            color=colour,
            weight="bold",
            annotation_clip=False,
            parse_math=False,
        )


def spread_positions(positions: Sequence[float], gap: float, bottom: float, top: float) -> list[float]:
    """Positions at least `gap` apart and in the same order, as near to the given ones as that allows.

    >>> spread_positions([9.0, 5.0, 5.0], 2.0, 0.0, 10.0)
    [9.0, 5.0, 7.0]
    """
    spread = list(positions)
    lowest = bottom
    for rank, number in enumerate(sorted(range(len(spread)), key=spread.__getitem__)):
        highest = top - gap * (len(spread) - 1 - rank)
        spread[number] = min(max(positions[number], lowest), max(highest, lowest))
        lowest = spread[number] + gap
    return spread


def to_svg(figure: Figure, name: str, description: str, *, standalone: bool = False) -> str:
    """Convert a figure to SVG text, which is the same for the same figure.

    Args:
        name: letters, digits and '-'; every id in the SVG begins with it, so it must be unique within a page.
        description: alternative text.
        standalone: True for a file, with light and dark colours and a background; False for a page, which has them.
    """
    buffer = io.StringIO()
    with (
        warnings.catch_warnings(),
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "image.composite_image": False}),
    ):
        # Text is drawn in the reader's fonts, so missing glyphs of Matplotlib's font don't matter.
        warnings.filterwarnings("ignore", message="(?s).*(Glyph|font)")
        _settle_layout(figure)
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ElementTree.fromstring(buffer.getvalue())
    _clean_svg(root, name)
    describe_svg(root, name, description)
    if standalone:
        make_standalone(root)
    return ElementTree.tostring(root, encoding="unicode")


def _settle_layout(figure: Figure) -> None:
    """Lay out a figure once, to a ten-thousandth of its size: the last digits of Matplotlib's solver vary."""
    if figure.get_layout_engine() is None:
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(edge, 4) for edge in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))


def to_png(figure: Figure, scale: float = 2.0) -> bytes:
    """Convert a figure to PNG on white, `scale` pixels per point."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A glyph that Matplotlib's font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="(?s).*(Glyph|font)")
        # Without the software's version, the same figure gives the same bytes.
        metadata = {"Software": None}
        figure.savefig(buffer, format="png", dpi=scale * POINTS_PER_INCH, facecolor=LIGHT["paper"], metadata=metadata)
    return buffer.getvalue()


def _clean_svg(root: ElementTree.Element, name: str) -> None:
    """Remove namespaces and metadata, make ids unique, and use variables for colours and fonts."""
    for parent in root.iter():
        for child in [child for child in parent if child.tag.endswith("}metadata")]:
            parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(key): value for key, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update({key: _attribute(key, value, name) for key, value in attributes.items()})


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    value = _REFERENCE.sub(rf"url(#{name}-\1)", value)
    if key != "style":
        return value
    for variable, colour in COLOURS.items():
        value = value.replace(colour, f"var(--{variable}, {colour})")
    return _FONT.sub("font-family: var(--sans, sans-serif)", value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
