"""View of the sizes of a sliding window: formulas with their numbers, tables, and the windows under their pixels.

W is the image's size, F the kernel's, S the stride, P the padding on each side, D the dilation, A the output padding,
O the output's size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from cnnlab.render.document import Document, Formula, TitledTable
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable
from cnnlab.theory.size_arithmetic.result import (
    Axis,
    AxisOutput,
    AxisSolution,
    OutputSizeResult,
    Run,
    SizeSolution,
)
from cnnlab.theory.size_arithmetic.window import SizeSolver, Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cnnlab.render.plots import CaptionedFigure

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
        kernel = [query.window(axis).kernel for axis in (query.axes[0], query.axes[-1])]
        product = f"{result.filters}·{result.channels}·{kernel[0]}·{kernel[1]} + {result.filters}"
        counts = f"{result.weights:,} + {result.filters:,} = {result.parameters:,}"
        lines.append(_formula(f"parameters = {product} = {counts}"))
    tables = _nearby_table(result)
    if any(item.left_over or item.unseen or item.unseen_padding or item.empty for item in result.axes):
        tables = [_coverage_table(result), *tables]
    return Document(f"Output of a {query.kind}: {_sizes(result.size)}", tuple(lines), tuple(tables))


@document.register
def _(result: SizeSolution) -> Document:
    query, unknown = result.question, result.unknown
    symbol = {"padding": "P", "kernel": "F", "stride": "S"}[unknown]
    lines = _formulas(symbol, [(item.axis, query.solver(item.axis, unknown), item.exact) for item in result.axes])
    tables = [_values_table(unknown, item) for item in result.axes if len(item.answers) > 1]
    notes = [
        f"{_axis_prefix(item.axis)}{item.unequal[0]} before and {item.unequal[1]} after would fit, as "
        "padding='same' does in torch."
        for item in result.axes
        if item.unequal
    ]
    title = f"{unknown.capitalize()} of a {query.kind}, {_sizes(result.size)} → {_sizes(result.output)}"
    value = _sizes(getattr(result, unknown))
    return Document(f"{title}: {value}", tuple(lines), (*tables, *_nearby_table(result)), tuple(notes))


def format_fraction(value: Fraction | str) -> str:
    """A fraction with its decimals; a whole number as it is.

    >>> format_fraction("33/2"), format_fraction("95/3")
    ('33/2 = 16.5', '95/3 ≈ 31.67')
    """
    value = Fraction(value)
    decimals = f"{round(float(value), 2):g}"
    equal = "=" if Fraction(decimals) == value else "≈"
    text = str(value) if value.denominator == 1 else f"{value} {equal} {decimals}"
    return text.replace("-", "−")


def _formulas(symbol: str, axes: Sequence[tuple[Axis, SizeSolver, str | None]]) -> list[str | Formula]:
    """The formula solved for the unknown: in letters, then with the numbers of each dimension."""
    lines: list[str | Formula] = [_formula(f"{symbol} = {_expression(axes[0][1])}")]
    for axis, solver, exact in axes:
        if exact is not None:
            numbers = _with_numbers(_expression(solver), solver)
            lines.append(_formula(f"{_axis_prefix(axis)}{symbol} = {numbers} = {format_fraction(exact)}"))
    return lines


def _with_numbers(text: str, solver: SizeSolver) -> str:
    window = solver.window
    values = (window.size, window.kernel, window.stride, window.padding, window.dilation, window.output_padding)
    numbers = dict(zip("WFSPDAO", map(str, (*values, solver.output)), strict=True))
    return re.sub("[WFSPDAO]", lambda letter: numbers[letter[0]], text)


def _expression(solver: SizeSolver) -> str:
    """The unknown in the letters of the other quantities; it has one fraction at most."""
    window = solver.window
    dilated = window.dilation > 1
    extent = "(D·(F − 1) + 1)" if dilated else "F"
    more = " + A" if window.output_padding else ""
    if solver.unknown == "output":
        return f"(W − 1)·S − 2·P + {extent}{more}" if window.transposed else f"(W − {extent} + 2·P) / S + 1"
    # A transposed convolution follows the same formula with input and output exchanged.
    size, output = (("(O − A)" if more else "O"), "W") if window.transposed else ("W", "O")
    if solver.unknown == "padding":
        if solver.output == window.size and not window.transposed:
            return f"((S − 1)·W − S + {extent}) / 2"
        return f"(({output} − 1)·S + {extent} − {size}) / 2"
    if solver.unknown == "stride":
        return f"({size} + 2·P − {extent}) / ({output} − 1)"
    if solver.tied:
        return f"({size} + 2·P + D − 1) / ({output} − 1 + D)" if dilated else f"({size} + 2·P) / {output}"
    above = f"{size} + 2·P − ({output} − 1)·S"
    return f"({above} + D − 1) / D" if dilated else above


def _formula(text: str) -> Formula:
    return Formula(text, _latex(text))


def _rounded_formula(window: Window, item: AxisOutput) -> Formula:
    left, right, whole = ("⌈", "⌉", ceil(window.exact)) if window.ceil else ("⌊", "⌋", floor(window.exact))
    text = f"{_axis_prefix(item.axis)}{left}{window.exact}{right} = {whole}"
    if whole != item.size:
        # Torch leaves out a window that would begin after the end of the image.
        text += f", less 1 that begins after the image = {item.size}"
    return _formula(text)


def _latex(text: str) -> str:
    """The mathematics of a line of text; words are set as words."""
    text = re.sub(r"[a-z][a-z ]+[a-z]:?", lambda words: rf"\text{{{words[0]}}}", text)
    text = re.sub(r"(\d+)/(\d+)", r"\\frac{\1}{\2}", text).replace(",", "{,}")
    # The formula's own fraction: its numerator is all between the first "(" and the ")" before " / ".
    text = re.sub(
        r"\((.*)\) / (?:\(([^)]*)\)|(\w+))", lambda match: rf"\frac{{{match[1]}}}{{{match[2] or match[3]}}}", text
    )
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
    title = "Covered by no window, counted from 0; left over: after the last window"
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


def _nearby_table(result: OutputSizeResult | SizeSolution) -> list[TitledTable]:
    names = ["size", "kernel", "stride", "padding", "output"]
    if result.question.transposed:
        names.insert(-1, "output_padding")
    rows = [
        [_DIMENSIONS[item.axis], near.change.replace("_", " "), *(str(getattr(near, name)) for name in names)]
        for item in result.axes
        for near in item.nearest
    ]
    titles = ["dimension", "change", *(f"#{name.replace('_', ' ')}" for name in names)]
    table = TextTable.from_rows(titles, rows)
    if len(result.axes) == 1:
        table = table.drop_columns(["dimension"])
    return [("The nearest that fit exactly", table)] if rows else []


def _axis_prefix(axis: Axis) -> str:
    return "" if axis == "both" else f"{axis}: "


def _sizes(value: Any) -> str:
    """Sizes as they are written: `32`, `32×48`, `none`."""
    sizes = value if isinstance(value, tuple) else (value,)
    return "×".join("none" if size is None else str(size) for size in sizes)


# Longer rows of pixels are drawn from so far before their end, where what is left over is seen.
_MAX_CELLS = 40
# The width of the figure and the height of a row of cells, in points.
_WIDTH, _ROW = 760.0, 16.0
_LEGEND_TEXTS = {
    False: "blue: image; grey: padding; orange: covered by no window; bars: windows with the number of their output",
    True: "blue: output; grey: cut off; orange: reached by no input; bars: what one pixel of the input reaches",
}


@figures.register(OutputSizeResult)
def _(result: OutputSizeResult) -> dict[str, CaptionedFigure]:
    """The windows under their row of pixels; one row of pixels for each dimension."""
    from cnnlab.render.plots import CaptionedFigure, new_captioned_figure

    query = result.question
    windows = [query.window(item.axis) for item in result.axes]
    # Windows in one lane do not overlap.
    lanes = [min(-(-window.extent // window.stride), window.num_windows) for window in windows]
    num_rows = sum(lanes) + 4 * len(windows)
    heading = f"The windows of a {query.kind} under their row of pixels"
    figure, bottom = new_captioned_figure(_WIDTH, num_rows * _ROW, heading, [_LEGEND_TEXTS[query.transposed]])
    unit = 1 / (72 * figure.get_figheight())
    axes = figure.add_axes((0.02, bottom * unit, 0.96, num_rows * _ROW * unit))
    axes.set_axis_off()
    top = 0
    for window, item, num_lanes in zip(windows, result.axes, lanes, strict=True):
        exact = "" if item.fits else f" (exactly {item.exact})"
        _draw_windows(axes, window, num_lanes, top, f"{_DIMENSIONS[item.axis]}: {window.size} → {item.size}{exact}")
        top += num_lanes + 4
    axes.set(xlim=(-0.5, max(axes.dataLim.x1, _MAX_CELLS / 2)), ylim=(num_rows, 0))
    return {"sizes": CaptionedFigure(figure, heading)}


def _draw_windows(axes: Axes, window: Window, lanes: int, top: int, title: str) -> None:
    """A title, a row of pixels with their numbers, and the windows in lanes below it."""
    from cnnlab.render.plots import COLOURS, NORMAL

    # The last window may stick out.
    end = max(window.num_pixels + window.padding, window.pixels(window.num_windows - 1)[-1] + 1)
    start = max(-window.padding, end - _MAX_CELLS)
    uncovered = set(window.uncovered())
    axes.text(-0.5, top + 0.5, title, fontsize=NORMAL, color=COLOURS["ink"], va="center")
    centred = {"fontsize": 8, "ha": "center", "va": "center"}
    for pixel in range(start, window.num_pixels + window.padding):
        inner = 0 <= pixel < window.num_pixels
        colour = COLOURS["validation" if pixel in uncovered else "train" if inner else "muted"]
        axes.broken_barh([(pixel - start - 0.45, 0.9)], (top + 2, 0.9), facecolor=(colour, 0.3), edgecolor=colour)
        if inner:
            axes.text(pixel - start, top + 1.6, str(pixel), centred, color=COLOURS["muted"])
    for number in range(window.num_windows):
        pixels = [pixel - start for pixel in window.pixels(number) if pixel >= start]
        if pixels:
            height = top + 3.5 + number % lanes
            axes.plot((pixels[0], pixels[-1]), (height, height), color=COLOURS["train"])
            axes.broken_barh([(pixel - 0.42, 0.84) for pixel in pixels], (height - 0.4, 0.8), color=COLOURS["train"])
            axes.text(pixels[0], height, str(number), centred, color=COLOURS["paper"])
