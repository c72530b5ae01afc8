"""Whether a map of attribution holds what it promises: its sum, its order of the pixels, what it owes to the weights.

Sources: M. Sundararajan, A. Taly, Q. Yan: Axiomatic attribution for deep networks, ICML 2017 (completeness).
V. Petsiuk, A. Das, K. Saenko: RISE, BMVC 2018 (deletion and insertion). J. Adebayo et al.: Sanity checks for saliency
maps, NeurIPS 2018 (weights drawn anew).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from cnnlab.interpret.attribution.methods import AttributionConfig, integrated_gradients
from cnnlab.interpret.attribution.result import COMPLETENESS_TOLERANCE, Completeness
from cnnlab.models.init import init_weights
from cnnlab.randomness import generator, stream_key

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
# How many times some pixels are taken away, the first time none: each time 5 % more.
NUM_CURVE_STEPS = 20
# The steps of integrated gradients are doubled up to so many.
MAX_STEPS = 1024


def converged_integrated_gradients(
    network: nn.Module, image: Tensor, config: AttributionConfig
) -> tuple[Tensor, Completeness]:
    """Integrated gradients with as many steps as their sum needs to be the logit's rise, from `config.steps` on.

    Returns:
        The attribution, C×H×W, and how far its sum is from f(image) − f(baseline).
    """
    with torch.no_grad():
        ends = [float(network(one[None])[0, config.target]) for one in (config.baseline, image)]
    rise, steps = ends[1] - ends[0], config.steps
    while True:
        found = integrated_gradients(network, image, replace(config, steps=steps))
        # To the CPU before it becomes float64, which an Apple GPU has none of.
        completeness = Completeness(steps, float(found.cpu().double().sum()), rise)
        if completeness.gap < COMPLETENESS_TOLERANCE or 2 * steps > MAX_STEPS:
            return found, completeness
        steps *= 2


def pixel_ranking(heat: Floats, seed: int, image: int) -> Indices:
    """The places of a map from the highest number to the lowest; equal ones in an order that is drawn."""
    ties = generator(seed, "attribution ties", image).permutation(heat.size)
    return np.lexsort((ties, -heat.ravel()))


def random_rankings(size: int, seed: int, image: int, count: int) -> list[Indices]:
    """Orders of that many places that know nothing of the image."""
    return [generator(seed, "attribution order", image, number).permutation(size) for number in range(count)]


def perturbation_curves(
    network: nn.Module, image: Tensor, config: AttributionConfig, order: Indices
) -> tuple[Floats, Floats]:
    """The class's probability as pixels are deleted, and as they are inserted, in this order.

    Args:
        image: C×H×W.
        order: all H·W places.

    Returns:
        Two arrays of `NUM_CURVE_STEPS` + 1 numbers: while the baseline takes the place of the image's pixels, and while
        the image's take that of the baseline's.
    """
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    place = torch.from_numpy(rank.reshape(tuple(image.shape[1:]))).to(image.device)
    taken = [round(order.size * number / NUM_CURVE_STEPS) for number in range(NUM_CURVE_STEPS + 1)]

    def pictures() -> Iterator[Tensor]:
        for front, behind in ((config.baseline, image), (image, config.baseline)):
            for count in taken:
                yield torch.where(place < count, front, behind)

    found = class_probabilities(network, pictures(), config)
    return found[: NUM_CURVE_STEPS + 1], found[NUM_CURVE_STEPS + 1 :]


def class_probabilities(network: nn.Module, pictures: Iterator[Tensor], config: AttributionConfig) -> Floats:
    """The class's probability on each picture, C×H×W, a batch of them at a time."""
    found = []
    with torch.no_grad():
        while batch := list(islice(pictures, config.batch_size)):
            found.append(network(torch.stack(batch)).float().softmax(dim=1)[:, config.target])
    return torch.cat(found).cpu().double().numpy()


def curve_auc(curve: Floats) -> float:
    """The area under a curve whose steps are even, over a way of length 1."""
    return float(np.trapezoid(curve) / (len(curve) - 1))


def randomize_weights(network: nn.Module, seed: int, number: int) -> nn.Module:
    """A copy of a network whose weights are all drawn anew, on its device; the network is left as it was.

    Convolutions, dense layers and norms begin again as before training. What no layer knows to begin, such as a
    transformer's tokens, has its own numbers in another order.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    # Drawn on the CPU, so that every device gets the same.
    randomized = copy.deepcopy(network).cpu()
    init_weights(randomized, "default", stream_key(seed, "attribution weights", number))
    initialized = {
        id(parameter) for module in randomized.modules() if _is_initialized(module) for parameter in module.parameters()
    }
    for place, parameter in enumerate(randomized.parameters()):
        if id(parameter) not in initialized:
            order = generator(seed, "attribution weights", number, place).permutation(parameter.numel())
            with torch.no_grad():
                parameter.copy_(parameter.flatten()[torch.from_numpy(order)].reshape(parameter.shape))
    return randomized.to(device)


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's correlation of the sizes of two maps; None where one is the same everywhere.

    >>> rank_correlation(np.array([1.0, -2.0, 3.0]), np.array([10.0, 20.0, 90.0]))
    1.0
    """
    ranks = [rankdata(np.abs(map_).ravel()) for map_ in (one, other)]
    first, second = (rank - rank.mean() for rank in ranks)
    length = float(np.sqrt((first**2).sum() * (second**2).sum()))
    # Rounding may leave a hair above 1.
    return round(float((first * second).sum()) / length, 12) if length else None


def _is_initialized(module: nn.Module) -> bool:
    """Whether `init_weights` fills it anew."""
    return isinstance(module, nn.Conv2d | nn.Linear) or callable(getattr(module, "reset_parameters", None))
