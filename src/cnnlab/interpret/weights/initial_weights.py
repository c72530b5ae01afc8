"""What a run's training began with: made anew from its seed, and held to the digest that it wrote down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from cnnlab.config.backbones import LibraryBackbone
from cnnlab.context import NO_CALLBACKS
from cnnlab.errors import CnnlabError, RunError
from cnnlab.interpret.weights.filters import CHECKED, LOST, MISMATCH, UNCHECKED, InitialWeightsStatus
from cnnlab.models.network_plan import plan_run_network
from cnnlab.models.pretrained.weights import locate_weights
from cnnlab.records import InitialWeightsRecord
from cnnlab.runs.environment import code_hash
from cnnlab.runs.initial_weights import state_digest
from cnnlab.storage.run_folder import RunFolder


@dataclass(frozen=True)
class InitialNetwork:
    """A run's network as its training began, and how sure that is.

    Attributes:
        network: on the CPU; None where it can't be had, or is another than the run began with.
        status: how it was come by.
        reason: why there is none, or why what is there could not be checked.
    """

    network: nn.Module | None
    status: InitialWeightsStatus
    reason: str = ""


def random_initial_network(folder: RunFolder) -> nn.Module:
    """A run's network with random weights, made anew from its seed, on the CPU: all that its training began with, but
    for a backbone's.
    """
    return plan_run_network(folder).build(folder.recipe().train.seed, "cpu")


def loaded_initial_network(folder: RunFolder, log: Callable[[str], None]) -> nn.Module | None:
    """The network as a run's training began, with its backbone's weights loaded again; nothing is downloaded.

    Returns:
        None where that can't be had any more, or is something else, which is said.
    """
    start = initial_network(folder)
    if start.network is None:
        log(f"! {start.reason}")
    elif start.reason:
        log(f"! what {folder.name} began with is not checked: {start.reason}")
    return start.network


def initial_network(folder: RunFolder) -> InitialNetwork:
    """The network as a run's training began, held to the digest that it wrote down; errors as `plan_run_network`."""
    network, reason = _rebuild(folder)
    if network is None:
        return InitialNetwork(None, LOST, f"the weights that {folder.name} began with can't be had any more: {reason}")
    try:
        recorded = folder.initial_weights()
    except RunError as error:
        # What can't be checked is told; it costs nobody the rest.
        return InitialNetwork(network, UNCHECKED, error.problems[0].what)
    if recorded is None:
        return InitialNetwork(network, UNCHECKED)
    if state_digest(network) == recorded.sha256:
        return InitialNetwork(network, CHECKED)
    return InitialNetwork(None, MISMATCH, _mismatch_reason(folder, network, recorded))


def _rebuild(folder: RunFolder) -> tuple[nn.Module | None, str]:
    """The network from its seed, its backbone's weights loaded again; or why that can't be done."""
    plan, recorded, backbone = plan_run_network(folder), folder.loaded_weights(), folder.recipe().model.backbone
    if plan.load_weights is None or recorded is None:
        return random_initial_network(folder), ""
    if isinstance(backbone, LibraryBackbone) and not locate_weights(backbone.name, backbone.weights).is_local:
        return None, "they are not at hand"
    try:
        network, now = plan.initialize(folder.recipe().train.seed, NO_CALLBACKS.log)
    except CnnlabError as error:
        return None, error.problems[0].what
    if now is None or now.sha256 != recorded.sha256:
        return None, "the file has changed"
    return network, ""


def _mismatch_reason(folder: RunFolder, network: nn.Module, recorded: InitialWeightsRecord) -> str:
    """What can explain that the same seed gives another state."""
    made = folder.environment()
    causes = []
    if recorded.tensors != len(network.state_dict()):
        causes.append(f"it had {recorded.tensors} tensors and now has {len(network.state_dict())}")
    if made.torch != torch.__version__:
        causes.append(f"it began under torch {made.torch}, and this is {torch.__version__}")
    if made.code != code_hash():
        causes.append("this version of cnnlab has other code than the run's")
    why = "; ".join(causes) or "its recipe.toml, data.json or initial_weights.json was edited"
    return f"what the seed of {folder.name} gives is not what its training began with, by initial_weights.json: {why}"
