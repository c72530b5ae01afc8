"""The rows of a layer table: a layer, and the name that a person may have given to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnlab.errors import Problem, SpecError
from cnnlab.spec.calls import Call, parse
from cnnlab.spec.problems import shown
from cnnlab.spec.registry import Registry

if TYPE_CHECKING:
    from cnnlab.spec.layer import Layer


@dataclass(frozen=True)
class Row:
    """One row of a table. `label` is empty where the person gave no name."""

    layer: Layer
    label: str = ""

    def as_call(self) -> Call:
        """The row as a person writes it."""
        from cnnlab.spec.layers import layers

        call = layers.write(self.layer)
        return Call(call.name, call.positional, call.named, self.label)

    def __str__(self) -> str:
        return str(self.as_call())


def read_rows(value: Any, registry: Registry[Layer]) -> tuple[Row, ...]:
    """Rows from texts, calls or rows; every wrong one is reported."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise SpecError("rows are a list of layers", received=shown(value), allowed="[conv(…), relu, …]")
    rows: list[Row] = []
    problems: list[Problem] = []
    for index, item in enumerate(value):
        try:
            rows.append(_read_row(item, registry))
        except SpecError as error:
            problems += [problem.within(f"[{index}]") for problem in error.problems]
    if problems:
        raise SpecError.together(problems)
    return tuple(rows)


def _read_row(item: Any, registry: Registry[Layer]) -> Row:
    if isinstance(item, Row):
        return item
    if isinstance(item, str):
        item = parse(item)
    if isinstance(item, Call):
        return Row(registry.read(item), item.label)
    raise SpecError("a row is a layer", received=shown(item), allowed="conv(32, 5), relu, …")
