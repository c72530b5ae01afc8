"""The pictures of a network's mistakes: confusion matrix, reliability diagram, gallery and map."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnnlab.interpret.mistakes.embedding_plot import embedding_figure
from cnnlab.interpret.mistakes.result import Calibration, Case, Mistakes
from cnnlab.interpret.mistakes.view import (
    accuracy_sentence,
    calibration_sentence,
    gallery_sentence,
    map_sentence,
    pairs_sentence,
    probability,
    temperature_sentence,
)
from cnnlab.render import formatting
from cnnlab.render.confusion_matrix import LARGEST_WITH_COUNTS, LARGEST_WITH_NAMES, confusion_figure
from cnnlab.render.gallery import Panel, Tile, as_picture, gallery
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, Plate, captioned, quiet_axes
from cnnlab.stats.calibration import Bin, Sureness

ACROSS = 6
SIDE, HISTOGRAM, GUTTER, LEFT = 280.0, 56.0, 70.0, 62.0


def mistakes_plates(found: Mistakes, *, equal_mass: bool = False) -> dict[str, Plate]:
    """Every picture that there is, the confusion matrix first."""
    plates = {"confusion": _confusion(found)}
    if found.images and (found.mistakes or found.unsure):
        plates["gallery"] = _gallery(found)
    if found.calibration is not None:
        plates["reliability"] = _reliability(found, found.calibration, equal_mass)
    if found.map is not None:
        notes = _map_notes(found)
        wrong = found.predicted[found.map.places] != found.map.labels
        figure = embedding_figure(found.map, wrong, found.classes, f"Features of {_of(found)}", notes)
        plates["map"] = Plate(figure, " ".join(notes))
    return plates


def _of(found: Mistakes) -> str:
    return f"the {found.part} part, {formatting.shown(found.run, 40)}"


def _confusion(found: Mistakes) -> Plate:
    size = len(found.classes)
    notes = [accuracy_sentence(found), pairs_sentence(found) or "There are no confused pairs."]
    reading = "Rows: true classes; columns: what they were taken for. The deeper the colour, the larger the share of "
    reading += "its row; the numbers are images." if size <= LARGEST_WITH_COUNTS else "its row."
    if size > LARGEST_WITH_NAMES:
        reading += " The numbers at the edges are those of classes, from 0."
    figure = confusion_figure(found.confusion, found.classes, f"Confusion, {_of(found)}", [*notes, reading])
    return Plate(figure, " ".join(["Confusion matrix.", *notes, reading]))


def _gallery(found: Mistakes) -> Plate:
    rows = []
    if found.mistakes:
        which = "The surest mistakes"
        if found.pair is not None:
            which = f"{formatting.shown(found.pair[0], 24)} taken for {formatting.shown(found.pair[1], 24)}, the surest"
        balanced = f", at most {found.per_pair} of each pair" if found.per_pair and found.pair is None else ""
        heading = f"{which}{balanced}: {len(found.mistakes)} of {found.of_pair:,}"
        rows.append([Panel(heading, tuple(_tile(found, case) for case in found.mistakes), ACROSS)])
    if found.unsure:
        heading = "Right, with the least probability"
        rows.append([Panel(heading, tuple(_tile(found, case) for case in found.unsure), ACROSS)])
    reading = "Below each picture: its number, its class, → what it was taken for and with which probability."
    notes = [*filter(None, (gallery_sentence(found),)), reading]
    return Plate(gallery(f"Mistakes, {_of(found)}", rows, notes), " ".join(notes))


def _tile(found: Mistakes, case: Case) -> Tile:
    picture = as_picture(found.images[int(case.image.rpartition(":")[2])])
    named = "right" if case.true == case.predicted else formatting.shown(case.predicted, 10)
    return Tile(picture, (case.image, formatting.shown(case.true, 19), f"→ {named} {probability(case.probability)}"))


def _reliability(found: Mistakes, known: Calibration, equal_mass: bool) -> Plate:
    """One diagram as it is, and one with the temperature, where there is one."""
    sides = [("as it is", known.before)]
    if known.after is not None:
        sides.append((f"with a temperature of {known.after.temperature.value:.2f}", known.after.sureness))
    kind = "as many images in each bin" if equal_mass else "bins of equal width"
    reading = (
        f"Each point is a bin ({kind}): the share named right against the mean probability. On the diagonal both are "
        "equal; in the grey boxes lie 95 % of the shares of a calibrated network. Below: how many images have which "
        "probability."
    )
    notes = [calibration_sentence(known), temperature_sentence(found), reading]
    # One diagram has the room of two, so that title and notes are not squeezed.
    width = LEFT + 2 * SIDE + GUTTER + 16
    figure, bottom = captioned(width, SIDE + HISTOGRAM + 100, f"Reliability, {_of(found)}", notes)
    for number, (name, sure) in enumerate(sides):
        left = LEFT + number * (SIDE + GUTTER)
        _diagram(figure, left, bottom, name, sure, (sure.mass if equal_mass else sure.width).bins)
        _histogram(figure, left, bottom, (sure.mass if equal_mass else sure.width).bins, as_density=equal_mass)
    return Plate(figure, " ".join(["Reliability diagram.", *notes]))


def _diagram(figure: Figure, left: float, bottom: float, name: str, sure: Sureness, bins: tuple[Bin, ...]) -> None:
    axes = quiet_axes(figure, left, bottom + 40 + HISTOGRAM + 14, SIDE, SIDE)
    for each in bins:
        low, high = each.band
        box = Rectangle((each.low, low), each.high - each.low, high - low, color=COLOURS["line"], linewidth=0, zorder=1)
        axes.add_patch(box)
    axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 2.5)), zorder=2)
    means, shares = [each.confidence for each in bins], [each.accuracy for each in bins]
    axes.plot(means, shares, color=COLOURS["train"], linewidth=1.6, marker="o", markersize=5, clip_on=False, zorder=3)
    _unit(axes)
    axes.set_ylim(0, 1)
    axes.tick_params(axis="x", labelbottom=False)
    errors = f"ECE {sure.width.value:.3f} (equal width), {sure.mass.value:.3f} (equal mass)"
    for text, size, colour, weight, up in ((name, NORMAL, "ink", "bold", 26), (errors, SMALL, "muted", "normal", 10)):
        style = {"fontsize": size, "color": COLOURS[colour], "weight": weight}
        axes.text(0, 1 + up / SIDE, text, style, transform=axes.transAxes)
    axes.set_ylabel("share named right", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)


def _histogram(figure: Figure, left: float, bottom: float, bins: tuple[Bin, ...], *, as_density: bool) -> None:
    """How many images have which probability. Bins of equal mass differ in width alone: theirs is a density."""
    below = quiet_axes(figure, left, bottom + 40, SIDE, HISTOGRAM)
    everything = sum(each.images for each in bins)
    for each in bins:
        wide = max(each.high - each.low, 1e-3)
        height = each.images / everything / wide if as_density else each.images
        below.bar(each.low, height, wide, align="edge", color=COLOURS["train"], alpha=0.55)
    _unit(below)
    below.yaxis.set_major_locator(MaxNLocator(2, integer=not as_density))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    below.set_ylabel("density" if as_density else "images", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    below.set_xlabel("probability of the named class", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)


def _unit(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])


def _map_notes(found: Mistakes) -> list[str]:
    return [map_sentence(found.map)] if found.map is not None else []
