"""The optimiser that a recipe names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.optim import Optimizer

from cnnlab.config import optimization
from cnnlab.training.optimizers.lion import Lion
from cnnlab.training.optimizers.muon import Muon, Several, hidden_weights
from cnnlab.training.optimizers.param_groups import Decay, groups

Groups: TypeAlias = list[dict[str, Any]]

# Methods that torch keeps from its compiler.
_KEPT_FROM_COMPILER = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def optimizer(
    choice: Any,
    network: nn.Module,
    decay: Decay = "all",
    rates: Mapping[str, float] = MappingProxyType({}),
    first_rate: float = 1.0,
) -> Optimizer | Several:
    """A torch optimiser over all parameters that train, or two that step as one.

    It is fused, one kernel a step, on the CPU too; where torch has no such form, it is the one that works on all
    parameters together.

    Args:
        decay, rates, first_rate: as `groups` takes them.
    """
    if not isinstance(choice, optimization.Muon):
        return _BUILDERS[type(choice)](choice, groups(network, choice, decay, rates, first_rate))
    hidden = hidden_weights(network)
    inner = groups(network, choice, decay, rates, first_rate, lambda parameter: id(parameter) in hidden)
    rest = groups(network, choice.companion, decay, rates, first_rate, lambda parameter: id(parameter) not in hidden)
    companion = _BUILDERS[type(choice.companion)](choice.companion, rest)
    return Several(_muon(choice, inner), companion) if inner else companion


@cache
def _eager(kind: Any) -> Callable[..., Optimizer]:
    """The same optimiser without the decorators that matter to `torch.compile` alone.

    Each of them loads `torch._dynamo` when it is first called, which takes seconds, and nothing here is compiled. The
    methods behind them are found by the mark of `functools.wraps`; where a torch has no decorators, nothing changes.
    A step is taken without gradients, as torch's decorator of it sees to.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in _KEPT_FROM_COMPILER}
    made: type[Optimizer] = type(
        kind.__name__, (kind,), {**methods, "step": torch.no_grad()(inspect.unwrap(kind.step))}
    )
    return made


def _sgd(choice: optimization.SGD, parameters: Groups) -> Optimizer:
    return _eager(torch.optim.SGD)(
        parameters,
        lr=choice.lr,
        momentum=choice.momentum,
        nesterov=choice.nesterov,
        weight_decay=choice.weight_decay,
        fused=True,
    )


def _adam(kind: Callable[..., Optimizer], **form: bool) -> Callable[[Any, Groups], Optimizer]:
    def build(choice: Any, parameters: Groups) -> Optimizer:
        return _eager(kind)(
            parameters,
            lr=choice.lr,
            betas=(choice.beta1, choice.beta2),
            eps=choice.eps,
            weight_decay=choice.weight_decay,
            **form,
        )

    return build


def _rmsprop(choice: optimization.RMSprop, parameters: Groups) -> Optimizer:
    return _eager(torch.optim.RMSprop)(
        parameters,
        lr=choice.lr,
        alpha=choice.alpha,
        momentum=choice.momentum,
        centered=choice.centered,
        eps=choice.eps,
        weight_decay=choice.weight_decay,
        foreach=True,
    )


def _adagrad(choice: optimization.Adagrad, parameters: Groups) -> Optimizer:
    return _eager(torch.optim.Adagrad)(
        parameters, lr=choice.lr, eps=choice.eps, weight_decay=choice.weight_decay, foreach=True
    )


def _adadelta(choice: optimization.Adadelta, parameters: Groups) -> Optimizer:
    return _eager(torch.optim.Adadelta)(
        parameters, lr=choice.lr, rho=choice.rho, eps=choice.eps, weight_decay=choice.weight_decay, foreach=True
    )


def _lion(choice: optimization.Lion, parameters: Groups) -> Optimizer:
    return _eager(Lion)(parameters, lr=choice.lr, betas=(choice.beta1, choice.beta2), weight_decay=choice.weight_decay)


def _muon(choice: optimization.Muon, parameters: Groups) -> Optimizer:
    return _eager(Muon)(parameters, lr=choice.lr, momentum=choice.momentum, weight_decay=choice.weight_decay)


_BUILDERS: dict[type, Callable[[Any, Groups], Optimizer]] = {
    optimization.SGD: _sgd,
    optimization.Adam: _adam(torch.optim.Adam, fused=True),
    optimization.AdamW: _adam(torch.optim.AdamW, fused=True),
    optimization.NAdam: _adam(torch.optim.NAdam, foreach=True),
    optimization.RAdam: _adam(torch.optim.RAdam, foreach=True),
    optimization.Adamax: _adam(torch.optim.Adamax, foreach=True),
    optimization.RMSprop: _rmsprop,
    optimization.Adagrad: _adagrad,
    optimization.Adadelta: _adadelta,
    optimization.Lion: _lion,
}
