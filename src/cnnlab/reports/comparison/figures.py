"""The figure of a comparison of runs: dots and means, differences with the equivalence band, loss curves."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnlab.render.plots import COLOURS, NORMAL, SMALL, minimal_axes, new_figure, to_svg
from cnnlab.render.svg import text_width
from cnnlab.reports.comparison.curves import TONES, LossCurve, draw_curves
from cnnlab.reports.comparison.result import ComparedGroup, ComparedRuns
from cnnlab.reports.comparison.view import format_difference
from cnnlab.reports.study.text import is_share, short_names
from cnnlab.stats.comparison import Comparison

WIDTH = 640
ROW = 36.0
TOP, BETWEEN, BOTTOM = 46.0, 112.0, 52.0
# Right of the rows there is room to say that runs diverged.
RIGHT, RIGHT_OF_FAILURES = 24.0, 92.0
MAX_NAME_LENGTH = 32
CURVES_HEIGHT = 320.0  # the height of the loss curves at the bottom
JITTER = 0.16


def comparison_svg(result: ComparedRuns) -> str:
    """The figure as SVG, standing alone."""
    description = f"{result.metric.replace('_', ' ')} of {len(result.groups)} groups of runs. {result.summary()}"
    return to_svg(comparison_figure(result), "compared", description, standalone=True)


def comparison_figure(result: ComparedRuns) -> Figure:
    """Every run a dot, each group's mean with its 95 % interval; differences with intervals and ±δ; losses by epoch."""
    above, below = ROW * len(result.groups), ROW * len(result.comparisons)
    drawn = [group for group in result.groups if group.curves][: len(TONES)]
    foot = BOTTOM + (CURVES_HEIGHT if drawn else 0.0)
    height = TOP + above + BETWEEN + below + foot
    every = [group.name for group in result.groups]
    names = dict(zip(every, short_names(every, MAX_NAME_LENGTH), strict=True))
    left = 20 + max(text_width(name, SMALL) for name in names.values())
    right = RIGHT_OF_FAILURES if any(group.failures for group in result.groups) else RIGHT
    figure = new_figure(WIDTH, height)
    upper = _rows(figure, left, right, height - TOP - above, above, list(names.values()))
    lower = _rows(figure, left, right, foot, below, [names[each.a] for each in result.comparisons])
    for row, group in enumerate(result.groups):
        _draw_group(upper, row, group)
    _draw_differences(lower, result)
    upper.set_xlabel(f"{result.metric.replace('_', ' ')}", color=COLOURS["muted"], fontsize=SMALL, labelpad=4)
    unit = ", points" if is_share(result.metric) else ""
    lower.set_xlabel(f"difference{unit}", color=COLOURS["muted"], fontsize=SMALL, labelpad=4)
    dotted = "; dotted: for new images too" if any(each.new_images for each in result.comparisons) else ""
    against = f"against {names[result.baseline]}, with the {_level_text(result)} interval"
    _title(figure, height - 16, "every run a dot; mean with its 95 % interval")
    _title(figure, foot + below + 36, against)
    note = f"shaded: differences up to δ do not matter{dotted}"
    figure.text(12 / WIDTH, (foot + below + 18) / height, note, fontsize=SMALL, color=COLOURS["muted"], va="center")
    if drawn:
        _draw_losses(figure, [(names[group.name], group.curves) for group in drawn])
    return figure


def _draw_losses(figure: Figure, groups: Sequence[tuple[str, Sequence[LossCurve]]]) -> None:
    """The losses of all groups in one plot, at the bottom."""
    _, height = figure.get_size_inches() * 72
    right = 20 + max(1.2 * text_width(name, NORMAL) for name, _ in groups)
    axes = minimal_axes(figure, 44, 42, WIDTH - 44 - right, CURVES_HEIGHT - 42 - 64)
    draw_curves(axes, groups)
    axes.set_xlabel("epoch", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    log = ", log scale" if axes.get_yscale() == "log" else ""
    _title(figure, CURVES_HEIGHT - 26, f"loss (cross-entropy, nats{log})")
    seeds = (
        "; mean over seeds, band: lowest to highest"
        if any(curve.low != curve.high for _, curves in groups for curve in curves)
        else ""
    )
    note = f"line: validation; dashed: training, running mean of the steps{seeds}"
    top = (CURVES_HEIGHT - 44) / height
    figure.text(12 / WIDTH, top, note, fontsize=SMALL, color=COLOURS["muted"], va="center")


def _rows(figure: Figure, left: float, right: float, bottom: float, height: float, names: Sequence[str]) -> Axes:
    axes = minimal_axes(figure, left, bottom, WIDTH - left - right, height)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=COLOURS["line"], linewidth=0.8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.ticklabel_format(axis="x", useOffset=False)
    return axes


def _draw_group(axes: Axes, row: int, group: ComparedGroup) -> None:
    values = [run.value for run in group.runs if run.value is not None and isfinite(run.value)]
    # Runs that came out alike lie side by side.
    heights = [row - JITTER + 2 * JITTER * (index % 5) / 4 for index in range(len(values))]
    axes.plot(values, heights, "o", color=COLOURS["train"], markersize=5, alpha=0.55, markeredgewidth=0, clip_on=False)
    if group.mean is not None and len(values) > 1:
        if group.low is not None and group.high is not None:
            axes.plot([group.low, group.high], [row, row], color=COLOURS["ink"], linewidth=1.6, solid_capstyle="butt")
        axes.plot([group.mean], [row], "D", color=COLOURS["ink"], markersize=6, markeredgewidth=0)
    if group.failures:
        axes.annotate(
            f"{group.failures} diverged",
            (1, row),
            xycoords=axes.get_yaxis_transform(),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=COLOURS["validation"],
            annotation_clip=False,
        )


def _draw_differences(axes: Axes, result: ComparedRuns) -> None:
    scale = 100.0 if is_share(result.metric) else 1.0
    ends = []
    if result.delta is not None:
        ends = [scale * result.delta]
        axes.axvspan(-ends[0], ends[0], color=COLOURS["test"], alpha=0.16, linewidth=0)
    axes.axvline(0, color=COLOURS["muted"], linewidth=1)
    for row, each in enumerate(result.comparisons):
        ends += [abs(scale * end) for end in _draw_difference(axes, row, each, scale, result.metric)]
    # Both sides alike, so that no side looks larger than it is.
    most = max(ends, default=0.0) or 1.0
    axes.set_xlim(-1.12 * most, 1.12 * most)


def _draw_difference(axes: Axes, row: int, comparison: Comparison, scale: float, metric: str) -> list[float]:
    """Draw one difference; returns what must lie within the axes."""
    if comparison.difference is None:
        return []
    shown = [comparison.difference]
    if comparison.new_images is not None:
        wide = [scale * end for end in comparison.new_images]
        axes.plot(wide, [row, row], color=COLOURS["muted"], linewidth=1, linestyle=(0, (2, 2)))
        shown += comparison.new_images
    if comparison.low is not None and comparison.high is not None:
        bounds = [scale * comparison.low, scale * comparison.high]
        axes.plot(bounds, [row, row], color=COLOURS["ink"], linewidth=1.8, solid_capstyle="butt")
        shown += [comparison.low, comparison.high]
    axes.plot([scale * comparison.difference], [row], "D", color=COLOURS["ink"], markersize=6, markeredgewidth=0)
    axes.annotate(
        f"{format_difference(comparison.difference, metric).removesuffix(' points')}: {comparison.verdict}",
        (scale * comparison.difference, row),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=SMALL,
        color=COLOURS["muted"],
        annotation_clip=False,
    )
    return shown


def _level_text(result: ComparedRuns) -> str:
    return f"{100 * result.comparisons[0].level:.4g} %"


def _title(figure: Figure, bottom: float, text: str) -> None:
    _, height = figure.get_size_inches() * 72
    figure.text(12 / WIDTH, bottom / height, text, fontsize=NORMAL, color=COLOURS["ink"], weight="bold", va="center")
