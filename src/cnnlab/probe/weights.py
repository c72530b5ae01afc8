"""Reading the weights of a convolution, before and after training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnnlab.errors import CnnlabError
from cnnlab.probe.filters import Filters
from cnnlab.runs.final import trained_network
from cnnlab.runs.folder import RunFolder
from cnnlab.runs.listener import NOBODY
from cnnlab.runs.networks import plan_of_run


def first_convolution(folder: RunFolder, say: Callable[[str], None]) -> Filters | None:
    """The first convolution's weights; those before training are made anew from the run's seed.

    Returns:
        None for a network without a convolution, and, aloud, where what it began with is no longer at hand.
    """
    trained = trained_network(folder, torch.device("cpu"), say)
    try:
        fresh = random_start(folder)
    except CnnlabError as error:
        say(f"the first convolution is not shown, since the weights before training can't be had: {error.problems[0]}")
        return None
    for name, module in trained.named_modules():
        if isinstance(module, nn.Conv2d):
            return Filters(name, _array(fresh.get_submodule(name)), _array(module))
    return None


def random_start(folder: RunFolder) -> nn.Module:
    """A run's network with the weights that its training began with, made anew from its seed; on the CPU.

    Raises:
        CnnlabError: its backbone's weights are no longer at hand.
    """
    return plan_of_run(folder).begin(folder.recipe().train.seed, NOBODY.say)[0]


def _array(module: nn.Module) -> npt.NDArray[np.float32]:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach().numpy()
