"""Several studies in one figure: arms matched by name, or the values of sweeps on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import offset_copy

from cnnlab.render.plots import COLOURS, NORMAL, SMALL, minimal_axes, new_canvas, new_figure, write_text
from cnnlab.render.svg import text_width
from cnnlab.reports.study import text
from cnnlab.reports.study.figures import (
    BOLD_WIDTH,
    TICK_STEPS,
    axis_limits,
    format_tick,
    missing_runs_text,
    names_width,
    row_axes,
    set_ticks,
)
from cnnlab.reports.study.sweep_figure import set_sweep_axis
from cnnlab.stats.sample import Interval, Sample
from cnnlab.studies.result import StudyResult

WIDTH, HEIGHT = 640.0, 360.0
LEFT, FOOT = 48.0, 46.0
HEAD, LINE = 36.0, 17.0
# Height of a row: so much for each study, and a gap.
MARK_HEIGHT, ROW_GAP = 15.0, 12.0
MAX_NAME_LENGTH, MAX_NAMES_WIDTH = 28, 216.0
STYLES = (("train", "o"), ("validation", "s"), ("test", "^"), ("ink", "D"), ("muted", "v"))


@dataclass(frozen=True)
class OverlayMark:
    """An arm, or a value, in one study; `study` is its index."""

    study: int
    values: tuple[float, ...]
    mean: float | None
    interval: Interval | None
    remark: str


@dataclass(frozen=True)
class OverlayRow:
    """An arm, or the value of a sweep, in the studies that have it."""

    name: str
    sweep_value: float | None
    marks: tuple[OverlayMark, ...]


def overlay_rows(results: Sequence[StudyResult]) -> tuple[OverlayRow, ...]:
    """The arms of all studies, each once, in the order of the studies; the values of sweeps in ascending order."""
    rows: dict[str | float, OverlayRow] = {}
    for number, result in enumerate(results):
        for arm in result.arms:
            key = arm.name if arm.sweep_value is None else arm.sweep_value
            known = rows.get(key, OverlayRow(arm.name, arm.sweep_value, ()))
            rows[key] = OverlayRow(known.name, known.sweep_value, (*known.marks, _mark(number, arm.sample)))
    found = list(rows.values())
    return tuple(sorted(found, key=lambda row: row.sweep_value or 0.0) if results[0].curve is not None else found)


def overlay_figure(results: Sequence[StudyResult]) -> Figure:
    """Plot from two to five studies of one kind, each with its own colour and marker."""
    rows = overlay_rows(results)
    return _sweeps_figure(results, rows) if results[0].curve is not None else _arms_figure(results, rows)


def _arms_figure(results: Sequence[StudyResult], rows: Sequence[OverlayRow]) -> Figure:
    head, row = HEAD + LINE * len(results), ROW_GAP + MARK_HEIGHT * len(results)
    figure = new_figure(WIDTH, head + row * len(rows) + FOOT)
    canvas = new_canvas(figure)
    _legend(canvas, results, text.metric_name(results[0].metric))
    names = text.short_names([row.name for row in rows], MAX_NAME_LENGTH)
    left, right = names_width(names, MAX_NAMES_WIDTH), 92.0 if any(m.remark for r in rows for m in r.marks) else 8.0
    axes = row_axes(figure, left, head, WIDTH - left - right, len(rows), row)
    axes.set_xlim(_value_range(rows))
    for number, each in enumerate(rows):
        write_text(canvas, left - 10, head + row * (number + 0.5), names[number], ha="right")
        if number:
            axes.axhline(number - 0.5, color=COLOURS["line"], linewidth=0.8)
        for mark in each.marks:
            height = (mark.study - (len(results) - 1) / 2) * MARK_HEIGHT
            _draw(axes, mark, number + height / row, along=True)
            write_text(canvas, WIDTH - right + 8, head + row * (number + 0.5) + height, mark.remark, colour="muted")
    set_ticks(axes, axes.bbox.width)
    return figure


def _sweeps_figure(results: Sequence[StudyResult], rows: Sequence[OverlayRow]) -> Figure:
    head = HEAD + LINE * len(results)
    figure = new_figure(WIDTH, HEIGHT + head)
    _legend(new_canvas(figure), results, f"{text.metric_name(results[0].metric)} against {text.sweep_key(results[0])}")
    axes = minimal_axes(figure, LEFT, FOOT, WIDTH - LEFT - 12, HEIGHT - FOOT)
    sweep_values = [row.sweep_value for row in rows if row.sweep_value is not None]
    set_sweep_axis(axes, sweep_values)
    axes.set_ylim(_value_range(rows))
    for number in range(len(results)):
        # Side by side, so that studies don't cover each other.
        offset = 5.0 * (number - (len(results) - 1) / 2)
        moved = offset_copy(axes.transData, axes.get_figure(root=True), x=offset, units="points")
        points = [(row.sweep_value or 0.0, mark) for row in rows for mark in row.marks if mark.study == number]
        means = [(value, mark.mean) for value, mark in points if mark.mean is not None]
        if means:
            axes.plot(*zip(*means, strict=True), color=COLOURS[STYLES[number][0]], linewidth=1.4, transform=moved)
        for value, mark in points:
            _draw(axes, mark, value, along=False, transform=moved)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=TICK_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))
    name = text.sweep_key(results[0])
    axes.set_xlabel(name, color=COLOURS["muted"], fontsize=SMALL, labelpad=6, parse_math=False)
    return figure


def _draw(axes: Axes, mark: OverlayMark, position: float, *, along: bool, **style: Any) -> None:
    """Draw runs, interval and mean, horizontally (`along`) or vertically."""

    def plot(values: Sequence[float], kind: str, **own: Any) -> None:
        positions = [position] * len(values)
        axes.plot(*((values, positions) if along else (positions, values)), kind, color=COLOURS[colour], **own, **style)

    colour, marker = STYLES[mark.study]
    plot(mark.values, "o", markersize=4, alpha=0.4, markeredgewidth=0)
    if mark.interval is not None:
        low, high = axes.get_xlim() if along else axes.get_ylim()
        plot([max(mark.interval[0], low), min(mark.interval[1], high)], "-", linewidth=2)
    if mark.mean is not None:
        plot([mark.mean], marker, markersize=7.5, markeredgewidth=0)


def _legend(canvas: Axes, results: Sequence[StudyResult], title: str) -> None:
    write_text(canvas, 0, 10, title, size=NORMAL, bold=True)
    names = text.short_names([result.study for result in results], MAX_NAME_LENGTH)
    for number, (result, name) in enumerate(zip(results, names, strict=True)):
        colour, marker = STYLES[number]
        height = 28 + LINE * number
        canvas.plot([5], [height], marker, color=COLOURS[colour], markersize=7.5, markeredgewidth=0)
        write_text(canvas, 16, height, name, colour=colour, bold=True)
        note = f"{result.images:,} images; mean with 95 % interval" if not number else f"{result.images:,} images"
        write_text(canvas, 28 + BOLD_WIDTH * text_width(name, SMALL), height, note, colour="muted")


def _value_range(rows: Sequence[OverlayRow]) -> Interval:
    marks = [mark for row in rows for mark in row.marks]
    values = [value for mark in marks for value in mark.values]
    return axis_limits(values, [mark.interval for mark in marks if mark.interval is not None])


def _mark(study: int, sample: Sample) -> OverlayMark:
    return OverlayMark(study, sample.finite, sample.mean, sample.interval(), missing_runs_text(sample))
