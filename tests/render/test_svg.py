"""Drawings: well-formed SVG that says what was put in, whatever the texts are, alone or on a page."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.render.palette import DARK, LIGHT
from cnnlab.render.svg import CHARACTER_WIDTH, SvgDrawing, text_width

SVG = "{http://www.w3.org/2000/svg}"


def read(drawing: SvgDrawing, standalone: bool = False) -> ElementTree.Element:
    return ElementTree.fromstring(drawing.to_svg(standalone=standalone))


@given(st.text())
def test_any_text_stays_a_text(text: str) -> None:
    drawing = SvgDrawing(100, 50, "a-name", text)
    drawing.text(1, 2, text)
    drawing.rectangle(0, 0, 1, 1, title=text)
    root = read(drawing, standalone=True)
    texts = [element.text or "" for element in root.iter() if element.tag in (f"{SVG}title", f"{SVG}text")]
    # XML has no carriage return, control characters or halves of surrogate pairs; marks of direction turn other texts.
    kept = "".join("\N{REPLACEMENT CHARACTER}" if not _allowed(sign) else sign for sign in text)
    assert set(texts) <= {kept, ""}
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "text", "rect", "style")
    }


def _allowed(sign: str) -> bool:
    code = ord(sign)
    controls = code < 32 and sign not in "\t\n"
    marks = code in (0x61C, 0x200E, 0x200F) or 0x2028 <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return not (controls or marks or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF))


def test_markup_in_a_text_is_no_markup() -> None:
    drawing = SvgDrawing(100, 50, "a-name", "</title><script>")
    drawing.text(0, 0, "<script>alert(1)</script> & so on")
    drawing.rectangle(0, 0, 1, 1, title='"><b>')
    svg = drawing.to_svg(standalone=True)
    assert "<script" not in svg
    assert "<b>" not in svg
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; so on" in svg


def test_shapes_have_their_places_and_colours() -> None:
    drawing = SvgDrawing(100, 50, "a-name", "shapes")
    drawing.rectangle(1, 2, 3.5, 4, fill="train", stroke="#abcdef", thickness=2, radius=1, opacity=0.5)
    drawing.polygon([(0, 0), (1, 2)], fill="ink")
    drawing.line([(0, 0), (5, 5)], dashes="4 2")
    rectangle, polygon, line = list(read(drawing))[1:]
    assert rectangle.attrib == {
        "x": "1", "y": "2", "width": "3.5", "height": "4", "rx": "1",
        "style": f"fill: var(--train, {LIGHT['train']}); stroke: #abcdef; stroke-width: 2; opacity: 0.5",
    }  # fmt: skip
    assert polygon.attrib == {"points": "0,0 1,2", "style": f"fill: var(--ink, {LIGHT['ink']})"}
    assert line.attrib["points"] == "0,0 5,5"
    assert line.attrib["stroke-dasharray"] == "4 2"
    assert line.attrib["style"].startswith("fill: none; stroke: var(--muted")


def test_a_text_has_its_anchor_and_font() -> None:
    drawing = SvgDrawing(100, 50, "a-name", "texts")
    drawing.text(1, 2, "conv", size=14, colour="bad", anchor="end", bold=True, mono=True)
    (text,) = read(drawing).iter(f"{SVG}text")
    assert (text.attrib["x"], text.attrib["y"], text.attrib["text-anchor"], text.text) == ("1", "2", "end", "conv")
    assert text.attrib["style"] == f"fill: var(--bad, {LIGHT['bad']}); font: bold 14px var(--mono, monospace)"


def test_a_picture_is_inside_the_drawing() -> None:
    drawing = SvgDrawing(100, 50, "a-name", "a picture")
    drawing.image(0, 0, 10, 10, b"not really a PNG")
    (image,) = read(drawing).iter(f"{SVG}image")
    assert image.attrib["style"] == "image-rendering: pixelated"
    assert base64.b64decode(image.attrib["href"].removeprefix("data:image/png;base64,")) == b"not really a PNG"


def test_alone_it_has_its_colours_a_ground_and_a_dark_side() -> None:
    drawing = SvgDrawing(100, 50, "a-name", "a drawing")
    drawing.text(0, 10, "words")
    on_page, alone = drawing.to_svg(), drawing.to_svg(standalone=True)
    assert "<style>" not in on_page
    light, dark = alone.split("@media (prefers-color-scheme: dark)")
    for name in LIGHT:
        assert f"--{name}: {LIGHT[name]};" in light
        assert f"--{name}: {DARK[name]};" in dark
    title, _, ground, text = list(ElementTree.fromstring(alone))
    assert title.text == "a drawing"
    assert (ground.attrib["width"], ground.attrib["height"]) == ("100%", "100%")
    assert text.text == "words"
    assert drawing.to_svg() == on_page  # writing it alone has not changed it


def test_who_cannot_see_it_is_told_what_it_is() -> None:
    root = read(SvgDrawing(100.5, 50, "a-name", "what is seen"))
    assert root.attrib["role"] == "img"
    assert root.find(f"{SVG}title").attrib["id"] == root.attrib["aria-labelledby"] == "a-name-title"
    assert root.attrib["viewBox"] == "0 0 100.5 50"


def test_wide_letters_count_twice() -> None:
    assert text_width("conv", 10) == pytest.approx(4 * CHARACTER_WIDTH * 10)
    assert text_width("畳み込み", 10) == pytest.approx(8 * CHARACTER_WIDTH * 10)
