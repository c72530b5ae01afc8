"""The image beside the maps that layers make of it, numbered. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cnnlab.probe.activity.feature_maps_answer import ActivationMaps
from cnnlab.probe.activity.feature_maps_records import LayerMaps
from cnnlab.probe.activity.feature_maps_words import short
from cnnlab.render import formatting
from cnnlab.render.gallery import Panel, Tile, as_picture, gallery, in_heat, in_signs

ACROSS = 8
# As wide as the text of a run's page.
PAGE_WIDTH = 1072.0
# Numbers without places are small fields of colour, more of them side by side.
NUMBERS_ACROSS = 12
FIELD = (1, 3)


def maps_figure(found: ActivationMaps) -> Figure:
    """The image, below it the maps of each layer, and what is seen on them."""
    headings = {layer.name: f"{layer.name}, {layer.shape_text()}: {layer.chosen()}" for layer in found.layers}
    rows = [[_image(found)], *([_panel(layer, headings[layer.name])] for layer in found.layers)]
    told = [
        f"Image: {found.image}. {found.called()}",
        *(f"{layer.name}: {found.seen(layer)}" for layer in found.layers),
    ]
    return gallery(f"Activations of {formatting.shown(found.network, 80)}", rows, [*reading_notes(found.layers), *told])


def layer_figure(found: ActivationMaps, layer: LayerMaps) -> Figure:
    """The image beside the maps of one layer, for a page that has its own words."""
    image = Panel("the image", (Tile(as_picture(found.pixels)),), across=1)
    return gallery("", [[image, _panel(layer, f"{layer.name}, {layer.shape_text()}")]], (), PAGE_WIDTH)


def _image(found: ActivationMaps) -> Panel:
    # In the heading, which has the whole row: below the image long names would be cut off.
    named = [f"called {formatting.shown(guess.name)}, {guess.probability:.2f}" for guess in found.guesses[:1]]
    return Panel("; ".join([formatting.shown(found.image, 60), *named]), (Tile(as_picture(found.pixels)),), across=1)


def _panel(layer: LayerMaps, heading: str) -> Panel:
    """The maps of a layer that are shown, numbered."""
    if layer.values[0].size > 1:
        return Panel(heading, tuple(_map(layer, number) for number in layer.shown), ACROSS)
    numbers = layer.values[:, 0, 0]
    largest = float(np.abs(np.nan_to_num(numbers)).max(initial=0.0))
    tiles = tuple(
        Tile(
            in_signs(np.full(FIELD, numbers[number]), largest),
            (str(number), *layer.classes[number : number + 1], short(float(numbers[number]))),
        )
        for number in layer.shown
    )
    # Names of classes need more room than numbers.
    return Panel(heading, tiles, ACROSS if layer.classes else NUMBERS_ACROSS)


def _map(layer: LayerMaps, number: int) -> Tile:
    values = layer.values[number]
    low, high = float(values.min()), float(values.max())
    reach = f"{short(low)} all over" if low == high else f"{short(low, 2)} to {short(high, 2)}"
    return Tile(in_heat(values), (str(number), reach))


def reading_notes(layers: Sequence[LayerMaps]) -> list[str]:
    """What the colours and the numbers of these layers mean."""
    notes = []
    if any(layer.values[0].size > 1 for layer in layers):
        notes.append(
            "Each map has its own scale, from its lowest number (dark blue) by green to its highest (yellow); below it "
            "stand its number in the layer, from 0, and its lowest and highest value."
        )
    if any(layer.values[0].size == 1 for layer in layers):
        notes.append(
            "Units without a place are fields: blue below 0, white at 0, orange above, as deep as the number is large "
            "within its layer; below stand its number, from 0, of a class its name, and its value."
        )
    if any(len(layer.shape) == 2 for layer in layers):
        notes.append("Of a layer that gives tokens, each map is a column of places, one for each token.")
    return notes
