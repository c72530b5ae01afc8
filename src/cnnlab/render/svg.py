"""Drawings made of a few plain shapes, as SVG text that follows the page's colours."""

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
# Wide enough for the fonts of a reader that has none of ours: what a letter takes, as a share of its size.
CHARACTER_WIDTH = 0.56


class SvgDrawing:
    """A drawing of a fixed size in pixels, whose origin is its upper left corner.

    Colours are names of `cnnlab.render.palette`; "none" and any CSS colour are taken as they are.
    """

    def __init__(self, width: float, height: float, name: str, description: str) -> None:
        """Begin a drawing.

        Args:
            name: letters, digits and '-'; unique within a page.
            description: what is seen, for those who can't see it.
        """
        self.width, self.height = width, height
        sizes = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
        named = {"role": "img", "aria-labelledby": f"{name}-title", "style": f"--width: {width:g}px"}
        self.root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **sizes, **named})
        SubElement(self.root, "title", {"id": f"{name}-title"}).text = sanitize(description)

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
        """A rectangle; `title` is told when the pointer rests on it."""
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
        """A closed shape through these points."""
        self._add("polygon", {"points": _points_attribute(points)}, fill, stroke, thickness, opacity)

    def line(self, points: Iterable[Point], *, stroke: str = "muted", thickness: float = 1.0, dashes: str = "") -> None:
        """A line from point to point; `dashes` as in SVG: "4 2"."""
        made = self._add("polyline", {"points": _points_attribute(points)}, "none", stroke, thickness, 1.0)
        if dashes:
            made.set("stroke-dasharray", dashes)

    def path(self, commands: str, *, fill: str = "none", stroke: str = "muted", thickness: float = 1.0) -> None:
        """A path in SVG's own commands: "M 0 0 C …"."""
        self._add("path", {"d": commands}, fill, stroke, thickness, 1.0)

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
        """One line of text whose baseline begins (is centred, ends) at a point."""
        family = "var(--mono, monospace)" if mono else "var(--sans, sans-serif)"
        style = f"fill: {_colour(colour)}; font: {'bold ' if bold else ''}{size:g}px {family}"
        placed = {"x": _number(x), "y": _number(y), "text-anchor": anchor, "style": style}
        SubElement(self.root, "text", placed).text = sanitize(text)

    def image(self, x: float, y: float, width: float, height: float, png: bytes, *, sharp: bool = True) -> None:
        """A PNG picture, enlarged with `sharp` pixels or smoothly."""
        shape = {"x": _number(x), "y": _number(y), "width": _number(width), "height": _number(height)}
        style = "image-rendering: pixelated" if sharp else ""
        link = "data:image/png;base64," + base64.b64encode(png).decode()
        SubElement(self.root, "image", {**shape, "href": link, "preserveAspectRatio": "none", "style": style})

    def to_svg(self, *, standalone: bool = False) -> str:
        """The drawing as SVG text.

        Args:
            standalone: True for a file of its own, with colours, a background, and a dark side; False for a page that
                has the colours.
        """
        if not standalone:
            return ElementTree.tostring(self.root, encoding="unicode")
        whole = Element("svg", dict(self.root.attrib))
        title, *rest = self.root
        whole.append(title)
        SubElement(whole, "style").text = style_sheet(":root")
        SubElement(whole, "rect", {"width": "100%", "height": "100%", "style": f"fill: {css_variable('paper')}"})
        whole.extend(rest)
        return ElementTree.tostring(whole, encoding="unicode")

    def _add(
        self, tag: str, shape: dict[str, str], fill: str, stroke: str, thickness: float, opacity: float
    ) -> Element:
        style = f"fill: {_colour(fill)}"
        if stroke != "none":
            style += f"; stroke: {_colour(stroke)}; stroke-width: {_number(thickness)}"
        if opacity != 1.0:
            style += f"; opacity: {_number(opacity)}"
        return SubElement(self.root, tag, {**shape, "style": style})


def text_width(text: str, size: float = NORMAL) -> float:
    """About how wide a text is, in pixels."""
    return display_width(text) * CHARACTER_WIDTH * size


def _colour(name: str) -> str:
    return css_variable(name) if name in LIGHT else name


def _number(value: float) -> str:
    return f"{value:.6g}"


def _points_attribute(points: Iterable[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
