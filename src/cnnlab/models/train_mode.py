"""What of a network trains at an epoch, and which of its modules stay in eval mode then."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from cnnlab.models.pretrained.transfer import TransferModel, row_of_module


def unfreeze_epoch(network: nn.Module, module: str) -> int | None:
    """The epoch (from 0) from which on a module's own parameters train; None: they are frozen for good.

    In a network without a backbone everything trains from the start.
    """
    return network.unfreeze_at.get(row_of_module(module)) if isinstance(network, TransferModel) else 0


def trains(network: nn.Module, module: str, epoch: float) -> bool:
    """Whether a module's own parameters train in an epoch; in epoch `math.inf` all that ever do."""
    begin = unfreeze_epoch(network, module)
    return begin is not None and begin <= epoch


def set_epoch(network: nn.Module, epoch: float) -> bool:
    """Let exactly what trains in an epoch have gradients, and keep the rest in eval mode; True if that changes any.

    Args:
        network: also one that holds a network with a backbone, such as a `TrainableTail`.
    """
    model = next((module for module in network.modules() if isinstance(module, TransferModel)), None)
    if model is None:
        return False
    before = [parameter.requires_grad for parameter in model.parameters()]
    model.set_eval_only(_modules_kept_in_eval(model, epoch))
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(trains(model, name, epoch))
    network.train(network.training)
    return before != [parameter.requires_grad for parameter in model.parameters()]


@contextmanager
def all_trainable(network: nn.Module) -> Iterator[None]:
    """Within it, everything trains that does in any epoch; afterwards the network is as its first epoch has it."""
    set_epoch(network, math.inf)
    try:
        yield
    finally:
        set_epoch(network, 0)


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Within it, the network is in eval mode; afterwards each of its modules is in the mode that it was in."""
    before = {module: module.training for module in network.modules()}
    try:
        network.eval()
        yield
    finally:
        for module, training in before.items():
            module.training = training


def _modules_kept_in_eval(model: TransferModel, epoch: float) -> Iterator[str]:
    """The modules that stay in eval mode: nothing in them trains, and they have tensors or run before all that trains.

    In front of everything that trains a backbone's dropout has nothing to do: features there are those of eval mode.
    The head's dropout is the recipe's own choice.
    """
    training = {name for name in model.unfreeze_at if trains(model, name, epoch)}
    positions = {name: number for number, name in enumerate(model.execution_order)}
    end = len(positions)
    first = min((positions[name] for name in training if name in positions), default=end)
    for name, module in model.named_modules():
        row = name.partition(".parametrizations")[0]
        is_head = name == "head" or name.startswith("head.")
        if is_head or row in training or any(other.startswith(f"{name}." if name else "") for other in training):
            continue
        has_state = next(module.parameters(), None) is not None or next(module.buffers(), None) is not None
        if has_state or positions.get(name, end) < first:
            yield name
