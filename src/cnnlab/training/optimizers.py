"""The optimiser that a recipe names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from cnnlab.spec import choices


def optimizer(choice: Any, network: nn.Module) -> Optimizer:
    """A torch optimiser over all parameters that train, in its fused form: one kernel a step, on the CPU too."""
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


def _adam(kind: type[torch.optim.Adam]) -> Callable[[Any, list[nn.Parameter]], Optimizer]:
    def build(choice: Any, parameters: list[nn.Parameter]) -> Optimizer:
        return kind(
            parameters,
            lr=choice.lr,
            betas=(choice.beta1, choice.beta2),
            eps=choice.eps,
            weight_decay=choice.weight_decay,
            fused=True,
        )

    return build


_BUILDERS: dict[type, Callable[[Any, list[nn.Parameter]], Optimizer]] = {
    choices.SGD: _sgd,
    choices.Adam: _adam(torch.optim.Adam),
    choices.AdamW: _adam(torch.optim.AdamW),
}
