"""Formulas, sentences and drawings of the answers about sizes.

W is the image's size, F the kernel's, S the stride, P the padding on each side, D the dilation, A the output padding,
O the output's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import partial
from itertools import count
from typing import Any

from cnnlab.render.document import Formula, TitledTable
from cnnlab.render.svg import SMALL, SvgDrawing, text_width
from cnnlab.render.tables import TextTable
from cnnlab.theory.size_arithmetic.solvers import (
    Axis,
    AxisOutput,
    AxisSolution,
    NearbySetting,
    SizeQuery,
    SizeSolver,
    Span,
    Window,
    WindowLayout,
)

FormulaTemplate = tuple[str, str]

LETTERS = {letter: letter for letter in "WFSPDAO"}
_DISPLAY_NAMES = {"output_padding": "output padding"}


def output_template(window: Window) -> FormulaTemplate:
    """The right side of a formula, as text and as LaTeX, with letters in braces."""
    reach, reach_latex = _kernel_extent(window)
    if window.transposed:
        more = " + {A}" if window.output_padding else ""
        return (
            f"({{W}} − 1)·{{S}} − 2·{{P}} + {reach}{more}",
            rf"({{W}} - 1) \cdot {{S}} - 2 \cdot {{P}} + {reach_latex}{more}",
        )
    return (
        f"({{W}} − {reach} + 2·{{P}}) / {{S}} + 1",
        rf"\frac{{{{{{W}} - {reach_latex} + 2 \cdot {{P}}}}}}{{{{{{S}}}}}} + 1",
    )


def solved_template(solver: SizeSolver) -> FormulaTemplate:
    """The same, solved for the unknown."""
    window = solver.window
    above, below = _transposed_fraction(solver) if window.transposed else _fraction(solver)
    if not below:
        return above[0], above[1]
    over = below[0] if below[0].isalnum() or below[0] in ("{D}", "{O}") else f"({below[0]})"
    return f"({above[0]}) / {over}", rf"\frac{{{{{above[1]}}}}}{{{{{below[1]}}}}}"


def symbol_values(window: Window) -> dict[str, str]:
    """The numbers that the letters stand for."""
    values = (window.size, window.kernel, window.stride, window.padding, window.dilation, window.output_padding)
    return dict(zip("WFSPDA", map(str, values), strict=True))


def substituted_formula(symbol: str, template: FormulaTemplate, letters: dict[str, str]) -> Formula:
    """A formula with its letters, or with numbers in their place."""
    text, latex = (side.format(**letters) for side in template)
    # Among letters the dot of 2·P and the brackets around a single one add nothing.
    if letters is LETTERS:
        text, latex = text.replace("2·P", "2P"), latex.replace(r"2 \cdot P", "2P")
    return Formula(f"{symbol} = {text}", f"{symbol} = {latex}")


def worked_formula(symbol: str, template: FormulaTemplate, letters: dict[str, str], exact: str, axis: Axis) -> Formula:
    """A formula with its numbers and what they come to."""
    put_in = substituted_formula(symbol, template, letters)
    before, before_latex = ("", "") if axis == "both" else (f"{axis}: ", rf"\text{{{axis}: }} ")
    value = format_fraction(exact)
    latex = value.replace("−", "-").replace("≈", r"\approx")
    share = Fraction(exact)
    if share.denominator > 1:
        sign = "-" if share < 0 else ""
        fraction = rf"{sign}\frac{{{abs(share.numerator)}}}{{{share.denominator}}}"
        latex = fraction + latex.removeprefix(str(share))
    return Formula(f"{before}{put_in.text} = {value}", f"{before_latex}{put_in.latex} = {latex}")


def nearby_tables(title: str, query: SizeQuery, nearby: list[tuple[Axis, NearbySetting]]) -> tuple[TitledTable, ...]:
    """A table of settings that fit, or none where there are none."""
    if not nearby:
        return ()
    names = ["size", "kernel", "stride", "padding", *(["output_padding"] if query.transposed else []), "output"]
    titles = ["change", *(f"#{_DISPLAY_NAMES.get(name, name)}" for name in names)]
    rows = [
        [_DISPLAY_NAMES.get(item.change, item.change), *(str(getattr(item, name)) for name in names)]
        for _, item in nearby
    ]
    if len(query.axes) > 1:
        titles = ["dimension", *titles]
        rows = [[axis, *row] for (axis, _), row in zip(nearby, rows, strict=True)]
    return ((title, TextTable.from_rows(titles, rows)),)


def with_axis(axis: Axis, sentence: str) -> str:
    """A sentence that says which dimension it is about, where they differ."""
    return sentence if axis == "both" else f"{axis.capitalize()}: {sentence[0].lower()}{sentence[1:]}"


def format_sizes(value: Any) -> str:
    """Sizes as they are written: `32`, `32×48`, `none`."""
    if isinstance(value, tuple):
        return "×".join("none" if part is None else str(part) for part in value)
    return "none" if value is None else str(value)


def _kernel_extent(window: Window) -> FormulaTemplate:
    if window.dilation == 1:
        return "{F}", "{F}"
    return "({D}·({F} − 1) + 1)", r"({D} \cdot ({F} - 1) + 1)"


def _fraction(solver: SizeSolver) -> tuple[FormulaTemplate, FormulaTemplate | None]:
    window, (reach, reach_latex) = solver.window, _kernel_extent(solver.window)
    if solver.unknown == "padding":
        # The way in which it is taught where the size is kept.
        if solver.output == window.size:
            above = (f"({{S}} − 1)·{{W}} − {{S}} + {reach}", rf"({{S}} - 1) \cdot {{W}} - {{S}} + {reach_latex}")
        else:
            above = (f"({{O}} − 1)·{{S}} + {reach} − {{W}}", rf"({{O}} - 1) \cdot {{S}} + {reach_latex} - {{W}}")
        return above, ("2", "2")
    if solver.unknown == "stride":
        return _pair(f"{{W}} + 2·{{P}} − {reach}", rf"{{W}} + 2 \cdot {{P}} - {reach_latex}"), _pair("{O} − 1")
    if solver.tied:
        if window.dilation == 1:
            return _pair("{W} + 2·{P}", r"{W} + 2 \cdot {P}"), _pair("{O}")
        return _pair("{W} + 2·{P} + {D} − 1", r"{W} + 2 \cdot {P} + {D} - 1"), _pair("{O} − 1 + {D}")
    plain = _pair("{W} + 2·{P} − ({O} − 1)·{S}", r"{W} + 2 \cdot {P} - ({O} - 1) \cdot {S}")
    return _undilated(window, plain)


def _transposed_fraction(solver: SizeSolver) -> tuple[FormulaTemplate, FormulaTemplate | None]:
    window, (reach, reach_latex) = solver.window, _kernel_extent(solver.window)
    more, less = (" + {A}", " − {A}") if window.output_padding else ("", "")
    fewer = less.replace("−", "-")
    if solver.unknown == "padding":
        text = f"({{W}} − 1)·{{S}} + {reach}{more} − {{O}}"
        return _pair(text, rf"({{W}} - 1) \cdot {{S}} + {reach_latex}{more} - {{O}}"), ("2", "2")
    if solver.unknown == "stride":
        latex = rf"{{O}} + 2 \cdot {{P}} - {reach_latex}{fewer}"
        return _pair(f"{{O}} + 2·{{P}} − {reach}{less}", latex), _pair("{W} − 1")
    text = f"{{O}} + 2·{{P}}{less} − ({{W}} − 1)·{{S}}"
    return _undilated(window, _pair(text, rf"{{O}} + 2 \cdot {{P}}{fewer} - ({{W}} - 1) \cdot {{S}}"))


def _undilated(window: Window, reach: FormulaTemplate) -> tuple[FormulaTemplate, FormulaTemplate | None]:
    """The kernel from what it spans."""
    if window.dilation == 1:
        return reach, None
    return _pair(f"{reach[0]} + {{D}} − 1", f"{reach[1]} + {{D}} - 1"), _pair("{D}")


def _pair(text: str, latex: str = "") -> FormulaTemplate:
    return text, latex or text.replace("−", "-")


_AXIS_SINGULAR = {"rows": "row", "columns": "column", "both": "row and column"}
_AXIS_PLURAL = {"rows": "rows", "columns": "columns", "both": "rows and columns"}
_ORDINALS = ("", "", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
# A sentence names so many places; the rest are in the JSON.
_MAX_NAMED = 4


def format_fraction(value: Fraction | str) -> str:
    """A fraction with its decimals: `33/2 = 16.5`, `95/3 ≈ 31.67`; a whole number as it is.

    Four digits, or as many as it takes for the decimals not to look like a whole number.

    >>> format_fraction("33/2"), format_fraction("131063/65532")
    ('33/2 = 16.5', '131063/65532 ≈ 1.99998')
    """
    value = Fraction(value)
    if value.denominator == 1:
        return str(value).replace("-", "−")
    decimals = next(found for found in map(partial(_rounded, value), count(4)) if found != found.to_integral_value())
    return f"{value} {'=' if Fraction(decimals) == value else '≈'} {decimals:f}".replace("-", "−")


def count_text(count: int, axis: Axis) -> str:
    """So many rows, columns, or rows and columns."""
    return f"{count:,} {_AXIS_SINGULAR[axis] if count == 1 else _AXIS_PLURAL[axis]}"


def output_notes(window: Window, output: AxisOutput) -> list[str]:
    """The notes on one dimension of an output."""
    if window.transposed:
        return _transposed_notes(window, output)
    notes = []
    if not output.fits:
        direction = "up" if window.ceil else "down"
        notes.append(f"{format_fraction(output.exact)} is no size: torch rounds {direction} and makes {output.size}.")
    if output.left_over < 0:
        count = count_text(-output.left_over, output.axis)
        notes.append(f"The last window sticks out by {count} behind the image and its padding; a pool leaves them out.")
    return [*notes, *_unseen_notes(window, output)]


def _rounded(value: Fraction, digits: int) -> Decimal:
    return Context(prec=digits).divide(Decimal(value.numerator), Decimal(value.denominator))


def _unseen_notes(window: Window, output: AxisOutput) -> list[str]:
    one, padding = _AXIS_SINGULAR[output.axis], sum(span.count for span in output.unseen_padding)
    if not output.unseen and not padding:
        return [f"Every {one} of the image is seen{', and all of its padding' if window.padding else ''}."]
    behind = window.size + window.padding
    if not output.unseen:
        what = _edge(output.unseen_padding, behind, output.axis) or count_text(padding, output.axis)
        return [f"Only padding is left over: {what} of padding. No pixel of the image is lost."]
    notes = [f"Never seen: {describe_spans(output.unseen, window.size, output.axis, 'of the image')}."]
    reason = _reason(window, output.unseen)
    if reason:
        notes.append(reason)
    if padding:
        what = _edge(output.unseen_padding, behind, output.axis) or count_text(padding, output.axis)
        notes.append(f"Nor is {what} of the padding." if padding == 1 else f"Nor are {what} of the padding.")
    return notes


def _reason(window: Window, unseen: Sequence[Span]) -> str:
    last = window.layout.window_pixels((window.output or 1) - 1)[-1]
    if unseen[0].first > last:
        return ""
    if window.stride > window.extent:
        return f"The windows span {window.extent} and move by {window.stride}: they step over what lies between."
    return f"The window's pixels lie {window.dilation} apart, and steps of {window.stride} leave some of the gaps open."


def _transposed_notes(window: Window, output: AxisOutput) -> list[str]:
    notes = []
    if output.empty:
        what = describe_spans(output.empty, output.size, output.axis, "of the output")
        notes.append(f"No input reaches {what}: only the bias stands there.")
    else:
        notes.append(f"Every {_AXIS_SINGULAR[output.axis]} of the output is reached.")
    if output.unseen:
        what = describe_spans(output.unseen, window.size, output.axis, "of the input")
        notes.append(f"The padding cuts off all that comes of {what}.")
    if window.stride > 1 and window.kernel > 1 and window.dilation == 1 and window.kernel % window.stride:
        notes.append(
            f"Kernel {window.kernel} is no multiple of stride {window.stride}: some pixels of the output get more "
            "windows than their neighbours, which can show as a checkerboard."
        )
    return notes


def describe_spans(spans: Iterable[Span], size: int, axis: Axis, of: str) -> str:
    """Pixels that were found, in words; counted from 0 where they have numbers.

    >>> describe_spans([Span(first=30, last=31)], 32, "rows", "of the image")
    'the last 2 rows of the image (30–31)'
    """
    places = list(spans)
    edge = _edge(places, size, axis)
    if edge:
        return f"{edge} {of} ({_span_text(places[0])})"
    many = _AXIS_PLURAL[axis]
    only = places[0]
    if len(places) == 1 and only.times > 2 and only.first == only.last:
        which = _ORDINALS[only.every] if only.every < len(_ORDINALS) else f"{only.every}th"
        return f"every {which} {_AXIS_SINGULAR[axis]} {of}, from {only.first} to {only.end} (counted from 0)"
    count = sum(span.count for span in places)
    if count == 1:
        return f"{_AXIS_SINGULAR[axis]} {only.first} {of} (counted from 0)"
    named = ", ".join(map(_repeated_text, places[:_MAX_NAMED])) + (", …" if len(places) > _MAX_NAMED else "")
    return f"{count:,} {many} {of}: {named} (counted from 0)"


def _edge(spans: Sequence[Span], size: int, axis: Axis) -> str:
    """`the last 2 rows`, where the places are just that."""
    if len(spans) != 1 or spans[0].times != 1 or spans[0].last != size - 1:
        return ""
    count = spans[0].count
    return f"the last {_AXIS_SINGULAR[axis]}" if count == 1 else f"the last {count_text(count, axis)}"


def _repeated_text(span: Span) -> str:
    if span.times == 1:
        return _span_text(span)
    later = [
        span.model_copy(update={"first": span.first + turn * span.every, "last": span.last + turn * span.every})
        for turn in (1, span.times - 1)
    ]
    if span.times == 2:
        return f"{_span_text(span)}, {_span_text(later[0])}"
    dots = "" if span.times == 3 else " …,"
    return f"{_span_text(span)}, {_span_text(later[0])},{dots} {_span_text(later[1])}"


def _span_text(span: Span) -> str:
    return f"{span.first}" if span.first == span.last else f"{span.first}–{span.last}"


def solution_notes(solver: SizeSolver, solution: AxisSolution) -> list[str]:
    """The notes on one dimension of a solution."""
    unknown, notes = solver.unknown, []
    if solution.exact is None:
        single = "one pixel goes in" if solver.window.transposed else "one window is wanted"
        notes.append(f"Where {single}, the stride drops out of the formula.")
    elif not solution.fits:
        notes.append(_no_exact_text(solver, solution))
    notes += _solution_texts(solver, solution)
    if solution.unequal:
        front, behind = solution.unequal
        same = "padding='same' puts" if _is_same(solver) else "padding by hand can put"
        notes.append(
            f"The padding is odd, {front + behind} in all, so that no equal padding fits; {same} {front} in front and "
            f"{behind} behind{', as torch does' if _is_same(solver) else ''}."
        )
    if solution.result is not None and (not solution.fits or solution.result.unseen or solution.result.empty):
        notes += [f"With {unknown} {solution.value}: {_lowercase_first(note)}" for note in solution.result.notes]
    if unknown == "padding" and solution.value is not None and solution.value >= solver.window.extent:
        notes.append(
            f"Padding {solution.value} is as wide as the window or wider: the outermost windows see nothing else."
        )
    return notes


def _no_exact_text(solver: SizeSolver, solution: AxisSolution) -> str:
    exact = Fraction(solution.exact or 0)
    prefix = f"Exactly, the {solver.unknown} would be {format_fraction(exact)}"
    if exact.denominator > 1 and exact > 0:
        return f"{prefix}, which is no whole number."
    if exact < solver.min_value:
        return f"{prefix}, which is below {solver.min_value}."
    if solver.window.pool and solver.unknown == "padding":
        return f"{prefix}, but a pool's padding is half its kernel at most: {solver.window.kernel // 2}."
    return f"{prefix}, which torch does not take here."


def _solution_texts(solver: SizeSolver, solution: AxisSolution) -> list[str]:
    unknown = solver.unknown
    if solution.any_from is not None:
        return [f"Any {unknown} from {solution.any_from} on gives {solver.output}."]
    if len(solution.answers) > 1:
        exact = sum(answer.fits for answer in solution.answers)
        which = "only one of them fits exactly" if exact == 1 else "none of them fits exactly"
        rounded = "up" if solver.window.ceil else "down"
        return [
            f"As torch rounds {rounded}, {len(solution.answers)} values of the {unknown} give {solver.output}; {which}."
        ]
    if solution.answers:
        return []
    tried = [
        f"{unknown} {attempt.value} {'is refused' if attempt.output is None else f'gives {attempt.output}'}"
        for attempt in solution.attempts
    ]
    return [f"No {unknown} gives {solver.output}: in torch " + " and ".join(tried) + "."]


def _is_same(solver: SizeSolver) -> bool:
    window = solver.window
    return window.stride == 1 and solver.output == window.size


def _lowercase_first(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


# More pixels than this are shown by their ends alone.
_MAX_CELLS, _END_CELLS, _GAP_CELLS = 76, 30, 2
_MARGIN, _TITLE, _NUMBERS, _BAR, _LANE, _BELOW, _LEGEND = 16.0, 26.0, 16.0, 12.0, 14.0, 18.0, 22.0
_MIN_CELL = 9.0
_MIN_WIDTH = 420.0
_TITLES = {"both": "rows and columns alike", "rows": "rows", "columns": "columns"}


def draw_windows(query: SizeQuery, axes: Sequence[AxisOutput]) -> str:
    """An output's drawing as SVG, standing alone: one row of pixels, or one for the rows and one for the columns."""
    rows = [(_WindowRow.of(query.window(found.axis)), found) for found in axes]
    legend = _legend(query, [row for row, _ in rows])
    wide = sum(_entry_width(label) for _, label in legend)
    width = 2 * _MARGIN + max(_MIN_WIDTH, wide, *(row.width for row, _ in rows))
    height = 2 * _MARGIN + sum(row.height for row, _ in rows) + _LEGEND
    drawing = SvgDrawing(width, height, "sizes", _description(query, axes))
    top = _MARGIN
    for row, found in rows:
        _draw_row(drawing, row, found, top)
        top += row.height
    _draw_legend(drawing, legend, top + _LEGEND - 6)
    return drawing.to_svg(standalone=True)


@dataclass(frozen=True)
class _Bar:
    """One window: the pixels of it that are shown, its lane, and from where to where a thin line joins them."""

    number: int
    taps: tuple[range, ...]
    left: float
    right: float
    lane: int


@dataclass(frozen=True)
class _WindowRow:
    """A row of pixels in its place: which are shown, how wide, and the windows in lanes."""

    window: Window
    layout: WindowLayout
    cell: float
    shown: tuple[range, ...]
    bars: tuple[_Bar, ...]
    untouched: tuple[Span, ...]

    @classmethod
    def of(cls, window: Window) -> _WindowRow:
        layout = window.layout
        first = -layout.padding_before
        stop = max(layout.num_pixels + layout.padding_after, layout.window_pixels(layout.num_windows - 1)[-1] + 1)
        count = stop - first
        cell = 26.0 if count <= 16 else 19.0 if count <= 40 else 15.0
        shown: tuple[range, ...] = (range(first, stop),)
        if count > _MAX_CELLS:
            shown = (range(first, first + _END_CELLS), range(stop - _END_CELLS, stop))
        front, inner, behind = layout.untouched_pixels()
        bare = cls(window, layout, cell, shown, (), tuple(inner if window.transposed else [*front, *inner, *behind]))
        return cls(window, layout, cell, shown, tuple(bare._assign_lanes()), bare.untouched)

    @property
    def width(self) -> float:
        return self.x_of(self.shown[-1][-1]) + self.cell

    @property
    def height(self) -> float:
        lanes = 1 + max((bar.lane for bar in self.bars), default=0)
        return _TITLE + _NUMBERS + self.cell + 6 + lanes * _LANE + _BELOW

    def x_of(self, position: int) -> float:
        """Where a shown pixel begins, from the left edge of the row."""
        if position in self.shown[0]:
            return (position - self.shown[0].start) * self.cell
        return (_END_CELLS + _GAP_CELLS + position - self.shown[-1].start) * self.cell

    def is_untouched(self, position: int) -> bool:
        return any(span.contains(position) for span in self.untouched)

    def _assign_lanes(self) -> Iterator[_Bar]:
        """Every window that is seen, in the first lane where it does not touch the one before it."""
        ends: list[float] = []
        for number in range(self.layout.num_windows):
            window = self.layout.window_pixels(number)
            taps = tuple(part for part in (_visible_pixels(window, shown) for shown in self.shown) if part)
            if not taps:
                continue
            left, right = self.x_of(taps[0][0]), self.x_of(taps[-1][-1]) + self.cell
            if len(self.shown) > 1 and len(taps) == 1:
                # Part of it lies in the gap: its line runs out into the dots.
                gap = _END_CELLS * self.cell + _GAP_CELLS * self.cell / 2
                left = gap if window[0] < taps[0][0] else left
                right = gap if window[-1] > taps[0][-1] else right
            lane = next((lane for lane, end in enumerate(ends) if end < left + 0.5), len(ends))
            ends[lane : lane + 1] = [right]
            yield _Bar(number, taps, left, right, lane)


def _visible_pixels(window: range, visible: range) -> range:
    """The window's pixels among those that are shown."""
    first = max(0, -(-(visible.start - window.start) // window.step))
    last = min(len(window) - 1, (visible.stop - 1 - window.start) // window.step)
    return window[first : last + 1] if first <= last else range(0)


def _draw_row(drawing: SvgDrawing, row: _WindowRow, output: AxisOutput, top: float) -> None:
    size = row.window.size
    exact = "" if output.fits else f" (exactly {output.exact})"
    drawing.text(_MARGIN, top + 13, f"{_TITLES[output.axis]}: {size} → {output.size}{exact}", bold=True)
    cells = top + _TITLE + _NUMBERS
    for shown in row.shown:
        for place in shown:
            if place < row.layout.num_pixels + row.layout.padding_after:
                _draw_cell(drawing, row, place, cells)
    _draw_numbers(drawing, row, cells - 5)
    if len(row.shown) > 1:
        drawing.text(_MARGIN + (_END_CELLS + 1) * row.cell, cells + row.cell * 0.7, "…", anchor="middle", bold=True)
    for bar in row.bars:
        _draw_bar(drawing, row, bar, cells + row.cell + 6 + bar.lane * _LANE)


def _draw_cell(drawing: SvgDrawing, row: _WindowRow, position: int, top: float) -> None:
    x, side = _MARGIN + row.x_of(position), row.cell
    inner = 0 <= position < row.layout.num_pixels
    shape = (x + 0.75, top, side - 1.5, side - 1.5)
    if inner:
        drawing.rectangle(*shape, fill="train", opacity=0.22)
    if row.is_untouched(position):
        _hatch(drawing, *shape)
        drawing.rectangle(*shape, stroke="bad", thickness=1.2)
    else:
        drawing.rectangle(*shape, stroke="train" if inner else "muted", thickness=1 if inner else 0.6)


def _hatch(drawing: SvgDrawing, x: float, y: float, width: float, height: float) -> None:
    for share in (1 / 3, 2 / 3, 1.0):
        drawing.line([(x, y + height * share), (x + width * share, y)], stroke="bad")
    for share in (1 / 3, 2 / 3):
        drawing.line([(x + width * share, y + height), (x + width, y + height * share)], stroke="bad")


def _draw_numbers(drawing: SvgDrawing, row: _WindowRow, baseline: float) -> None:
    """Numbers of the inner pixels: the first, the last, and every fifth where those leave room."""
    last = row.layout.num_pixels - 1
    every = 1 if row.cell > 20 else 5
    for place in (place for shown in row.shown for place in shown):
        if place in (0, last) or (0 < place <= last - (3 if every > 1 else 1) and place % every == 0):
            middle = _MARGIN + row.x_of(place) + row.cell / 2
            drawing.text(middle, baseline, str(place), size=_MIN_CELL, colour="muted", anchor="middle")


def _draw_bar(drawing: SvgDrawing, row: _WindowRow, bar: _Bar, top: float) -> None:
    lost = row.window.transposed and not any(0 <= tap < row.layout.num_pixels for taps in bar.taps for tap in taps)
    colour = "muted" if lost else "train"
    middle = top + _BAR / 2
    drawing.line([(_MARGIN + bar.left + 3, middle), (_MARGIN + bar.right - 3, middle)], stroke=colour, thickness=1.5)
    for taps in bar.taps:
        # Neighbours are one bar; pixels apart are one each.
        parts = [(taps[0], taps[-1])] if taps.step == 1 else [(tap, tap) for tap in taps]
        for first, last in parts:
            left = _MARGIN + row.x_of(first) + 1.5
            width = row.x_of(last) - row.x_of(first) + row.cell - 3
            drawing.rectangle(left, top, width, _BAR, fill=colour, radius=2, title=_tooltip(row, bar.number))
    label = str(bar.number)
    taps = bar.taps[0]
    width = row.x_of(taps[-1] if taps.step == 1 else taps[0]) - row.x_of(taps[0]) + row.cell
    if text_width(label, _MIN_CELL) < width - 2:
        place = _MARGIN + row.x_of(taps[0]) + width / 2
        drawing.text(place, top + _BAR - 3, label, size=_MIN_CELL, colour="paper", anchor="middle")


def _tooltip(row: _WindowRow, number: int) -> str:
    window = row.layout.window_pixels(number)
    return f"{'input' if row.window.transposed else 'output'} {number}: pixels {window[0]} to {window[-1]}"


def _legend(query: SizeQuery, rows: list[_WindowRow]) -> list[tuple[str, str]]:
    transposed = query.transposed
    found = [("inner", "output" if transposed else "image")]
    if any(row.layout.padding_before or row.layout.padding_after for row in rows):
        found.append(("side", "cut off by the padding" if transposed else "padding"))
    if any(row.untouched for row in rows):
        found.append(("untouched", "reached by no input" if transposed else "never seen"))
    what = "what one pixel of the input reaches" if transposed else "a window, with the number of its output"
    return [*found, ("bar", what)]


def _entry_width(label: str) -> float:
    return 20 + text_width(label, SMALL) + 20


def _draw_legend(drawing: SvgDrawing, legend: list[tuple[str, str]], baseline: float) -> None:
    x = _MARGIN
    for kind, label in legend:
        shape = (x, baseline - 10, 12.0, 12.0)
        if kind == "bar":
            drawing.rectangle(*shape, fill="train", radius=2)
        else:
            if kind == "inner":
                drawing.rectangle(*shape, fill="train", opacity=0.22)
            if kind == "untouched":
                _hatch(drawing, *shape)
            drawing.rectangle(*shape, stroke={"inner": "train", "side": "muted", "untouched": "bad"}[kind])
        drawing.text(x + 20, baseline, label, size=SMALL, colour="muted")
        x += _entry_width(label)


def _description(query: SizeQuery, axes: Sequence[AxisOutput]) -> str:
    sentences = []
    for found in axes:
        window = query.window(found.axis)
        sentences.append(f"{_TITLES[found.axis]}: {window.size} → {found.size}. {' '.join(found.notes)}")
    return f"The windows of a {query.kind} under their row of pixels. {' '.join(sentences)}"
