"""The plot of the change of the activations against the shift. No torch."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnlab.interpret.translation.result import (
    DIRECTION_TEXT,
    LayerTranslation,
    TranslationSensitivity,
    evenly_spaced,
)
from cnnlab.render.formatting import shorten
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, label_line_ends, minimal_axes, new_figure
from cnnlab.render.svg import text_width

WIDTH, HEIGHT = 560, 360
# One for each stage that is drawn: more lines would hide one another.
STAGE_COLOURS = ("train", "validation", "test", "ink")
BEFORE_DASH, AFTER_DASH, IMAGE_DASH = (0, (4, 2.5)), (0, ()), (0, (1.2, 2))
MAX_NAME_LENGTH = 22
# How much wider bold letters are.
BOLD_WIDTH = 1.15
IMAGE_NAME = "the image"


def translation_figure(result: TranslationSensitivity) -> Figure:
    """Draw each stage in its own colour, dashed before it and solid after it; the image itself is dotted."""
    figure = new_figure(WIDTH, HEIGHT)
    stages = _drawn_stages(result)
    names = [shorten(stage.name, MAX_NAME_LENGTH) for stage in stages]
    right = 18 + BOLD_WIDTH * max(text_width(name) for name in (*names, IMAGE_NAME))
    axes = minimal_axes(figure, 44, 46, WIDTH - 44 - right, HEIGHT - 46 - 72)
    _line(axes, result.shifts, result.changes, "muted", IMAGE_DASH, "image")
    ends = [(IMAGE_NAME, _last(result.changes), COLOURS["muted"])]
    for colour, stage, name in zip(STAGE_COLOURS, stages, names, strict=False):
        _line(axes, result.shifts, stage.before, colour, BEFORE_DASH, f"{stage.name}, before")
        _line(axes, result.shifts, stage.after, colour, AFTER_DASH, stage.name)
        ends.append((name, _last(stage.after), COLOURS[colour]))
    _scale(axes, result)
    label_line_ends(axes, ends)
    axes.set_xlabel(
        f"shift {DIRECTION_TEXT[result.direction]}, pixels", color=COLOURS["muted"], fontsize=SMALL, labelpad=6
    )
    title = "change of the activations, as a share of their length"
    figure.text(12 / WIDTH, 1 - 24 / HEIGHT, title, fontsize=NORMAL, color=COLOURS["ink"], weight="bold")
    figure.text(12 / WIDTH, 1 - 42 / HEIGHT, _note(result), fontsize=SMALL, color=COLOURS["muted"])
    return figure


def _drawn_stages(result: TranslationSensitivity) -> list[LayerTranslation]:
    return evenly_spaced(result.stages, len(STAGE_COLOURS))


def _note(result: TranslationSensitivity) -> str:
    drawn, total = len(_drawn_stages(result)), len(result.stages)
    note = "dashed: before a layer, solid: after it"
    return note + (f"; {drawn} of {total} layers" if drawn < total else "")


def _line(
    axes: Axes, shifts: tuple[int, ...], values: tuple[float | None, ...], colour: str, dash: object, name: str
) -> None:
    numbers = [float("nan") if value is None else value for value in values]
    faint = dash != AFTER_DASH
    axes.plot(
        shifts,
        numbers,
        color=COLOURS[colour],
        linestyle=dash,
        linewidth=1.2 if faint else 2.0,
        marker="" if faint else "o",
        markersize=4,
        markeredgewidth=0,
        clip_on=False,
        label=name,
    )


def _scale(axes: Axes, result: TranslationSensitivity) -> None:
    shown = [result.changes, *(values for stage in result.stages for values in (stage.before, stage.after))]
    highest = max((value for values in shown for value in values if value is not None), default=0.0)
    axes.set_xlim(0, result.shifts[-1])
    axes.set_ylim(0, 1.06 * highest or 1.0)
    # Room between the zeros of the two axes.
    axes.tick_params(axis="x", pad=9)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _last(values: tuple[float | None, ...]) -> float:
    """The last known value, at which the line's name stands."""
    return next((value for value in reversed(values) if value is not None), 0.0)
