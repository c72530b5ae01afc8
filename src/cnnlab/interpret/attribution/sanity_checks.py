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

from cnnlab.interpret.attribution.methods import Setting, integrated_gradients
from cnnlab.interpret.attribution.result import COMPLETE, Completeness
from cnnlab.models.init import initialise
from cnnlab.randomness import generator, key

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
# How many times some pixels are taken away, the first time none: each time 5 % more.
PORTIONS = 20
# The steps of integrated gradients are doubled up to so many.
MOST_STEPS = 1024


def complete(network: nn.Module, image: Tensor, setting: Setting) -> tuple[Tensor, Completeness]:
    """Integrated gradients with as many steps as their sum needs to be the logit's rise, from `setting.steps` on.

    Returns:
        The attribution, C×H×W, and how far its sum is from f(image) − f(baseline).
    """
    with torch.no_grad():
        ends = [float(network(one[None])[0, setting.target]) for one in (setting.baseline, image)]
    rise, steps = ends[1] - ends[0], setting.steps
    while True:
        found = integrated_gradients(network, image, replace(setting, steps=steps))
        # To the CPU before it becomes float64, which an Apple GPU has none of.
        told = Completeness(steps, float(found.cpu().double().sum()), rise)
        if told.gap < COMPLETE or 2 * steps > MOST_STEPS:
            return found, told
        steps *= 2


def order_of(heat: Floats, seed: int, image: int) -> Places:
    """The places of a map from the highest number to the lowest; equal ones in an order that is drawn."""
    ties = generator(seed, "attribution ties", image).permutation(heat.size)
    return np.lexsort((ties, -heat.ravel()))


def random_orders(size: int, seed: int, image: int, count: int) -> list[Places]:
    """Orders of that many places that know nothing of the image."""
    return [generator(seed, "attribution order", image, number).permutation(size) for number in range(count)]


def curves(network: nn.Module, image: Tensor, setting: Setting, order: Places) -> tuple[Floats, Floats]:
    """The class's probability as pixels are deleted, and as they are inserted, in this order.

    Args:
        image: C×H×W.
        order: all H·W places.

    Returns:
        Two arrays of `PORTIONS` + 1 numbers: while the baseline takes the place of the image's pixels, and while the
        image's take that of the baseline's.
    """
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    place = torch.from_numpy(rank.reshape(tuple(image.shape[1:]))).to(image.device)
    taken = [round(order.size * number / PORTIONS) for number in range(PORTIONS + 1)]

    def pictures() -> Iterator[Tensor]:
        for front, behind in ((setting.baseline, image), (image, setting.baseline)):
            for count in taken:
                yield torch.where(place < count, front, behind)

    found = probabilities(network, pictures(), setting)
    return found[: PORTIONS + 1], found[PORTIONS + 1 :]


def probabilities(network: nn.Module, pictures: Iterator[Tensor], setting: Setting) -> Floats:
    """The class's probability on each picture, C×H×W, a batch of them at a time."""
    found = []
    with torch.no_grad():
        while batch := list(islice(pictures, setting.batch)):
            found.append(network(torch.stack(batch)).float().softmax(dim=1)[:, setting.target])
    return torch.cat(found).cpu().double().numpy()


def area(curve: Floats) -> float:
    """The area under a curve whose steps are even, over a way of length 1."""
    return float(np.trapezoid(curve) / (len(curve) - 1))


def redrawn(network: nn.Module, seed: int, number: int) -> nn.Module:
    """A copy of a network whose weights are all drawn anew, on its device; the network is left as it was.

    Convolutions, dense layers and norms begin again as before training. What no layer knows to begin, such as a
    transformer's tokens, has its own numbers in another order.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    # Drawn on the CPU, so that every device gets the same.
    made = copy.deepcopy(network).cpu()
    initialise(made, "default", key(seed, "attribution weights", number))
    begun = {id(parameter) for module in made.modules() if _begins(module) for parameter in module.parameters()}
    for place, parameter in enumerate(made.parameters()):
        if id(parameter) not in begun:
            order = generator(seed, "attribution weights", number, place).permutation(parameter.numel())
            with torch.no_grad():
                parameter.copy_(parameter.flatten()[torch.from_numpy(order)].reshape(parameter.shape))
    return made.to(device)


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


def _begins(module: nn.Module) -> bool:
    """Whether `initialise` fills it anew."""
    return isinstance(module, nn.Conv2d | nn.Linear) or callable(getattr(module, "reset_parameters", None))
