"""Build the optimizer of a recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.optim import Optimizer

from cnnlab.config.optimizers import (
    AdadeltaConfig,
    AdagradConfig,
    AdamaxConfig,
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    NAdamConfig,
    RAdamConfig,
    RMSpropConfig,
    SGDConfig,
)
from cnnlab.training.optimizers.lion import Lion
from cnnlab.training.optimizers.muon import CombinedOptimizer, Muon, hidden_weight_ids
from cnnlab.training.optimizers.param_groups import DecayTarget, build_param_groups

ParamGroups: TypeAlias = list[dict[str, Any]]

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

    The fused implementation is used where torch has one, on the CPU too, and the multi-tensor one otherwise.

    Args:
        decay, lr_factors, first_lr_factor: as in `build_param_groups`.
    """
    if not isinstance(config, MuonConfig):
        return _BUILDERS[type(config)](config, build_param_groups(network, config, decay, lr_factors, first_lr_factor))
    hidden = hidden_weight_ids(network)
    hidden_groups = build_param_groups(
        network, config, decay, lr_factors, first_lr_factor, lambda parameter: id(parameter) in hidden
    )
    other_groups = build_param_groups(
        network, config.companion, decay, lr_factors, first_lr_factor, lambda parameter: id(parameter) not in hidden
    )
    companion = _BUILDERS[type(config.companion)](config.companion, other_groups)
    return CombinedOptimizer(_muon(config, hidden_groups), companion) if hidden_groups else companion


@cache
def _without_compiler_wrappers(optimizer_class: Any) -> Callable[..., Optimizer]:
    """Return the optimizer without the decorators that matter to `torch.compile` only.

    Each of them imports `torch._dynamo` at its first call, which takes seconds, and nothing is compiled here. The
    wrapped methods are found through `functools.wraps`; if torch has no such decorators, nothing changes. Steps run
    without gradients, as torch's decorator of `step` does.
    """
    methods = {name: inspect.unwrap(getattr(optimizer_class, name)) for name in _COMPILER_DISABLED_METHODS}
    made: type[Optimizer] = type(
        optimizer_class.__name__,
        (optimizer_class,),
        {**methods, "step": torch.no_grad()(inspect.unwrap(optimizer_class.step))},
    )
    return made


def _sgd(config: SGDConfig, param_groups: ParamGroups) -> Optimizer:
    return _without_compiler_wrappers(torch.optim.SGD)(
        param_groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=True,
    )


def _adam(optimizer_class: Callable[..., Optimizer], **implementation: bool) -> Callable[[Any, ParamGroups], Optimizer]:
    def build(config: Any, param_groups: ParamGroups) -> Optimizer:
        return _without_compiler_wrappers(optimizer_class)(
            param_groups,
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            weight_decay=config.weight_decay,
            **implementation,
        )

    return build


def _rmsprop(config: RMSpropConfig, param_groups: ParamGroups) -> Optimizer:
    return _without_compiler_wrappers(torch.optim.RMSprop)(
        param_groups,
        lr=config.lr,
        alpha=config.alpha,
        momentum=config.momentum,
        centered=config.centered,
        eps=config.eps,
        weight_decay=config.weight_decay,
        foreach=True,
    )


def _adagrad(config: AdagradConfig, param_groups: ParamGroups) -> Optimizer:
    return _without_compiler_wrappers(torch.optim.Adagrad)(
        param_groups, lr=config.lr, eps=config.eps, weight_decay=config.weight_decay, foreach=True
    )


def _adadelta(config: AdadeltaConfig, param_groups: ParamGroups) -> Optimizer:
    return _without_compiler_wrappers(torch.optim.Adadelta)(
        param_groups, lr=config.lr, rho=config.rho, eps=config.eps, weight_decay=config.weight_decay, foreach=True
    )


def _lion(config: LionConfig, param_groups: ParamGroups) -> Optimizer:
    return _without_compiler_wrappers(Lion)(
        param_groups, lr=config.lr, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay
    )


def _muon(config: MuonConfig, param_groups: ParamGroups) -> Optimizer:
    return _without_compiler_wrappers(Muon)(
        param_groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )


_BUILDERS: dict[type, Callable[[Any, ParamGroups], Optimizer]] = {
    SGDConfig: _sgd,
    AdamConfig: _adam(torch.optim.Adam, fused=True),
    AdamWConfig: _adam(torch.optim.AdamW, fused=True),
    NAdamConfig: _adam(torch.optim.NAdam, foreach=True),
    RAdamConfig: _adam(torch.optim.RAdam, foreach=True),
    AdamaxConfig: _adam(torch.optim.Adamax, foreach=True),
    RMSpropConfig: _rmsprop,
    AdagradConfig: _adagrad,
    AdadeltaConfig: _adadelta,
    LionConfig: _lion,
}
