"""Stratified, seeded splits, and a hash of their indices. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from cnnlab.data.sources.base import Indices, Labels
from cnnlab.randomness import generator


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
