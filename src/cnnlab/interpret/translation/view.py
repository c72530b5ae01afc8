"""The change against the shift, in front of each stage of a network and after it. No torch."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnlab.interpret.translation.result import TOWARDS, MovedLayer, Translation, spread_over
from cnnlab.render import formatting
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, name_ends, new_figure, quiet_axes, to_svg
from cnnlab.render.svg import text_width

WIDTH, HEIGHT = 560, 360
# More lines than these would hide one another.
STAGE_COLOURS = ("train", "validation", "test", "ink")
IN_FRONT, AFTER, IMAGE = (0, (4, 2.5)), (0, ()), (0, (1.2, 2))
LONGEST_NAME = 22
# How much wider bold letters are.
BOLD = 1.15
IMAGE_NAME = "the image"


def translation_svg(found: Translation) -> str:
    """The plot, standing alone."""
    shown = ", ".join(stage.name for stage in _drawn(found))
    description = f"How far activations move when the image does, in front of and after {shown}. {found.answer()}"
    return to_svg(translation_figure(found), "translation", description, alone=True)


def translation_figure(found: Translation) -> Figure:
    """One colour for each stage: dashed in front of it, solid after it; the image itself dotted."""
    figure = new_figure(WIDTH, HEIGHT)
    stages = _drawn(found)
    names = [formatting.shown(stage.name, LONGEST_NAME) for stage in stages]
    right = 18 + BOLD * max(text_width(name) for name in (*names, IMAGE_NAME))
    axes = quiet_axes(figure, 44, 46, WIDTH - 44 - right, HEIGHT - 46 - 72)
    _line(axes, found.shifts, found.changes, "muted", IMAGE, "image")
    ends = [(IMAGE_NAME, _last(found.changes), COLOURS["muted"])]
    for colour, stage, name in zip(STAGE_COLOURS, stages, names, strict=False):
        _line(axes, found.shifts, stage.before, colour, IN_FRONT, f"{stage.name}, in front")
        _line(axes, found.shifts, stage.after, colour, AFTER, stage.name)
        ends.append((name, _last(stage.after), COLOURS[colour]))
    _scale(axes, found)
    name_ends(axes, ends)
    axes.set_xlabel(f"shift {TOWARDS[found.direction]}, pixels", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    title = "change of the activations, as a share of their length"
    figure.text(12 / WIDTH, 1 - 24 / HEIGHT, title, fontsize=NORMAL, color=COLOURS["ink"], weight="bold")
    figure.text(12 / WIDTH, 1 - 42 / HEIGHT, _note(found), fontsize=SMALL, color=COLOURS["muted"])
    return figure


def _drawn(found: Translation) -> list[MovedLayer]:
    return spread_over(found.stages, len(STAGE_COLOURS))


def _note(found: Translation) -> str:
    drawn, there = len(_drawn(found)), len(found.stages)
    note = "dashed: in front of a layer, solid: after it"
    return note + (f"; {drawn} of {there} layers" if drawn < there else "")


def _line(
    axes: Axes, shifts: tuple[int, ...], values: tuple[float | None, ...], colour: str, dash: object, name: str
) -> None:
    numbers = [float("nan") if value is None else value for value in values]
    faint = dash != AFTER
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


def _scale(axes: Axes, found: Translation) -> None:
    shown = [found.changes, *(values for stage in found.stages for values in (stage.before, stage.after))]
    highest = max((value for values in shown for value in values if value is not None), default=0.0)
    axes.set_xlim(0, found.shifts[-1])
    axes.set_ylim(0, 1.06 * highest or 1.0)
    # The two zeros stand apart.
    axes.tick_params(axis="x", pad=9)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _last(values: tuple[float | None, ...]) -> float:
    """The last value that there is: where a line's name stands."""
    return next((value for value in reversed(values) if value is not None), 0.0)
