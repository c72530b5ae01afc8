"""Build the optimizer of a recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from cnnlab.config import optimizers
from cnnlab.training.optimizers.lion import Lion
from cnnlab.training.optimizers.muon import CombinedOptimizer, Muon, hidden_weight_ids
from cnnlab.training.optimizers.param_groups import DecayTarget, build_param_groups

# torch's class and its implementation: fused where torch has one, on the CPU too, and the multi-tensor one otherwise.
_CLASSES: dict[type, tuple[Callable[..., Optimizer], dict[str, bool]]] = {
    optimizers.SGDConfig: (torch.optim.SGD, {"fused": True}),
    optimizers.AdamConfig: (torch.optim.Adam, {"fused": True}),
    optimizers.AdamWConfig: (torch.optim.AdamW, {"fused": True}),
    optimizers.NAdamConfig: (torch.optim.NAdam, {"foreach": True}),
    optimizers.RAdamConfig: (torch.optim.RAdam, {"foreach": True}),
    optimizers.AdamaxConfig: (torch.optim.Adamax, {"foreach": True}),
    optimizers.RMSpropConfig: (torch.optim.RMSprop, {"foreach": True}),
    optimizers.AdagradConfig: (torch.optim.Adagrad, {"foreach": True}),
    optimizers.AdadeltaConfig: (torch.optim.Adadelta, {"foreach": True}),
    optimizers.LionConfig: (Lion, {}),
    optimizers.MuonConfig: (Muon, {}),
}

# Methods that torch wraps for its compiler.
_COMPILER_DISABLED_METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def build_optimizer(
    config: Any,
    network: nn.Module,
    decay: DecayTarget = "all",
    lr_factors: Mapping[str, float] = MappingProxyType({}),
    first_lr_factor: float = 1.0,
) -> Optimizer | CombinedOptimizer:
    """Build a torch optimizer over all trainable parameters, or two that step as one.

    Args:
        decay, lr_factors, first_lr_factor: as in `build_param_groups`.
    """
    param_groups = partial(
        build_param_groups, network, decay=decay, lr_factors=lr_factors, first_lr_factor=first_lr_factor
    )
    if not isinstance(config, optimizers.MuonConfig):
        return _make_optimizer(config, param_groups(config))
    hidden = hidden_weight_ids(network)
    hidden_groups = param_groups(config, include=lambda parameter: id(parameter) in hidden)
    other_groups = param_groups(config.companion, include=lambda parameter: id(parameter) not in hidden)
    companion = _make_optimizer(config.companion, other_groups)
    return CombinedOptimizer(_make_optimizer(config, hidden_groups), companion) if hidden_groups else companion


def _make_optimizer(config: Any, param_groups: list[dict[str, Any]]) -> Optimizer:
    """Build torch's optimizer; its arguments have the names of the config's fields, except for the betas."""
    optimizer_class, implementation = _CLASSES[type(config)]
    arguments = {field.name: getattr(config, field.name) for field in fields(config) if field.name != "companion"}
    if "beta1" in arguments:
        arguments["betas"] = (arguments.pop("beta1"), arguments.pop("beta2"))
    return _without_compiler_wrappers(optimizer_class)(param_groups, **arguments, **implementation)


@cache
def _without_compiler_wrappers(optimizer_class: Any) -> Callable[..., Optimizer]:
    """Return the optimizer without the decorators that matter to `torch.compile` only.

    Each of them imports `torch._dynamo` at its first call, which takes seconds, and nothing is compiled here. The
    wrapped methods are found through `functools.wraps`; if torch has no such decorators, nothing changes. Steps run
    without gradients, as torch's decorator of `step` does.
    """
    methods = {name: inspect.unwrap(getattr(optimizer_class, name)) for name in _COMPILER_DISABLED_METHODS}
    unwrapped: type[Optimizer] = type(
        optimizer_class.__name__,
        (optimizer_class,),
        {**methods, "step": torch.no_grad()(inspect.unwrap(optimizer_class.step))},
    )
    return unwrapped
