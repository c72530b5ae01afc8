"""The optimiser that a recipe names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from cnnlab.spec import choices
from cnnlab.training.lion import Lion


def optimizer(choice: Any, network: nn.Module) -> Optimizer:
    """A torch optimiser over all parameters that train.

    It is fused, one kernel a step, on the CPU too; where torch has no such form, it is the one that works on all
    parameters together.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return _BUILDERS[type(choice)](choice, parameters)


def _sgd(choice: choices.SGD, parameters: list[nn.Parameter]) -> Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=choice.lr,
        momentum=choice.momentum,
        nesterov=choice.nesterov,
        weight_decay=choice.weight_decay,
        fused=True,
    )


def _adam(kind: Callable[..., Optimizer], **form: bool) -> Callable[[Any, list[nn.Parameter]], Optimizer]:
    def build(choice: Any, parameters: list[nn.Parameter]) -> Optimizer:
        return kind(
            parameters,
            lr=choice.lr,
            betas=(choice.beta1, choice.beta2),
            eps=choice.eps,
            weight_decay=choice.weight_decay,
            **form,
        )

    return build


def _rmsprop(choice: choices.RMSprop, parameters: list[nn.Parameter]) -> Optimizer:
    return torch.optim.RMSprop(
        parameters,
        lr=choice.lr,
        alpha=choice.alpha,
        momentum=choice.momentum,
        centered=choice.centered,
        eps=choice.eps,
        weight_decay=choice.weight_decay,
        foreach=True,
    )


def _adagrad(choice: choices.Adagrad, parameters: list[nn.Parameter]) -> Optimizer:
    return torch.optim.Adagrad(parameters, lr=choice.lr, eps=choice.eps, weight_decay=choice.weight_decay, foreach=True)


def _adadelta(choice: choices.Adadelta, parameters: list[nn.Parameter]) -> Optimizer:
    return torch.optim.Adadelta(
        parameters, lr=choice.lr, rho=choice.rho, eps=choice.eps, weight_decay=choice.weight_decay, foreach=True
    )


def _lion(choice: choices.Lion, parameters: list[nn.Parameter]) -> Optimizer:
    return Lion(parameters, lr=choice.lr, betas=(choice.beta1, choice.beta2), weight_decay=choice.weight_decay)


_BUILDERS: dict[type, Callable[[Any, Any], Optimizer]] = {
    choices.SGD: _sgd,
    choices.Adam: _adam(torch.optim.Adam, fused=True),
    choices.AdamW: _adam(torch.optim.AdamW, fused=True),
    choices.NAdam: _adam(torch.optim.NAdam, foreach=True),
    choices.RAdam: _adam(torch.optim.RAdam, foreach=True),
    choices.Adamax: _adam(torch.optim.Adamax, foreach=True),
    choices.RMSprop: _rmsprop,
    choices.Adagrad: _adagrad,
    choices.Adadelta: _adadelta,
    choices.Lion: _lion,
}
