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
class OverlayRow:
    """An arm, or the value of a sweep; `samples` are of the studies that have it, by the index of the study."""

    name: str
    sweep_value: float | None
    samples: dict[int, Sample]


def overlay_rows(results: Sequence[StudyResult]) -> list[OverlayRow]:
    """The arms of all studies, each once, in the order of the studies; the values of sweeps in ascending order."""
    rows: dict[str | float, OverlayRow] = {}
    for study, result in enumerate(results):
        for arm in result.arms:
            key = arm.name if arm.sweep_value is None else arm.sweep_value
            rows.setdefault(key, OverlayRow(arm.name, arm.sweep_value, {})).samples[study] = arm.sample
    if results[0].curve is None:
        return list(rows.values())
    return sorted(rows.values(), key=lambda row: row.sweep_value or 0.0)


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
    left, right = names_width(names, MAX_NAMES_WIDTH), 92.0 if any(map(missing_runs_text, _samples(rows))) else 8.0
    axes = row_axes(figure, left, head, WIDTH - left - right, len(rows), row)
    axes.set_xlim(_value_range(rows))
    for number, each in enumerate(rows):
        write_text(canvas, left - 10, head + row * (number + 0.5), names[number], ha="right")
        if number:
            axes.axhline(number - 0.5, color=COLOURS["line"], linewidth=0.8)
        for study, sample in each.samples.items():
            height = (study - (len(results) - 1) / 2) * MARK_HEIGHT
            _draw(axes, study, sample, number + height / row, horizontal=True)
            y = head + row * (number + 0.5) + height
            write_text(canvas, WIDTH - right + 8, y, missing_runs_text(sample), colour="muted")
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
    for study in range(len(results)):
        # Side by side, so that studies don't cover each other.
        offset = 5.0 * (study - (len(results) - 1) / 2)
        moved = offset_copy(axes.transData, axes.get_figure(root=True), x=offset, units="points")
        points = [(row.sweep_value or 0.0, row.samples[study]) for row in rows if study in row.samples]
        means = [(value, sample.mean) for value, sample in points if sample.mean is not None]
        if means:
            axes.plot(*zip(*means, strict=True), color=COLOURS[STYLES[study][0]], linewidth=1.4, transform=moved)
        for value, sample in points:
            _draw(axes, study, sample, value, horizontal=False, transform=moved)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=TICK_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))
    name = text.sweep_key(results[0])
    axes.set_xlabel(name, color=COLOURS["muted"], fontsize=SMALL, labelpad=6, parse_math=False)
    return figure


def _draw(axes: Axes, study: int, sample: Sample, position: float, *, horizontal: bool, **style: Any) -> None:
    """Draw the runs, the interval and the mean of an arm at a position of the other axis."""
    colour, marker = STYLES[study]

    def plot(values: Sequence[float], kind: str, **own: Any) -> None:
        positions = [position] * len(values)
        points = (values, positions) if horizontal else (positions, values)
        axes.plot(*points, kind, color=COLOURS[colour], **own, **style)

    plot(sample.finite, "o", markersize=4, alpha=0.4, markeredgewidth=0)
    if (interval := sample.interval()) is not None:
        low, high = axes.get_xlim() if horizontal else axes.get_ylim()
        plot([max(interval[0], low), min(interval[1], high)], "-", linewidth=2)
    if sample.mean is not None:
        plot([sample.mean], marker, markersize=7.5, markeredgewidth=0)


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


def _samples(rows: Sequence[OverlayRow]) -> list[Sample]:
    return [sample for row in rows for sample in row.samples.values()]


def _value_range(rows: Sequence[OverlayRow]) -> Interval:
    samples = _samples(rows)
    intervals = [interval for sample in samples if (interval := sample.interval()) is not None]
    return axis_limits([value for sample in samples for value in sample.finite], intervals)
