"""View of the sizes of a sliding window: formulas with their numbers, tables, and the windows under their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any

from cnnlab.render.document import Document, Formula, TitledTable
from cnnlab.render.formatting import format_shape
from cnnlab.render.result import document, svg
from cnnlab.render.svg import NORMAL, SMALL, SvgDrawing
from cnnlab.render.tables import TextTable
from cnnlab.theory.size_arithmetic.result import AxisResult, OutputSizeResult, SizeSolution
from cnnlab.theory.size_arithmetic.window import Window, runs

# So many runs of neighbouring numbers are shown; the JSON has all.
_MAX_RUNS = 4


@document.register
def _(result: OutputSizeResult) -> Document:
    lines: list[str | Formula] = [*_formulas(result), *(_rounding(item) for item in result.axes if not item.fits)]
    if result.shape:
        lines.append(f"output: {format_shape(result.shape)} (channels × height × width)")
    if result.filters:
        kernel = f"{result.axes[0].window.kernel}·{result.axes[-1].window.kernel}"
        counts = f"{result.weights:,} + {result.biases:,} = {result.parameters:,}"
        product = f"{result.filters}·{result.channels}·{kernel} + {result.filters}"
        lines.append(Formula.from_text(f"parameters = {product} = {counts}"))
    uncovered = [
        (_dimension(item), _runs(item.uncovered), str(item.left_over))
        for item in result.axes
        if item.uncovered or item.left_over
    ]
    window = result.axes[0].window
    title = "Covered by no window, counted from 0 (others are padding); left over: after the last window"
    if window.transposed:
        title = "Pixels of the output that no input reaches, counted from 0"
    coverage = _table(title, ("dimension", "pixels", "#left over"), uncovered)
    tables = (*coverage, *_nearest_table(result.axes))
    return Document(f"Output of a {window.kind}: {_sizes(result.size)}", tuple(lines), tables)


@document.register
def _(result: SizeSolution) -> Document:
    unknown = result.unknown
    answers = [
        f"{_prefix(item)}with a {unknown} of {_runs(runs(item.answers))} torch gives this output"
        for item in result.axes
        if len(item.answers) > 1
    ]
    notes = [
        f"{_prefix(item)}padding {item.unequal[0]} before and {item.unequal[1]} after fits, as padding='same' in torch."
        for item in result.axes
        if item.unequal
    ]
    title = f"{unknown.capitalize()} of a {result.axes[0].window.kind}, {_sizes(result.size)} → {_sizes(result.output)}"
    return Document(
        f"{title}: {_sizes(getattr(result, unknown))}",
        (*_formulas(result), *answers),
        tuple(_nearest_table(result.axes)),
        tuple(notes),
    )


def _formulas(result: OutputSizeResult | SizeSolution) -> tuple[Formula, ...]:
    """The formula solved for the unknown, then with the numbers of each dimension."""
    numbers = [f"{_prefix(item)}{item.numbers}" for item in result.axes if item.numbers]
    return tuple(map(Formula.from_text, (result.axes[0].formula, *numbers)))


def _rounding(item: AxisResult) -> Formula:
    exact = Fraction(item.exact or 0)
    left, right, whole = ("⌈", "⌉", ceil(exact)) if item.window.ceil else ("⌊", "⌋", floor(exact))
    text = f"{_prefix(item)}{left}{exact}{right} = {whole}"
    if whole != item.value:
        text += f", less 1 that begins after the image = {item.value}"
    return Formula.from_text(text)


def _nearest_table(axes: Sequence[AxisResult]) -> list[TitledTable]:
    names = ["size", "kernel", "stride", "padding", "output"]
    if axes[0].window.transposed:
        names.insert(-1, "output_padding")
    rows = [
        (_dimension(item), near.change.replace("_", " "), *(str(getattr(near, name)) for name in names))
        for item in axes
        for near in item.nearest
    ]
    titles = ("dimension", "change", *(f"#{name.replace('_', ' ')}" for name in names))
    return _table("The nearest that fit exactly", titles, rows)


def _table(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[TitledTable]:
    """A table, or none without rows; its dimensions are named where there are two."""
    table = TextTable.from_rows(titles, rows)
    if rows and not rows[0][0]:
        table = table.drop_columns(["dimension"])
    return [(title, table)] if rows else []


def _runs(spans: Sequence[tuple[int, int]]) -> str:
    """Runs of numbers: `30 to 31`, `1, 3, 5, 7, … (16)`, `none`."""
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in spans[:_MAX_RUNS]]
    if len(spans) > _MAX_RUNS:
        texts.append(f"… ({sum(last - first + 1 for first, last in spans):,})")
    return ", ".join(texts) or "none"


def _dimension(item: AxisResult) -> str:
    return "" if item.axis == "both" else item.axis


def _prefix(item: AxisResult) -> str:
    return "" if item.axis == "both" else f"{item.axis}: "


def _sizes(value: Any) -> str:
    """Sizes as they are written: `32`, `32×48`, `none`."""
    sizes = value if isinstance(value, tuple) else (value,)
    return "×".join("none" if size is None else str(size) for size in sizes)


# Of longer rows of pixels the end is drawn, where what is left over is seen.
_MAX_CELLS = 40
_CELL, _ROW, _EDGE = 18.0, 16.0, 20.0
_LEGENDS = {
    False: "blue: image; grey: padding; orange: covered by no window; bars: windows with the number of their output",
    True: "blue: output; grey: cut off; orange: reached by no input; bars: what one pixel of the input reaches",
}


@svg.register
def _(result: OutputSizeResult) -> str:
    """The windows under their row of pixels; one row of pixels for each dimension."""
    windows = [item.window for item in result.axes]
    # Windows in one lane do not overlap.
    lanes = [min(-(-window.extent // window.stride), window.num_windows) for window in windows]
    heading = f"The windows of a {windows[0].kind} under their row of pixels"
    height = 3 * _EDGE + sum(_ROW * (count + 4) for count in lanes) + _ROW
    drawing = SvgDrawing(_MAX_CELLS * _CELL + 2 * _EDGE, height, "sizes", heading)
    drawing.text(_EDGE, _EDGE + 4, heading, size=NORMAL + 1, bold=True)
    top = 2 * _EDGE
    for item, window, count in zip(result.axes, windows, lanes, strict=True):
        exact = "" if item.fits else f" (exactly {item.exact})"
        title = f"{_dimension(item) or 'rows and columns'}: {window.size} → {item.value}{exact}"
        drawing.text(_EDGE, top + 12, title)
        _draw_windows(drawing, window, count, top + 2 * _ROW)
        top += _ROW * (count + 4)
    drawing.text(_EDGE, top + 12, _LEGENDS[windows[0].transposed], size=SMALL, colour="muted")
    return drawing.to_svg(standalone=True)


def _draw_windows(drawing: SvgDrawing, window: Window, lanes: int, top: float) -> None:
    """A row of pixels with the numbers of those that are no padding, and below it the windows in lanes."""
    # The last window may stick out.
    end = max(window.num_pixels + window.padding, window.pixels(window.num_windows - 1)[-1] + 1)
    start = max(-window.padding, end - _MAX_CELLS)
    uncovered = set(window.uncovered())
    cell = 0.9 * _CELL, 0.85 * _ROW
    size = min(9.0, 28 / len(str(window.num_pixels)))

    def left(pixel: int) -> float:
        return _EDGE + (pixel - start) * _CELL

    def number(pixel: int, y: float, text: int, colour: str) -> None:
        drawing.text(left(pixel) + 0.45 * _CELL, y, str(text), size=size, colour=colour, anchor="middle")

    for pixel in range(start, window.num_pixels + window.padding):
        inner = 0 <= pixel < window.num_pixels
        colour = "validation" if pixel in uncovered else "train" if inner else "muted"
        drawing.rectangle(left(pixel), top, *cell, fill=colour, opacity=0.3)
        drawing.rectangle(left(pixel), top, *cell, stroke=colour)
        if inner:
            number(pixel, top - 4, pixel, "muted")
    for step in range(window.num_windows):
        pixels = [pixel for pixel in window.pixels(step) if pixel >= start]
        if pixels:
            y = top + _ROW * (1.5 + step % lanes)
            middle = y + 0.42 * _ROW
            drawing.line([(left(pixels[0]), middle), (left(pixels[-1]), middle)], stroke="train", thickness=1.5)
            for pixel in pixels:
                drawing.rectangle(left(pixel), y, *cell, fill="train")
            number(pixels[0], middle + 3, step, "paper")
