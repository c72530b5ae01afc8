"""The Muon optimizer for hidden layers; a convolution's weight is a matrix of filters × the rest.

torch's Muon takes matrices only.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.optim import Optimizer

# K. Jordan, 2024, kellerjordan.github.io/posts/muon: a quintic with the largest possible slope at 0.
_NEWTON_SCHULZ_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5


class Muon(Optimizer):
    """Muon (K. Jordan, 2024) with Nesterov momentum and decoupled weight decay."""

    def __init__(self, params: Iterable[Any], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, _closure: None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight)
        mean, momentum = state["mean"], group["momentum"]
        mean.lerp_(gradient, 1 - momentum)
        direction = orthogonalize(gradient.lerp(mean, momentum).flatten(1))
        rows, columns = direction.shape
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(direction.view(weight.shape), alpha=-group["lr"] * max(1, rows / columns) ** 0.5)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Approximate U·Vᵀ of the matrix U·S·Vᵀ by five Newton–Schulz iterations in bf16; singular values end near 1."""
    a, b, c = _NEWTON_SCHULZ_COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    result = matrix.bfloat16()
    result = result.T if is_tall else result
    result = result / result.norm().clamp(min=1e-7)
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = result @ result.T
        result = torch.addmm(result, torch.addmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return result.T if is_tall else result


def hidden_weight_ids(network: nn.Module) -> set[int]:
    """Return the ids of the weights that Muon updates: of all convolutions and dense layers but the first and the last.

    Depthwise and grouped convolutions are not one matrix, and layers with weight normalization have no weight
    parameter.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return {
        id(layer.weight) for layer in layers[1:-1] if not is_parametrized(layer) and getattr(layer, "groups", 1) == 1
    }


class CombinedOptimizer:
    """Several optimizers that step as one; their groups and states are concatenated."""

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return list(chain.from_iterable(optimizer.param_groups for optimizer in self.optimizers))

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state as torch does: by parameter index, and the groups with the indices of their parameters."""
        state: dict[int, Any] = {}
        groups: list[dict[str, Any]] = []
        for optimizer, offset in self._with_offsets():
            own = optimizer.state_dict()
            state |= {offset + number: values for number, values in own["state"].items()}
            groups += [{**group, "params": [offset + one for one in group["params"]]} for group in own["param_groups"]]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Load the state of `state_dict`; the groups are left as they are."""
        for optimizer, offset in self._with_offsets():
            numbers = range(offset, offset + _num_parameters(optimizer))
            state = {number - offset: values for number, values in saved["state"].items() if number in numbers}
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    def _with_offsets(self) -> list[tuple[Optimizer, int]]:
        """Yield each optimizer with the index of its first parameter."""
        offsets = [sum(map(_num_parameters, self.optimizers[:index])) for index in range(len(self.optimizers))]
        return list(zip(self.optimizers, offsets, strict=True))


def _num_parameters(optimizer: Optimizer) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)
