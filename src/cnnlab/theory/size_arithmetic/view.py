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

from cnnlab.render.document import Formula, Titled
from cnnlab.render.svg import SMALL, Drawing, text_width
from cnnlab.render.tables import TextTable
from cnnlab.theory.size_arithmetic.arithmetic import (
    Axis,
    AxisOutput,
    AxisSolution,
    Nearby,
    Puzzle,
    Question,
    Slide,
    Stretch,
    Strip,
)

Rule = tuple[str, str]

LETTERS = {letter: letter for letter in "WFSPDAO"}
_SAID = {"output_padding": "output padding"}


def output_rule(slide: Slide) -> Rule:
    """The right side of a formula, as text and as LaTeX, with letters in braces."""
    reach, reach_latex = _reach(slide)
    if slide.transposed:
        more = " + {A}" if slide.output_padding else ""
        return (
            f"({{W}} − 1)·{{S}} − 2·{{P}} + {reach}{more}",
            rf"({{W}} - 1) \cdot {{S}} - 2 \cdot {{P}} + {reach_latex}{more}",
        )
    return (
        f"({{W}} − {reach} + 2·{{P}}) / {{S}} + 1",
        rf"\frac{{{{{{W}} - {reach_latex} + 2 \cdot {{P}}}}}}{{{{{{S}}}}}} + 1",
    )


def solved_rule(puzzle: Puzzle) -> Rule:
    """The same, solved for the unknown."""
    slide = puzzle.slide
    above, below = _transposed_fraction(puzzle) if slide.transposed else _fraction(puzzle)
    if not below:
        return above[0], above[1]
    over = below[0] if below[0].isalnum() or below[0] in ("{D}", "{O}") else f"({below[0]})"
    return f"({above[0]}) / {over}", rf"\frac{{{{{above[1]}}}}}{{{{{below[1]}}}}}"


def letters(slide: Slide) -> dict[str, str]:
    """The numbers that the letters stand for."""
    values = (slide.size, slide.kernel, slide.stride, slide.padding, slide.dilation, slide.output_padding)
    return dict(zip("WFSPDA", map(str, values), strict=True))


def filled(symbol: str, rule: Rule, letters: dict[str, str]) -> Formula:
    """A formula with its letters, or with numbers in their place."""
    text, latex = (side.format(**letters) for side in rule)
    # Among letters the dot of 2·P and the brackets around a single one add nothing.
    if letters is LETTERS:
        text, latex = text.replace("2·P", "2P"), latex.replace(r"2 \cdot P", "2P")
    return Formula(f"{symbol} = {text}", f"{symbol} = {latex}")


def worked(symbol: str, rule: Rule, letters: dict[str, str], exact: str, axis: Axis) -> Formula:
    """A formula with its numbers and what they come to."""
    put_in = filled(symbol, rule, letters)
    before, before_latex = ("", "") if axis == "both" else (f"{axis}: ", rf"\text{{{axis}: }} ")
    value = number(exact)
    latex = value.replace("−", "-").replace("≈", r"\approx")
    share = Fraction(exact)
    if share.denominator > 1:
        sign = "-" if share < 0 else ""
        fraction = rf"{sign}\frac{{{abs(share.numerator)}}}{{{share.denominator}}}"
        latex = fraction + latex.removeprefix(str(share))
    return Formula(f"{before}{put_in.text} = {value}", f"{before_latex}{put_in.latex} = {latex}")


def near_tables(title: str, question: Question, near: list[tuple[Axis, Nearby]]) -> tuple[Titled, ...]:
    """A table of settings that fit, or none where there are none."""
    if not near:
        return ()
    names = ["size", "kernel", "stride", "padding", *(["output_padding"] if question.transposed else []), "output"]
    titles = ["change", *(f"#{_SAID.get(name, name)}" for name in names)]
    rows = [[_SAID.get(item.change, item.change), *(str(getattr(item, name)) for name in names)] for _, item in near]
    if len(question.axes) > 1:
        titles = ["dimension", *titles]
        rows = [[axis, *row] for (axis, _), row in zip(near, rows, strict=True)]
    return ((title, TextTable.of(titles, rows)),)


def on(axis: Axis, sentence: str) -> str:
    """A sentence that says which dimension it is about, where they are told apart."""
    return sentence if axis == "both" else f"{axis.capitalize()}: {sentence[0].lower()}{sentence[1:]}"


def times(value: Any) -> str:
    """Sizes as they are written: `32`, `32×48`, `none`."""
    if isinstance(value, tuple):
        return "×".join("none" if part is None else str(part) for part in value)
    return "none" if value is None else str(value)


def _reach(slide: Slide) -> Rule:
    if slide.dilation == 1:
        return "{F}", "{F}"
    return "({D}·({F} − 1) + 1)", r"({D} \cdot ({F} - 1) + 1)"


def _fraction(puzzle: Puzzle) -> tuple[Rule, Rule | None]:
    slide, (reach, reach_latex) = puzzle.slide, _reach(puzzle.slide)
    if puzzle.unknown == "padding":
        # The way in which it is taught where the size is kept.
        if puzzle.output == slide.size:
            above = (f"({{S}} − 1)·{{W}} − {{S}} + {reach}", rf"({{S}} - 1) \cdot {{W}} - {{S}} + {reach_latex}")
        else:
            above = (f"({{O}} − 1)·{{S}} + {reach} − {{W}}", rf"({{O}} - 1) \cdot {{S}} + {reach_latex} - {{W}}")
        return above, ("2", "2")
    if puzzle.unknown == "stride":
        return _pair(f"{{W}} + 2·{{P}} − {reach}", rf"{{W}} + 2 \cdot {{P}} - {reach_latex}"), _pair("{O} − 1")
    if puzzle.tied:
        if slide.dilation == 1:
            return _pair("{W} + 2·{P}", r"{W} + 2 \cdot {P}"), _pair("{O}")
        return _pair("{W} + 2·{P} + {D} − 1", r"{W} + 2 \cdot {P} + {D} - 1"), _pair("{O} − 1 + {D}")
    plain = _pair("{W} + 2·{P} − ({O} − 1)·{S}", r"{W} + 2 \cdot {P} - ({O} - 1) \cdot {S}")
    return _undilated(slide, plain)


def _transposed_fraction(puzzle: Puzzle) -> tuple[Rule, Rule | None]:
    slide, (reach, reach_latex) = puzzle.slide, _reach(puzzle.slide)
    more, less = (" + {A}", " − {A}") if slide.output_padding else ("", "")
    fewer = less.replace("−", "-")
    if puzzle.unknown == "padding":
        text = f"({{W}} − 1)·{{S}} + {reach}{more} − {{O}}"
        return _pair(text, rf"({{W}} - 1) \cdot {{S}} + {reach_latex}{more} - {{O}}"), ("2", "2")
    if puzzle.unknown == "stride":
        latex = rf"{{O}} + 2 \cdot {{P}} - {reach_latex}{fewer}"
        return _pair(f"{{O}} + 2·{{P}} − {reach}{less}", latex), _pair("{W} − 1")
    text = f"{{O}} + 2·{{P}}{less} − ({{W}} − 1)·{{S}}"
    return _undilated(slide, _pair(text, rf"{{O}} + 2 \cdot {{P}}{fewer} - ({{W}} - 1) \cdot {{S}}"))


def _undilated(slide: Slide, reach: Rule) -> tuple[Rule, Rule | None]:
    """The kernel from what it spans."""
    if slide.dilation == 1:
        return reach, None
    return _pair(f"{reach[0]} + {{D}} − 1", f"{reach[1]} + {{D}} - 1"), _pair("{D}")


def _pair(text: str, latex: str = "") -> Rule:
    return text, latex or text.replace("−", "-")


_ONE = {"rows": "row", "columns": "column", "both": "row and column"}
_MANY = {"rows": "rows", "columns": "columns", "both": "rows and columns"}
_ORDINALS = ("", "", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
# A sentence names so many places; the rest are in the JSON.
_NAMED = 4


def number(value: Fraction | str) -> str:
    """A fraction with its decimals: `33/2 = 16.5`, `95/3 ≈ 31.67`; a whole number as it is.

    Four digits, or as many as it takes for the decimals not to look like a whole number.

    >>> number("33/2"), number("131063/65532")
    ('33/2 = 16.5', '131063/65532 ≈ 1.99998')
    """
    value = Fraction(value)
    if value.denominator == 1:
        return str(value).replace("-", "−")
    decimals = next(found for found in map(partial(_rounded, value), count(4)) if found != found.to_integral_value())
    return f"{value} {'=' if Fraction(decimals) == value else '≈'} {decimals:f}".replace("-", "−")


def amount(count: int, axis: Axis) -> str:
    """So many rows, columns, or rows and columns."""
    return f"{count:,} {_ONE[axis] if count == 1 else _MANY[axis]}"


def output_notes(slide: Slide, found: AxisOutput) -> list[str]:
    """What is to be said of one dimension of an output."""
    if slide.transposed:
        return _transposed_notes(slide, found)
    notes = []
    if not found.fits:
        way = "up" if slide.ceil else "down"
        notes.append(f"{number(found.exact)} is no size: torch rounds {way} and makes {found.size}.")
    if found.left_over < 0:
        count = amount(-found.left_over, found.axis)
        notes.append(f"The last window sticks out by {count} behind the image and its padding; a pool leaves them out.")
    return [*notes, *_unseen_notes(slide, found)]


def _rounded(value: Fraction, digits: int) -> Decimal:
    return Context(prec=digits).divide(Decimal(value.numerator), Decimal(value.denominator))


def _unseen_notes(slide: Slide, found: AxisOutput) -> list[str]:
    one, padding = _ONE[found.axis], sum(stretch.count for stretch in found.unseen_padding)
    if not found.unseen and not padding:
        return [f"Every {one} of the image is seen{', and all of its padding' if slide.padding else ''}."]
    behind = slide.size + slide.padding
    if not found.unseen:
        what = _edge(found.unseen_padding, behind, found.axis) or amount(padding, found.axis)
        return [f"Only padding is left over: {what} of padding. No pixel of the image is lost."]
    notes = [f"Never seen: {described(found.unseen, slide.size, found.axis, 'of the image')}."]
    reason = _reason(slide, found.unseen)
    if reason:
        notes.append(reason)
    if padding:
        what = _edge(found.unseen_padding, behind, found.axis) or amount(padding, found.axis)
        notes.append(f"Nor is {what} of the padding." if padding == 1 else f"Nor are {what} of the padding.")
    return notes


def _reason(slide: Slide, unseen: Sequence[Stretch]) -> str:
    last = slide.strip.window((slide.output or 1) - 1)[-1]
    if unseen[0].first > last:
        return ""
    if slide.stride > slide.reach:
        return f"The windows span {slide.reach} and move by {slide.stride}: they step over what lies between."
    return f"The window's pixels lie {slide.dilation} apart, and steps of {slide.stride} leave some of the gaps open."


def _transposed_notes(slide: Slide, found: AxisOutput) -> list[str]:
    notes = []
    if found.empty:
        what = described(found.empty, found.size, found.axis, "of the output")
        notes.append(f"No input reaches {what}: only the bias stands there.")
    else:
        notes.append(f"Every {_ONE[found.axis]} of the output is reached.")
    if found.unseen:
        what = described(found.unseen, slide.size, found.axis, "of the input")
        notes.append(f"The padding cuts off all that comes of {what}.")
    if slide.stride > 1 and slide.kernel > 1 and slide.dilation == 1 and slide.kernel % slide.stride:
        notes.append(
            f"Kernel {slide.kernel} is no multiple of stride {slide.stride}: some pixels of the output get more "
            "windows than their neighbours, which can show as a checkerboard."
        )
    return notes


def described(found: Iterable[Stretch], size: int, axis: Axis, of: str) -> str:
    """Pixels that were found, in words; counted from 0 where they have numbers.

    >>> described([Stretch(first=30, last=31)], 32, "rows", "of the image")
    'the last 2 rows of the image (30–31)'
    """
    places = list(found)
    edge = _edge(places, size, axis)
    if edge:
        return f"{edge} {of} ({_span(places[0])})"
    many = _MANY[axis]
    only = places[0]
    if len(places) == 1 and only.times > 2 and only.first == only.last:
        which = _ORDINALS[only.every] if only.every < len(_ORDINALS) else f"{only.every}th"
        return f"every {which} {_ONE[axis]} {of}, from {only.first} to {only.end} (counted from 0)"
    count = sum(stretch.count for stretch in places)
    if count == 1:
        return f"{_ONE[axis]} {only.first} {of} (counted from 0)"
    named = ", ".join(map(_repeated, places[:_NAMED])) + (", …" if len(places) > _NAMED else "")
    return f"{count:,} {many} {of}: {named} (counted from 0)"


def _edge(places: Sequence[Stretch], size: int, axis: Axis) -> str:
    """`the last 2 rows`, where the places are just that."""
    if len(places) != 1 or places[0].times != 1 or places[0].last != size - 1:
        return ""
    count = places[0].count
    return f"the last {_ONE[axis]}" if count == 1 else f"the last {amount(count, axis)}"


def _repeated(stretch: Stretch) -> str:
    if stretch.times == 1:
        return _span(stretch)
    later = [
        stretch.model_copy(
            update={"first": stretch.first + turn * stretch.every, "last": stretch.last + turn * stretch.every}
        )
        for turn in (1, stretch.times - 1)
    ]
    if stretch.times == 2:
        return f"{_span(stretch)}, {_span(later[0])}"
    dots = "" if stretch.times == 3 else " …,"
    return f"{_span(stretch)}, {_span(later[0])},{dots} {_span(later[1])}"


def _span(stretch: Stretch) -> str:
    return f"{stretch.first}" if stretch.first == stretch.last else f"{stretch.first}–{stretch.last}"


def solution_notes(puzzle: Puzzle, found: AxisSolution) -> list[str]:
    """What is to be said of one dimension of a solution."""
    unknown, notes = puzzle.unknown, []
    if found.exact is None:
        single = "one pixel goes in" if puzzle.slide.transposed else "one window is wanted"
        notes.append(f"Where {single}, the stride drops out of the formula.")
    elif not found.fits:
        notes.append(_no_exact(puzzle, found))
    notes += _answers(puzzle, found)
    if found.unequal:
        front, behind = found.unequal
        same = "padding='same' puts" if _is_same(puzzle) else "padding by hand can put"
        notes.append(
            f"The padding is odd, {front + behind} in all, so that no equal padding fits; {same} {front} in front and "
            f"{behind} behind{', as torch does' if _is_same(puzzle) else ''}."
        )
    if found.result is not None and (not found.fits or found.result.unseen or found.result.empty):
        notes += [f"With {unknown} {found.value}: {_lower(note)}" for note in found.result.notes]
    if unknown == "padding" and found.value is not None and found.value >= puzzle.slide.reach:
        notes.append(
            f"Padding {found.value} is as wide as the window or wider: the outermost windows see nothing else."
        )
    return notes


def _no_exact(puzzle: Puzzle, found: AxisSolution) -> str:
    exact = Fraction(found.exact or 0)
    said = f"Exactly, the {puzzle.unknown} would be {number(exact)}"
    if exact.denominator > 1 and exact > 0:
        return f"{said}, which is no whole number."
    if exact < puzzle.lowest:
        return f"{said}, which is below {puzzle.lowest}."
    if puzzle.slide.pool and puzzle.unknown == "padding":
        return f"{said}, but a pool's padding is half its kernel at most: {puzzle.slide.kernel // 2}."
    return f"{said}, which torch does not take here."


def _answers(puzzle: Puzzle, found: AxisSolution) -> list[str]:
    unknown = puzzle.unknown
    if found.any_from is not None:
        return [f"Any {unknown} from {found.any_from} on gives {puzzle.output}."]
    if len(found.answers) > 1:
        exact = sum(answer.fits for answer in found.answers)
        which = "only one of them fits exactly" if exact == 1 else "none of them fits exactly"
        rounded = "up" if puzzle.slide.ceil else "down"
        return [
            f"As torch rounds {rounded}, {len(found.answers)} values of the {unknown} give {puzzle.output}; {which}."
        ]
    if found.answers:
        return []
    tried = [
        f"{unknown} {attempt.value} {'is refused' if attempt.output is None else f'gives {attempt.output}'}"
        for attempt in found.attempts
    ]
    return [f"No {unknown} gives {puzzle.output}: in torch " + " and ".join(tried) + "."]


def _is_same(puzzle: Puzzle) -> bool:
    slide = puzzle.slide
    return slide.stride == 1 and puzzle.output == slide.size


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


# More pixels than this are shown by their ends alone.
_MOST_CELLS, _END_CELLS, _GAP_CELLS = 76, 30, 2
_MARGIN, _TITLE, _NUMBERS, _BAR, _LANE, _BELOW, _LEGEND = 16.0, 26.0, 16.0, 12.0, 14.0, 18.0, 22.0
_TINY = 9.0
_NARROWEST = 420.0
_TITLES = {"both": "rows and columns alike", "rows": "rows", "columns": "columns"}


def draw_output(question: Question, axes: Sequence[AxisOutput]) -> str:
    """An output's picture as SVG, standing alone: one strip, or one for the rows and one for the columns."""
    rows = [(_Row.of(question.slide(found.axis)), found) for found in axes]
    legend = _legend(question, [row for row, _ in rows])
    wide = sum(_entry_width(label) for _, label in legend)
    width = 2 * _MARGIN + max(_NARROWEST, wide, *(row.width for row, _ in rows))
    height = 2 * _MARGIN + sum(row.height for row, _ in rows) + _LEGEND
    drawing = Drawing(width, height, "sizes", _description(question, axes))
    top = _MARGIN
    for row, found in rows:
        _draw_row(drawing, row, found, top)
        top += row.height
    _draw_legend(drawing, legend, top + _LEGEND - 6)
    return drawing.to_svg(alone=True)


@dataclass(frozen=True)
class _Bar:
    """One window: the pixels of it that are shown, its lane, and from where to where a thin line joins them."""

    number: int
    taps: tuple[range, ...]
    left: float
    right: float
    lane: int


@dataclass(frozen=True)
class _Row:
    """A row of pixels in its place: which are shown, how wide, and the windows in lanes."""

    slide: Slide
    strip: Strip
    cell: float
    shown: tuple[range, ...]
    bars: tuple[_Bar, ...]
    untouched: tuple[Stretch, ...]

    @classmethod
    def of(cls, slide: Slide) -> _Row:
        strip = slide.strip
        first = -strip.front
        stop = max(strip.inner + strip.behind, strip.window(strip.windows - 1)[-1] + 1)
        count = stop - first
        cell = 26.0 if count <= 16 else 19.0 if count <= 40 else 15.0
        shown: tuple[range, ...] = (range(first, stop),)
        if count > _MOST_CELLS:
            shown = (range(first, first + _END_CELLS), range(stop - _END_CELLS, stop))
        front, inner, behind = strip.untouched()
        bare = cls(slide, strip, cell, shown, (), tuple(inner if slide.transposed else [*front, *inner, *behind]))
        return cls(slide, strip, cell, shown, tuple(bare._in_lanes()), bare.untouched)

    @property
    def width(self) -> float:
        return self.at(self.shown[-1][-1]) + self.cell

    @property
    def height(self) -> float:
        lanes = 1 + max((bar.lane for bar in self.bars), default=0)
        return _TITLE + _NUMBERS + self.cell + 6 + lanes * _LANE + _BELOW

    def at(self, place: int) -> float:
        """Where a shown pixel begins, from the left edge of the row."""
        if place in self.shown[0]:
            return (place - self.shown[0].start) * self.cell
        return (_END_CELLS + _GAP_CELLS + place - self.shown[-1].start) * self.cell

    def is_untouched(self, place: int) -> bool:
        return any(stretch.holds(place) for stretch in self.untouched)

    def _in_lanes(self) -> Iterator[_Bar]:
        """Every window that is seen, in the first lane where it does not touch the one before it."""
        ends: list[float] = []
        for number in range(self.strip.windows):
            window = self.strip.window(number)
            taps = tuple(part for part in (_between(window, shown) for shown in self.shown) if part)
            if not taps:
                continue
            left, right = self.at(taps[0][0]), self.at(taps[-1][-1]) + self.cell
            if len(self.shown) > 1 and len(taps) == 1:
                # Part of it lies in the gap: its line runs out into the dots.
                gap = _END_CELLS * self.cell + _GAP_CELLS * self.cell / 2
                left = gap if window[0] < taps[0][0] else left
                right = gap if window[-1] > taps[0][-1] else right
            lane = next((lane for lane, end in enumerate(ends) if end < left + 0.5), len(ends))
            ends[lane : lane + 1] = [right]
            yield _Bar(number, taps, left, right, lane)


def _between(window: range, shown: range) -> range:
    """The window's pixels among those that are shown."""
    first = max(0, -(-(shown.start - window.start) // window.step))
    last = min(len(window) - 1, (shown.stop - 1 - window.start) // window.step)
    return window[first : last + 1] if first <= last else range(0)


def _draw_row(drawing: Drawing, row: _Row, found: AxisOutput, top: float) -> None:
    size = row.slide.size
    exact = "" if found.fits else f" (exactly {found.exact})"
    drawing.text(_MARGIN, top + 13, f"{_TITLES[found.axis]}: {size} → {found.size}{exact}", bold=True)
    cells = top + _TITLE + _NUMBERS
    for shown in row.shown:
        for place in shown:
            if place < row.strip.inner + row.strip.behind:
                _draw_cell(drawing, row, place, cells)
    _draw_numbers(drawing, row, cells - 5)
    if len(row.shown) > 1:
        drawing.text(_MARGIN + (_END_CELLS + 1) * row.cell, cells + row.cell * 0.7, "…", anchor="middle", bold=True)
    for bar in row.bars:
        _draw_bar(drawing, row, bar, cells + row.cell + 6 + bar.lane * _LANE)


def _draw_cell(drawing: Drawing, row: _Row, place: int, top: float) -> None:
    x, side = _MARGIN + row.at(place), row.cell
    inner = 0 <= place < row.strip.inner
    shape = (x + 0.75, top, side - 1.5, side - 1.5)
    if inner:
        drawing.rectangle(*shape, fill="train", opacity=0.22)
    if row.is_untouched(place):
        _hatch(drawing, *shape)
        drawing.rectangle(*shape, stroke="bad", thickness=1.2)
    else:
        drawing.rectangle(*shape, stroke="train" if inner else "muted", thickness=1 if inner else 0.6)


def _hatch(drawing: Drawing, x: float, y: float, width: float, height: float) -> None:
    for share in (1 / 3, 2 / 3, 1.0):
        drawing.line([(x, y + height * share), (x + width * share, y)], stroke="bad")
    for share in (1 / 3, 2 / 3):
        drawing.line([(x + width * share, y + height), (x + width, y + height * share)], stroke="bad")


def _draw_numbers(drawing: Drawing, row: _Row, baseline: float) -> None:
    """Numbers of the inner pixels: the first, the last, and every fifth where those leave room."""
    last = row.strip.inner - 1
    every = 1 if row.cell > 20 else 5
    for place in (place for shown in row.shown for place in shown):
        if place in (0, last) or (0 < place <= last - (3 if every > 1 else 1) and place % every == 0):
            middle = _MARGIN + row.at(place) + row.cell / 2
            drawing.text(middle, baseline, str(place), size=_TINY, colour="muted", anchor="middle")


def _draw_bar(drawing: Drawing, row: _Row, bar: _Bar, top: float) -> None:
    lost = row.slide.transposed and not any(0 <= tap < row.strip.inner for taps in bar.taps for tap in taps)
    colour = "muted" if lost else "train"
    middle = top + _BAR / 2
    drawing.line([(_MARGIN + bar.left + 3, middle), (_MARGIN + bar.right - 3, middle)], stroke=colour, thickness=1.5)
    for taps in bar.taps:
        # Neighbours are one bar; pixels apart are one each.
        parts = [(taps[0], taps[-1])] if taps.step == 1 else [(tap, tap) for tap in taps]
        for first, last in parts:
            left = _MARGIN + row.at(first) + 1.5
            width = row.at(last) - row.at(first) + row.cell - 3
            drawing.rectangle(left, top, width, _BAR, fill=colour, radius=2, title=_told(row, bar.number))
    label = str(bar.number)
    taps = bar.taps[0]
    width = row.at(taps[-1] if taps.step == 1 else taps[0]) - row.at(taps[0]) + row.cell
    if text_width(label, _TINY) < width - 2:
        place = _MARGIN + row.at(taps[0]) + width / 2
        drawing.text(place, top + _BAR - 3, label, size=_TINY, colour="paper", anchor="middle")


def _told(row: _Row, number: int) -> str:
    window = row.strip.window(number)
    return f"{'input' if row.slide.transposed else 'output'} {number}: pixels {window[0]} to {window[-1]}"


def _legend(question: Question, rows: list[_Row]) -> list[tuple[str, str]]:
    transposed = question.transposed
    found = [("inner", "output" if transposed else "image")]
    if any(row.strip.front or row.strip.behind for row in rows):
        found.append(("side", "cut off by the padding" if transposed else "padding"))
    if any(row.untouched for row in rows):
        found.append(("untouched", "reached by no input" if transposed else "never seen"))
    what = "what one pixel of the input reaches" if transposed else "a window, with the number of its output"
    return [*found, ("bar", what)]


def _entry_width(label: str) -> float:
    return 20 + text_width(label, SMALL) + 20


def _draw_legend(drawing: Drawing, legend: list[tuple[str, str]], baseline: float) -> None:
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


def _description(question: Question, axes: Sequence[AxisOutput]) -> str:
    told = []
    for found in axes:
        slide = question.slide(found.axis)
        told.append(f"{_TITLES[found.axis]}: {slide.size} → {found.size}. {' '.join(found.notes)}")
    return f"The windows of a {question.kind} under their row of pixels. {' '.join(told)}"
