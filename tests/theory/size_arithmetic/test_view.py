"""Formulas with their numbers put in, whose arithmetic holds, and drawings of the windows."""

from __future__ import annotations

import re
from fractions import Fraction
from xml.etree import ElementTree

from hypothesis import assume, given
from hypothesis import strategies as st

from cnnlab.theory.size_arithmetic.compute import solve_kernel, solve_output, solve_padding, solve_stride
from cnnlab.theory.size_arithmetic.result import OutputSizeResult, SizeSolution
from cnnlab.theory.size_arithmetic.window import Window

SVG = "{http://www.w3.org/2000/svg}"


@given(st.from_type(Window), st.sampled_from(["output", "padding", "kernel", "stride"]))
def test_sheets_work_out_what_they_say(window: Window, unknown: str) -> None:
    """The arithmetic as it is written comes to the fraction beside it."""
    assume(window.output is not None)
    answer = _asked(window, unknown)
    for line in answer.document().lines:
        text = line if isinstance(line, str) else line.text
        parts = text.split(" = ")
        if not re.search(r"\d", parts[1]) or re.search(r"[A-Z]", parts[1]) or len(parts) < 3 or "less" in text:
            continue
        worked, value = (part.split(" ≈ ")[0].replace("−", "-").replace("·", "*") for part in parts[1:3])
        counted = eval(re.sub(r"\d+", r"Fraction(\g<0>)", worked), {"Fraction": Fraction})
        assert counted == Fraction(value), text


def _asked(window: Window, unknown: str) -> OutputSizeResult | SizeSolution:
    told = {name: getattr(window, name) for name in Window.__dataclass_fields__ if name != unknown}
    if unknown == "output":
        return solve_output(**told)
    solve = {"padding": solve_padding, "kernel": solve_kernel, "stride": solve_stride}[unknown]
    return solve(output=window.output, **told)  # type: ignore[operator,no-any-return]


@given(st.from_type(Window))
def test_every_window_is_drawn(window: Window) -> None:
    assume(window.output is not None)
    options = {name: getattr(window, name) for name in Window.__dataclass_fields__}
    root = ElementTree.fromstring(solve_output(**options).svg())
    titles = {title.text for title in root.iter(f"{SVG}title") if title.text and "pixels" in title.text}
    last = max(window.num_pixels + window.padding, window.pixels(window.num_windows - 1)[-1] + 1)
    if window.padding + last <= 60:
        assert len([title for title in titles if title.startswith(("output", "input"))]) == window.num_windows
    width = float(root.attrib["width"])
    for box in root.iter(f"{SVG}rect"):
        if "x" in box.attrib:
            assert 0 <= float(box.attrib["x"]) <= float(box.attrib["x"]) + float(box.attrib["width"]) <= width


def test_a_long_drawing_shows_its_end() -> None:
    drawing = solve_output(512, 5, stride=2, padding=2).svg()
    assert "output 255: pixels 508 to 512" in drawing
    assert "output 0:" not in drawing
    assert "the last 60 pixels" in drawing
