"""What is seen on maps, in sentences made from their statistics. No torch."""

from __future__ import annotations

import numpy as np

from cnnlab.probe.activity.feature_maps_records import LayerMaps, MapFigures
from cnnlab.render import formatting

# From this correlation on a map is said to follow what it is compared with.
FOLLOWS = 0.7
# Fewer zeros than this are told of no layer: a convolution gives them by chance.
FEW_ZEROS = 0.005


def seen_on(layer: LayerMaps, figures: tuple[MapFigures, ...]) -> str:
    """What is seen on a layer's maps, by their numbers."""
    passed = f"{layer.name} passes the logits on: the loss works on them." if layer.passed_on else ""
    told = [passed, _of_zeros(layer, figures), _of_peaks(layer, figures)]
    if layer.has_places:
        told += [_of_likeness(figures), _of_view(layer)]
    return " ".join(filter(None, told))


def short(value: float, digits: int = 3) -> str:
    """A number with few digits, as a table or a tile has room for.

    >>> short(0.012345), short(-4.5678), short(-4.5678, 2), short(123456.0)
    ('0.0123', '−4.57', '−4.6', '1.2e+05')
    """
    if not np.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−", 1) if value < 0 else text


def signed(value: float | None) -> str:
    """A correlation with its sign; `–` where there is none."""
    return formatting.NONE if value is None else f"{value:+.2f}".replace("-", "−")


def _of_zeros(layer: LayerMaps, figures: tuple[MapFigures, ...]) -> str:
    zeros = float(np.mean([each.zeros for each in figures]))
    negative = float(np.mean([each.negative for each in figures]))
    if not np.isfinite(layer.values).any():
        return ""
    what = "maps" if layer.values[0].size > 1 else "numbers"
    if zeros < FEW_ZEROS:
        told = "None of its numbers is" if negative == 0 else f"{formatting.percent(negative)} of its numbers are"
        return f"{told} below 0{', which a ReLU would set to 0' if layer.has_places and negative else ''}."
    empty = [each.number for each in figures if each.min == each.max == 0]
    told = f"{formatting.percent(zeros)} of its numbers are 0"
    if not empty or what == "numbers":
        return f"{told}."
    named = "" if len(empty) > 8 else f" ({', '.join(map(str, empty))})"
    count, are = formatting.plural(len(empty), "map"), "is" if len(empty) == 1 else "are"
    return f"{told}; {count}{named} of {len(figures)} {are} 0 everywhere."


def _of_peaks(layer: LayerMaps, figures: tuple[MapFigures, ...]) -> str:
    finite = [each for each in figures if np.isfinite(each.min) and np.isfinite(each.max)]
    if len(finite) < len(figures):
        kind = "map" if layer.values[0].size > 1 else "number"
        what = f"{len(figures) - len(finite):,} of {formatting.plural(len(figures), kind)}"
        return f"{what} {'hold' if kind == 'map' else 'are'} NaN or ±Inf, which are not numbers."
    top = max(figures, key=lambda each: each.max)
    what = "map" if layer.values[0].size > 1 else "unit"
    if not layer.has_places:
        return f"The highest number is {short(top.max)}, of {what} {top.number}."
    row, column = np.unravel_index(int(layer.values[top.number].argmax()), layer.values.shape[1:])
    return f"The highest number is {short(top.max)}, in map {top.number} at row {row}, column {column}."


def _of_likeness(figures: tuple[MapFigures, ...]) -> str:
    known = [each for each in figures if each.brightness is not None and each.edges is not None]
    if not known:
        return ""
    bright, edges = (sum(abs(getattr(each, name)) >= FOLLOWS for each in known) for name in ("brightness", "edges"))
    typical = float(np.median([abs(each.brightness or 0) for each in known]))
    most = max(known, key=lambda each: abs(each.brightness or 0))
    return (
        f"{bright} of {len(figures)} maps follow the image's brightness (|correlation| from {FOLLOWS}), {edges} its "
        f"edges; the median |correlation| with brightness is {typical:.2f}, and map {most.number} has the largest "
        f"({signed(most.brightness)})."
    )


def _of_view(layer: LayerMaps) -> str:
    if layer.view is None:
        return "Each node sees the whole image." if layer.kind else ""
    high, wide = (last - first + 1 for first, last in layer.view)
    return f"The node in the middle sees {high}×{wide} pixels of the image, padding included."
