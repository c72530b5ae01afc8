"""Split the parameters of a network into groups of one learning rate, with and without weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from cnnlab.architecture.layer_table import last_match
from cnnlab.models.train_mode import unfreeze_epoch

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
    """Return the trainable parameters in groups for a torch optimizer, in the order of the network.

    Parameters that are unfrozen in a later epoch have groups of their own: torch's fused SGD needs momentum buffers for
    all parameters of a group, or for none.

    Args:
        config: the optimizer; its learning rate and weight decay are those of a group.
        decay: "weights" excludes biases, and all parameters of norms, from weight decay.
        lr_factors: factors of the learning rate by row name or pattern; the last match counts.
        first_lr_factor: the factor of the first row with weights, which grows geometrically to 1 at the last.
        include: selects the parameters.
    """
    groups: dict[tuple[float, bool, int], list[nn.Parameter]] = {}
    by_depth = layerwise_lr_factors(network, first_lr_factor)
    for row, parameter, is_weight in trainable_parameters(network):
        if not include(parameter):
            continue
        factor = last_match(lr_factors, row, 1.0) * by_depth.get(row, 1.0)
        groups.setdefault((factor, is_weight or decay == "all", unfreeze_epoch(network, row) or 0), []).append(
            parameter
        )
    return [
        {"params": parameters, "lr": config.lr * factor, "weight_decay": config.weight_decay if decayed else 0.0}
        for (factor, decayed, _), parameters in groups.items()
    ]


def layerwise_lr_factors(network: nn.Module, first_factor: float) -> dict[str, float]:
    """Return a factor of the learning rate per row: `first_factor` at the first weights, growing to 1 at the last.

    The ratio is constant (J. Howard, S. Ruder: Universal language model fine-tuning, 2018). Depth counts convolutions
    and dense layers; a norm has the depth of the layer before it.
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
    """Yield each parameter that trains in any epoch, its row, and whether it is a weight (no bias, not of a norm)."""
    seen: set[int] = set()
    for name, module in network.named_modules():
        if unfreeze_epoch(network, name) is None:
            continue
        for own, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield (
                    name.removesuffix(_PARAMETRIZATION_SUFFIX),
                    parameter,
                    own != "bias" and not isinstance(module, _NORM_LAYERS),
                )
