"""Split a network into a frozen trunk and a trainable tail.

    images → resize → … → features            the trunk: the network itself, stopped before the cut module
             features → module → … → logits   the tail: the network itself, with the trunk's modules passing features on

Both use the network's own modules, and no tensor is copied: what trains in the tail trains in the network. The tail
is right where the modules of the trunk form a chain; each split is checked against the whole network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from cnnlab.architecture.layer import Shape
from cnnlab.errors import SpecError
from cnnlab.models.pretrained.transfer import TransferModel
from cnnlab.models.pretrained.truncate import EarlyExit, TruncateHook
from cnnlab.models.train_mode import set_epoch, unfreeze_epoch
from cnnlab.torch_rng import fork_rng

# Above all levels of nested networks: none of them takes this exit for its own.
_SPLIT_LEVEL = 0
# Relative to the largest number: rounding differs by up to so much between batches, above all on CUDA devices, which
# round to 10 bits for convolutions.
TOLERANCE = 5e-3


@dataclass(frozen=True)
class ModelSplit:
    """Where a network is split; valid for every network of this structure, also for an average of its weights.

    Attributes:
        cut_module: the first module that is not in the trunk.
        feature_shape: the shape of the trunk's output, without N.
        trunk_modules: the modules that run before the cut module, one after another, by name.
    """

    cut_module: str
    feature_shape: Shape
    trunk_modules: tuple[str, ...] = field(repr=False)

    def extract_features(self, network: nn.Module, images: Tensor) -> Tensor:
        """The features of images, N×..., in the network's current mode, without gradients."""
        with torch.no_grad():
            return _input_of(network, self.cut_module, images)

    def trainable_tail(self, network: nn.Module) -> TrainableTail:
        """The tail of a network, which shares all of its modules."""
        return TrainableTail(network, self)

    def structure_key(self, network: TransferModel) -> list[str]:
        """A description of the trunk beside its tensors: the backbone, its cuts, and the trunk's modules."""
        cut_points = [
            f"{name} {module.cut_point!r}"
            for name, module in network.named_modules()
            if isinstance(module, TransferModel)
        ]
        trunk = [f"{name} {network.get_submodule(name)!r}" for name in self.trunk_modules]
        return [repr(self.feature_shape), *cut_points, repr(network.backbone), *trunk]


class TrainableTail(nn.Module):
    """Features to logits: the network itself, in which the trunk's modules return what they are given."""

    def __init__(self, network: nn.Module, model_split: ModelSplit) -> None:
        super().__init__()
        self.network = network
        self.model_split = model_split

    def forward(self, features: Tensor) -> Tensor:
        trunk = [self.network.get_submodule(name) for name in self.model_split.trunk_modules]
        try:
            for module in trunk:
                module.__dict__["forward"] = _pass_through
            logits: Tensor = self.network(features)
            return logits
        finally:
            for module in trunk:
                module.__dict__.pop("forward", None)


def _pass_through(value: Any, *_args: Any, **_kwargs: Any) -> Any:
    return value


def frozen_tensors(network: TransferModel) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of all modules that train in no epoch, by name."""
    named = network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False)
    for name, tensor in chain(*named):
        if unfreeze_epoch(network, name.rpartition(".")[0]) is None:
            yield name, tensor


def split_frozen(network: nn.Module, images: Tensor) -> ModelSplit:
    """Split a network as late as possible: before the first layer that ever trains, or before the head's dropout.

    It is split between the modules that run one after another: those of the backbone, of sequences within it, and of
    the head. A copy of the network is run on the images, to check that both halves together give what it gives.

    Args:
        images: two or more, normalised, where the network lies, N×C×H×W.

    Raises:
        SpecError: nothing before what trains has weights, or the network can't be split there.
    """
    if not isinstance(network, TransferModel):
        raise _cannot_split("all of the network trains: it has no backbone")
    chain_of_modules = _module_chain(network)
    first = min((_position(name, chain_of_modules) for name in _trainable_or_random(network)), default=0)
    cut_module, trunk_modules = chain_of_modules[first], tuple(chain_of_modules[:first])
    if all(next(network.get_submodule(name).parameters(), None) is None for name in trunk_modules):
        raise _cannot_split(f"nothing frozen stands before {cut_module}, which trains, in some epoch at least")
    try:
        with fork_rng(), torch.no_grad():
            trial = deepcopy(network)
            set_epoch(trial, math.inf)
            features = _input_of(trial.eval(), cut_module, images)
            model_split = ModelSplit(cut_module, tuple(features.shape[1:]), trunk_modules)
            _check_equivalence(trial, images, model_split)
    except Exception as error:  # a library's network may fail in any way on features in place of images
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise _cannot_split(f"the network can't be split at {cut_module} ({reason})") from None
    return model_split


def _module_chain(network: TransferModel) -> list[str]:
    """The modules that run one after another, by name; a frozen backbone is one of them."""
    frozen_backbone = not any(name.split(".")[0] == "backbone" for name in network.unfreeze_at)
    positions = {name: number for number, name in enumerate(network.execution_order)}

    def parts(name: str, module: nn.Module) -> Iterator[str]:
        for child_name, child in module.named_children():
            full = f"{name}.{child_name}".lstrip(".")
            is_backbone = isinstance(module, TransferModel) and child_name == "backbone"
            is_sequence = is_backbone or type(child).forward in (nn.Sequential.forward, TransferModel.forward)
            if is_sequence and not (full == "backbone" and frozen_backbone):
                yield from parts(full, child)
            elif full in positions:
                yield full

    return sorted(parts("", network), key=positions.__getitem__)


def _trainable_or_random(network: TransferModel) -> Iterator[str]:
    """The modules that train in some epoch, and the head's dropout; a frozen backbone's dropout is in eval mode."""
    yield from network.unfreeze_at
    for name, module in network.head.named_modules(prefix="head"):
        if isinstance(module, _DropoutNd) and module.p:
            yield name


def _position(name: str, modules: Sequence[str]) -> int:
    """The position of the module that is, or contains, the one of this name; 0 where it contains several itself."""
    return next((number for number, known in enumerate(modules) if f"{name}.".startswith(f"{known}.")), 0)


def _check_equivalence(network: TransferModel, images: Tensor, model_split: ModelSplit) -> None:
    """Raise where both halves don't give the network's output, or an image's features depend on others."""
    training = model_split.extract_features(network.train(), images)
    features, logits = model_split.extract_features(network.eval(), images), network(images)
    if not _allclose(training, features):
        raise ValueError("what is before it is random, or differs in training")
    if len(features) != len(images) or not _allclose(model_split.extract_features(network, images[:-1]), features[:-1]):
        raise ValueError("an image's features depend on other images")
    if not _allclose(model_split.trainable_tail(network).eval()(features), logits):
        raise ValueError("what follows needs more of the image than the features")


def _allclose(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * other.abs().max())


def _input_of(network: nn.Module, module: str, images: Tensor) -> Tensor:
    """The input of a module of the network for these images; nothing after it is computed."""
    hook = network.get_submodule(module).register_forward_pre_hook(TruncateHook(_SPLIT_LEVEL, before=True))
    try:
        network(images)
    except EarlyExit as reached:
        if reached.level != _SPLIT_LEVEL:
            raise
        return reached.features
    finally:
        hook.remove()
    raise ValueError(f"{module} does not run")


def _cannot_split(what: str) -> SpecError:
    step = "leave train.cache out: the frozen part is computed for every batch"
    return SpecError(what, where="train.cache", next_step=step)
