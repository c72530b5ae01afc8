"""Maps of attribution beside their images, and their curves of deletion and insertion. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from cnnlab.interpret.attribution.result import TITLES, Attribution, Attributions, Curve, Explained, signed
from cnnlab.render import formatting
from cnnlab.render.gallery import Panel, Tile, as_picture, gallery, in_signs
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, Plate, new_figure, quiet_axes

Floats = npt.NDArray[np.floating]
COLOUR = {
    "saliency": "train",
    "integrated-gradients": "validation",
    "occlusion": "test",
    "grad-cam": "other",
}
# A bold letter's width.
LETTER = 7.3
# A few pixels tower above all others: the colour is full from here on.
FULL = 99.0
# The image behind a map is so light that it takes no part in the colours.
LIGHTEST, DARKEST = 1.0, 0.55
LEGEND = (
    "Orange speaks for the class, blue against it; saliency has no sign, and Grad-CAM shows nothing below 0. "
    "Full colour: from the map's 99th percentile on. Behind each map: its image in pale grey.",
    "del, ins: areas under the curves of deletion (less is better) and insertion (more is better), in the second "
    "figure. redrawn: rank correlation with the map of weights drawn anew; near 1, the map knows nothing of the "
    "weights.",
)
WIDTH = 720
HEAD, ROW, AXES_HEIGHT = 60, 168, 112
LEFT, BETWEEN, RIGHT = 44, 44, 14
# An axis ends at 1 where a curve comes near to it; below, it ends with the highest curve.
CLEAR = 0.4
AXES = {
    "deletion": "share of the pixels deleted: a low curve is good",
    "insertion": "share of the pixels inserted: a high curve is good",
}


def maps_plate(found: Attributions) -> Plate:
    """A row for each image: the image, and every method's map."""
    rows = [[Panel(_heading(image), _tiles(image), 1 + len(image.maps))] for image in found.images]
    notes = (*found.findings()[:1], *LEGEND, found.setting())
    figure = gallery(f"What speaks for a class: {formatting.shown(found.network, 60)}", rows, notes)
    return Plate(figure, " ".join(found.findings()))


def curves_plate(found: Attributions) -> Plate:
    """For each image the class's probability while pixels are deleted, left, and inserted, right."""
    height = HEAD + ROW * len(found.images) + 8
    figure = new_figure(WIDTH, height)
    title = "The class's probability as the pixels are exchanged, the highest of each map first"
    figure.text(12 / WIDTH, 1 - 20 / height, title, fontsize=NORMAL, color=COLOURS["ink"], weight="bold")
    _legend(figure, found, height)
    wide = (WIDTH - LEFT - BETWEEN - RIGHT) / 2
    for number, image in enumerate(found.images):
        last = number == len(found.images) - 1
        bottom = height - HEAD - ROW * number - ROW + 32
        for side, which in enumerate(("deletion", "insertion")):
            axes = quiet_axes(figure, LEFT + side * (wide + BETWEEN), bottom, wide, AXES_HEIGHT)
            _draw_curves(axes, image, which)
            axes.set_xlabel(AXES[which] if last else "", color=COLOURS["muted"], fontsize=SMALL)
        top = bottom + AXES_HEIGHT + 10
        heading = formatting.shown(_heading(image), 100)
        figure.text(
            LEFT / WIDTH, top / height, heading, fontsize=SMALL, color=COLOURS["ink"], weight="bold", parse_math=False
        )
    return Plate(figure, " ".join(_curve_sentence(image) for image in found.images))


def overlaid(heat: Floats, picture: Floats) -> Floats:
    """H×W×3: a map in orange above 0 and blue below, over the image in pale grey.

    Args:
        heat: H×W.
        picture: H×W×3, from 0 to 1.
    """
    grey = DARKEST + (LIGHTEST - DARKEST) * picture.mean(axis=-1, keepdims=True)
    sizes = np.abs(heat)
    largest = float(np.percentile(sizes, FULL)) or float(sizes.max(initial=0.0))
    shares = np.clip(heat / largest, -1, 1) if largest > 0 else np.zeros_like(heat)
    full = in_signs(np.sign(shares), 1.0)
    return np.asarray(grey + np.abs(shares)[..., None] * (full - grey))


def _tiles(image: Explained) -> tuple[Tile, ...]:
    picture = as_picture(image.pixels)
    first = Tile(picture, (f"class {image.target}", formatting.percent(image.probability)))
    return (first, *(Tile(overlaid(found.heat, picture), _lines(found)) for found in image.maps))


def _lines(found: Attribution) -> tuple[str, ...]:
    return (
        found.title,
        f"del {_area(found.deletion)}, ins {_area(found.insertion)}",
        f"redrawn {signed(found.independence)}",
    )


def _area(curve: Curve) -> str:
    return f"{curve.area:.2f}" if curve.area >= 0.095 else f"{curve.area:.3f}"


def _heading(image: Explained) -> str:
    asked = f"for {formatting.quoted(image.class_name)}, {formatting.percent(image.probability)}"
    other = "" if image.predicted == image.class_name else f" (predicted: {formatting.quoted(image.predicted)})"
    return f"{formatting.shown(image.name, 50)}: {asked}{other}"


def _draw_curves(axes: Axes, image: Explained, which: str) -> None:
    chance: Sequence[Curve] = image.random_deletion if which == "deletion" else image.random_insertion
    share = np.linspace(0, 1, len(chance[0].values))
    values = np.stack([curve.values for curve in chance])
    axes.fill_between(share, values.min(axis=0), values.max(axis=0), color=COLOURS["muted"], alpha=0.3, linewidth=0)
    axes.plot(share, values.mean(axis=0), color=COLOURS["muted"], linewidth=1.2, linestyle=(0, (4, 2.5)))
    shown = [(each.deletion if which == "deletion" else each.insertion).values for each in image.maps]
    for found, curve in zip(image.maps, shown, strict=True):
        axes.plot(share, curve, color=COLOURS[COLOUR[found.method]], linewidth=1.8)
    axes.set_xlim(0, 1)
    highest = max(float(values.max()), *(float(each.max()) for each in shown))
    top = 1.0 if highest > CLEAR else highest or 1.0
    axes.set_ylim(-0.02 * top, 1.04 * top)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    axes.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]) if top == 1 else MaxNLocator(nbins=3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(figure: Figure, found: Attributions, height: float) -> None:
    x = 12.0
    named = [(TITLES.get(name, name), COLOURS[COLOUR[name]]) for name in found.methods]
    orders = formatting.plural(len(found.images[0].random_deletion), "random order")
    for name, colour in (*named, (f"{orders}: mean and range", COLOURS["muted"])):
        figure.text(x / WIDTH, 1 - 40 / height, name, fontsize=SMALL, color=colour, weight="bold", parse_math=False)
        x += LETTER * len(name) + 20


def _curve_sentence(image: Explained) -> str:
    told = [f"{found.method} {found.deletion.area:.2f} and {found.insertion.area:.2f}" for found in image.maps]
    return f"{image.name}: areas under deletion and insertion: {', '.join(told)}."
