"""Drawings of a sliding window along one dimension: a row of pixels with its padding, and every window under it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnnlab.render.svg import SMALL, Drawing, text_width
from cnnlab.theory.sizes.geometry import Slide, Stretch, Strip
from cnnlab.theory.sizes.records import AxisOutput, Question

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
