"""Receptive fields as records; pairs are (vertical, horizontal). JSON has one number for two equal sides."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Annotated, Any, TypeAlias

from pydantic import PlainSerializer, model_serializer

from cnnlab.records import Record
from cnnlab.render.result import Result

IMAGE_NAME = "input"


def _one_if_equal(sides: tuple[Any, Any]) -> Any:
    """JSON of a pair; fractions are texts."""
    numbers = [str(side) if isinstance(side, Fraction) and side.denominator > 1 else side for side in sides]
    numbers = [int(side) if isinstance(side, Fraction) else side for side in numbers]
    return numbers[0] if numbers[0] == numbers[1] else numbers


_serialized = PlainSerializer(_one_if_equal, when_used="json")
IntPair: TypeAlias = Annotated[tuple[int, int], _serialized]
FractionPair: TypeAlias = Annotated[tuple[Fraction, Fraction], _serialized]
TextPair: TypeAlias = Annotated[tuple[str, str], _serialized]


class MapSpan(Record):
    """The view of one node on one earlier map: `size`, and the first and last row and column.

    Rows and columns below 0 or beyond the map are padding. The image is called "input".
    """

    name: str
    size: IntPair
    rows: tuple[int, int]
    columns: tuple[int, int]

    def pixels_inside(self, sides: tuple[int, int]) -> int:
        """How many nodes of the view are on a map of these sides, and not in its padding."""
        views = zip((self.rows, self.columns), sides, strict=True)
        return prod(max(min(last, side - 1) - max(first, 0) + 1, 0) for (first, last), side in views)


class LayerField(Record):
    """The receptive field of one layer's nodes, in pixels of the image.

    Attributes:
        output: (C, H, W) or (features,); None where no size of the image was given.
        rule: the output's sides as functions of the image's sides A and B; None where there are none.
        window: rows and columns of its input that a node takes, gaps of a dilation included; None where it takes
            single nodes, or everything.
        receptive_field: None where a node sees the whole image.
        jump: distance between the views of neighbouring nodes.
        first_centre: the middle of the first node's view, from the middle of the first pixel.
        inputs: numbers of the image that a node sees, padding included; None for the whole of an unknown size.
        path: where several paths meet, the row through which a node sees the most.
    """

    name: str
    kind: str
    text: str
    output: tuple[int, ...] | None = None
    rule: TextPair | None = None
    window: IntPair | None = None
    receptive_field: IntPair | None = None
    jump: FractionPair | None = None
    first_centre: FractionPair | None = None
    inputs: int | None = None
    path: str = ""


class ReceptiveFields(Result):
    """The receptive field of every layer, and the view of one node on earlier maps.

    Attributes:
        title: the network's name; "" for a table.
        image: (C, H, W); where it was not `size_given`, one that is large enough for a drawing.
        layer: the row that is traced back.
        node: (row, column) on its map; None where its nodes see the whole image.
        spans: the node's view on each map of the widest path to `layer`, the nearest first.
        layers: every row.
        windows: the rows that widen or move the view, on the widest path to `layer`.
        maps: (height, width) of each row's map.
    """

    title: str
    image: tuple[int, int, int]
    size_given: bool
    layer: str
    node: tuple[int, int] | None
    spans: tuple[MapSpan, ...]
    layers: tuple[LayerField, ...]
    windows: tuple[str, ...]
    maps: dict[str, tuple[int, int]]

    @property
    def selected(self) -> LayerField:
        """The row that is traced back."""
        return self.row(self.layer)

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """(height, width) of a node's view in pixels; None for the whole image."""
        return self.selected.receptive_field

    @property
    def jump(self) -> tuple[Fraction, Fraction] | None:
        """Distance between the views of neighbouring nodes, in pixels."""
        return self.selected.jump

    @property
    def first_centre(self) -> tuple[Fraction, Fraction] | None:
        """The middle of the first node's view, from the middle of the first pixel."""
        return self.selected.first_centre

    @property
    def inputs(self) -> int | None:
        """Numbers of the image that a node sees, padding included."""
        return self.selected.inputs

    @property
    def inputs_inside(self) -> int | None:
        """Numbers of the image that the node sees, without padding; None where no size was given."""
        if not self.size_given:
            return None
        return self.image[0] * self.spans[-1].pixels_inside(self.image[1:])

    @property
    def is_square(self) -> bool:
        """Whether all maps of an A×A image are square."""
        return all(row.rule is None or row.rule[0] == row.rule[1] for row in self.layers)

    def row(self, name: str) -> LayerField:
        """The row of this name."""
        return next(row for row in self.layers if row.name == name)

    @model_serializer(when_used="json")
    def _json_fields(self) -> dict[str, Any]:
        """The selected row's fields, then those of every row."""
        return {
            "layer": self.layer,
            **self.selected.model_dump(mode="json", exclude={"name", "kind", "text", "output"}),
            "inputs_inside": self.inputs_inside,
            "sees": self.spans,
            "node": self.node,
            "image": self.image,
            "size_given": self.size_given,
            "layers": self.layers,
        }
