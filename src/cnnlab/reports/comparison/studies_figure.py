"""Several studies in one figure: arms matched by name, or the values of sweeps on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Transform, offset_copy

from cnnlab.render.plots import COLOURS, SMALL, new_figure, style_axes
from cnnlab.reports.study import text
from cnnlab.reports.study.figures import WIDTH, axis_limits, row_panels, set_value_ticks
from cnnlab.reports.study.sweep_figure import set_sweep_axis
from cnnlab.stats.sample import Sample
from cnnlab.studies.result import StudyResult

HEIGHT = 420.0
# Height of a row: so much for each study, and a gap. The values of sweeps are closer.
MARK_HEIGHT, MARK_WIDTH, ROW_GAP = 15.0, 5.0, 12.0
MAX_NAME_LENGTH = 28
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
    """Plot from two to five studies of one kind, each with its own colour and marker, side by side at each arm."""
    rows = overlay_rows(results)
    samples = [sample for row in rows for sample in row.samples.values()]
    intervals = [interval for sample in samples if (interval := sample.interval()) is not None]
    limits = axis_limits([value for sample in samples for value in sample.finite], intervals)
    is_sweep = results[0].curve is not None
    figure, axes = _sweep_axes(results, rows) if is_sweep else _arm_axes(rows, len(results))
    if is_sweep:
        axes.set_ylim(limits)
    else:
        axes.set_xlim(limits)
    for study in range(len(results)):
        rank = study - (len(results) - 1) / 2
        offset = {"x": MARK_WIDTH * rank} if is_sweep else {"y": -MARK_HEIGHT * rank}
        moved = offset_copy(axes.transData, figure, units="points", **offset)
        for number, row in enumerate(rows):
            if study in row.samples:
                position = row.sweep_value if row.sweep_value is not None else number
                _draw(axes, study, row.samples[study], position, moved, limits, is_sweep=is_sweep)
    _add_legend(figure, results)
    return figure


def _arm_axes(rows: Sequence[OverlayRow], studies: int) -> tuple[Figure, Axes]:
    """Axes with a row for each arm, named to the left."""
    figure, (axes,) = row_panels([(len(rows), ROW_GAP + MARK_HEIGHT * studies)])
    names = text.short_names([row.name for row in rows], MAX_NAME_LENGTH)
    axes.set_yticks(range(len(rows)), names, color=COLOURS["ink"], parse_math=False)
    for number in range(1, len(rows)):
        axes.axhline(number - 0.5, color=COLOURS["line"], linewidth=0.8)
    return figure, axes


def _sweep_axes(results: Sequence[StudyResult], rows: Sequence[OverlayRow]) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, HEIGHT)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    style_axes(axes)
    set_sweep_axis(axes, [row.sweep_value for row in rows if row.sweep_value is not None])
    set_value_ticks(axes)
    axes.set_xlabel(text.sweep_key(results[0]), color=COLOURS["muted"], fontsize=SMALL, labelpad=6, parse_math=False)
    return figure, axes


def _draw(
    axes: Axes,
    study: int,
    sample: Sample,
    position: float,
    moved: Transform,
    limits: tuple[float, float],
    *,
    is_sweep: bool,
) -> None:
    """Draw the runs, the interval and the mean of an arm."""
    colour, marker = STYLES[study]
    low, high = sample.interval() or (0.0, 0.0)
    bar = [max(low, limits[0]), min(high, limits[1])] if low < high else []
    mean = [] if sample.mean is None else [sample.mean]
    marks = ((sample.finite, "o", 4.0, 0.4), (bar, "-", 1.0, 1.0), (mean, marker, 7.5, 1.0))
    for values, kind, size, opacity in marks:
        positions = [position] * len(values)
        points = (positions, values) if is_sweep else (values, positions)
        style: dict[str, Any] = {"markersize": size, "markeredgewidth": 0, "linewidth": 2, "alpha": opacity}
        axes.plot(*points, kind, color=COLOURS[colour], transform=moved, **style)


def _add_legend(figure: Figure, results: Sequence[StudyResult]) -> None:
    """Name the studies above the axes."""
    names = text.short_names([result.study for result in results], MAX_NAME_LENGTH)
    handles = [
        Line2D([], [], color=COLOURS[colour], marker=marker, label=f"{name}: {result.images:,} images")
        for name, result, (colour, marker) in zip(names, results, STYLES, strict=False)
    ]
    title = f"{text.metric_name(results[0].metric)}: runs, means and 95 % intervals"
    legend = figure.legend(
        handles=handles, title=title, loc="outside upper left", frameon=False, fontsize=SMALL, labelcolor="linecolor"
    )
    legend.set_alignment("left")
    for label in legend.get_texts():
        label.set_parse_math(False)
