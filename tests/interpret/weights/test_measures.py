"""Numbers of filters, against gratings, colours and changes that are made to have them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.fft import fft2, fftshift

from cnnlab.interpret.weights import measures
from cnnlab.interpret.weights.filters import LayerFilters
from cnnlab.interpret.weights.measures import (
    colour_axes,
    measure_filters,
    orientations,
    random_coherence,
    relative_change,
    similar_pairs,
    spectrum,
)
from cnnlab.interpret.weights.view import weight_findings


def gabor(angle: float, frequency: float, size: int, phase: float = 0.0, channels: int = 1) -> np.ndarray:
    """1×C×K×K: a wave whose stripes run at `angle` degrees, counter-clockwise from lying, under a Gaussian."""
    middle = (size - 1) / 2
    down, right = np.mgrid[:size, :size] - middle
    up, turned = -down, np.radians(angle)
    across = -right * np.sin(turned) + up * np.cos(turned)  # at a right angle to the stripes
    bell = np.exp(-(right**2 + up**2) / (2 * (size / 5) ** 2))
    wave = bell * np.cos(2 * np.pi * frequency * across + phase)
    return np.repeat(wave[None, None], channels, axis=1)


def apart(first: float, second: float) -> float:
    """The angle between two directions without a sign."""
    return abs((first - second + 90) % 180 - 90)


@given(
    st.floats(0, 179.9),
    st.floats(0.15, 0.35),  # above, a wave this short and its mirror beyond ½ melt into one peak at ½
    st.sampled_from([7, 11, 15]),
    st.floats(0, 3.14),
    st.sampled_from([1, 3, 8]),
)
def test_the_orientation_and_frequency_of_a_gabor_filter_are_found(
    angle: float, frequency: float, size: int, phase: float, channels: int
) -> None:
    found, coherence, highest = orientations(gabor(angle, frequency, size, phase, channels))
    assert apart(float(found[0]), angle) < 4
    if size > 7:  # few weights can look like a wave by chance
        assert coherence[0] > random_coherence(channels, size, size)
    if channels <= 3:
        assert abs(highest[0] - frequency) < max(0.04, 0.6 / size)  # few pixels smear a wave


@pytest.mark.parametrize(
    ("kernel", "angle"),
    [
        ([[1, 1, 1], [0, 0, 0], [-1, -1, -1]], 0),  # Prewitt's, which finds lying edges
        ([[1, 0, -1], [2, 0, -2], [1, 0, -1]], 90),  # Sobel's, standing ones
        ([[0, 1, 2], [-1, 0, 1], [-2, -1, 0]], 135),  # falling from the upper left
        ([[2, 1, 0], [1, 0, -1], [0, -1, -2]], 45),
    ],
)
def test_three_by_three_edges_have_the_angle_of_the_edge(kernel: list[list[int]], angle: float) -> None:
    found, coherence, _ = orientations(np.array(kernel, dtype=float)[None, None])
    assert apart(float(found[0]), angle) < 1e-6
    assert coherence[0] > 0.2


def test_blobs_and_constants_have_no_orientation() -> None:
    down, right = np.mgrid[:9, :9] - 4
    blob = np.exp(-(down**2 + right**2) / 4.0)
    found, coherence, highest = orientations(np.stack([blob, np.full((9, 9), 3.0), np.zeros((9, 9))])[:, None])
    np.testing.assert_allclose(coherence, 0, atol=1e-9)
    assert np.isnan(found[1:]).all()
    assert np.isnan(highest[1:]).all()


@given(st.floats(0, 179.9), st.floats(-5, 5))
def test_a_constant_and_a_factor_do_not_turn_a_filter(angle: float, constant: float) -> None:
    plain = gabor(angle, 0.25, 9)
    found, coherence, _ = orientations(np.concatenate([plain, -3 * plain + constant]))
    assert apart(found[0], found[1]) < 1e-6
    assert coherence[0] == pytest.approx(coherence[1])


def test_channels_of_opposite_sign_do_not_cancel() -> None:
    wave = gabor(30, 0.25, 9)
    both = np.concatenate([wave, -wave, np.zeros_like(wave)], axis=1)
    assert apart(float(orientations(both)[0][0]), 30) < 4
    assert spectrum(both, 16).max() == pytest.approx(np.sqrt(2) * spectrum(wave, 16).max())


def test_a_spectrum_is_numpys_with_low_frequencies_in_the_middle() -> None:
    weights = np.random.default_rng(0).standard_normal((2, 3, 5, 4))
    padded = np.zeros((2, 3, 16, 16))
    padded[..., :5, :4] = weights
    expected = np.sqrt(sum(np.abs(fftshift(fft2(padded[:, channel]), axes=(1, 2))) ** 2 for channel in range(3)))
    np.testing.assert_allclose(spectrum(weights, 16), expected)
    np.testing.assert_allclose(
        spectrum(weights, 16)[:, 8, 8], np.linalg.norm(weights.sum(axis=(2, 3)), axis=1), rtol=1e-9
    )


def test_parts_do_not_change_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.random.default_rng(1).standard_normal((7, 4, 3, 3))
    whole = (*orientations(weights), spectrum(weights, 8))
    monkeypatch.setattr(measures, "CHUNK_NUMBERS", 600)
    for one, other in zip(whole, (*orientations(weights), spectrum(weights, 8)), strict=True):
        np.testing.assert_allclose(one, other)


@pytest.mark.full
def test_so_many_random_filters_are_clearer_than_the_limit_as_it_says() -> None:
    drawn = np.random.default_rng(5).standard_normal((4000, 3, 5, 5))
    above = (orientations(drawn)[1] > random_coherence(3, 5, 5)).mean()
    assert above == pytest.approx(0.05, abs=0.02)
    purer = (colour_axes(drawn)[2] > measures.random_purity(5, 5)).mean()
    assert purer == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(
    ("first", "second", "angle", "purity"),
    [
        ((1, 0, 0), (0, 1, 1), 0, 1),  # red against cyan
        ((0, 0, 1), (1, 1, 0), 60, 1),  # blue against yellow
        ((0, 1, 0), (1, 0, 1), 120, 1),  # green against magenta
        # Green lies at 120°, and what turns red down at 180°: the axis is between them, half as clear.
        ((0, 1, 0), (1, 0, 0), 150, 0.5),
    ],
)
def test_a_filter_of_one_colour_against_another_has_their_axis(
    first: tuple[int, int, int], second: tuple[int, int, int], angle: float, purity: float
) -> None:
    halves = np.zeros((1, 3, 4, 4))
    halves[0, :, :, :2] = np.array(first)[:, None, None]
    halves[0, :, :, 2:] = -np.array(second)[:, None, None]
    share, axis, found = colour_axes(halves)
    assert apart(float(axis[0]), angle) < 1e-6
    assert found[0] == pytest.approx(purity)
    assert 0 < share[0] < 1


def test_grey_is_colourless_and_random_weights_are_two_thirds_colour() -> None:
    grey = np.repeat(np.random.default_rng(0).standard_normal((1, 1, 5, 5)), 3, axis=1)
    share, axis, purity = colour_axes(grey)
    assert share[0] == pytest.approx(0)
    assert np.isnan(axis[0])
    assert purity[0] == 0
    drawn = np.random.default_rng(1).standard_normal((2000, 3, 5, 5))
    assert colour_axes(drawn)[0].mean() == pytest.approx(2 / 3, abs=0.01)


def test_change_norm_and_cosine_are_those_of_the_vectors() -> None:
    before = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]], dtype=np.float32).reshape(3, 1, 1, 2)
    after = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 5.0]], dtype=np.float32).reshape(3, 1, 1, 2)
    found = measure_filters(LayerFilters("x", before, after))
    np.testing.assert_allclose(found.norm, [5, 2, 5])
    np.testing.assert_allclose(found.change, [0, np.sqrt(5), 5])
    np.testing.assert_allclose(found.cosine, [1, 0, np.nan])
    assert found.equal.tolist() == [True, False, False]
    np.testing.assert_allclose(relative_change(before, after), found.change)


def test_equal_is_bit_for_bit() -> None:
    before = np.zeros((3, 1, 1, 2), dtype=np.float32)
    before[1, 0, 0, 0] = 1
    before[2] = np.nan
    after = before.copy()
    after[0, 0, 0, 0] = -0.0
    after[1, 0, 0, 0] = np.nextafter(np.float32(1), np.float32(2))
    assert measure_filters(LayerFilters("x", before, after)).equal.tolist() == [False, False, True]


def test_what_is_almost_nothing_or_twice_there_is_named() -> None:
    weights = np.random.default_rng(0).standard_normal((6, 3, 3, 3))
    weights[1] = 1e-4 * weights[2]  # dead, and no twin of a living one
    weights[4] = 2.5 * weights[0]
    weights[5] = -weights[3]
    filters = LayerFilters("x", None, weights)
    found = measure_filters(filters)
    assert found.dead == (1,)
    assert "median: filter 1." in " ".join(weight_findings(filters, found, (), ()))
    assert found.twins == ((0, 4),)
    assert found.opposites == ((3, 5),)
    assert (found.change, found.cosine, found.equal) == (None, None, None)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_twins_are_those_of_all_pairs(seed: int, count: int) -> None:
    drawn = np.random.default_rng(seed)
    flat = drawn.standard_normal((5, 6))[drawn.integers(0, 5, count)] * drawn.uniform(0.5, 2, (count, 1))
    flat += 0.05 * drawn.standard_normal(flat.shape)
    units = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    cosines = units @ units.T
    near = np.abs(np.abs(cosines) - 0.99) < 1e-5  # rounding may take these either way
    twins, opposites = (each.pairs for each in similar_pairs(flat, np.ones(count, dtype=bool), max_pairs=10_000))
    for found, right in ((set(twins), cosines > 0.99), (set(opposites), cosines < -0.99)):
        expected = {(a, b) for a in range(count) for b in range(a + 1, count) if right[a, b] and not near[a, b]}
        assert expected <= found
        assert all(right[pair] or near[pair] for pair in found)


def test_many_filters_are_compared_with_all_others_once() -> None:
    flat = np.random.default_rng(2).standard_normal((1040, 27))
    flat[1030], flat[1035], flat[1036] = flat[3], 2 * flat[1027], -flat[1028]
    twins, opposites = similar_pairs(flat, np.ones(1040, dtype=bool))
    assert (twins.pairs, opposites.pairs) == (((3, 1030), (1027, 1035)), ((1028, 1036),))
    assert np.flatnonzero(twins.is_member).tolist() == [3, 1027, 1030, 1035]


def test_of_very_many_pairs_all_are_counted_and_the_first_kept() -> None:
    flat = np.ones((1500, 4))
    flat[7] = -1
    twins, opposites = similar_pairs(flat, np.ones(1500, dtype=bool))
    assert twins.count == 1499 * 1498 // 2
    assert opposites.count == 1499
    assert twins.pairs == tuple((0, number) for number in range(1, 22) if number != 7)
    assert np.flatnonzero(~twins.is_member).tolist() == [7]
    weights = LayerFilters("x", None, flat.reshape(1500, 1, 2, 2).astype(np.float32))
    assert "and 1,122,739 more pairs" in " ".join(weight_findings(weights, measure_filters(weights), (), ()))


def test_two_numbers_alike_are_no_twins() -> None:
    assert [each.count for each in similar_pairs(np.ones((3, 2)), np.ones(3, dtype=bool))] == [0, 0]


def test_filters_without_extent_or_colour_have_no_numbers_of_them() -> None:
    found = measure_filters(LayerFilters("x", None, np.ones((2, 3, 1, 1)), reads_image=False))
    assert (found.orientation, found.colourfulness, found.random_coherence) == (None, None, None)
    assert measure_filters(LayerFilters("x", None, np.ones((2, 3, 3, 3)), reads_image=False)).colourfulness is None
    assert measure_filters(LayerFilters("x", None, np.ones((2, 3, 3, 3)))).colourfulness is not None


def test_a_filter_that_is_not_a_number_is_told_as_that_and_as_nothing_else() -> None:
    weights = np.random.default_rng(0).standard_normal((4, 1, 5, 5)).astype(np.float32)
    weights[2] = weights[0]
    weights[0, 0, 0, 0], weights[1] = np.inf, np.nan
    filters = LayerFilters("x", None, weights)
    found = measure_filters(filters)
    assert (found.broken, found.dead, found.twins) == ((0, 1), (), ())
    assert found.norm[1] == 0
    assert found.norm[0] == pytest.approx(np.linalg.norm(weights[0].ravel()[1:]))
    assert np.isnan(found.orientation).tolist() == [True, True, False, False]
    said = " ".join(weight_findings(filters, found, (), ()))
    assert "Some weights are not a number (NaN or ±Inf), and count as 0: of filters 0 and 1." in said
    assert "of 2 filters are oriented" in said
    assert "No other filter is almost 0" in said
