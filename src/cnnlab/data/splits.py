"""Assign the images of a recipe's data to its splits: stratified and seeded. No torch; no file of images is opened.

Where a published set is narrowed to some classes, its labels decide which test images remain, and they are in the
test set's own file: they are read only when the test images are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from cnnlab.config.recipe import Data
from cnnlab.data.sources.base import SPLITS, DataSource, Indices, Labels, Split
from cnnlab.randomness import generator

TEST_FRACTION = 0.2
# One test set for every seed, so that no run of a study trains on the test images of another.
TEST_SEED = 0

SplitSource: TypeAlias = tuple[Split, Indices]


def assign_splits(
    data: Data, source: DataSource, classes: tuple[str, ...], seed: int
) -> dict[Split, SplitSource | None]:
    """The source's own splits, and fractions of its train split for those that it lacks.

    Classes are identified by the source's numbers, so that the order of `classes` changes no split.

    Returns:
        For each split that holds images, the source's split and the sorted indices there; None for the source's own
        test split where labels must be read for them.
    """
    assigned: dict[Split, SplitSource | None] = {}
    for split in source.splits:
        if split == "test" and source.is_fixed:
            unread = needs_test_labels(source, classes)
            assigned[split] = None if unread else (split, np.arange(source.num_images(split)))
        elif split != "train":
            assigned[split] = (split, np.flatnonzero(remap_labels(source, classes, split) >= 0))
    labels = source.labels("train")
    train = np.flatnonzero(remap_labels(source, classes, "train") >= 0)
    if "test" not in assigned:
        fraction = TEST_FRACTION if data.test is None else data.test
        kept, held_out = stratified_split(labels[train], fraction, TEST_SEED, "test part")
        assigned["test"], train = ("train", train[held_out]), train[kept]
    if "validation" not in assigned:
        kept, held_out = stratified_split(labels[train], data.validation, seed, "validation part")
        assigned["validation"], train = ("train", train[held_out]), train[kept]
    if data.per_class is not None:
        train = train[per_class_subset(labels[train], data.per_class, seed, "per class")]
    if data.limit is not None:
        train = train[stratified_subset(labels[train], data.limit, seed, "limit")]
    assigned["train"] = ("train", train)
    return {split: assigned[split] for split in SPLITS if split in assigned and _may_hold_images(assigned[split])}


def _may_hold_images(chosen: SplitSource | None) -> bool:
    return chosen is None or len(chosen[1]) > 0


def remap_labels(source: DataSource, classes: tuple[str, ...], split: Split) -> Labels:
    """The labels of a source's split as indices into `classes`; -1 for an image of no chosen class."""
    number = {name: index for index, name in enumerate(classes)}
    table = np.array([number.get(name, -1) for name in source.classes], dtype=np.int64)
    return table[source.labels(split)]


def needs_test_labels(source: DataSource, classes: tuple[str, ...]) -> bool:
    """Whether labels must be read to know which of a source's own test images are of these classes."""
    return source.is_fixed and "test" in source.splits and set(classes) != set(source.classes)


def stratified_split(labels: Labels, fraction: float, seed: int, purpose: str) -> tuple[Indices, Indices]:
    """Hold out a fraction of the images of each class.

    Each class's count is rounded down or up, such that their sum is the rounded total wherever the bounds admit it. A
    class of two images or more has one on both sides; a class of one is kept.

    Args:
        labels: shape N.
        fraction: in [0, 1).
        purpose: names the random stream, so that two splits of one seed are independent.

    Returns:
        (kept, held_out): sorted, disjoint indices into `labels`, N in all.

    >>> kept, held_out = stratified_split(np.array([0, 0, 1, 1]), 0.5, seed=0, purpose="validation")
    >>> len(kept), len(held_out)
    (2, 2)
    """
    if fraction == 0 or len(labels) == 0:
        return np.arange(len(labels)), np.arange(0)
    counts = np.unique_counts(labels)
    shares = held_out_counts(counts.counts, fraction)
    return _draw_per_class(labels, dict(zip(counts.values.tolist(), shares.tolist(), strict=True)), seed, purpose)


def held_out_counts(counts: Indices, fraction: float) -> Indices:
    """How many images `stratified_split` holds out of classes of `counts` images."""
    if fraction == 0:
        return np.zeros_like(counts)
    lowest = (counts >= 2).astype(np.int64)
    highest = np.maximum(counts - 1, 0)
    return _round_to_total(counts * fraction, lowest, highest, int(np.floor(counts.sum() * fraction + 0.5)))


def stratified_subset(labels: Labels, limit: int, seed: int, purpose: str) -> Indices:
    """At most `limit` images, stratified: sorted indices into `labels`. A small limit may leave classes out."""
    if limit >= len(labels):
        return np.arange(len(labels))
    counts = np.unique_counts(labels)
    exact = counts.counts * (limit / len(labels))
    shares = _round_to_total(exact, np.zeros_like(counts.counts), counts.counts, limit)
    return _draw_per_class(labels, dict(zip(counts.values.tolist(), shares.tolist(), strict=True)), seed, purpose)[1]


def per_class_subset(labels: Labels, limit: int, seed: int, purpose: str) -> Indices:
    """At most `limit` images of each class: sorted indices into `labels`."""
    counts = np.unique_counts(labels)
    shares = {
        value: min(limit, count) for value, count in zip(counts.values.tolist(), counts.counts.tolist(), strict=True)
    }
    return _draw_per_class(labels, shares, seed, purpose)[1]


def split_hash(splits: Mapping[str, Indices]) -> str:
    """SHA-256 in hex over each split's name, count and indices (int64, little-endian), in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(splits):
        total.update(f"{name}:{len(splits[name])}:".encode())
        total.update(np.ascontiguousarray(splits[name], dtype="<i8").tobytes())
    return total.hexdigest()


def _round_to_total(exact: np.ndarray, lowest: Indices, highest: Indices, total: int) -> Indices:
    """Whole numbers near `exact` within bounds, with the sum `total` where the bounds admit it (largest remainders)."""
    shares = np.clip(np.floor(exact + 1e-9).astype(np.int64), lowest, highest)
    while shares.sum() != total:
        step = 1 if shares.sum() < total else -1
        free = shares < highest if step > 0 else shares > lowest
        if not free.any():
            break
        lack = np.where(free, step * (exact - shares), -np.inf)
        shares[int(np.argmax(lack))] += step
    return shares


def _draw_per_class(labels: Labels, counts: Mapping[int, int], seed: int, purpose: str) -> tuple[Indices, Indices]:
    """(kept, sampled): each class has its own random stream, which no other class's images change."""
    sampled = [
        generator(seed, purpose, value).permutation(np.flatnonzero(labels == value))[:share]
        for value, share in counts.items()
    ]
    chosen = np.sort(np.concatenate(sampled)) if sampled else np.arange(0)
    return np.setdiff1d(np.arange(len(labels)), chosen, assume_unique=True), chosen
