"""Drawings of simple shapes as SVG text with the colours of the page."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from cnnlab.render.formatting import display_width, sanitize
from cnnlab.render.palette import LIGHT, css_variable, style_sheet

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]
SMALL, NORMAL = 11.0, 12.0
# Mean width of a character relative to the font size, with some room for other fonts.
CHARACTER_WIDTH = 0.56


class SvgDrawing:
    """A drawing of a fixed size in pixels, with the origin in the upper left corner.

    Colours are names of `cnnlab.render.palette`, "none", or any CSS colour.
    """

    def __init__(self, width: float, height: float, name: str, description: str) -> None:
        """Create an empty drawing.

        Args:
            name: letters, digits and '-'; unique within a page.
            description: alternative text.
        """
        self.width, self.height = width, height
        self.root = Element("svg", {"viewBox": f"0 0 {width:g} {height:g}"})
        describe_svg(self.root, name, description)

    def rectangle(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "none",
        stroke: str = "none",
        thickness: float = 1.0,
        radius: float = 0.0,
        opacity: float = 1.0,
        title: str = "",
    ) -> None:
        """Add a rectangle; `title` is its tooltip."""
        shape = {"x": _number(x), "y": _number(y), "width": _number(width), "height": _number(height)}
        made = self._add("rect", shape, fill, stroke, thickness, opacity)
        if radius:
            made.set("rx", _number(radius))
        if title:
            SubElement(made, "title").text = sanitize(title)

    def polygon(
        self,
        points: Iterable[Point],
        *,
        fill: str = "none",
        stroke: str = "none",
        thickness: float = 1.0,
        opacity: float = 1.0,
    ) -> None:
        """Add a polygon."""
        self._add("polygon", {"points": _points_attribute(points)}, fill, stroke, thickness, opacity)

    def line(self, points: Iterable[Point], *, stroke: str = "muted", thickness: float = 1.0, dashes: str = "") -> None:
        """Add a line from point to point; `dashes` as in SVG: "4 2"."""
        made = self._add("polyline", {"points": _points_attribute(points)}, "none", stroke, thickness, 1.0)
        if dashes:
            made.set("stroke-dasharray", dashes)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = NORMAL,
        colour: str = "ink",
        anchor: Anchor = "start",
        bold: bool = False,
        mono: bool = False,
    ) -> None:
        """Add a line of text; its baseline begins, is centred or ends at (x, y), by `anchor`."""
        family = "var(--mono, monospace)" if mono else "var(--sans, sans-serif)"
        style = f"fill: {_colour(colour)}; font: {'bold ' if bold else ''}{size:g}px {family}"
        placed = {"x": _number(x), "y": _number(y), "text-anchor": anchor, "style": style}
        SubElement(self.root, "text", placed).text = sanitize(text)

    def image(self, x: float, y: float, width: float, height: float, png: bytes) -> None:
        """Add a PNG image, enlarged with sharp pixels."""
        shape = {"x": _number(x), "y": _number(y), "width": _number(width), "height": _number(height)}
        style = "image-rendering: pixelated"
        link = "data:image/png;base64," + base64.b64encode(png).decode()
        SubElement(self.root, "image", {**shape, "href": link, "preserveAspectRatio": "none", "style": style})

    def to_svg(self, *, standalone: bool = False) -> str:
        """The drawing as SVG text.

        Args:
            standalone: True for a file, with light and dark colours and a background; False for a page, which has them.
        """
        root = self.root
        if standalone:
            root = Element("svg", dict(self.root.attrib))
            root.extend(self.root)
            make_standalone(root)
        return ElementTree.tostring(root, encoding="unicode")

    def _add(
        self, tag: str, shape: dict[str, str], fill: str, stroke: str, thickness: float, opacity: float
    ) -> Element:
        style = f"fill: {_colour(fill)}"
        if stroke != "none":
            style += f"; stroke: {_colour(stroke)}; stroke-width: {_number(thickness)}"
        if opacity != 1.0:
            style += f"; opacity: {_number(opacity)}"
        return SubElement(self.root, tag, {**shape, "style": style})


def describe_svg(root: Element, name: str, description: str) -> None:
    """Give an SVG with a viewBox its size, and a title, its first child, as alternative text."""
    width, height = (f"{float(number):g}" for number in root.attrib["viewBox"].split()[2:])
    root.attrib.update({"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-labelledby": f"{name}-title"})
    root.attrib.update({"width": width, "height": height, "style": f"--width: {width}px"})
    title = Element("title", {"id": f"{name}-title"})
    title.text = sanitize(description)
    root.insert(0, title)


def make_standalone(root: Element) -> None:
    """Give an SVG, whose first child is its title, the colours, fonts and background that a page would give it."""
    style = Element("style")
    style.text = style_sheet(":root")
    background = {"width": "100%", "height": "100%", "style": f"fill: {css_variable('paper')}"}
    root[1:1] = [style, Element("rect", background)]


def text_width(text: str, size: float = NORMAL) -> float:
    """The approximate width of a text in pixels."""
    return display_width(text) * CHARACTER_WIDTH * size


def _colour(name: str) -> str:
    return css_variable(name) if name in LIGHT else name


def _number(value: float) -> str:
    return f"{value:.6g}"


def _points_attribute(points: Iterable[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
