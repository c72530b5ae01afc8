"""Which images belong to which part of a recipe's data. No torch; no file of images is opened.

Where a published set is narrowed to some classes, only its labels tell which test images remain, and they lie in the
file that a sealed test set keeps shut: they are read when someone asks for the test images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np

from cnnlab.config.recipe import Data
from cnnlab.data.sources.base import PART_ORDER, Indices, Labels, Part, Source
from cnnlab.data.splits import at_most, at_most_per_class, split, split_hash

TEST_SHARE = 0.2
# One test set for every seed: what one run of a study tests on, no other run may have trained on.
TEST_SEED = 0

Chosen: TypeAlias = tuple[Part, Indices]


class Parts(Mapping[Part, Chosen]):
    """For each part that holds images: the source's part that they are in, and their sorted indices there."""

    def __init__(self, source: Source, classes: tuple[str, ...], found: Mapping[Part, Chosen | None]) -> None:
        """A part of `found` that is None is the source's own, whose images are found out when they are asked for."""
        self._source = source
        self._classes = classes
        self._found = dict(found)

    def __getitem__(self, part: Part) -> Chosen:
        chosen = self._found[part]
        if chosen is None:
            labels = renumbered(self._source, self._classes, part)
            chosen = self._found[part] = (part, np.flatnonzero(labels >= 0))
        return chosen

    def __iter__(self) -> Iterator[Part]:
        return (part for part in PART_ORDER if part in self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, part: object) -> bool:
        return part in self._found

    def split_hash(self) -> str:
        """SHA-256 in hex over all parts' indices; the same before and after the test images are asked for.

        A fixed source's own test part that is narrowed to some classes counts by what decides it instead: its size
        and the names of the classes, sorted.
        """
        return split_hash(dict(self._written(part) for part in self))

    def _written(self, part: Part) -> tuple[str, Indices]:
        if part == "test" and must_be_read(self._source, self._classes):
            return f"test of {sorted(self._classes)}", np.array([self._source.count("test")])
        return part, self[part][1]


def choose_parts(data: Data, source: Source, classes: tuple[str, ...], seed: int) -> Parts:
    """The source's own parts, and shares of its train part where it lacks one.

    Classes are told apart by the source's numbers, so that the order of `classes` changes no split.
    """
    known: dict[Part, Chosen | None] = {}
    of: dict[Part, Labels] = {}
    for part in source.parts:
        if part == "test" and source.fixed:
            unread = must_be_read(source, classes)
            known[part] = None if unread else (part, np.arange(source.count(part)))
        else:
            of[part] = source.labels(part)
            known[part] = (part, np.flatnonzero(renumbered(source, classes, part) >= 0))
    own = known.pop("train")
    assert own is not None
    train, labels = own[1], of["train"]
    if "test" not in known:
        share = TEST_SHARE if data.test is None else data.test
        kept, held_out = split(labels[train], share, TEST_SEED, "test part")
        known["test"], train = ("train", train[held_out]), train[kept]
    if "validation" not in known:
        kept, held_out = split(labels[train], data.validation, seed, "validation part")
        known["validation"], train = ("train", train[held_out]), train[kept]
    if data.per_class is not None:
        train = train[at_most_per_class(labels[train], data.per_class, seed, "per class")]
    if data.limit is not None:
        train = train[at_most(labels[train], data.limit, seed, "limit")]
    known["train"] = ("train", train)
    filled = {part: chosen for part, chosen in known.items() if chosen is None or len(chosen[1])}
    return Parts(source, classes, filled)


def renumbered(source: Source, classes: tuple[str, ...], part: Part) -> Labels:
    """The labels of a source's part as indices into `classes`; -1 for an image of no chosen class."""
    number = {name: index for index, name in enumerate(classes)}
    table = np.array([number.get(name, -1) for name in source.classes], dtype=np.int64)
    return table[source.labels(part)]


def must_be_read(source: Source, classes: tuple[str, ...]) -> bool:
    """Whether only the labels in its files tell which of a source's own test images are of these classes."""
    return source.fixed and "test" in source.parts and set(classes) != set(source.classes)
