"""Deletion, insertion, completeness and randomized weights, against loops by hand and known cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from torch import Tensor, nn

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.trace import trace
from cnnlab.interpret.attribution.methods import METHODS, AttributionConfig, to_heatmap
from cnnlab.interpret.attribution.result import AttributionMap, Completeness, PerturbationCurve
from cnnlab.interpret.attribution.sanity_checks import (
    NUM_CURVE_STEPS,
    converged_integrated_gradients,
    perturbation_curves,
    pixel_ranking,
    random_rankings,
    randomize_weights,
    rank_correlation,
)
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.torch_rng import fork_rng

ROWS = ("conv(4, 3, padding=1)", "batchnorm", "relu", "maxpool(2)", "conv(6, 3)", "relu", "flatten", "dense(classes)")


def build_network(rows: tuple[str, ...] = ROWS, shape: tuple[int, int, int] = (3, 10, 10)) -> nn.Module:
    network = build(trace(read_table(rows, {}, 3), shape))
    init_weights(network, "kaiming", 0)
    return network.eval()


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def setting(baseline: Tensor, **fields: object) -> AttributionConfig:
    plain = {"target": 1, "layer": None, "steps": 16, "window": 4, "stride": 2, "batch_size": 7}
    return AttributionConfig(baseline=baseline, **{**plain, **fields})


def test_curves_are_those_of_a_loop_that_exchanges_pixel_by_pixel() -> None:
    network, image, start = build_network(), picture(3, 10, 10), picture(3, 10, 10, seed=1)
    (order,) = random_rankings(100, 5, 0, 1)
    result = perturbation_curves(network, image, setting(start), order)
    for curve, begun, into in zip(result, (image, start), (start, image), strict=True):
        shown, expected = begun.clone(), []
        for count in range(101):
            if count % (100 // NUM_CURVE_STEPS) == 0:
                with torch.no_grad():
                    expected.append(float(network(shown[None]).softmax(dim=1)[0, 1]))
            if count < 100:
                row, column = divmod(int(order[count]), 10)
                shown[:, row, column] = into[:, row, column]
        assert np.allclose(curve.values, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("curve", "expected"), [([1.0, 1.0, 1.0], 1.0), ([1.0, 0.0], 0.5), ([0.0, 0.0, 1.0], 0.25), ([0.2, 0.6, 0.4], 0.45)]
)
def test_the_area_is_that_of_trapezia(curve: list[float], expected: float) -> None:
    assert PerturbationCurve(np.array(curve)).auc == pytest.approx(expected)


def test_ties_of_a_ranking_are_in_random_order() -> None:
    flat = np.zeros((6, 6))
    flat[2, 3], flat[4, 1], flat[0, 0] = 2.0, 1.0, -1.0
    order = pixel_ranking(flat, 0, 0)
    assert order[:2].tolist() == [2 * 6 + 3, 4 * 6 + 1]
    assert order[-1] == 0
    assert sorted(order.tolist()) == list(range(36))
    middle = order[2:-1].tolist()
    assert middle != sorted(middle)
    assert np.array_equal(order, pixel_ranking(flat, 0, 0))
    assert not np.array_equal(order, pixel_ranking(flat, 1, 0))


def test_random_orders_differ_by_seed_image_and_number() -> None:
    result = [tuple(order) for seed in (0, 1) for image in (0, 1) for order in random_rankings(50, seed, image, 3)]
    assert len(set(result)) == 12
    assert all(sorted(order) == list(range(50)) for order in result)


def test_steps_are_doubled_until_the_sum_is_the_rise() -> None:
    """A function that turns sharply on the way: few steps miss the turn."""

    class Sharp(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            total = images.flatten(1).sum(dim=1)
            return torch.stack([total, 50 * torch.relu(total - 0.93)], dim=1)

    image = torch.full((1, 2, 2), 0.25)
    result, completeness = converged_integrated_gradients(Sharp(), image, setting(torch.zeros_like(image), steps=2))
    assert completeness.rise == pytest.approx(50 * 0.07)
    assert completeness.steps > 2
    assert completeness.gap < 0.01
    assert completeness.total == pytest.approx(float(result.sum()))
    linear, once = converged_integrated_gradients(Sharp(), image, setting(torch.zeros_like(image), steps=2, target=0))
    assert (once.steps, once.gap) == (2, pytest.approx(0, abs=1e-6))
    assert torch.allclose(linear, image)


@pytest.mark.full
def test_steps_end_where_the_sum_never_fits() -> None:
    class Jump(nn.Module):
        """Rises in one place, where no gradient sees it."""

        def forward(self, images: Tensor) -> Tensor:
            total = images.flatten(1).sum(dim=1)
            return torch.stack([total, total * 0 + (total > 0.5).float()], dim=1)

    image = torch.full((1, 2, 2), 0.25)
    _, completeness = converged_integrated_gradients(Jump(), image, setting(torch.zeros_like(image), steps=512))
    assert (completeness.steps, completeness.total, completeness.rise, completeness.gap) == (1024, 0.0, 1.0, 1.0)


def test_a_gap_without_a_rise() -> None:
    assert Completeness(8, 0.0, 0.0).gap == 0
    assert Completeness(8, 0.5, 0.0).gap == float("inf")
    assert Completeness(8, -1.9, -2.0).gap == pytest.approx(0.05)


MAPS = arrays.arrays(np.float64, (4, 5), elements=st.integers(-4, 4).map(float))


@given(MAPS, MAPS)
def test_the_correlation_is_spearmans_of_the_sizes(one: np.ndarray, other: np.ndarray) -> None:
    result = rank_correlation(one, other)
    sizes = [np.abs(each).ravel() for each in (one, other)]
    if any(len(set(each)) == 1 for each in sizes):
        assert result is None
    else:
        assert result == pytest.approx(stats.spearmanr(*sizes).statistic)


def test_all_weights_of_a_copy_are_drawn_anew_and_the_network_is_not() -> None:
    network = build_network()
    with torch.no_grad():
        network.batchnorm1.running_mean += 3
        network.batchnorm1.weight *= 2
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    one, again, other = (
        randomize_weights(network, 0, 0),
        randomize_weights(network, 0, 0),
        randomize_weights(network, 0, 1),
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
        if name.endswith("num_batches_tracked"):
            continue
        assert name == "batchnorm1.bias" or name.endswith("running_var") or not torch.equal(tensor, before[name]), name
        if name.startswith(("conv", "dense")):
            assert not torch.equal(tensor, other.state_dict()[name]), name
    assert one.batchnorm1.running_mean.eq(0).all()


def test_parameters_without_an_initialisation_are_shuffled() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.arange(40.0).reshape(4, 10))
            self.dense = nn.Linear(10, 2)

    with fork_rng():
        network = Tokens()
    result = randomize_weights(network, 0, 0).token
    assert not torch.equal(result, network.token)
    assert torch.equal(result.flatten().sort().values, network.token.flatten())


def test_a_map_of_edges_does_not_depend_on_the_weights() -> None:
    """Adebayo's point: what an edge detector shows does not know the weights."""
    network, image = build_network(), picture(3, 10, 10)
    mine = setting(torch.zeros_like(image))

    def edges(_network: nn.Module) -> np.ndarray:
        grey = image.mean(dim=0).numpy()
        return np.hypot(*np.gradient(grey))

    def saliency(of: nn.Module) -> np.ndarray:
        return to_heatmap("saliency", METHODS["saliency"](of, image, mine), (10, 10))

    copies = [randomize_weights(network, 0, draw) for draw in range(4)]
    assert [rank_correlation(edges(network), edges(copy)) for copy in copies] == pytest.approx([1.0] * 4)
    assert max(rank_correlation(saliency(network), saliency(copy)) for copy in copies) < 0.6


def test_the_mean_of_randomization_correlations() -> None:
    curve, heatmap = PerturbationCurve(np.zeros(2)), np.ones((8, 8))
    one = AttributionMap("occlusion", heatmap, curve, curve, (0.2, None, 0.4))
    assert one.mean_randomization_correlation == pytest.approx(0.3)
    assert AttributionMap("occlusion", heatmap, curve, curve).mean_randomization_correlation is None
