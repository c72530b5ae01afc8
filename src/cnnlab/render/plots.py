"""How every plot looks, and its way into a page that is light or dark.

A figure is drawn in the light colours below; in its SVG each becomes a CSS variable with that colour as the fallback,
so that a page can change them and a figure on its own still looks right. Texts stay texts, in the reader's fonts.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.render.formatting import sanitize, shorten, wrap
from cnnlab.render.palette import LIGHT, style_sheet

# Each must be found again in an SVG's text, and white may be anything's colour.
COLOURS = {
    **{name: LIGHT[name] for name in ("ink", "muted", "line", "train", "validation", "test", "other")},
    "on-dark": "#fffffe",
    "paper": "#fffffd",
}
POINTS_PER_INCH = 72
SMALL, NORMAL = 11.0, 12.0
MARGIN, LINE, TITLE = 12.0, 14.0, 30.0
# A letter's width as a share of its size, for texts that are folded.
CHARACTER_WIDTH = 0.58
_FONT = re.compile(r"font-family: [^;]*")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure, and what is seen on it, for those who can't see it."""

    figure: Figure
    description: str


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this many points (1/72 inch), without a background."""
    return Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), dpi=POINTS_PER_INCH, facecolor="none")


def minimal_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at this place (points from the lower left corner) with nothing but faint horizontal lines."""
    whole_width, whole_height = figure.get_size_inches() * POINTS_PER_INCH
    axes = figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", color=COLOURS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelsize=SMALL, labelcolor=COLOURS["muted"], pad=5)
    return axes


def new_captioned_figure(width: float, height: float, title: str, notes: Sequence[str]) -> tuple[Figure, float]:
    """A figure with a title above and notes below room of this height, and where that room begins, from the bottom.

    Args:
        width: of the figure, in points; notes are folded to it.
        notes: each begins on a line of its own.
    """
    most = int((width - 2 * MARGIN) / (CHARACTER_WIDTH * SMALL))
    lines = [line for note in notes for line in wrap(note, most)]
    bottom = LINE * len(lines) + (2 * MARGIN if lines else 0)
    whole = bottom + height + TITLE
    figure = new_figure(width, whole)
    # Bold letters are wider.
    short = shorten(title, int(0.8 * most))
    texts = [(whole - TITLE / 2 - 2, short, NORMAL + 1, "ink", "bold")]
    texts += [
        (bottom - MARGIN - LINE * (number + 0.5), line, SMALL, "muted", "normal") for number, line in enumerate(lines)
    ]
    for y, text, size, colour, weight in texts:
        style = {"fontsize": size, "color": COLOURS[colour], "weight": weight, "va": "center"}
        figure.text(MARGIN / width, y / whole, text, style, parse_math=False)
    return figure, bottom


def label_line_ends(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Write each line's name at its end, right of the axes, in its colour; pushed apart where ends are close.

    Args:
        ends: (name, the line's last value, colour as CSS) for each.
    """
    places = [float(axes.transData.transform((0, value))[1]) for _, value, _ in ends]
    bottom, top = axes.bbox.y0, axes.bbox.y1
    for (name, _, colour), height in zip(ends, spread_positions(places, 14, bottom, top), strict=True):
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
    """Heights at least `gap` apart and in the order of the places, as near to them as that allows.

    >>> spread_positions([9.0, 5.0, 5.0], 2.0, 0.0, 10.0)
    [9.0, 5.0, 7.0]
    """
    heights = dict.fromkeys(range(len(positions)), 0.0)
    lowest = bottom
    for index, number in enumerate(sorted(heights, key=lambda number: positions[number])):
        highest = top - gap * (len(positions) - 1 - index)
        heights[number] = min(max(positions[number], lowest), max(highest, lowest))
        lowest = heights[number] + gap
    return list(heights.values())


def to_svg(figure: Figure, name: str, description: str, *, standalone: bool = False) -> str:
    """The figure as SVG text for a page or a file: the same text for the same figure.

    Args:
        name: letters, digits and '-'; every id in the SVG begins with it, so it must be unique within a page.
        description: what is seen, for those who can't see it.
        standalone: True for a file of its own, with colours, a background, and a dark side; False for a page that has
            the colours.
    """
    buffer = io.StringIO()
    with (
        warnings.catch_warnings(),
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "image.composite_image": False}),
    ):
        # The reader's fonts draw the texts, so what Matplotlib's own font lacks does not matter.
        warnings.filterwarnings("ignore", message="(?s).*(Glyph|font)")
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ElementTree.fromstring(buffer.getvalue())
    _clean_svg(root, name)
    _describe(root, name, description)
    if standalone:
        _inline_styles(root)
    return ElementTree.tostring(root, encoding="unicode")


def to_png(figure: Figure, scale: float = 2.0) -> bytes:
    """The figure as a PNG on white, `scale` pixels a point."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that Matplotlib's own font lacks is an empty box there; SVG takes the reader's fonts.
        warnings.filterwarnings("ignore", message="(?s).*(Glyph|font)")
        # Without the software's version, the same figure gives the same bytes.
        metadata = {"Software": None}
        figure.savefig(buffer, format="png", dpi=scale * POINTS_PER_INCH, facecolor=LIGHT["paper"], metadata=metadata)
    return buffer.getvalue()


def _clean_svg(root: ElementTree.Element, name: str) -> None:
    """Without namespaces, metadata and ids that another figure may have; with variables for colours and fonts."""
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


def _describe(root: ElementTree.Element, name: str, description: str) -> None:
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    root.attrib.update({"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-labelledby": f"{name}-title"})
    root.attrib.update({"width": f"{width:g}", "height": f"{height:g}", "style": f"--width: {width:g}px"})
    title = ElementTree.Element("title", {"id": f"{name}-title"})
    title.text = sanitize(description)
    root.insert(0, title)


def _inline_styles(root: ElementTree.Element) -> None:
    """Give a figure what a page would have given it: colours, fonts and a background."""
    style = ElementTree.Element("style")
    style.text = style_sheet(":root")
    ground = {"width": "100%", "height": "100%", "style": f"fill: var(--paper, {LIGHT['paper']})"}
    root[1:1] = [style, ElementTree.Element("rect", ground)]


def _local(name: str) -> str:
    return name.rpartition("}")[2]
