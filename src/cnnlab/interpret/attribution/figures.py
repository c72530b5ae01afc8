"""Maps of attribution beside their images, and their curves of deletion and insertion. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from cnnlab.interpret.attribution.result import (
    TITLES,
    AttributionMap,
    Attributions,
    ImageAttributions,
    PerturbationCurve,
    format_correlation,
)
from cnnlab.render.formatting import format_percent, pluralize, quote, shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_diverging_rgb, to_hwc
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, CaptionedFigure, minimal_axes, new_figure

Floats = npt.NDArray[np.floating]
COLOUR = {
    "saliency": "train",
    "integrated-gradients": "validation",
    "occlusion": "test",
    "grad-cam": "other",
}
# A bold letter's width.
CHARACTER_WIDTH = 7.3
# A few pixels tower above all others: the colour is full from here on.
SATURATION_PERCENTILE = 99.0
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


def maps_figure(result: Attributions) -> CaptionedFigure:
    """A row for each image: the image, and every method's map."""
    rows = [[GalleryPanel(_heading(image), _tiles(image), 1 + len(image.maps))] for image in result.images]
    notes = (*result.findings()[:1], *LEGEND, result.settings_text())
    figure = draw_gallery(f"What speaks for a class: {shorten(result.network, 60)}", rows, notes)
    return CaptionedFigure(figure, " ".join(result.findings()))


def curves_figure(result: Attributions) -> CaptionedFigure:
    """For each image the class's probability while pixels are deleted, left, and inserted, right."""
    height = HEAD + ROW * len(result.images) + 8
    figure = new_figure(WIDTH, height)
    title = "The class's probability as the pixels are exchanged, the highest of each map first"
    figure.text(12 / WIDTH, 1 - 20 / height, title, fontsize=NORMAL, color=COLOURS["ink"], weight="bold")
    _legend(figure, result, height)
    width = (WIDTH - LEFT - BETWEEN - RIGHT) / 2
    for number, image in enumerate(result.images):
        last = number == len(result.images) - 1
        bottom = height - HEAD - ROW * number - ROW + 32
        for side, which in enumerate(("deletion", "insertion")):
            axes = minimal_axes(figure, LEFT + side * (width + BETWEEN), bottom, width, AXES_HEIGHT)
            _draw_curves(axes, image, which)
            axes.set_xlabel(AXES[which] if last else "", color=COLOURS["muted"], fontsize=SMALL)
        top = bottom + AXES_HEIGHT + 10
        heading = shorten(_heading(image), 100)
        figure.text(
            LEFT / WIDTH, top / height, heading, fontsize=SMALL, color=COLOURS["ink"], weight="bold", parse_math=False
        )
    return CaptionedFigure(figure, " ".join(_curve_text(image) for image in result.images))


def overlay_heatmap(heat: Floats, picture: Floats) -> Floats:
    """H×W×3: a map in orange above 0 and blue below, over the image in pale grey.

    Args:
        heat: H×W.
        picture: H×W×3, from 0 to 1.
    """
    grey = DARKEST + (LIGHTEST - DARKEST) * picture.mean(axis=-1, keepdims=True)
    sizes = np.abs(heat)
    largest = float(np.percentile(sizes, SATURATION_PERCENTILE)) or float(sizes.max(initial=0.0))
    shares = np.clip(heat / largest, -1, 1) if largest > 0 else np.zeros_like(heat)
    full = to_diverging_rgb(np.sign(shares), 1.0)
    return np.asarray(grey + np.abs(shares)[..., None] * (full - grey))


def _tiles(image: ImageAttributions) -> tuple[Tile, ...]:
    picture = to_hwc(image.pixels)
    first = Tile(picture, (f"class {image.target}", format_percent(image.probability)))
    return (first, *(Tile(overlay_heatmap(found.heatmap, picture), _lines(found)) for found in image.maps))


def _lines(attribution: AttributionMap) -> tuple[str, ...]:
    return (
        attribution.title,
        f"del {_auc_text(attribution.deletion)}, ins {_auc_text(attribution.insertion)}",
        f"redrawn {format_correlation(attribution.mean_randomization_correlation)}",
    )


def _auc_text(curve: PerturbationCurve) -> str:
    return f"{curve.auc:.2f}" if curve.auc >= 0.095 else f"{curve.auc:.3f}"


def _heading(image: ImageAttributions) -> str:
    asked = f"for {quote(image.class_name)}, {format_percent(image.probability)}"
    other = "" if image.predicted == image.class_name else f" (predicted: {quote(image.predicted)})"
    return f"{shorten(image.name, 50)}: {asked}{other}"


def _draw_curves(axes: Axes, image: ImageAttributions, measure: str) -> None:
    chance: Sequence[PerturbationCurve] = image.random_deletion if measure == "deletion" else image.random_insertion
    share = np.linspace(0, 1, len(chance[0].values))
    values = np.stack([curve.values for curve in chance])
    axes.fill_between(share, values.min(axis=0), values.max(axis=0), color=COLOURS["muted"], alpha=0.3, linewidth=0)
    axes.plot(share, values.mean(axis=0), color=COLOURS["muted"], linewidth=1.2, linestyle=(0, (4, 2.5)))
    shown = [(each.deletion if measure == "deletion" else each.insertion).values for each in image.maps]
    for found, curve in zip(image.maps, shown, strict=True):
        axes.plot(share, curve, color=COLOURS[COLOUR[found.method]], linewidth=1.8)
    axes.set_xlim(0, 1)
    highest = max(float(values.max()), *(float(each.max()) for each in shown))
    top = 1.0 if highest > CLEAR else highest or 1.0
    axes.set_ylim(-0.02 * top, 1.04 * top)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    axes.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]) if top == 1 else MaxNLocator(nbins=3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(figure: Figure, result: Attributions, height: float) -> None:
    x = 12.0
    named = [(TITLES.get(name, name), COLOURS[COLOUR[name]]) for name in result.methods]
    orders = pluralize(len(result.images[0].random_deletion), "random order")
    for name, colour in (*named, (f"{orders}: mean and range", COLOURS["muted"])):
        figure.text(x / WIDTH, 1 - 40 / height, name, fontsize=SMALL, color=colour, weight="bold", parse_math=False)
        x += CHARACTER_WIDTH * len(name) + 20


def _curve_text(image: ImageAttributions) -> str:
    texts = [f"{found.method} {found.deletion.auc:.2f} and {found.insertion.auc:.2f}" for found in image.maps]
    return f"{image.name}: areas under deletion and insertion: {', '.join(texts)}."
