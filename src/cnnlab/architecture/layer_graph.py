"""The graph of a layer table: which rows are in front of a row, and which behind it, by the flow of the data.

It is read from records, so that it is the same for a table of ours and for a network that was traced.
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

# Rows with rows in them. A repeat passes on what its last row gives; a residual's sum is a step of its own.
FRAMES = ("repeat", "residual")
Passing = Callable[[LayerRecord], bool]


@lru_cache(maxsize=1024)  # large networks have few different rows
def layer_in(text: str) -> Layer | None:
    """The layer that a row's text names; None for an operation that no table can have."""
    try:
        return layers.read(text)
    except SpecError:
        return None


def layer_of(row: LayerRecord) -> Layer | None:
    """A row's layer with its arguments; None for a row that no table can have, and for one with rows inside."""
    return layer_in(row.text) if row.kind in layers.kinds and row.kind not in FRAMES else None


def data_order(rows: Sequence[LayerRecord]) -> list[LayerRecord]:
    """The rows in the order of the data: a row with rows inside comes after them, as it is what becomes of them."""
    found: list[LayerRecord] = []
    waiting: list[LayerRecord] = []
    for row in rows:
        while waiting and not within(row.name, waiting[-1].name):
            found.append(waiting.pop())
        (waiting if row.kind in FRAMES else found).append(row)
    return [*found, *reversed(waiting)]


def within(name: str, outer: str) -> bool:
    """Whether a row of this name is inside another one."""
    return name.startswith(outer + ".")


@dataclass(frozen=True)
class Flow:
    """The rows of a table with what leads to them and what they lead to."""

    records: Sequence[LayerRecord]

    @cached_property
    def rows(self) -> Mapping[str, LayerRecord]:
        """Every row by its name."""
        return {record.name: record for record in self.records}

    def layer(self, record: LayerRecord) -> Layer | None:
        """A row's layer with its arguments; None for a row that no table can have."""
        return layer_of(record)

    def in_front(self, record: LayerRecord, passing: Passing) -> Iterator[LayerRecord]:
        """The first rows in front of a row that are not passed over; the image is none."""
        return self._first(record, lambda row: row.inputs, passing)

    def behind(self, record: LayerRecord, passing: Passing) -> Iterator[LayerRecord]:
        """The first rows behind a row that are not passed over."""
        return self._first(record, lambda row: self._readers.get(row.name, ()), passing)

    def is_read(self, record: LayerRecord) -> bool:
        """Whether another row takes what a row gives."""
        return record.name in self._readers

    def readers(self, name: str) -> tuple[str, ...]:
        """The rows that take what a row of this name gives."""
        return tuple(self._readers.get(name, ()))

    def readers_of_images(self) -> tuple[str, ...]:
        """The rows that take the image itself."""
        return tuple(record.name for record in self.records if not record.inputs and record.kind not in FRAMES)

    def leads_out(self, record: LayerRecord, passing: Passing) -> bool:
        """Whether nothing but passed rows is between a row and the network's end."""
        return not any(self.behind(record, passing))

    @cached_property
    def _readers(self) -> Mapping[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for record in self.records:
            for name in record.inputs:
                found[name].append(record.name)
        return dict(found)

    def _first(
        self, start: LayerRecord, step: Callable[[LayerRecord], Sequence[str]], passing: Passing
    ) -> Iterator[LayerRecord]:
        waiting, seen = list(step(start)), set[str]()
        while waiting:
            name = waiting.pop(0)
            if name in seen or name not in self.rows:
                continue
            seen.add(name)
            row = self.rows[name]
            if row.kind == "repeat" or passing(row):
                waiting += step(row)
            else:
                yield row
