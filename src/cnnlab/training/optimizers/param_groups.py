"""The parameters of a network in groups: those of one learning rate, with weight decay or without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from cnnlab.architecture.layer_table import last_match
from cnnlab.models.pretrained.transfer import Transfer

Decay: TypeAlias = Literal["all", "weights"]
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
_WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear)
_PARAMETRISED = ".parametrizations.weight"


def groups(
    network: nn.Module,
    choice: Any,
    decay: Decay,
    rates: Mapping[str, float],
    first_rate: float = 1.0,
    wanted: Callable[[nn.Parameter], bool] = lambda _: True,
) -> list[dict[str, Any]]:
    """The parameters that train, in groups as torch's optimisers take them, in the order of the network.

    Those that begin to train in another epoch have groups of their own: torch's fused SGD wants momenta of all
    parameters of a group, or of none.

    Args:
        choice: the optimiser; its rate and weight decay are those of a group.
        decay: "weights" leaves biases, and all parameters of norms, without weight decay.
        rates: factors of the rate by the names of rows, or patterns; the last that names a row counts.
        first_rate: a factor for the first row with weights, which grows geometrically to 1 for the last.
        wanted: which of the parameters.
    """
    found: dict[tuple[float, bool, int], list[nn.Parameter]] = {}
    begins = network.begins if isinstance(network, Transfer) else {}
    by_depth = rates_by_depth(network, first_rate)
    for row, parameter, is_weight in owned_parameters(network):
        if not wanted(parameter):
            continue
        factor = last_match(rates, row, 1.0) * by_depth.get(row, 1.0)
        found.setdefault((factor, is_weight or decay == "all", begins.get(row, 0)), []).append(parameter)
    return [
        {"params": parameters, "lr": choice.lr * factor, "weight_decay": choice.weight_decay if decayed else 0.0}
        for (factor, decayed, _), parameters in found.items()
    ]


def rates_by_depth(network: nn.Module, first: float) -> dict[str, float]:
    """A factor of the rate for each row: `first` at the first weights, 1 at the last, and even steps between.

    Even as ratios (J. Howard, S. Ruder: Universal language model fine-tuning, 2018). Depth counts convolutions and
    dense layers; what follows one, as its norm does, has its depth.
    """
    if first == 1.0:
        return {}
    depth, depths = -1, {}
    for name, module in network.named_modules():
        row = name.removesuffix(_PARAMETRISED)
        depth += isinstance(module, _WEIGHTED)
        depths[row] = max(depth, 0)
    return {row: first ** (1 - place / depth) if depth > 0 else 1.0 for row, place in depths.items()}


def owned_parameters(network: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """Each parameter that trains, with the row that it belongs to, and whether it is a weight: no bias, of no norm."""
    seen: set[int] = set()
    for name, module in network.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield name.removesuffix(_PARAMETRISED), parameter, own != "bias" and not isinstance(module, _NORMS)
