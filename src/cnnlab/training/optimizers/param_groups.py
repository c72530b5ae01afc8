"""The parameters of a network in groups: those of one learning rate, with weight decay or without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from cnnlab.architecture.layer_table import last_match
from cnnlab.models.pretrained.transfer import TransferModel

DecayTarget: TypeAlias = Literal["all", "weights"]
_NORM_LAYERS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
_DEPTH_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
_PARAMETRIZATION_SUFFIX = ".parametrizations.weight"


def build_param_groups(
    network: nn.Module,
    config: Any,
    decay: DecayTarget,
    lr_factors: Mapping[str, float],
    first_lr_factor: float = 1.0,
    include: Callable[[nn.Parameter], bool] = lambda _: True,
) -> list[dict[str, Any]]:
    """The parameters that train, in groups as torch's optimisers take them, in the order of the network.

    Those that begin to train in another epoch have groups of their own: torch's fused SGD wants momenta of all
    parameters of a group, or of none.

    Args:
        config: the optimiser; its rate and weight decay are those of a group.
        decay: "weights" leaves biases, and all parameters of norms, without weight decay.
        lr_factors: factors of the rate by the names of rows, or patterns; the last that names a row counts.
        first_lr_factor: a factor for the first row with weights, which grows geometrically to 1 for the last.
        include: which of the parameters.
    """
    found: dict[tuple[float, bool, int], list[nn.Parameter]] = {}
    unfreeze_at = network.unfreeze_at if isinstance(network, TransferModel) else {}
    by_depth = layerwise_lr_factors(network, first_lr_factor)
    for row, parameter, is_weight in trainable_parameters(network):
        if not include(parameter):
            continue
        factor = last_match(lr_factors, row, 1.0) * by_depth.get(row, 1.0)
        found.setdefault((factor, is_weight or decay == "all", unfreeze_at.get(row, 0)), []).append(parameter)
    return [
        {"params": parameters, "lr": config.lr * factor, "weight_decay": config.weight_decay if decayed else 0.0}
        for (factor, decayed, _), parameters in found.items()
    ]


def layerwise_lr_factors(network: nn.Module, first_factor: float) -> dict[str, float]:
    """A factor of the rate for each row: `first_factor` at the first weights, 1 at the last, and even steps between.

    Even as ratios (J. Howard, S. Ruder: Universal language model fine-tuning, 2018). Depth counts convolutions and
    dense layers; what follows one, as its norm does, has its depth.
    """
    if first_factor == 1.0:
        return {}
    depth, depths = -1, {}
    for name, module in network.named_modules():
        row = name.removesuffix(_PARAMETRIZATION_SUFFIX)
        depth += isinstance(module, _DEPTH_LAYERS)
        depths[row] = max(depth, 0)
    return {
        row: first_factor ** (1 - depth_of_row / depth) if depth > 0 else 1.0 for row, depth_of_row in depths.items()
    }


def trainable_parameters(network: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """Each parameter that trains, with the row that it belongs to, and whether it is a weight: no bias, of no norm."""
    seen: set[int] = set()
    for name, module in network.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield (
                    name.removesuffix(_PARAMETRIZATION_SUFFIX),
                    parameter,
                    own != "bias" and not isinstance(module, _NORM_LAYERS),
                )
