"""What layers make of images: feature maps, activity of units, most exciting patches. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, ConfigDict, Field, computed_field

from cnnlab.architecture.layer import Pair
from cnnlab.architecture.layer_table import matching_names
from cnnlab.interpret.filter_numbers import flagged_numbers
from cnnlab.records import Record
from cnnlab.render.result import Result

NamedLayer = TypeVar("NamedLayer", "LayerMaps", "LayerUnits")
# NaN is null in JSON.
Real = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
Pixels = Annotated[npt.NDArray[np.uint8], Field(exclude=True)]
WITH_ARRAYS = ConfigDict(arbitrary_types_allowed=True)
WITH_NULLS = ConfigDict(ser_json_inf_nan="null")

# A unit is saturated where it is farther from the middle of its range than this share of half the range, in more than
# that share of its cases.
SATURATION_THRESHOLD, SATURATED_SHARE = 0.99, 0.99


class TopPrediction(Record):
    """A class that the network predicts, with its softmax probability."""

    model_config = WITH_NULLS

    name: str
    probability: Real


class MapStatistics(Record):
    """Statistics of one map of one image.

    Attributes:
        number: from 1.
        std: over the positions of the map.
        zeros, negative: shares of its numbers that are 0, and below 0.
        brightness, edges: Pearson's correlation with the brightness of the image, and with the size of its gradient;
            None where either is constant.
    """

    model_config = WITH_NULLS

    number: int
    min: Real
    mean: Real
    max: Real
    std: Real
    zeros: float
    negative: float
    brightness: float | None = None
    edges: float | None = None


class LayerMaps(Record):
    """The output of one layer for one image.

    Attributes:
        text: the row as a table writes it.
        shape: without N: (C, H, W), (F,), or (T, F) for tokens.
        values: C×H×W; F×1×1 for a vector, F×T×1 for tokens.
        shown: the numbers, from 1, of the maps in table and figure.
        chosen: whether the caller chose them.
        maps: statistics of every map.
        receptive_field: the first and last row, and column, of the image that the middle node sees; None where it sees
            all of it or where that is not known.
    """

    model_config = WITH_ARRAYS

    name: str
    kind: str
    text: str
    shape: tuple[int, ...]
    values: npt.NDArray[np.float32] = Field(exclude=True)
    shown: tuple[int, ...]
    maps: tuple[MapStatistics, ...]
    chosen: bool = False
    receptive_field: tuple[Pair, Pair] | None = Field(default=None, exclude=True)

    @property
    def is_map(self) -> bool:
        """Whether a channel has more than one number: a map or a column of tokens."""
        return bool(self.values[0].size > 1)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape for one image as torch has it, (1, C, H, W)."""
        return (1, *self.shape)


class ActivationMaps(Result):
    """The outputs of layers of a network for one image.

    Attributes:
        network: its name, with the origin of its weights.
        image: its name.
        pixels: the image before normalisation, C×H×W.
        label: its true class; "" where it is not known.
        guesses: the most probable classes, most probable first; none where the network gives no logits.
    """

    model_config = WITH_ARRAYS

    network: str
    image: str
    pixels: Pixels
    label: str
    guesses: tuple[TopPrediction, ...]
    layers: tuple[LayerMaps, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def size(self) -> tuple[int, ...]:
        """(C, H, W) of the image."""
        return self.pixels.shape

    def layer(self, name: str) -> LayerMaps:
        """The layer of this name; a KeyError for another one."""
        return _layer_named(name, self.layers)


class LayerUnits(Record):
    """The units after one activation function; tuples have one number for each unit.

    Attributes:
        cases: the number of outputs of each unit: positions × images.
        dead_by: "output": dead where it was never above 0; "derivative": dead where `steep` is 0.
        above: share of cases above 0.
        steep: share of cases in which the |derivative| of the function was 0.001 or more.
        far: share of cases farther from the middle of the range than 0.99 of half the range; None for a function
            without ends on both sides.
        maximum: the highest output.
    """

    name: str
    kind: str
    text: str
    cases: int
    dead_by: Literal["output", "derivative"]
    above: tuple[float, ...]
    steep: tuple[float, ...]
    far: tuple[float, ...] | None = None
    maximum: tuple[float, ...] = Field(exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def dead(self) -> tuple[int, ...]:
        """The numbers, from 1, of the units that did nothing in any case."""
        idle = np.array(self.maximum) <= 0 if self.dead_by == "output" else np.array(self.steep) == 0
        return flagged_numbers(idle & np.isfinite(self.maximum))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def saturated(self) -> tuple[int, ...]:
        """The numbers, from 1, of the units near the ends of the range in more than 99 % of the cases."""
        return () if self.far is None else flagged_numbers(np.array(self.far) > SATURATED_SHARE)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def broken(self) -> tuple[int, ...]:
        """The numbers, from 1, of the units that gave NaN or ±Inf; none of them counts as dead."""
        return flagged_numbers(~np.isfinite(self.maximum))

    @property
    def active_shares(self) -> tuple[float, ...]:
        """For each unit the share of cases above 0 or, of a function with two ends, away from them."""
        return self.above if self.far is None else tuple(1 - share for share in self.far)


class UnitActivity(Result):
    """The activity of a network's units over a split, layer by layer."""

    network: str
    split: str
    images: int
    layers: tuple[LayerUnits, ...]

    def layer(self, name: str) -> LayerUnits:
        """The layer of this name; a KeyError for another one."""
        return _layer_named(name, self.layers)


class Patch(Record):
    """The part of an image that one node sees.

    Attributes:
        value: the activation.
        image: the number of the image in its split, from 0.
        label: the name of its class.
        node: (row, column) on the map.
        rows, columns: the first and last ones of the image that the node sees, padding included; None for all of it.
        pixels: of the whole image, C×H×W.
    """

    model_config = WITH_ARRAYS

    value: float
    image: int
    label: str
    node: Pair
    rows: Pair | None
    columns: Pair | None
    pixels: Pixels

    @property
    def size(self) -> Pair | None:
        """The number of rows and columns that the node sees; None for all of them."""
        if self.rows is None or self.columns is None:
            return None
        return self.rows[1] - self.rows[0] + 1, self.columns[1] - self.columns[0] + 1

    @property
    def covers_image(self) -> bool:
        """Whether the receptive field is as large as the image or larger."""
        return self.size is None or all(np.greater_equal(self.size, self.pixels.shape[1:]))


class FilterPatches(Record):
    """The patches of one filter, the highest activation first; `number` counts from 1."""

    number: int
    patches: tuple[Patch, ...]

    @property
    def majority_class(self) -> tuple[str, int] | None:
        """The most frequent class among the patches, the first of equal ones, and its count; None without patches."""
        most_common = Counter(patch.label for patch in self.patches).most_common(1)
        return most_common[0] if most_common else None


class Patches(Result):
    """The parts of a split's images that excite filters of one layer most.

    Attributes:
        filters_in_all: how many filters the layer has.
        images: how many images were searched.
    """

    network: str
    layer: str
    text: str
    filters_in_all: int
    split: str
    images: int
    filters: tuple[FilterPatches, ...]


def _layer_named(name: str, layers: Sequence[NamedLayer]) -> NamedLayer:
    """The layer of this name, with or without its 'backbone.'; a KeyError for another one."""
    named = {layer.name: layer for layer in layers}
    return named[next(iter(matching_names(name, named)), name)]
