"""The graph of a layer table: each row's predecessors and successors.

It is made from records, so that it is the same for a table and for a traced network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from cnnlab.architecture.layer import Layer
from cnnlab.architecture.layers import layers
from cnnlab.errors import SpecError
from cnnlab.records import LayerRecord

# Rows that contain rows. The output of a repeat is that of its last row; a residual computes a sum.
CONTAINER_KINDS = ("repeat", "residual")
# The image among the names of rows: rows without inputs read it.
IMAGE_KEY = ""
LayerPredicate = Callable[[LayerRecord], bool]


def layer_from_record(row: LayerRecord) -> Layer | None:
    """A row's layer with its arguments; None for a row that no table can have, and for one with rows inside."""
    if row.kind not in layers.kinds or row.kind in CONTAINER_KINDS:
        return None
    try:
        return layers.kinds[row.kind](**row.arguments) if row.arguments else _layer_from_text(row.text)
    except SpecError:  # a traced operation whose arguments no table takes
        return None


@lru_cache(maxsize=1024)
def _layer_from_text(text: str) -> Layer:
    """The layer of a record that has no arguments: of a layer without any, or of a file of an earlier version."""
    return layers.read(text)


def execution_order(rows: Sequence[LayerRecord]) -> list[LayerRecord]:
    """The rows in the order in which they are computed: a row that contains others comes after them."""
    found: list[LayerRecord] = []
    waiting: list[LayerRecord] = []
    for row in rows:
        while waiting and not is_inside(row.name, waiting[-1].name):
            found.append(waiting.pop())
        (waiting if row.kind in CONTAINER_KINDS else found).append(row)
    return [*found, *reversed(waiting)]


def is_inside(name: str, outer: str) -> bool:
    """Whether a row is inside another one, by their names."""
    return name.startswith(outer + ".")


@dataclass(frozen=True)
class LayerGraph:
    """The rows of a table with their predecessors and successors."""

    records: Sequence[LayerRecord]

    @cached_property
    def rows(self) -> Mapping[str, LayerRecord]:
        """Every row by its name."""
        return {record.name: record for record in self.records}

    @cached_property
    def _layers(self) -> Mapping[str, Layer | None]:
        return {record.name: layer_from_record(record) for record in self.records}

    def layer(self, record: LayerRecord) -> Layer | None:
        """A row's layer with its arguments; None for a row that no table can have."""
        return self._layers[record.name]

    def predecessors(self, record: LayerRecord, skip: LayerPredicate) -> Iterator[LayerRecord]:
        """The nearest predecessors of a row that are not skipped; the image is none."""
        return self._first_matches(record, lambda row: row.inputs, skip)

    def successors(self, record: LayerRecord, skip: LayerPredicate) -> Iterator[LayerRecord]:
        """The nearest successors of a row that are not skipped."""
        return self._first_matches(record, lambda row: self.consumers(row.name), skip)

    def consumers(self, name: str) -> tuple[str, ...]:
        """The rows that read the output of the row of this name."""
        return tuple(self._consumers.get(name, ()))

    @cached_property
    def _consumers(self) -> Mapping[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for record in self.records:
            for name in record.inputs:
                found[name].append(record.name)
        return dict(found)

    def _first_matches(
        self, start: LayerRecord, step: Callable[[LayerRecord], Sequence[str]], skip: LayerPredicate
    ) -> Iterator[LayerRecord]:
        waiting, visited = list(step(start)), set[str]()
        while waiting:
            name = waiting.pop(0)
            if name in visited or name not in self.rows:
                continue
            visited.add(name)
            row = self.rows[name]
            if row.kind == "repeat" or skip(row):
                waiting += step(row)
            else:
                yield row
