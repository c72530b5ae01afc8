"""Named random streams: what a draw depends on, and that nothing else is touched."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cnnlab.randomness import generator, stream_key, uniforms
from cnnlab.torch_rng import fork_rng, manual_seed_torch

INDICES = st.lists(st.integers(0, 10**9), min_size=1, max_size=40)
MANY = np.arange(20_000)


def _global_state() -> tuple[object, ...]:
    return (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@given(INDICES, st.integers(0, 2**40), st.integers(0, 500), st.randoms(use_true_random=False))
def test_an_image_gets_the_same_numbers_in_any_batch(
    images: list[int], seed: int, epoch: int, shuffler: random.Random
) -> None:
    together = uniforms(seed, "flip", epoch, np.array(images), 3)
    order = list(range(len(images)))
    shuffler.shuffle(order)
    shuffled = uniforms(seed, "flip", epoch, np.array(images)[order], 3)
    np.testing.assert_array_equal(shuffled, together[order])
    for row, image in enumerate(images):
        np.testing.assert_array_equal(uniforms(seed, "flip", epoch, np.array([image]), 3)[0], together[row])


def test_each_of_seed_purpose_epoch_and_image_changes_the_draw() -> None:
    base = uniforms(0, "crop", 0, MANY, 1)
    for other in (uniforms(1, "crop", 0, MANY, 1), uniforms(0, "flip", 0, MANY, 1), uniforms(0, "crop", 1, MANY, 1)):
        assert not np.any(other == base)
    assert len(np.unique(base)) == len(MANY)


def test_draws_lie_in_the_half_open_unit_interval_with_the_asked_shape() -> None:
    drawn = uniforms(3, "crop", 2, MANY, 4)
    assert drawn.shape == (20_000, 4)
    np.testing.assert_array_equal(uniforms(3, "crop", 2, MANY, 2), drawn[:, :2])  # more draws leave the first
    assert drawn.dtype == np.float64
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert uniforms(3, "crop", 2, np.array([], dtype=np.int64), 4).shape == (0, 4)


def test_draws_are_uniform() -> None:
    drawn = uniforms(0, "crop", 0, MANY, 4)
    for column in drawn.T:
        assert stats.chisquare(np.histogram(column, bins=64, range=(0, 1))[0]).pvalue > 1e-4
    one_image = np.array([uniforms(0, "flip", epoch, np.array([7]), 1)[0, 0] for epoch in range(2000)])
    for numbers in (drawn.ravel(), one_image):
        assert stats.kstest(numbers, "uniform").pvalue > 1e-4


def test_neighbours_are_uncorrelated() -> None:
    first = uniforms(0, "crop", 0, MANY, 2)
    pairs = {
        "images": (first[:-1, 0], first[1:, 0]),
        "draws": (first[:, 0], first[:, 1]),
        "epochs": (first[:, 0], uniforms(0, "crop", 1, MANY, 2)[:, 0]),
        "seeds": (first[:, 0], uniforms(1, "crop", 0, MANY, 2)[:, 0]),
        "purposes": (first[:, 0], uniforms(0, "flip", 0, MANY, 2)[:, 0]),
    }
    for what, (one, other) in pairs.items():
        assert stats.pearsonr(one, other).pvalue > 1e-4, what
        cells = np.histogram2d(one, other, bins=8, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(cells.ravel()).pvalue > 1e-4, what


def test_keys_are_63_bits_and_all_different() -> None:
    names = list(itertools.product(range(10), ["init", "split", "order"], range(10), range(10)))
    keys = {stream_key(seed, purpose, *indices) for seed, purpose, *indices in names}
    assert len(keys) == len(names)
    assert all(0 <= found < 2**63 for found in keys)
    assert max(found.bit_length() for found in keys) == 63


def test_a_key_is_the_hash_of_its_name() -> None:
    digest = hashlib.blake2b(b"3/order/7", digest_size=8).digest()
    assert stream_key(3, "order", 7) == int.from_bytes(digest, "little") // 2
    assert stream_key(0, "init") == 3912388711783151084  # a recipe of today gives the same network tomorrow


def test_uniforms_are_splitmix64_written_with_plain_integers() -> None:
    def mixed(state: int) -> int:
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
        return state ^ (state >> 31)

    drawn = uniforms(5, "crop", 2, np.array([0, 1, 49_999]), 3)
    golden = 0x9E3779B97F4A7C15
    for row, image in enumerate([0, 1, 49_999]):
        start = mixed((image * golden + stream_key(5, "crop", 2)) % 2**64)
        wanted = [(mixed((start + draw * golden) % 2**64) >> 11) / 2**53 for draw in (1, 2, 3)]
        assert drawn[row].tolist() == wanted


def test_a_generator_depends_on_its_name_alone() -> None:
    first = generator(0, "split").random(5)
    generator(0, "other").random(1000)
    np.testing.assert_array_equal(generator(0, "split").random(5), first)
    assert not np.any(generator(0, "split", 1).random(5) == first)
    assert not np.any(generator(1, "split").random(5) == first)


def test_no_draw_touches_a_global_state() -> None:
    before = _global_state()
    generator(0, "split").random(5)
    uniforms(0, "crop", 0, MANY, 2)
    assert _global_state() == before


def test_torch_state_is_as_it_was_afterwards_and_seeded_within() -> None:
    before = _global_state()
    with fork_rng():
        manual_seed_torch(0, "dropout", 1)
        first = torch.rand(5)
        manual_seed_torch(0, "dropout", 1)
        assert torch.equal(torch.rand(5), first)
        manual_seed_torch(0, "dropout", 2)
        assert not torch.equal(torch.rand(5), first)
    assert _global_state() == before
    with contextlib.suppress(RuntimeError), fork_rng():
        manual_seed_torch(0, "dropout")
        raise RuntimeError
    assert _global_state() == before
