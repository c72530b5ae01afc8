"""Attribution maps beside their images, and the curves of deletion and insertion. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.interpret.attribution.result import Attributions, ImageAttributions, Measure
from cnnlab.render.formatting import format_correlation, format_percent, pluralize, quote, shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_diverging_rgb, to_hwc
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, minimal_axes, new_figure

Floats = npt.NDArray[np.floating]
COLOUR = {
    "saliency": "train",
    "integrated-gradients": "validation",
    "occlusion": "test",
    "grad-cam": "other",
}
# A few pixels tower above all others: the colour is full from here on.
SATURATION_PERCENTILE = 99.0
# The range of the grey image under a map.
LIGHTEST, DARKEST = 1.0, 0.55
WIDTH = 720
HEAD, ROW, AXES_HEIGHT = 60, 168, 112
LEFT, BETWEEN, RIGHT = 44, 44, 14
AXES: dict[Measure, str] = {
    "deletion": "share of the pixels deleted: a low curve is good",
    "insertion": "share of the pixels inserted: a high curve is good",
}


def maps_figure(result: Attributions, notes: Sequence[str]) -> Figure:
    """Draw a row for each image: the image, and the map of each method."""
    rows = [[GalleryPanel(_heading(image), _tiles(image), 1 + len(image.maps))] for image in result.images]
    return draw_gallery(f"Attribution: {shorten(result.network, 60)}", rows, notes)


def curves_figure(result: Attributions) -> Figure:
    """Draw for each image the class's probability while pixels are deleted, left, and inserted, right."""
    height = HEAD + ROW * len(result.images) + 8
    figure = new_figure(WIDTH, height)
    title = "The class's probability while pixels are exchanged, the highest of each map first"
    figure.text(12 / WIDTH, 1 - 20 / height, title, fontsize=NORMAL, color=COLOURS["ink"], weight="bold")
    width = (WIDTH - LEFT - BETWEEN - RIGHT) / 2
    for number, image in enumerate(result.images):
        bottom = height - HEAD - ROW * number - ROW + 32
        for side, (measure, label) in enumerate(AXES.items()):
            axes = minimal_axes(figure, LEFT + side * (width + BETWEEN), bottom, width, AXES_HEIGHT)
            _draw_curves(axes, image, measure)
            axes.set_xlabel(label, color=COLOURS["muted"], fontsize=SMALL)
        style = {"fontsize": SMALL, "color": COLOURS["ink"], "weight": "bold"}
        top = (bottom + AXES_HEIGHT + 10) / height
        figure.text(LEFT / WIDTH, top, shorten(_heading(image), 100), style, parse_math=False)
    handles, labels = axes.get_legend_handles_labels()
    anchor = (0, 1 - 30 / height)
    style = {
        "fontsize": SMALL,
        "labelcolor": COLOURS["ink"],
        "frameon": False,
        "columnspacing": 1.2,
        "handlelength": 1.2,
    }
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=anchor, ncols=len(labels), **style)
    return figure


def overlay_heatmap(heat: Floats, picture: Floats) -> Floats:
    """A map in orange above 0 and blue below, over the image in pale grey.

    Args:
        heat: H×W.
        picture: H×W×3, from 0 to 1.

    Returns:
        H×W×3.
    """
    grey = DARKEST + (LIGHTEST - DARKEST) * picture.mean(axis=-1, keepdims=True)
    sizes = np.abs(heat)
    largest = float(np.percentile(sizes, SATURATION_PERCENTILE)) or float(sizes.max(initial=0.0))
    shares = np.clip(heat / largest, -1, 1) if largest > 0 else np.zeros_like(heat)
    full = to_diverging_rgb(np.sign(shares), 1.0)
    return np.asarray(grey + np.abs(shares)[..., None] * (full - grey))


def _tiles(image: ImageAttributions) -> tuple[Tile, ...]:
    picture = to_hwc(image.pixels)
    tiles = [Tile(picture, (f"class {image.target}", format_percent(image.probability)))]
    for each in image.maps:
        areas = f"del {each.deletion.auc:.2f}, ins {each.insertion.auc:.2f}"
        randomized = f"randomized {format_correlation(each.mean_randomization_correlation)}"
        tiles.append(Tile(overlay_heatmap(each.heatmap, picture), (each.method, areas, randomized)))
    return tuple(tiles)


def _heading(image: ImageAttributions) -> str:
    target = f"for {quote(image.class_name)}, {format_percent(image.probability)}"
    return f"{shorten(image.name, 50)}: {target}; predicted: {quote(image.predicted)}"


def _draw_curves(axes: Axes, image: ImageAttributions, measure: Measure) -> None:
    random = np.stack([curve.values for curve in image.random_curves(measure)])
    shares = np.linspace(0, 1, random.shape[1])
    colour = COLOURS["muted"]
    axes.fill_between(shares, random.min(axis=0), random.max(axis=0), color=colour, alpha=0.3, linewidth=0)
    label = f"{pluralize(len(random), 'random order')}: mean and range"
    axes.plot(shares, random.mean(axis=0), color=colour, linewidth=1.2, linestyle="--", label=label)
    highest = random.max()
    for each in image.maps:
        values = (each.deletion if measure == "deletion" else each.insertion).values
        axes.plot(shares, values, color=COLOURS[COLOUR[each.method]], linewidth=1.8, label=each.method)
        highest = max(highest, values.max())
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.04 * highest)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
