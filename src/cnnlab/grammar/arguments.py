"""The types of arguments of choices, with the values that they allow."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from cnnlab.grammar.validation_errors import integer_range, value_error

# Far above any real use; it keeps a typing error from becoming a request for terabytes.
MAX_COUNT = 1_000_000


def _pair(value: Any, minimum: int) -> tuple[int, int]:
    items = (value, value) if _is_integer(value) else tuple(value) if isinstance(value, list | tuple) else ()
    if len(items) != 2 or not all(_is_integer(item) and minimum <= item <= MAX_COUNT for item in items):
        raise value_error(f"{integer_range(minimum, MAX_COUNT)} or [height, width]")
    return (items[0], items[1])


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pair_or(word: str, minimum: int) -> BeforeValidator:
    """A validator that reads this word, a number, or a pair of numbers."""

    def read(value: Any) -> Any:
        if value == word:
            return value
        try:
            return _pair(value, minimum)
        except Exception:
            raise value_error(f"'{word}', {integer_range(minimum, MAX_COUNT)} or [height, width]") from None

    return BeforeValidator(read)


Count: TypeAlias = Annotated[int, Field(ge=1, le=MAX_COUNT)]
# In pixels on each side of an image in memory: larger ones only take memory.
Border: TypeAlias = Annotated[int, Field(ge=1, le=1000)]
Size: TypeAlias = Annotated[tuple[int, int], BeforeValidator(lambda value: _pair(value, 1))]
Margin: TypeAlias = Annotated[tuple[int, int], BeforeValidator(lambda value: _pair(value, 0))]
Padding: TypeAlias = Annotated[Literal["same"] | tuple[int, int], _pair_or("same", 0)]
Resize: TypeAlias = Annotated[Literal["own"] | tuple[int, int], _pair_or("own", 1)]
Probability: TypeAlias = Annotated[float, Field(ge=0, le=1)]
DropRate: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
NonNegative: TypeAlias = Annotated[float, Field(ge=0)]
Momentum: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
