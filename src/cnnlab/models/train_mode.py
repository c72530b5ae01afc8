"""The mode of a network, module by module: a frozen part may be in eval mode within a network that trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


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
