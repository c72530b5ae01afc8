"""A dose curve as a picture. Computed, then drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from cnnlab.render.plots import COLOURS, NORMAL, SMALL, name_ends, new_figure, quiet_axes
from cnnlab.render.svg import text_width
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.figures import STEPS, limits, new_canvas, swarm, tick, write
from cnnlab.stats.sample import Interval, Sample
from cnnlab.stats.sweep import DoseCurve
from cnnlab.studies.result import ArmRecord, StudyResult

WIDTH, HEIGHT = 640.0, 360.0
LEFT, HEAD, FOOT = 48.0, 52.0, 46.0
# Doses over more than this factor are drawn on a log scale.
LOG_FROM = 30.0
# A second curve that would make the axis longer than so many times its own length gets axes of its own.
MOST_STRETCH = 2.0
TRAIN_HEIGHT = 110.0
DOT = 6.0


@dataclass(frozen=True)
class DosePoint:
    """The runs at one dose; `x` is the dose."""

    x: float
    values: tuple[float, ...]
    mean: float | None
    interval: Interval | None
    train: float | None
    failures: int
    runs: int


@dataclass(frozen=True)
class DosePicture:
    """What the picture of a dose curve shows.

    Attributes:
        points: by rising dose.
        fit: the fitted quadratic, (dose, figure), between the outermost doses that have figures.
        plateau: the ranges of doses to shade, each a little wider than its outermost doses.
        logarithmic: doses are positive and span a large factor.
        apart: the train figures lie so far from the others that they get axes of their own.
    """

    points: tuple[DosePoint, ...]
    fit: tuple[tuple[float, float], ...]
    plateau: tuple[Interval, ...]
    logarithmic: bool
    apart: bool


def dose_picture(result: StudyResult, curve: DoseCurve) -> DosePicture:
    """Everything that the picture of a dose curve shows, as numbers."""
    order = sorted(range(len(curve.doses)), key=lambda index: curve.doses[index])
    points = tuple(_point(curve, index, study_text.arm_of_dose(result, curve, index)) for index in order)
    doses = [point.x for point in points]
    logarithmic = is_logarithmic(doses)
    ranges = study_text.neighbours(curve.doses, curve.plateau)
    plateau = [_widened(doses, curve.doses[run[0]], curve.doses[run[-1]], logarithmic) for run in ranges]
    return DosePicture(points, _fitted(curve, logarithmic), tuple(plateau), logarithmic, _apart(points))


def dose_figure(result: StudyResult, curve: DoseCurve) -> Figure:
    """Every run a dot, means with 95 % intervals, the fitted quadratic, the plateau shaded, and the train figures."""
    picture = dose_picture(result, curve)
    doses = [point.x for point in picture.points]
    height = HEIGHT + (TRAIN_HEIGHT + 26 if picture.apart else 0)
    figure, right = new_figure(WIDTH, height), 64.0
    canvas = new_canvas(figure)
    write(
        canvas,
        0,
        10,
        f"{study_text.metric_name(result.metric)} against {study_text.dose_name(result)}",
        size=NORMAL,
        bold=True,
    )
    write(canvas, 0, 27, _dose_note(picture), colour="muted")
    bottom = height - HEIGHT + FOOT
    axes = quiet_axes(figure, LEFT, bottom, WIDTH - LEFT - right, HEIGHT - HEAD - FOOT)
    dose_scale(axes, doses)
    _value_scale(axes, picture, with_train=not picture.apart)
    for low, high in picture.plateau:
        axes.axvspan(low, high, color=COLOURS["test"], alpha=0.14, linewidth=0)
    if picture.fit:
        axes.plot(*zip(*picture.fit, strict=True), color=COLOURS["muted"], linewidth=1.4, linestyle=(0, (5, 3)))
    _dose_dots(axes, picture)
    below = quiet_axes(figure, LEFT, FOOT, WIDTH - LEFT - right, TRAIN_HEIGHT - 20) if picture.apart else axes
    if picture.apart:
        dose_scale(below, doses)
        _train_scale(below, picture)
        axes.tick_params(labelbottom=False)
    name_ends(below, _train_line(below, picture))
    below.set_xlabel(study_text.dose_name(result), color=COLOURS["muted"], fontsize=SMALL, labelpad=6, parse_math=False)
    return figure


def is_logarithmic(doses: Sequence[float]) -> bool:
    """Whether rising doses are seen better on a log scale."""
    return doses[0] > 0 and doses[-1] / doses[0] > LOG_FROM


def dose_scale(axes: Axes, doses: Sequence[float]) -> None:
    """An axis from the lowest of rising doses to the highest, with the doses as its numbers where there is room."""
    low, high = doses[0], doses[-1]
    if is_logarithmic(doses):
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** 0.05, high * (high / low) ** 0.05)
    else:
        room = 0.05 * (high - low) or 1.0
        axes.set_xlim(low - room, high + room)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(_apart_enough(axes, doses)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))


def _point(curve: DoseCurve, index: int, arm: ArmRecord | None) -> DosePoint:
    sample: Sample = curve.samples[index]
    train = arm.train.mean if arm is not None else None
    runs = len(sample.values)
    return DosePoint(curve.doses[index], sample.finite, sample.mean, sample.interval(), train, sample.failures, runs)


def _fitted(curve: DoseCurve, logarithmic: bool) -> tuple[tuple[float, float], ...]:
    if curve.coefficients is None:
        return ()
    doses = [dose for dose, sample in zip(curve.doses, curve.samples, strict=True) if sample.n]
    first, last = min(doses), max(doses)
    low, high = (log(first), log(last)) if logarithmic else (first, last)
    places = [low + (high - low) * step / 100 for step in range(101)]
    found = [(dose, curve.fit(dose)) for dose in (map(exp, places) if logarithmic else places)]
    return tuple((dose, value) for dose, value in found if value is not None)


def _widened(doses: Sequence[float], low: float, high: float, logarithmic: bool) -> Interval:
    """A range with 0.3 of the way to the next doses on both sides; at the end of the axis as much as inwards."""
    along = [log(dose) for dose in doses] if logarithmic else list(doses)
    first, last = doses.index(low), doses.index(high)
    gaps = [after - before for before, after in pairwise(along)] or [1.0]
    start = along[first] - 0.3 * gaps[max(first - 1, 0)]
    end = along[last] + 0.3 * gaps[min(last, len(gaps) - 1)]
    return (exp(start), exp(end)) if logarithmic else (start, end)


def _apart(points: Sequence[DosePoint]) -> bool:
    values = [value for point in points for value in point.values]
    both = values + [point.train for point in points if point.train is not None]
    return bool(values) and max(both) - min(both) > MOST_STRETCH * (max(values) - min(values))


def _dose_note(picture: DosePicture) -> str:
    parts = ["dot: a run; diamond: mean, 95 % interval"]
    if picture.fit:
        parts.append("dashed: fitted quadratic")
    if picture.plateau:
        parts.append("shaded: plateau")
    if any(point.failures for point in picture.points):
        parts.append("×: failed runs")
    return "; ".join(parts)


def _apart_enough(axes: Axes, doses: Sequence[float]) -> list[float]:
    """The doses whose numbers have room beside those before them."""
    kept: list[float] = []
    end = -1e9
    for dose in doses:
        middle = float(axes.transData.transform((dose, 0))[0])
        half = text_width(f"{dose:g}", SMALL) / 2 + 4
        if middle - half >= end:
            kept.append(dose)
            end = middle + half
    return kept


def _value_scale(axes: Axes, picture: DosePicture, *, with_train: bool) -> None:
    values = [value for point in picture.points for value in point.values]
    train = [point.train for point in picture.points if point.train is not None and with_train]
    spans = [point.interval for point in picture.points if point.interval is not None]
    low, high = limits([*values, *train], spans)
    if any(point.failures for point in picture.points):
        low -= 0.1 * (high - low)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def _train_scale(axes: Axes, picture: DosePicture) -> None:
    axes.set_ylim(limits([point.train for point in picture.points if point.train is not None], []))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def _dose_dots(axes: Axes, picture: DosePicture) -> None:
    """Beside each mean, to the right, its runs; those of like figures one after the other."""
    low, high = axes.get_ylim()
    along = [float(axes.transData.transform((point.x, low))[0]) for point in picture.points]
    room = min((after - before for before, after in pairwise(along)), default=60.0)
    for point in picture.points:
        levels = swarm(point.values, DOT / axes.bbox.height * (high - low))
        step = min(DOT, (0.7 * room - 6) / max([*levels, 1]))
        for value, level in zip(point.values, levels, strict=True):
            moved = offset_copy(axes.transData, axes.get_figure(root=True), x=6 + step * level, units="points")
            style: dict[str, Any] = {"color": COLOURS["validation"], "markersize": DOT - 1, "markeredgewidth": 0}
            axes.plot([point.x], [value], "o", transform=moved, alpha=0.6, **style)
        if point.interval is not None:
            axes.plot([point.x] * 2, point.interval, color=COLOURS["ink"], linewidth=2, solid_capstyle="butt")
        if point.mean is not None:
            axes.plot([point.x], [point.mean], "D", color=COLOURS["ink"], markersize=6.5, markeredgewidth=0)
        if point.failures:
            place = (point.x, low + 0.035 * (high - low))
            text = f"{point.failures}×" if point.failures > 1 else "×"
            axes.annotate(text, place, ha="center", va="center", fontsize=SMALL, color=COLOURS["validation"])


def _train_line(axes: Axes, picture: DosePicture) -> list[tuple[str, float, str]]:
    """The train figures as a second curve; its name's place, where there are any."""
    points = [(point.x, point.train) for point in picture.points if point.train is not None]
    if not points:
        return []
    doses, values = zip(*points, strict=True)
    style: dict[str, Any] = {"color": COLOURS["train"], "linewidth": 1.4, "markersize": 4.5, "markeredgewidth": 0}
    axes.plot(doses, values, marker="s", **style)
    return [("train", values[-1], COLOURS["train"])]
