"""Checks of attribution maps: completeness, deletion and insertion, randomized weights.

Sources: M. Sundararajan, A. Taly, Q. Yan: Axiomatic attribution for deep networks, ICML 2017 (completeness).
V. Petsiuk, A. Das, K. Saenko: RISE, BMVC 2018 (deletion and insertion). J. Adebayo et al.: Sanity checks for saliency
maps, NeurIPS 2018 (randomized weights).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from cnnlab.interpret.attribution.methods import AttributionConfig, integrated_gradients
from cnnlab.interpret.attribution.result import COMPLETENESS_TOLERANCE, Completeness, PerturbationCurve
from cnnlab.models.init import init_weights
from cnnlab.randomness import generator, stream_key

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
NUM_CURVE_STEPS = 20  # 5 % of the pixels each
MAX_STEPS = 1024  # of integrated gradients


def converged_integrated_gradients(
    network: nn.Module, image: Tensor, config: AttributionConfig
) -> tuple[Tensor, Completeness]:
    """Integrated gradients, the steps doubled from `config.steps` on until their sum is f(image) − f(baseline).

    Returns:
        The C×H×W attribution, and its completeness.
    """
    with torch.no_grad():
        ends = [float(network(one[None])[0, config.target]) for one in (config.baseline, image)]
    rise, steps = ends[1] - ends[0], config.steps
    while True:
        attribution = integrated_gradients(network, image, replace(config, steps=steps))
        # To the CPU first: MPS has no float64.
        completeness = Completeness(steps, float(attribution.cpu().double().sum()), rise)
        if completeness.gap < COMPLETENESS_TOLERANCE or 2 * steps > MAX_STEPS:
            return attribution, completeness
        steps *= 2


def pixel_ranking(heat: Floats, seed: int, image: int) -> Indices:
    """The flat indices of a map from the highest value to the lowest; equal ones in random order."""
    ties = generator(seed, "attribution ties", image).permutation(heat.size)
    return np.lexsort((ties, -heat.ravel()))


def random_rankings(size: int, seed: int, image: int, count: int) -> list[Indices]:
    """Random orders of `size` indices."""
    return [generator(seed, "attribution order", image, number).permutation(size) for number in range(count)]


@torch.no_grad()
def perturbation_curves(
    network: nn.Module, image: Tensor, config: AttributionConfig, order: Indices
) -> tuple[PerturbationCurve, PerturbationCurve]:
    """The class's probability while pixels are deleted, and while they are inserted, in this order.

    Args:
        image: C×H×W.
        order: all H·W flat indices.

    Returns:
        Two curves of `NUM_CURVE_STEPS` + 1 probabilities: from the image to the baseline, and back.
    """
    ranks = torch.from_numpy(np.argsort(order).reshape(tuple(image.shape[1:]))).to(image.device)
    counts = [round(order.size * step / NUM_CURVE_STEPS) for step in range(NUM_CURVE_STEPS + 1)]
    exchanges = [(count, *ends) for ends in ((config.baseline, image), (image, config.baseline)) for count in counts]
    probabilities = []
    for start in range(0, len(exchanges), config.batch_size):
        batch = exchanges[start : start + config.batch_size]
        images = torch.stack([torch.where(ranks < count, new, old) for count, new, old in batch])
        probabilities.append(network(images).float().softmax(dim=1)[:, config.target])
    # To the CPU first: MPS has no float64.
    deletion, insertion = torch.cat(probabilities).cpu().double().numpy().reshape(2, -1)
    return PerturbationCurve(deletion), PerturbationCurve(insertion)


def randomize_weights(network: nn.Module, seed: int, number: int) -> nn.Module:
    """A copy of a network with randomized weights, on its device.

    Convolutions, dense layers and norms are initialised again. Parameters without an initialisation of their own, such
    as a transformer's tokens, are shuffled.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    # On the CPU, so that every device gets the same weights.
    randomized = copy.deepcopy(network).cpu()
    init_weights(randomized, "default", stream_key(seed, "attribution weights", number))
    initialized = {
        id(parameter) for module in randomized.modules() if _is_initialized(module) for parameter in module.parameters()
    }
    for index, parameter in enumerate(randomized.parameters()):
        if id(parameter) not in initialized:
            order = generator(seed, "attribution weights", number, index).permutation(parameter.numel())
            with torch.no_grad():
                parameter.copy_(parameter.flatten()[torch.from_numpy(order)].reshape(parameter.shape))
    return randomized.to(device)


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's correlation of the absolute values of two maps; None where one is constant.

    >>> rank_correlation(np.array([1.0, -2.0, 3.0]), np.array([10.0, 20.0, 90.0]))
    1.0
    """
    sizes = [np.abs(each).ravel() for each in (one, other)]
    if any(np.ptp(each) == 0 for each in sizes):
        return None
    return float(spearmanr(*sizes).statistic)


def _is_initialized(module: nn.Module) -> bool:
    """Whether `init_weights` initialises it."""
    return isinstance(module, nn.Conv2d | nn.Linear) or callable(getattr(module, "reset_parameters", None))
