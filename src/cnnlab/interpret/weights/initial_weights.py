"""The initial weights of a run, restored from its seed and verified by the digest in the run."""

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
from cnnlab.models.pretrained.weights import find_weights
from cnnlab.runs.initial_weights import state_digest
from cnnlab.storage.run_folder import RunFolder


@dataclass(frozen=True)
class InitialNetwork:
    """A run's network before training.

    Attributes:
        network: on the CPU; None where it is not available or differs from the run's.
        reason: why there is none, or why it is not verified.
    """

    network: nn.Module | None
    status: InitialWeightsStatus
    reason: str = ""


def random_initial_network(folder: RunFolder) -> nn.Module:
    """A run's network on the CPU with the random weights of its seed, a backbone's included."""
    return plan_run_network(folder).build(folder.recipe().train.seed, "cpu")


def loaded_initial_network(folder: RunFolder, log: Callable[[str], None]) -> nn.Module | None:
    """A run's network before training, its backbone's weights loaded; nothing is downloaded.

    Returns:
        None, with a warning to `log`, where it is not available or differs from the run's.
    """
    initial = initial_network(folder)
    if initial.reason:
        log(f"! the initial weights of {folder.name} are not verified: {initial.reason}")
    return initial.network


def initial_network(folder: RunFolder) -> InitialNetwork:
    """Restore a run's network before training and verify it; errors as `plan_run_network`."""
    network, reason = _rebuild(folder)
    if network is None:
        return InitialNetwork(None, LOST, reason)
    try:
        recorded = folder.initial_weights()
    except RunError as error:
        return InitialNetwork(network, UNCHECKED, error.problems[0].what)
    if recorded is None:
        return InitialNetwork(network, UNCHECKED)
    if state_digest(network) == recorded.sha256:
        return InitialNetwork(network, CHECKED)
    reason = (
        "the seed gives other weights than initial_weights.json records: another version of "
        f"torch (the run's is {folder.environment().torch}, this is {torch.__version__}), of cnnlab, or an edited file"
    )
    return InitialNetwork(None, MISMATCH, reason)


def _rebuild(folder: RunFolder) -> tuple[nn.Module | None, str]:
    """The network of the seed with its backbone's weights, or why it is not available."""
    plan, recorded, backbone = plan_run_network(folder), folder.loaded_weights(), folder.recipe().model.backbone
    if plan.load_weights is None or recorded is None:
        return random_initial_network(folder), ""
    if isinstance(backbone, LibraryBackbone) and not find_weights(backbone.name, backbone.weights).is_local:
        return None, "they are not on this machine"
    try:
        network, loaded = plan.initialize(folder.recipe().train.seed, NO_CALLBACKS.log)
    except CnnlabError as error:
        return None, error.problems[0].what
    if loaded is None or loaded.sha256 != recorded.sha256:
        return None, "the file has changed"
    return network, ""
