"""What each layer sees of the image, as numbers. JSON has one number for two sides that are equal."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, PlainSerializer

from cnnlab.records import Record

IMAGE_NAME = "input"


def _as_pair(value: Any) -> Any:
    return value if value is None or isinstance(value, list | tuple) else (value, value)


def _as_fractions(value: Any) -> Any:
    sides = _as_pair(value)
    return sides if sides is None else tuple(Fraction(side) for side in sides)


def _as_number(side: Any) -> Any:
    if not isinstance(side, Fraction):
        return side
    return side.numerator if side.denominator == 1 else str(side)


def _collapse_equal(sides: Any) -> Any:
    numbers = [_as_number(side) for side in sides]
    return numbers[0] if numbers[0] == numbers[1] else numbers


_Serialized = PlainSerializer(_collapse_equal, when_used="json")
IntPair: TypeAlias = Annotated[tuple[int, int], BeforeValidator(_as_pair), _Serialized]
FractionPair: TypeAlias = Annotated[tuple[Fraction, Fraction], BeforeValidator(_as_fractions), _Serialized]
TextPair: TypeAlias = Annotated[tuple[str, str], BeforeValidator(_as_pair), _Serialized]


def rule_text(rule: tuple[str, str]) -> str:
    """The rules of both sides as they are written: one where they are the same.

    >>> rule_text(("A − 4", "A − 4")), rule_text(("A − 4", "B − 2"))
    ('A − 4', 'A − 4 by B − 2')
    """
    return rule[0] if rule[0] == rule[1] else " by ".join(rule)


class MapSpan(Record):
    """What one node sees on one earlier map: `size` (rows, columns), and the first and last row and column.

    A row or column below 0, or beyond the map, is padding. The image itself is called "input".
    """

    name: str
    size: IntPair
    rows: tuple[int, int]
    columns: tuple[int, int]


class LayerField(Record):
    """What the nodes of one layer see of the image; pairs are (vertical, horizontal), in pixels.

    Attributes:
        output: (C, H, W) or (features,); None where no size of the image was given.
        rule: the output's sides, as rules in the image's sides A (and B); None where there is none.
        window: how many rows and columns of its input a node takes, gaps of a dilation included; None where it takes
            single nodes, or everything.
        receptive_field: None where a node sees the whole image.
        first_centre: the middle of the first node's view, from the middle of the first pixel.
        inputs: numbers of the image that a node sees, padding among them; None for the whole of an unknown size.
        inputs_inside: without padding, for the node in the middle; None where no size of the image was given.
        path: where several paths meet, the row through which a node sees the most.
        sees: what the node in the middle sees on earlier maps, the nearest first. Empty for long tables.
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
    inputs_inside: int | None = None
    path: str = ""
    sees: tuple[MapSpan, ...] = ()
