"""What a run's training began with: made anew from its seed, and held to the digest that it wrote down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from cnnlab.config.backbones import Known
from cnnlab.errors import CnnlabError, RunError
from cnnlab.interpret.weights.filters import CHECKED, LOST, OTHER, UNCHECKED, Begun
from cnnlab.models.network_plan import plan_of_run
from cnnlab.models.pretrained.weights import whereabouts
from cnnlab.records import StartRecord
from cnnlab.runs.callbacks import NOBODY
from cnnlab.runs.environment import code_hash
from cnnlab.runs.initial_weights import state_digest
from cnnlab.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Start:
    """A run's network as its training began, and how sure that is.

    Attributes:
        network: on the CPU; None where it can't be had, or is another than the run began with.
        begun: how it was come by.
        reason: why there is none, or why what is there could not be checked.
    """

    network: nn.Module | None
    begun: Begun
    reason: str = ""


def random_start(folder: RunFolder) -> nn.Module:
    """A run's network with random weights, made anew from its seed, on the CPU: all that its training began with, but
    for a backbone's.
    """
    return plan_of_run(folder).make(folder.recipe().train.seed, "cpu")


def loaded_start(folder: RunFolder, say: Callable[[str], None]) -> nn.Module | None:
    """The network as a run's training began, with its backbone's weights loaded again; nothing is downloaded.

    Returns:
        None where that can't be had any more, or is something else, which is said.
    """
    start = start_of(folder)
    if start.network is None:
        say(f"! {start.reason}")
    elif start.reason:
        say(f"! what {folder.name} began with is not checked: {start.reason}")
    return start.network


def start_of(folder: RunFolder) -> Start:
    """The network as a run's training began, held to the digest that it wrote down; errors as `plan_of_run`."""
    network, reason = _again(folder)
    if network is None:
        return Start(None, LOST, f"the weights that {folder.name} began with can't be had any more: {reason}")
    try:
        then = folder.start()
    except RunError as error:
        # What can't be checked is told; it costs nobody the rest.
        return Start(network, UNCHECKED, error.problems[0].what)
    if then is None:
        return Start(network, UNCHECKED)
    if state_digest(network) == then.sha256:
        return Start(network, CHECKED)
    return Start(None, OTHER, _differs(folder, network, then))


def _again(folder: RunFolder) -> tuple[nn.Module | None, str]:
    """The network from its seed, its backbone's weights loaded again; or why that can't be done."""
    plan, then, backbone = plan_of_run(folder), folder.loaded(), folder.recipe().model.backbone
    if plan.load is None or then is None:
        return random_start(folder), ""
    if isinstance(backbone, Known) and not whereabouts(backbone.name, backbone.weights).at_hand:
        return None, "they are not at hand"
    try:
        network, now = plan.begin(folder.recipe().train.seed, NOBODY.say)
    except CnnlabError as error:
        return None, error.problems[0].what
    if now is None or now.sha256 != then.sha256:
        return None, "the file has changed"
    return network, ""


def _differs(folder: RunFolder, network: nn.Module, then: StartRecord) -> str:
    """What can explain that the same seed gives another state."""
    made = folder.environment()
    causes = []
    if then.tensors != len(network.state_dict()):
        causes.append(f"it had {then.tensors} tensors and now has {len(network.state_dict())}")
    if made.torch != torch.__version__:
        causes.append(f"it began under torch {made.torch}, and this is {torch.__version__}")
    if made.code != code_hash():
        causes.append("this version of cnnlab has other code than the run's")
    why = "; ".join(causes) or "its recipe.toml, data.json or start.json was edited"
    return f"what the seed of {folder.name} gives is not what its training began with, by start.json: {why}"
