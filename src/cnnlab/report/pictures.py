"""First-layer weights as a page shows them."""

from __future__ import annotations

from matplotlib.figure import Figure

from cnnlab.interpret.weights.figures import around_grey
from cnnlab.render.gallery import Panel, Tile, gallery
from cnnlab.report.view import Weights

MOST_FILTERS = 64
FILTERS_WIDTH = 424


def filter_figure(weights: Weights, title: str) -> Figure:
    """The filters of a convolution as numbered pictures, at most `MOST_FILTERS` of them.

    Args:
        weights: F×C×H×W.
    """
    pictures = around_grey(weights)[:MOST_FILTERS]
    across = 8 if len(pictures) > 6 else max(len(pictures), 4)
    tiles = tuple(Tile(picture, (str(number),)) for number, picture in enumerate(pictures))
    return gallery(title, [[Panel("", tiles, across)]], width=FILTERS_WIDTH)
