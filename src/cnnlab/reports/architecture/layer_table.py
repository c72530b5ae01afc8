"""The table of a network's layers, for the terminal and for pages."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from cnnlab.architecture.layer_table import name_prefixes
from cnnlab.architecture.memory import MemoryRecord
from cnnlab.records import LayerRecord, LayerTable
from cnnlab.render.formatting import MISSING, format_bytes, format_count, format_percent, format_shape, shorten
from cnnlab.render.tables import TextTable
from cnnlab.reports.architecture.pretraining import freeze_state, has_frozen_layers

MIN_SHARE = 0.001
# Each column's title, the cells of the layers, and the total.
_Column: TypeAlias = tuple[str, list[str], str]


def layer_table(table: LayerTable, memory: MemoryRecord | None = None) -> TextTable:
    """The layers of a network, with a total; with `memory` a column of the bytes saved for the backward pass.

    Where weights are frozen, or train later, a column says so.
    A row within a residual or repeat row is indented and named from its outer row on.
    """
    layers, names = table.layers, {layer.name for layer in table.layers}
    columns: list[_Column] = [
        ("name", [_indented(layer.name, names) for layer in layers], "total"),
        ("`layer", [shorten(_layer_text(layer, names), 44) for layer in layers], ""),
        ("#output", [format_shape(layer.output) for layer in layers], ""),
        ("#parameters", [_count(layer.parameters) for layer in layers], format_count(table.parameters)),
    ]
    if has_frozen_layers(table):
        columns.append(("weights", [freeze_state(layer) for layer in layers], ""))
    columns += [
        ("`formula", [layer.formula for layer in layers], ""),
        ("#share", [_share(layer.parameters, table.parameters) for layer in layers], ""),
        ("#multiply-adds", [_count(layer.macs) for layer in layers], format_count(table.macs)),
        ("#their share", [_share(layer.macs, table.macs) for layer in layers], ""),
        ("#receptive field", [_receptive_field(layer) for layer in layers], ""),
        ("#jump", [MISSING if layer.jump is None else "×".join(layer.jump) for layer in layers], ""),
    ]
    if memory is not None:
        sizes = [memory.layers[layer.name] for layer in layers]
        cells = [format_bytes(size) if size else MISSING for size in sizes]
        columns.append(("#memory", cells, format_bytes(memory.activations)))
    titles, cells_of_columns, totals = zip(*columns, strict=True)
    return TextTable.from_rows(titles, [*zip(*cells_of_columns, strict=True), totals], total=True)


def _count(number: int) -> str:
    return format_count(number) if number else MISSING


def _receptive_field(layer: LayerRecord) -> str:
    return "whole image" if layer.receptive_field is None else format_shape(layer.receptive_field)


def _share(count: int, total: int) -> str:
    if not count:
        return ""
    return format_percent(count / total) if count / total >= MIN_SHARE else f"< {format_percent(MIN_SHARE)}"


def _layer_text(layer: LayerRecord, names: Collection[str]) -> str:
    """The layer's text without the rows within it, which have rows of their own."""
    outer = any(name.startswith(layer.name + ".") for name in names)
    return layer.text.partition("[")[0] + "[…])" if outer else layer.text


def _indented(name: str, names: Collection[str]) -> str:
    """Four spaces for each row that this one is in, and the name from the innermost of them on."""
    outer = [prefix for prefix in name_prefixes(name)[:-1] if prefix in names]
    return "    " * len(outer) + (name.removeprefix(outer[-1] + ".") if outer else name)
