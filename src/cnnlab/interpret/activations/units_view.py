"""A strip for each layer: how often each of its units is active. No torch."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.interpret.activations.units_result import LayerUnits, UnitActivity
from cnnlab.render.formatting import pluralize, shorten, wrap
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, minimal_axes, new_figure

WIDTH, MARGIN, LEFT = 720.0, 12.0, 56.0
TITLE, HEAD, STRIP, FOOT, LINE = 30.0, 24.0, 64.0, 26.0, 15.0
# From so many units on, bars have no gaps.
MAX_BARS_WITH_GAPS = 90
CHARACTER_WIDTH = 0.52
# How deep the mark of a dead or saturated unit is, below the strip; as a share of its height.
MARK = 0.12


def units_figure(result: UnitActivity) -> Figure:
    """A bar a unit, as high as its share; marks below for dead and saturated ones; then what is seen."""
    notes = [
        line for text in _notes(result) for line in wrap(text, int((WIDTH - 2 * MARGIN) / (CHARACTER_WIDTH * SMALL)))
    ]
    each = HEAD + STRIP + FOOT
    height = 2 * MARGIN + TITLE + each * len(result.layers) + LINE * len(notes) + 4
    figure = new_figure(WIDTH, height)
    title = f"How often units are active: {shorten(result.network, 60)}"
    _write(figure, MARGIN, height - MARGIN - 8, title, NORMAL + 1, "ink", bold=True)
    for number, layer in enumerate(result.layers):
        top = height - MARGIN - TITLE - number * each
        _write(figure, MARGIN, top - HEAD / 2, _heading(layer), SMALL, "ink", bold=True)
        axes = minimal_axes(figure, LEFT, top - HEAD - STRIP, WIDTH - LEFT - MARGIN, STRIP)
        _draw_layer(axes, layer)
    for number, line in enumerate(notes):
        _write(figure, MARGIN, MARGIN + LINE * (len(notes) - number - 0.5), line, SMALL, "muted")
    return figure


def _draw_layer(axes: Axes, layer: LayerUnits) -> None:
    shares, count = layer.displayed_shares, len(layer.displayed_shares)
    axes.bar(
        np.arange(count), shares, width=1.0 if count > MAX_BARS_WITH_GAPS else 0.8, color=COLOURS["train"], linewidth=0
    )
    for units, colour in ((layer.dead, "validation"), (layer.saturated, "other")):
        if units:
            # In front of the axis, where no bar can hide them.
            axes.bar(
                units, -MARK, width=max(0.8, count / 240), color=COLOURS[colour], linewidth=0, clip_on=False, zorder=3
            )
    axes.set_xlim(-0.6, count - 0.4)
    axes.set_ylim(-MARK if layer.dead or layer.saturated else 0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.set_xticks(_ticks(count))
    axes.tick_params(axis="x", pad=2)


def _ticks(count: int) -> list[int]:
    """Some unit numbers, round ones, about ten of them."""
    steps = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    step = next((step for step in steps if count / step <= 16), 10_000)
    return list(range(0, count, step))


def _heading(layer: LayerUnits) -> str:
    share = "share of cases above 0" if layer.far is None else "share of cases away from the ends of the range"
    found = [f"{len(layer.dead)} dead"] if layer.dead else []
    found += [f"{len(layer.saturated)} saturated"] if layer.saturated else []
    counts = f"; {', '.join(found)}" if found else ""
    return f"{shorten(layer.name, 40)}, {layer.kind}, {pluralize(len(layer.above), 'unit')}: {share}{counts}"


def _notes(result: UnitActivity) -> list[str]:
    marks = []
    if any(layer.dead for layer in result.layers):
        marks.append("orange below the strip: dead")
    if any(layer.saturated for layer in result.layers):
        marks.append("violet below the strip: saturated")
    images = f"{pluralize(result.images, 'image')} of the {result.split} part"
    read = f"A bar for each unit, by its number from 0, over {images}{'; ' if marks else ''}{'; '.join(marks)}."
    return [read, result.summary(), " ".join(result.definitions())]


def _write(figure: Figure, x: float, y: float, text: str, size: float, colour: str, *, bold: bool = False) -> None:
    width, height = figure.get_size_inches() * 72
    weight = "bold" if bold else "normal"
    style = {"fontsize": size, "color": COLOURS[colour], "weight": weight, "va": "center"}
    figure.text(x / width, y / height, text, style, parse_math=False)
