"""Pictures of windows under their row of pixels."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import assume, given
from hypothesis import strategies as st

from cnnlab.theory.size_arithmetic.answers import solve_output
from cnnlab.theory.size_arithmetic.solvers import Window


@given(st.from_type(Window))
def test_pictures_are_drawn_of_every_window(window: Window) -> None:
    assume(window.output is not None)
    told = {name: getattr(window, name) for name in Window.__dataclass_fields__}
    root = ElementTree.fromstring(solve_output(**told).svg())
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    windows = {text for text in titles if text and text.startswith(("output", "input"))}
    last = max(
        window.layout.window_pixels(window.layout.num_windows - 1)[-1] + 1, window.layout.num_pixels + window.padding
    )
    if window.padding + last <= 76:
        assert len(windows) == (window.size if window.transposed else window.output)
    width = float(root.attrib["width"])
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        if "x" in box.attrib:
            assert 0 <= float(box.attrib["x"]) <= float(box.attrib["x"]) + float(box.attrib["width"]) <= width


def test_long_pictures_show_their_ends() -> None:
    svg = solve_output(512, 5, stride=2, padding=2).svg()
    root = ElementTree.fromstring(svg)
    for line in root.iter("{http://www.w3.org/2000/svg}polyline"):
        places = [float(point.split(",")[0]) for point in line.attrib["points"].split()]
        assert 0 < min(places) <= max(places) < float(root.attrib["width"])
    assert "output 0: pixels -2 to 2" in svg
    assert "output 255: pixels 508 to 512" in svg
    assert "output 100:" not in svg
