"""Formulas with their numbers put in, whose arithmetic holds, and drawings of the windows."""

from __future__ import annotations

import re
from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnlab.theory.size_arithmetic.compute import solve_kernel, solve_output, solve_padding, solve_stride
from cnnlab.theory.size_arithmetic.result import OutputSizeResult, SizeSolution
from cnnlab.theory.size_arithmetic.window import Window


@given(st.from_type(Window), st.sampled_from(["output", "padding", "kernel", "stride"]))
def test_sheets_work_out_what_they_say(window: Window, unknown: str) -> None:
    """The arithmetic as it is written comes to the fraction beside it."""
    assume(window.output is not None)
    answer = _asked(window, unknown)
    for line in answer.document().lines:
        if isinstance(line, str):
            continue
        text, parts = line.text, line.text.split(" = ")
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


@settings(max_examples=10)
@given(st.from_type(Window))
def test_every_window_is_drawn(window: Window) -> None:
    assume(window.output is not None and window.num_pixels + 2 * window.padding < 30)
    options = {name: getattr(window, name) for name in Window.__dataclass_fields__}
    texts = re.findall(r"<text[^>]*>(.*?)</text>", solve_output(**options).svg())
    # Each window has its number; each pixel of the image has its number above it; beside a heading, a title, a legend.
    assert len(texts) == 3 + window.num_pixels + window.num_windows


def test_a_long_drawing_shows_its_end() -> None:
    texts = re.findall(r"<text[^>]*>(.*?)</text>", solve_output(512, 5, stride=2, padding=2).svg())
    assert {"255", "511", "480"} <= set(texts)
    assert "0" not in texts
