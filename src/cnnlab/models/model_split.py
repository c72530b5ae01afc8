"""Split a network into a frozen trunk and a trainable tail.

    images → resize → … → features            the trunk: the network itself, stopped before a module
             features → module → … → logits   the tail: the network itself, in which the trunk's modules are skipped

Both use the network's own modules, and no tensor is copied: what trains in the tail trains in the network. A module
that is skipped gives NaN of its shape, which shows where a network uses an earlier module's output again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from cnnlab.architecture.layer import Shape
from cnnlab.architecture.layer_table import name_prefixes
from cnnlab.errors import SpecError
from cnnlab.models.pretrained.transfer import TransferModel
from cnnlab.models.pretrained.truncate import EarlyExit, TruncateHook
from cnnlab.models.train_mode import set_epoch
from cnnlab.torch_rng import fork_rng

# Above all levels of nested networks: none of them takes this exit for its own.
_SPLIT_LEVEL = 0
# Relative to the largest number: rounding differs by up to so much between batches, above all on CUDA devices, which
# round to 10 bits for convolutions. A split that is wrong by its structure gives NaN.
TOLERANCE = 5e-3


@dataclass(frozen=True)
class ModelSplit:
    """Where a network is split; valid for every network of this structure, also for an average of its weights.

    Attributes:
        cut_module: the first module that is not in the trunk.
        image_shape: (C, H, W) of the images.
        feature_shape: the shape of the trunk's output, without N.
        trunk_shapes: the outermost modules of the trunk, and the shape of each one's output.
    """

    cut_module: str
    image_shape: Shape
    feature_shape: Shape
    trunk_shapes: Mapping[str, Shape] = field(repr=False)

    def extract_features(self, network: nn.Module, images: Tensor) -> Tensor:
        """The features of images, N×..., in the network's current mode, without gradients."""
        with torch.no_grad():
            return _input_of(network, self.cut_module, images)

    def trainable_tail(self, network: nn.Module) -> TrainableTail:
        """The tail of a network, which shares all of its modules."""
        return TrainableTail(network, self)

    def named_trunk_tensors(self, network: TransferModel) -> Iterator[tuple[str, Tensor]]:
        """The parameters and buffers that the trunk may use, by name: of all that begins to run before the cut."""
        positions = _positions(network)
        named = network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False)
        for name, tensor in chain(*named):
            owner = _executing_module(name.rpartition(".")[0], positions)
            if positions.get(owner, -1) < positions[self.cut_module]:
                yield name, tensor

    def structure_key(self, network: TransferModel) -> list[str]:
        """A description of the trunk beside its tensors: the modules that run in it, in their order."""
        modules = dict(network.named_modules())
        positions = _positions(network)
        # Heads differ in what follows; the modules that run tell how far the trunk reaches into one.
        cut_label = "head" if "head" in name_prefixes(self.cut_module) else self.cut_module
        cut_points = [
            f"{name} {module.cut_point!r}" for name, module in modules.items() if isinstance(module, TransferModel)
        ]
        running = [
            f"{name} {type(modules[name]).__qualname__}({modules[name].extra_repr()})"
            for name, position in positions.items()
            if position < positions[self.cut_module]
        ]
        return [cut_label, repr(self.image_shape), repr(self.feature_shape), *cut_points, *running]


class TrainableTail(nn.Module):
    """Features to logits: the network itself, in which no module of the trunk is computed."""

    def __init__(self, network: nn.Module, model_split: ModelSplit) -> None:
        super().__init__()
        self.network = network
        self.model_split = model_split

    def forward(self, features: Tensor) -> Tensor:
        with _feature_input(self.network, self.model_split, features):
            logits: Tensor = self.network(_nan_batch(features, self.model_split.image_shape))
            return logits


@contextmanager
def _feature_input(network: nn.Module, model_split: ModelSplit, features: Tensor) -> Iterator[None]:
    """Within it the cut module gets the features; until it runs, the trunk's modules give NaN."""
    waiting: list[Tensor] = [features]

    def take_features(_module: nn.Module, given: Sequence[Any]) -> tuple[Any, ...] | None:
        return (waiting.pop(), *given[1:]) if waiting else None

    def skip(module: nn.Module, shape: Shape) -> Callable[..., Any]:
        compute = module.forward  # a module that runs again after the cut is computed there
        return lambda *given, **named: _nan_batch(features, shape) if waiting else compute(*given, **named)

    trunk = [(network.get_submodule(name), shape) for name, shape in model_split.trunk_shapes.items()]
    hook = network.get_submodule(model_split.cut_module).register_forward_pre_hook(take_features, prepend=True)
    try:
        for module, shape in trunk:
            module.__dict__["forward"] = skip(module, shape)
        yield
        if waiting:
            raise ValueError("no module has taken the features")
    finally:
        hook.remove()
        for module, _ in trunk:
            module.__dict__.pop("forward", None)


def _nan_batch(features: Tensor, shape: Shape) -> Tensor:
    """NaN of a shape for each image, without taking the memory."""
    return features.new_full((), math.nan).expand(len(features), *shape)


def split_frozen(network: nn.Module, images: Tensor) -> ModelSplit:
    """Split a network as late as possible: before the first module that ever trains, or that is random.

    A copy of the network is run on the images, to check that both halves together give what the network gives.

    Args:
        images: two or more, normalised, where the network lies, N×C×H×W.

    Raises:
        SpecError: nothing before what trains has weights, or the network can't be split there.
    """
    if not isinstance(network, TransferModel):
        raise _cannot_split("all of the network trains: it has no backbone")
    with fork_rng(), torch.no_grad():
        trial = deepcopy(network)
        set_epoch(trial, math.inf)
        trial.train()
        first, is_stochastic = _first_trainable(trial)
        return _latest_valid_split(trial, images, first, is_stochastic)


def _latest_valid_split(
    network: TransferModel, images: Tensor, first_trainable: str, is_stochastic: bool
) -> ModelSplit:
    """The latest valid split, at the first trainable module or one that contains it."""
    trouble = ""
    for cut_module in reversed(name_prefixes(first_trainable) if first_trainable else []):
        try:
            model_split = _split_at(network, images, cut_module)
            if not any(True for _ in model_split.named_trunk_tensors(network)):
                break
            _check_equivalence(network, images, model_split)
            return model_split
        except Exception as error:  # a library's network may fail in any way where its modules are skipped
            trouble = trouble or f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if trouble:
        raise _cannot_split(f"the network can't be split at {first_trainable} ({trouble})")
    verb = "is random" if is_stochastic else "trains, in some epoch at least"
    raise _cannot_split(f"nothing frozen stands before {first_trainable or 'the network'}, which {verb}")


def _first_trainable(network: TransferModel) -> tuple[str, bool]:
    """The first module to run that trains, or that is random in training; and whether it is only random.

    Statistics that a norm goes on taking train as well, also where it has no parameters.
    """
    positions = _positions(network)
    running = [(name, module) for name, module in network.named_modules() if name in positions]
    training = {_executing_module(name, positions) for name in network.unfreeze_at}
    training |= {name for name, module in running if _updates_running_stats(module)}
    random = {name for name, module in running if _is_stochastic(module)}
    first = min(training | random, key=lambda name: positions.get(name, -1))
    return first, first not in training


def _positions(network: TransferModel) -> dict[str, int]:
    """The position of each module in the order of execution; one that contains others comes before them."""
    return {name: number for number, name in enumerate(network.execution_order)}


def _executing_module(name: str, positions: Mapping[str, int]) -> str:
    """The module itself, or, where only its tensors are used, the module that uses them."""
    while name and name not in positions:
        name = name.rpartition(".")[0]
    return name


def _updates_running_stats(module: nn.Module) -> bool:
    """Whether a module updates running statistics in its current mode."""
    return module.training and any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))


def _is_stochastic(module: nn.Module) -> bool:
    """Whether a module is random in its current mode. The names are those of torchvision, timm and this package."""
    name = type(module).__name__.lower()
    rate = next((getattr(module, key) for key in ("p", "drop_prob", "drop") if hasattr(module, key)), 1)
    is_one = isinstance(module, _DropoutNd) or "drop" in name or "stochastic" in name
    own = next(module.children(), None) is None
    return module.training and is_one and own and rate != 0


def _split_at(network: TransferModel, images: Tensor, cut_module: str) -> ModelSplit:
    """A split at a module, with the output shapes of the modules before it."""
    trunk_modules = list(_modules_before(network, "", cut_module, _positions(network)))
    shapes: dict[str, Shape] = {}
    modules = dict(network.named_modules())
    network.eval()
    with ExitStack() as undo:
        for name in trunk_modules:
            holder, _, own = name.rpartition(".")
            outer = modules[holder]
            if isinstance(outer, TransferModel) and own == "backbone":  # one that is truncated never returns
                undo.enter_context(outer.head.register_forward_pre_hook(_shape_recorder(shapes, name)))
            else:
                undo.enter_context(modules[name].register_forward_hook(_shape_recorder(shapes, name)))
        features = _input_of(network, cut_module, images)
    without = [name for name in trunk_modules if name not in shapes]
    if without:
        raise ValueError(f"{without[0]} does not give one tensor")
    return ModelSplit(cut_module, tuple(images.shape[1:]), tuple(features.shape[1:]), shapes)


def _shape_recorder(shapes: dict[str, Shape], name: str) -> Callable[..., None]:
    """A hook that records the shape of a module's output, or, as a pre-hook, of its input."""

    def record(_module: nn.Module, given: Any, *output: Any) -> None:
        found = output[0] if output else given[0]
        if isinstance(found, Tensor):
            shapes[name] = tuple(found.shape[1:])

    return record


def _modules_before(module: nn.Module, name: str, cut_module: str, positions: Mapping[str, int]) -> Iterator[str]:
    """The outermost modules that run before the cut module."""
    for child, inner in module.named_children():
        full = f"{name}.{child}".lstrip(".")
        if full == cut_module:
            continue
        if full in name_prefixes(cut_module) or full not in positions:  # a list of modules does not run itself
            yield from _modules_before(inner, full, cut_module, positions)
        elif positions[full] < positions[cut_module]:
            yield full


def _check_equivalence(network: TransferModel, images: Tensor, model_split: ModelSplit) -> None:
    """Raise where both halves don't give the network's output, or an image's features depend on others."""
    network.train()
    training = model_split.extract_features(network, images)
    network.eval()
    features, logits = model_split.extract_features(network, images), network(images)
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
    return SpecError(what, where="train.cache", next_step="leave train.cache out: the frozen part is computed anew")
