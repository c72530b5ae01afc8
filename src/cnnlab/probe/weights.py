"""Reading the weights of a convolution, before and after training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnnlab.errors import CnnlabError
from cnnlab.model.pretrained import whereabouts
from cnnlab.probe.filters import Filters
from cnnlab.runs.final import trained_network
from cnnlab.runs.folder import RunFolder
from cnnlab.runs.listener import NOBODY
from cnnlab.runs.networks import plan_of_run
from cnnlab.spec.backbones import Known


def first_convolution(folder: RunFolder, say: Callable[[str], None]) -> Filters | None:
    """The first convolution's weights, after training and before it, where these can still be had.

    Returns:
        None for a network without a convolution.
    """
    trained = trained_network(folder, torch.device("cpu"), say)
    named = next(((name, module) for name, module in trained.named_modules() if isinstance(module, nn.Conv2d)), None)
    if named is None:
        return None
    name, module = named
    loaded, after = folder.loaded(), _array(module)
    begun = "" if loaded is None or not name.startswith("backbone.") else loaded.source
    if any(row.frozen and name == row.name for row in folder.table().layers):
        return Filters(name, after, after, begun, frozen=True)
    fresh = random_start(folder) if loaded is None else loaded_start(folder, say)
    return Filters(name, None if fresh is None else _array(fresh.get_submodule(name)), after, begun)


def random_start(folder: RunFolder) -> nn.Module:
    """A run's network with random weights, made anew from its seed, on the CPU: all that its training began with, but
    for a backbone's.
    """
    return plan_of_run(folder).make(folder.recipe().train.seed, "cpu")


def loaded_start(folder: RunFolder, say: Callable[[str], None]) -> nn.Module | None:
    """The network as a run's training began, with its backbone's weights loaded again; nothing is downloaded.

    Returns:
        None where those weights are no longer at hand, or are others, which is said.
    """
    plan, then, backbone = plan_of_run(folder), folder.loaded(), folder.recipe().model.backbone
    if plan.load is None or then is None:
        return random_start(folder)
    lost = f"! the weights that {folder.name} began with can't be had any more"
    if isinstance(backbone, Known) and not whereabouts(backbone.name, backbone.weights).at_hand:
        say(f"{lost}: they are not at hand")
        return None
    try:
        network, now = plan.begin(folder.recipe().train.seed, NOBODY.say)
    except CnnlabError as error:
        say(f"{lost}: {error.problems[0].what}")
        return None
    if now is None or now.sha256 != then.sha256:
        say(f"{lost}: the file has changed")
        return None
    return network


def _array(module: nn.Module) -> npt.NDArray[np.float32]:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach().numpy()
