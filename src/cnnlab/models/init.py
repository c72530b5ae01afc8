"""The initialization of weights, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from cnnlab.config.model import Init
from cnnlab.torch_rng import fork_rng, manual_seed_torch


def init_weights(network: nn.Module, init: Init, seed: int) -> None:
    """Initialize a network's weights in place; the same seed gives the same weights.

    "default" is torch's own initialization of each layer. "xavier" (Glorot, Bengio, 2010, uniform), "kaiming" (He et
    al., 2015, normal, for ReLU), "orthogonal" (Saxe et al., 2013) and "dirac" (Zagoruyko, Komodakis, 2017: each filter
    passes one channel through) fill convolutions and dense layers and set their biases to zero; "dirac"
    keeps torch's default in dense layers, grouped convolutions, and weight-normalised ones with more filters than
    channels.
    """
    with fork_rng():
        manual_seed_torch(seed, "init")
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                _init_module(module, init)
            elif callable(reset := getattr(module, "reset_parameters", None)):
                reset()


def _init_module(module: nn.Conv2d | nn.Linear, init: Init) -> None:
    normalised = is_parametrized(module)
    by_torch = init == "default" or (init == "dirac" and not _supports_dirac(module, normalised))
    filler = _torch_default_init if by_torch else _INIT_FUNCTIONS[init]
    weight = filler(module.weight.detach().clone())
    with torch.no_grad():
        if normalised:  # set through its parametrization, as a length and a direction
            module.weight = weight
        else:
            module.weight.copy_(weight)
    if module.bias is not None:
        bound = weight[0].numel() ** -0.5 if by_torch else 0.0
        nn.init.uniform_(module.bias, -bound, bound)


def _supports_dirac(module: nn.Conv2d | nn.Linear, normalised: bool) -> bool:
    """Filters beyond the number of channels are zero, and a zero has no direction for weight normalisation."""
    if isinstance(module, nn.Linear) or module.groups > 1:
        return False
    return not normalised or module.out_channels <= module.in_channels


def _torch_default_init(weight: Tensor) -> Tensor:
    """The initialization of nn.Conv2d and nn.Linear in reset_parameters."""
    return nn.init.kaiming_uniform_(weight, a=5**0.5)


_INIT_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    "dirac": nn.init.dirac_,
}
