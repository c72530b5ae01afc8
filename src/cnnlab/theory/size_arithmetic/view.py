"""View of the sizes of a sliding window: formulas with their numbers, tables, and the windows under their pixels.

W is the image's size, F the kernel's, S the stride, P the padding on each side, D the dilation, A the output padding,
O the output's size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from cnnlab.render.document import Document, Formula, TitledTable
from cnnlab.render.result import document, svg
from cnnlab.render.svg import SMALL, SvgDrawing, text_width
from cnnlab.render.tables import TextTable
from cnnlab.theory.size_arithmetic.result import (
    Axis,
    AxisOutput,
    AxisSolution,
    NearbySetting,
    OutputSizeResult,
    Run,
    SizeQuery,
    SizeSolution,
)
from cnnlab.theory.size_arithmetic.solver import SizeSolver
from cnnlab.theory.size_arithmetic.window import Window

_DIMENSIONS = {"both": "rows and columns", "rows": "rows", "columns": "columns"}
# A table shows so many values and runs of pixels; the JSON has all.
_MAX_VALUES, _MAX_RUNS = 12, 4


@document.register
def _(result: OutputSizeResult) -> Document:
    query = result.question
    lines = _formulas("O", [(item.axis, query.solver(item.axis, "output"), item.exact) for item in result.axes])
    for item in result.axes:
        if not item.fits:
            lines.append(_rounded_formula(query.window(item.axis), item))
    if result.shape:
        lines.append(f"output: {_sizes(result.shape)} (channels × height × width)")
    if result.filters:
        high, wide = (query.window(axis).kernel for axis in (query.axes[0], query.axes[-1]))
        product = f"{result.filters}·{result.channels}·{high}·{wide} + {result.filters}"
        counts = f"{result.weights:,} + {result.filters:,} = {result.parameters:,}"
        lines.append(
            Formula(
                f"parameters = {product} = {counts}", rf"\text{{parameters}} = {_latex(product)} = {_latex(counts)}"
            )
        )
    near = [(item.axis, setting) for item in result.axes for setting in item.nearest]
    tables = _nearby_table(query, near)
    if any(item.left_over or item.unseen or item.unseen_padding or item.empty for item in result.axes):
        tables = (_coverage_table(result), *tables)
    return Document(f"Output of a {query.kind}: {_sizes(result.size)}", tuple(lines), tables)


@document.register
def _(result: SizeSolution) -> Document:
    query, unknown = result.question, result.unknown
    symbol = {"padding": "P", "kernel": "F", "stride": "S"}[unknown]
    lines = _formulas(symbol, [(item.axis, query.solver(item.axis, unknown), item.exact) for item in result.axes])
    tables = [_values_table(unknown, item) for item in result.axes if len(item.answers) > 1]
    near = [(item.axis, setting) for item in result.axes for setting in item.nearest]
    notes = [
        f"{_axis_prefix(item.axis)}{item.unequal[0]} in front and {item.unequal[1]} behind would fit, as "
        "padding='same' does in torch."
        for item in result.axes
        if item.unequal
    ]
    title = f"{unknown.capitalize()} of a {query.kind}, {_sizes(result.size)} → {_sizes(result.output)}"
    value = _sizes(getattr(result, unknown))
    return Document(f"{title}: {value}", tuple(lines), (*tables, *_nearby_table(query, near)), tuple(notes))


def format_fraction(value: Fraction | str) -> str:
    """A fraction with its decimals; a whole number as it is.

    >>> format_fraction("33/2"), format_fraction("95/3")
    ('33/2 = 16.5', '95/3 ≈ 31.67')
    """
    value = Fraction(value)
    if value.denominator == 1:
        return str(value).replace("-", "−")
    decimals = f"{float(value):.10g}" if Fraction(f"{float(value):.10g}") == value else f"{float(value):.2f}"
    return f"{value} {'=' if Fraction(decimals) == value else '≈'} {decimals}".replace("-", "−")


def _formulas(symbol: str, axes: Sequence[tuple[Axis, SizeSolver, str | None]]) -> list[str | Formula]:
    """The formula solved for the unknown: in letters, then with the numbers of each dimension."""
    lines: list[str | Formula] = [_formula(f"{symbol} = ", _fraction(axes[0][1]))]
    for axis, solver, exact in axes:
        if exact is not None:
            numbers = _letter_values(solver)
            above, below, rest = (_substituted(text, numbers) for text in _fraction(solver))
            head = f"{_axis_prefix(axis)}{symbol} = "
            lines.append(_formula(head, (above, below, f"{rest} = {format_fraction(exact)}")))
    return lines


def _fraction(solver: SizeSolver) -> tuple[str, str, str]:
    """The formula's numerator, its denominator ("" for 1), and what is behind the fraction."""
    window = solver.window
    dilated = window.dilation > 1
    extent = "(D·(F − 1) + 1)" if dilated else "F"
    more = " + A" if window.output_padding else ""
    if solver.unknown == "output":
        if window.transposed:
            return f"(W − 1)·S − 2·P + {extent}{more}", "", ""
        return f"W − {extent} + 2·P", "S", " + 1"
    # A transposed convolution follows the same formula with input and output exchanged.
    size, output = (("(O − A)" if more else "O"), "W") if window.transposed else ("W", "O")
    if solver.unknown == "padding":
        if solver.output == window.size and not window.transposed:
            return f"(S − 1)·W − S + {extent}", "2", ""
        return f"({output} − 1)·S + {extent} − {size}", "2", ""
    if solver.unknown == "stride":
        return f"{size} + 2·P − {extent}", f"{output} − 1", ""
    if solver.tied:
        return (f"{size} + 2·P + D − 1", f"{output} − 1 + D", "") if dilated else (f"{size} + 2·P", output, "")
    above = f"{size} + 2·P − ({output} − 1)·S"
    return (f"{above} + D − 1", "D", "") if dilated else (above, "", "")


def _letter_values(solver: SizeSolver) -> dict[str, str]:
    window = solver.window
    values = (window.size, window.kernel, window.stride, window.padding, window.dilation, window.output_padding)
    return dict(zip("WFSPDAO", map(str, (*values, solver.output)), strict=True))


def _substituted(text: str, numbers: dict[str, str]) -> str:
    return re.sub("[WFSPDAO]", lambda letter: numbers[letter[0]], text)


def _formula(head: str, fraction: tuple[str, str, str]) -> Formula:
    above, below, rest = fraction
    if not below:
        return Formula(f"{head}{above}{rest}", _latex(f"{head}{above}{rest}"))
    text = f"{head}({above}) / {f'({below})' if ' ' in below else below}{rest}"
    return Formula(text, rf"{_latex(head)}\frac{{{_latex(above)}}}{{{_latex(below)}}}{_latex(rest)}")


def _rounded_formula(window: Window, item: AxisOutput) -> Formula:
    exact = window.exact
    left, right = ("⌈", "⌉") if window.ceil else ("⌊", "⌋")
    whole = -(-exact.numerator // exact.denominator) if window.ceil else exact.numerator // exact.denominator
    text = f"{_axis_prefix(item.axis)}{left}{exact}{right} = {whole}"
    if whole != item.size:
        # Torch leaves out a window that would begin behind the image.
        text += f", less 1 that begins behind the image = {item.size}"
    return Formula(text, _latex(text))


def _latex(text: str) -> str:
    """The mathematics of a line of text; words are set as words."""
    text = re.sub(r"[a-z][a-z ]+[a-z]:?", lambda words: rf"\text{{{words[0]}}}", text)
    text = re.sub(r"(\d+)/(\d+)", r"\\frac{\1}{\2}", text).replace(",", "{,}")
    signs = {
        "·": r" \cdot ",
        "−": "-",
        "≈": r"\approx",
        "⌊": r"\lfloor ",
        "⌋": r" \rfloor",
        "⌈": r"\lceil ",
        "⌉": r" \rceil",
    }
    return "".join(signs.get(letter, letter) for letter in text)


def _coverage_table(result: OutputSizeResult) -> TitledTable:
    if result.question.transposed:
        titles = ["dimension", "output that no input reaches", "input that the padding cuts off"]
        lost = [(_DIMENSIONS[item.axis], _runs(item.empty), _runs(item.unseen)) for item in result.axes]
        return "Left out, counted from 0", TextTable.from_rows(titles, lost)
    titles = ["dimension", "image", "padding", "#left over"]
    rows = [
        (_DIMENSIONS[item.axis], _runs(item.unseen), _runs(item.unseen_padding), str(item.left_over))
        for item in result.axes
    ]
    title = "Covered by no window, counted from 0; left over: behind the last window"
    return title, TextTable.from_rows(titles, rows)


def _runs(spans: Sequence[Run]) -> str:
    """Runs of pixels: `30 to 31`, `1, 3, 5, 7, … (16)`, `none`."""
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in spans[:_MAX_RUNS]]
    if len(spans) > _MAX_RUNS:
        texts.append(f"… ({sum(last - first + 1 for first, last in spans):,})")
    return ", ".join(texts) or "none"


def _values_table(unknown: str, item: AxisSolution) -> TitledTable:
    rows = [
        (str(answer.value), "yes" if answer.fits else "no", str(answer.left_over))
        for answer in item.answers[:_MAX_VALUES]
    ]
    hidden = len(item.answers) - len(rows)
    if hidden > 0:
        rows.append((f"… {item.answers[-1].value}", f"{hidden:,} more", ""))
    title = f"{_axis_prefix(item.axis)}every {unknown} that gives this output in torch"
    return title, TextTable.from_rows([f"#{unknown}", "fits exactly", "#left over"], rows)


def _nearby_table(query: SizeQuery, nearby: Sequence[tuple[Axis, NearbySetting]]) -> tuple[TitledTable, ...]:
    if not nearby:
        return ()
    names = ["size", "kernel", "stride", "padding", *(["output_padding"] if query.transposed else []), "output"]
    rows = [
        [_DIMENSIONS[axis], item.change.replace("_", " "), *(str(getattr(item, name)) for name in names)]
        for axis, item in nearby
    ]
    table = TextTable.from_rows(["dimension", "change", *(f"#{name.replace('_', ' ')}" for name in names)], rows)
    return (("The nearest that fit exactly", table if len(query.axes) > 1 else table.drop_columns(["dimension"])),)


def _axis_prefix(axis: Axis) -> str:
    return "" if axis == "both" else f"{axis}: "


def _sizes(value: Any) -> str:
    """Sizes as they are written: `32`, `32×48`, `none`."""
    sizes = value if isinstance(value, tuple) else (value,)
    return "×".join("none" if size is None else str(size) for size in sizes)


# Longer rows of pixels are drawn from so far before their end, where what is left over is seen.
_MAX_CELLS = 60
_MARGIN, _TITLE, _LANE, _LEGEND = 16.0, 40.0, 14.0, 24.0
_MIN_WIDTH = 460.0
_LEGEND_TEXTS = {
    False: "blue: image; outlined: padding; red: covered by no window; bars: windows with the number of their output",
    True: "blue: output; outlined: cut off; red: reached by no input; bars: what one pixel of the input reaches",
}


@svg.register
def _(result: OutputSizeResult) -> str:
    """The windows under their row of pixels; one row of pixels for each dimension."""
    query = result.question
    rows = [_PixelRow(query.window(item.axis)) for item in result.axes]
    legend = _LEGEND_TEXTS[query.transposed]
    width = 2 * _MARGIN + max(_MIN_WIDTH, text_width(legend, SMALL), *(row.width for row in rows))
    height = 2 * _MARGIN + sum(row.height for row in rows) + _LEGEND
    drawing = SvgDrawing(width, height, "sizes", f"The windows of a {query.kind} under their row of pixels.")
    top = _MARGIN
    for row, item in zip(rows, result.axes, strict=True):
        exact = "" if item.fits else f" (exactly {item.exact})"
        ends = "" if row.whole else f"; the last {len(row.shown)} pixels"
        title = f"{_DIMENSIONS[item.axis]}: {row.window.size} → {item.size}{exact}{ends}"
        drawing.text(_MARGIN, top + 13, title, bold=True)
        row.draw(drawing, top + _TITLE)
        top += row.height
    drawing.text(_MARGIN, height - _MARGIN, legend, size=SMALL, colour="muted")
    return drawing.to_svg(standalone=True)


class _PixelRow:
    """A row of pixels with the windows that slide over it, in lanes below."""

    def __init__(self, window: Window) -> None:
        """Lay out the row's end."""
        last = max(window.num_pixels + window.padding, window.pixels(window.num_windows - 1)[-1] + 1)
        first = max(-window.padding, last - _MAX_CELLS)
        self.window = window
        self.shown = range(first, last)
        self.whole = first == -window.padding
        self.cell = 26.0 if len(self.shown) <= 16 else 16.0
        self.uncovered = set(window.uncovered())
        self.numbers = [n for n in range(window.num_windows) if window.pixels(n)[-1] >= first]
        # Windows in one lane don't overlap.
        self.lanes = min(-(-window.extent // window.stride), len(self.numbers))

    @property
    def width(self) -> float:
        return len(self.shown) * self.cell

    @property
    def height(self) -> float:
        return _TITLE + self.cell + 6 + self.lanes * _LANE + 12

    def draw(self, drawing: SvgDrawing, top: float) -> None:
        for pixel in self.shown:
            self._draw_pixel(drawing, pixel, top)
        for order, number in enumerate(self.numbers):
            self._draw_window(drawing, number, top + self.cell + 6 + order % self.lanes * _LANE)

    def _left(self, pixel: int) -> float:
        return _MARGIN + (pixel - self.shown.start) * self.cell

    def _draw_pixel(self, drawing: SvgDrawing, pixel: int, top: float) -> None:
        inner = 0 <= pixel < self.window.num_pixels
        if pixel >= self.window.num_pixels + self.window.padding:
            return  # only a window that sticks out reaches here
        shape = (self._left(pixel) + 1, top, self.cell - 2, self.cell - 2)
        if inner:
            drawing.rectangle(*shape, fill="train", opacity=0.22)
        if pixel in self.uncovered:
            drawing.rectangle(*shape, fill="bad", opacity=0.35)
        colour = "bad" if pixel in self.uncovered else "train" if inner else "muted"
        drawing.rectangle(*shape, stroke=colour)
        if inner and (pixel % 5 == 0 or pixel == self.window.num_pixels - 1 or self.cell > 20):
            middle = self._left(pixel) + self.cell / 2
            drawing.text(middle, top - 5, str(pixel), size=9, colour="muted", anchor="middle")

    def _draw_window(self, drawing: SvgDrawing, number: int, top: float) -> None:
        pixels = self.window.pixels(number)
        shown = [pixel for pixel in pixels if pixel >= self.shown.start]
        name = "input" if self.window.transposed else "output"
        title = f"{name} {number}: pixels {pixels[0]} to {pixels[-1]}"
        reached = any(0 <= pixel < self.window.num_pixels for pixel in pixels)
        colour = "muted" if self.window.transposed and not reached else "train"
        ends = [(self._left(shown[0]) + 2, top + 6), (self._left(shown[-1]) + self.cell - 2, top + 6)]
        drawing.line(ends, stroke=colour)
        for pixel in shown:
            # Neighbours touch, so that a window without gaps is one bar.
            gap = 2.0 if pixels.step > 1 or pixel == shown[0] else 0.0
            room = self.cell - gap - (2.0 if pixels.step > 1 or pixel == shown[-1] else 0.0)
            drawing.rectangle(self._left(pixel) + gap, top, room, _LANE - 2, fill=colour, title=title)
        middle = self._left(shown[0]) + self.cell / 2
        drawing.text(middle, top + 9, str(number), size=9, colour="paper", anchor="middle")
