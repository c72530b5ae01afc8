from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.data.splits import per_class_subset, split_hash, stratified_split, stratified_subset

labels_of = st.lists(st.integers(0, 5), min_size=1, max_size=120).map(lambda values: np.array(values, dtype=np.int64))
fractions = st.floats(0, 0.99)


@given(labels_of, fractions, st.integers(0, 9))
def test_both_sides_together_are_everything_once(labels, fraction, seed):
    kept, held_out = stratified_split(labels, fraction, seed, "a")
    assert sorted([*kept, *held_out]) == list(range(len(labels)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held_out) > 0).all()


@given(labels_of, st.floats(0.001, 0.99), st.integers(0, 9))
def test_every_class_of_two_or_more_is_on_both_sides(labels, fraction, seed):
    kept, held_out = stratified_split(labels, fraction, seed, "a")
    for value, count in zip(*np.unique(labels, return_counts=True), strict=True):
        assert value in labels[kept]
        assert (value in labels[held_out]) == (count >= 2)


@given(st.lists(st.integers(20, 60), min_size=2, max_size=6), st.floats(0.1, 0.9), st.integers(0, 9))
def test_shares_are_within_one_of_exact_and_the_total_is_rounded(counts, fraction, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    _, held_out = stratified_split(labels, fraction, seed, "a")
    assert abs(len(held_out) - len(labels) * fraction) <= 0.5 + 1e-9
    for value, count in enumerate(counts):
        assert abs((labels[held_out] == value).sum() - count * fraction) <= 1


def test_seed_and_purpose_change_the_split_and_nothing_else_does():
    labels = np.arange(400) % 4
    held_out = stratified_split(labels, 0.25, 0, "a")[1].tolist()
    assert stratified_split(labels, 0.25, 0, "a")[1].tolist() == held_out
    assert stratified_split(labels, 0.25, 1, "a")[1].tolist() != held_out
    assert stratified_split(labels, 0.25, 0, "b")[1].tolist() != held_out


def test_a_split_is_random_within_a_class_not_its_first_images():
    labels = np.zeros(1000, dtype=np.int64)
    _, held_out = stratified_split(labels, 0.5, 0, "a")
    assert 450 < held_out.mean() < 550


def test_another_class_changes_nothing_in_a_class():
    one, two = np.zeros(50, dtype=np.int64), np.repeat([0, 1], 50)
    alone = stratified_split(one, 0.2, 0, "a")[1]
    beside = stratified_split(two, 0.2, 0, "a")[1]
    assert beside[beside < 50].tolist() == alone.tolist()


@given(labels_of, st.integers(1, 150), st.integers(0, 9))
def test_at_most_takes_the_limit_stratified(labels, limit, seed):
    chosen = stratified_subset(labels, limit, seed, "a")
    assert len(chosen) == len(set(chosen.tolist())) == min(limit, len(labels))
    for value in np.unique(labels):
        share = (labels == value).sum() * min(1, limit / len(labels))
        assert abs((labels[chosen] == value).sum() - share) <= 1


@given(labels_of, st.integers(1, 30), st.integers(0, 9))
def test_at_most_per_class(labels, limit, seed):
    chosen = per_class_subset(labels, limit, seed, "a")
    assert (np.diff(chosen) > 0).all()
    for value, count in zip(*np.unique(labels, return_counts=True), strict=True):
        assert (labels[chosen] == value).sum() == min(limit, count)


def test_split_hash_is_sha256_of_names_counts_and_little_endian_indices():
    content = (
        b"test:1:" + (7).to_bytes(8, "little") + b"train:2:" + (1).to_bytes(8, "little") + (2).to_bytes(8, "little")
    )
    found = split_hash({"train": np.array([1, 2], dtype=">i8"), "test": np.array([7], dtype=np.int32)})
    assert found == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("other", [{"train": [1, 2]}, {"train": [1], "test": [2, 7]}, {"train": [2, 1], "test": [7]}])
def test_split_hash_tells_splits_apart(other):
    arrays = {split: np.array(indices) for split, indices in other.items()}
    assert split_hash(arrays) != split_hash({"train": np.array([1, 2]), "test": np.array([7])})
