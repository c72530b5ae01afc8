"""Feature maps, activity of units and most exciting patches as tables. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnlab.interpret.activations.result import (
    ActivationMaps,
    FilterPatches,
    LayerMaps,
    LayerUnits,
    Patches,
    UnitActivity,
)
from cnnlab.render.document import Document
from cnnlab.render.formatting import (
    MISSING,
    format_correlation,
    format_names,
    format_percent,
    format_shape,
    format_short,
    pluralize,
    quote,
    shorten,
)
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure

UNITS_NOTE = (
    "Units are channels of maps, or numbers of vectors, from 1; a unit's cases are all positions of all images. Dead: "
    "after a ReLU never above 0, after another function |derivative| below 0.001 in every case. Saturated: farther "
    "from the middle of the range than 0.99 of half the range in more than 99 % of the cases. Share: of the cases "
    "above 0 or, of a function with two ends, away from them."
)


@document.register
def _(result: ActivationMaps) -> Document:
    return Document(
        title=f"Activations of {result.network} for {result.image}, {format_shape(result.size)}",
        lines=(prediction_text(result),),
        tables=(
            ("Layers", _layers_table(result)),
            *(
                (
                    f"{layer.name}: {layer.text}, {format_shape(layer.batch_shape)}; {selection_text(layer)}",
                    _maps_table(layer),
                )
                for layer in result.layers
            ),
        ),
        notes=(
            "Maps and units are numbered from 1. Zeros, below 0: shares of the numbers. Like brightness, like edges: "
            "Pearson's correlation with the image's brightness and with the size of its gradient, averaged to the "
            "map's size. 32-bit floats, eval mode.",
        ),
    )


@figures.register(ActivationMaps)
def _(result: ActivationMaps) -> dict[str, CaptionedFigure]:
    from cnnlab.interpret.activations.figures import maps_figure
    from cnnlab.render.plots import CaptionedFigure

    notes = [*reading_notes(result.layers), f"Image: {result.image}. {prediction_text(result)}"]
    headlines = " ".join(f"{layer.name}: {layer_headline(layer)}" for layer in result.layers)
    description = f"The image and its activations. {prediction_text(result)} {headlines}"
    return {"activations": CaptionedFigure(maps_figure(result, notes), description)}


@document.register
def _(result: UnitActivity) -> Document:
    titles = ["layer", "function", "#units", "#dead", "#saturated", "#median share", "#lowest", "#highest", "which"]
    return Document(
        title=f"Units of {result.network} over {pluralize(result.images, 'image')} of the {result.split} split",
        lines=(units_headline(result),),
        tables=(("", TextTable.from_rows(titles, [_units_row(layer) for layer in result.layers])),),
        notes=(UNITS_NOTE,),
    )


@figures.register(UnitActivity)
def _(result: UnitActivity) -> dict[str, CaptionedFigure]:
    from cnnlab.interpret.activations.figures import units_figure
    from cnnlab.render.plots import CaptionedFigure

    images = f"{pluralize(result.images, 'image')} of the {result.split} split"
    marks = "Below the strip orange marks dead units and violet saturated ones."
    notes = [f"A bar for each unit, by its number from 1, over {images}. {marks}", UNITS_NOTE]
    description = f"How often each unit is active, layer by layer. {units_headline(result)}"
    return {"units": CaptionedFigure(units_figure(result, notes), description)}


@document.register
def _(result: Patches) -> Document:
    shown = f"{len(result.filters)} of {pluralize(result.filters_in_all, 'filter')}"
    titles = ["#filter", "#highest", "#lowest shown", "most frequent class", "images"]
    images = f"{pluralize(result.images, 'image')} of the {result.split} split"
    return Document(
        title=f"Patches that excite {result.layer} of {result.network} most, in {images}",
        tables=(
            (
                f"{result.layer}: {result.text}; {shown}",
                TextTable.from_rows(titles, [_patches_row(each) for each in result.filters]),
            ),
        ),
        notes=(f"{patch_size_text(result)} Filters are numbered from 1, images from 0.",),
    )


@figures.register(Patches)
def _(result: Patches) -> dict[str, CaptionedFigure]:
    from cnnlab.interpret.activations.figures import patches_figure
    from cnnlab.render.plots import CaptionedFigure

    notes = [
        "Below each patch: the activation, the image's number in its split, from 0, and its class.",
        patch_size_text(result),
    ]
    description = f"The patches that excite filters of {result.layer} most."
    return {"patches": CaptionedFigure(patches_figure(result, notes), description)}


def prediction_text(result: ActivationMaps) -> str:
    """The predicted classes and the true one."""
    if not result.guesses or not all(np.isfinite(guess.probability) for guess in result.guesses):
        return "The network predicts no class: it gives no logits, or NaN or ±Inf."
    predicted = ", ".join(f"{quote(guess.name)} ({guess.probability:.2f})" for guess in result.guesses)
    return f"Predicted: {predicted}{f'; true class: {quote(result.label)}' if result.label else ''}."


def selection_text(layer: LayerMaps) -> str:
    """Which maps of a layer are shown, and by what they are chosen."""
    count, noun = len(layer.values), "map" if layer.is_map else "number"
    if len(layer.shown) == count:
        return f"all {pluralize(count, noun)}"
    if layer.chosen:
        return f"{len(layer.shown)} of {count:,} {noun}s, chosen by number"
    by = "largest standard deviation over the map" if layer.is_map else "largest size"
    return f"{len(layer.shown)} of {count:,} {noun}s, those of the {by}"


def layer_headline(layer: LayerMaps) -> str:
    """The share of numbers that are 0 or negative, and the highest one."""
    broken = sum(not np.isfinite((each.min, each.max)).all() for each in layer.maps)
    if broken:
        return f"{broken:,} of {len(layer.maps):,} with NaN or ±Inf."
    zeros, negative, top, number = _summary(layer)
    return (
        f"{zeros} of its numbers are 0, {negative} below 0; the highest is {top}, in "
        f"{'map' if layer.is_map else 'unit'} {number}."
    )


def units_headline(result: UnitActivity) -> str:
    """How many units are dead, saturated and broken."""
    units = sum(len(layer.above) for layer in result.layers)
    counts = {
        name: sum(len(getattr(layer, name)) for layer in result.layers) for name in ("dead", "saturated", "broken")
    }
    return (
        f"{counts['dead']:,} of {pluralize(units, 'unit')} dead, {counts['saturated']:,} saturated, "
        f"{counts['broken']:,} with NaN or ±Inf."
    )


def patch_size_text(result: Patches) -> str:
    """The size of the patches, and how they are cut."""
    sizes = [patch.size for each in result.filters for patch in each.patches if patch.size is not None]
    size = f"{format_shape(max(sizes))} pixels" if sizes else "the whole image, or not known"
    return (
        f"A patch is the receptive field of the node ({size}), grey outside the image; where that covers the image, "
        "the whole image, with a square at the middle of the field. One of each image at most."
    )


def reading_notes(layers: Sequence[LayerMaps]) -> list[str]:
    """What the colours and numbers in the figures of these layers mean."""
    notes = []
    if any(layer.is_map for layer in layers):
        notes.append(
            "Each map has its own scale, from its lowest number (dark blue) by green to its highest (yellow); below it "
            "its number in the layer, from 1, and its lowest and highest value. A layer of tokens has a position a row."
        )
    if not all(layer.is_map for layer in layers):
        notes.append(
            "A unit without height and width is a field: blue below 0, white at 0, orange above; below it its number, "
            "from 1, and its value."
        )
    return notes


def _summary(layer: LayerMaps) -> tuple[str, str, str, str]:
    """The shares of zeros and of negative numbers, the highest number, and its map."""
    zeros, negative = (float(np.mean([getattr(each, name) for each in layer.maps])) for name in ("zeros", "negative"))
    top = max(layer.maps, key=lambda each: each.max)
    return format_percent(zeros), format_percent(negative), format_short(top.max), str(top.number)


def _layers_table(result: ActivationMaps) -> TextTable:
    titles = ["layer", "#shape", "#zeros", "#below 0", "#highest", "#in map", "#receptive field"]
    return TextTable.from_rows(titles, [_layer_row(layer) for layer in result.layers])


def _layer_row(layer: LayerMaps) -> tuple[str, ...]:
    field = MISSING
    if layer.receptive_field is not None:
        field = format_shape(tuple(last - first + 1 for first, last in layer.receptive_field))
    return layer.name, format_shape(layer.batch_shape), *_summary(layer), field


def _maps_table(layer: LayerMaps) -> TextTable:
    statistics = [layer.maps[number - 1] for number in layer.shown]
    if not layer.is_map:
        return TextTable.from_rows(
            ["#unit", "#value"], [(str(each.number), format_short(each.mean)) for each in statistics]
        )
    titles = ["#map", "#min", "#mean", "#max", "#std", "#zeros", "#below 0", "#like brightness", "#like edges"]
    rows = [
        (
            str(each.number),
            *(format_short(value) for value in (each.min, each.mean, each.max, each.std)),
            *(format_percent(share) for share in (each.zeros, each.negative)),
            *(format_correlation(correlation) for correlation in (each.brightness, each.edges)),
        )
        for each in statistics
    ]
    return TextTable.from_rows(titles, rows)


def _units_row(layer: LayerUnits) -> tuple[str, ...]:
    groups = (("NaN or ±Inf", layer.broken), ("dead", layer.dead), ("saturated", layer.saturated))
    shares = np.array(layer.active_shares)
    return (
        layer.name,
        layer.kind,
        str(len(shares)),
        str(len(layer.dead)),
        MISSING if layer.far is None else str(len(layer.saturated)),
        *(format_percent(float(value)) for value in (np.median(shares), shares.min(), shares.max())),
        "; ".join(f"{what}: {format_names(numbers)}" for what, numbers in groups if numbers),
    )


def _patches_row(each: FilterPatches) -> tuple[str, ...]:
    if each.majority_class is None:
        return str(each.number), MISSING, MISSING, "", ""
    name, count = each.majority_class
    return (
        str(each.number),
        format_short(each.patches[0].value),
        format_short(each.patches[-1].value),
        f"{shorten(name)} ({count} of {len(each.patches)})",
        ", ".join(str(patch.image) for patch in each.patches),
    )
