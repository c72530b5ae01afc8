"""The feature maps that layers make of one image: records, arrays and their statistics. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BeforeValidator, ConfigDict

from cnnlab.records import Record
from cnnlab.render.formatting import format_shape

Floats = npt.NDArray[np.float32]
Pair = tuple[int, int]
# Null in JSON is what was not a number.
Real = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]


class RecordWithNulls(Record):
    """A record whose JSON has null for what is not a number."""

    model_config = ConfigDict(ser_json_inf_nan="null")


class TopPrediction(RecordWithNulls):
    """A class that the network names, with its probability by the softmax."""

    name: str
    probability: Real


class MapStatistics(RecordWithNulls):
    """Statistics of one map of one image. `zeros` and `negative` are shares of its numbers; `std` is over its places.

    `brightness` and `edges` are its correlations with those of the image; None where either is constant.
    """

    number: int
    min: Real
    mean: Real
    max: Real
    std: Real
    zeros: float
    negative: float
    brightness: float | None = None
    edges: float | None = None


class LayerStatistics(Record):
    """One layer: `shape` of what it gives for the image, `shown` the numbers of the maps in the picture."""

    name: str
    kind: str
    text: str
    shape: tuple[int, ...]
    shown: tuple[int, ...]
    seen: str
    maps: tuple[MapStatistics, ...]


class ActivationsRecord(Record):
    """The statistics of `ActivationMaps`, without its arrays; what is not a number is null in its JSON."""

    network: str
    image: str
    size: tuple[int, ...]
    label: str
    guesses: tuple[TopPrediction, ...]
    layers: tuple[LayerStatistics, ...]


@dataclass(frozen=True)
class LayerMaps:
    """What one layer gives for one image.

    Attributes:
        text: the row as a table writes it.
        shape: as the layer gives it, without N: (C, H, W), (F,), or (T, F) for tokens.
        values: C×H×W; for numbers without places F×1×1, for tokens F×T×1.
        displayed: the numbers of the maps that are shown, from 0, in order.
        receptive_field: the first and last row, and column, of the image that the node in the middle sees; None where
            it sees all of it, or where nobody knows, as of a module that holds rows.
        is_identity_softmax: whether it is a softmax that hands on the logits as they are.
        classes: what its numbers stand for, where they are the network's logits; else empty.
    """

    name: str
    kind: str
    text: str
    shape: tuple[int, ...]
    values: Floats
    displayed: tuple[int, ...]
    receptive_field: tuple[Pair, Pair] | None = None
    is_identity_softmax: bool = False
    classes: tuple[str, ...] = ()

    @property
    def is_spatial(self) -> bool:
        """Whether it gives maps of height and width."""
        return len(self.shape) == 3 and self.values[0].size > 1

    def selection_note(self) -> str:
        """Which maps are shown, and why these."""
        what = "map" if self.values[0].size > 1 else "number"
        if len(self.displayed) == len(self.values):
            return f"all {len(self.values):,} {what}s" if len(self.values) > 1 else f"its one {what}"
        why = "largest standard deviation over the map" if what == "map" else "largest size"
        return f"{len(self.displayed)} of {len(self.values):,} {what}s, those of the {why}"

    def shape_text(self) -> str:
        """The shape for one image, as torch has it: `1×64×128×128`."""
        return format_shape((1, *self.shape))


FloatArray = npt.NDArray[np.float64]
# Red, green and blue as the eye weighs them (ITU-R BT.601).
BRIGHTNESS = (0.299, 0.587, 0.114)


def map_statistics(layer: LayerMaps, pixels: npt.NDArray[np.uint8]) -> tuple[MapStatistics, ...]:
    """The statistics of every map of a layer, with the image's pixels, uint8, C×H×W."""
    flat = layer.values.reshape(len(layer.values), -1).astype(np.float64)
    correlations: list[tuple[float | None, float | None]] = [(None, None)] * len(flat)
    if layer.is_spatial:
        image_features = (
            _resized_by_mean(_brightness(pixels), layer.values.shape[1:]),
            _resized_by_mean(_edges(pixels), layer.values.shape[1:]),
        )
        correlations = list(zip(*(_correlations(flat, each.ravel()) for each in image_features), strict=True))
    return tuple(
        MapStatistics(
            number=number,
            min=float(values.min()),
            mean=float(values.mean()),
            max=float(values.max()),
            std=float(values.std()),
            zeros=float((values == 0).mean()),
            negative=float((values < 0).mean()),
            brightness=bright,
            edges=edges,
        )
        for number, (values, (bright, edges)) in enumerate(zip(flat, correlations, strict=True))
    )


def _brightness(pixels: npt.NDArray[np.uint8]) -> FloatArray:
    values = pixels.astype(np.float64)
    return values[0] if len(values) == 1 else np.tensordot(np.array(BRIGHTNESS), values, axes=1)


def _edges(pixels: npt.NDArray[np.uint8]) -> FloatArray:
    bright = _brightness(pixels)
    if min(bright.shape) < 2:
        return np.zeros_like(bright)
    down, right = np.gradient(bright)
    return np.asarray(np.hypot(down, right))


def _resized_by_mean(values: FloatArray, sides: tuple[int, ...]) -> FloatArray:
    """H×W numbers brought to other sides, each the mean of what it stands for."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((sides[1], sides[0]), Image.Resampling.BOX), dtype=np.float64)


def _correlations(flat: FloatArray, other: FloatArray) -> list[float | None]:
    """Pearson's r of every row with `other`; None where one of them is constant."""
    away = other - other.mean()
    moved = flat - flat.mean(axis=1, keepdims=True)
    sizes = np.linalg.norm(moved, axis=1) * np.linalg.norm(away)
    # What is left of a constant by rounding is no shape.
    flatness = 1e-6 * np.abs(flat).max(axis=1) * np.sqrt(flat.shape[1]) * np.linalg.norm(away)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = moved @ away / sizes
    return [float(r) if size > least else None for r, size, least in zip(correlations, sizes, flatness, strict=True)]
