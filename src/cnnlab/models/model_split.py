"""Split a network into a frozen trunk and a trainable tail.

    images → resize → … → features            the trunk: the network itself, stopped in front of a module
             features → module → … → logits   the tail: the network itself, in which the trunk's modules are skipped

Both use the network's own modules, and no tensor is copied: what trains in the tail trains in the network. A module
that is skipped gives NaN of its shape, so that a network that uses an earlier module's output again is found out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from cnnlab.architecture.layer import Shape
from cnnlab.errors import SpecError
from cnnlab.models.pretrained.transfer import TransferModel, unfreeze
from cnnlab.models.pretrained.truncate import EarlyExit, TruncateHook
from cnnlab.torch_rng import fork_rng


class TrainableTail(nn.Module):
    """Features to logits. Its modules are the network's own, but for copies of those that contain the cut module."""

    def __init__(self, network: nn.Module, model_split: ModelSplit) -> None:
        super().__init__()
        self._network = (network,)  # in a tuple: what the trunk holds is none of this module's
        self._copies: list[tuple[nn.Module, nn.Module]] = []
        self._feature_slot = _FeatureSlot()
        self._image_shape = model_split.image_shape
        self.inner = self._copy_tail(network, "", model_split)

    def forward(self, features: Tensor) -> Tensor:
        with self._feature_slot.provide(features):
            logits: Tensor = self.inner(_nan_batch(features, self._image_shape))
            return logits

    def train(self, mode: bool = True) -> TrainableTail:
        """As the network's own: what is frozen stays in eval mode."""
        self._network[0].train(mode)
        for own, original in self._copies:
            own.training = original.training
        self.training = mode
        return self

    def unfreeze(self, epoch: float) -> bool:
        """See `TransferModel.unfreeze`."""
        changed = unfreeze(self._network[0], epoch)
        self.train(self.training)
        return changed

    def _copy_tail(self, module: nn.Module, name: str, model_split: ModelSplit) -> nn.Module:
        own = copy(module)
        self._copies.append((own, module))
        if name == model_split.cut_module:
            own.__dict__["_forward_pre_hooks"] = type(module._forward_pre_hooks)(module._forward_pre_hooks)
            own.register_forward_pre_hook(_FeatureInputHook(self._feature_slot), prepend=True)
            return own
        children = dict(module._modules)
        for child, inner in module._modules.items():
            full = f"{name}.{child}".lstrip(".")
            if inner is None:
                continue
            if is_submodule_of(model_split.cut_module, full) or any(
                is_submodule_of(other, full) for other in model_split.skipped_shapes if other != full
            ):
                children[child] = self._copy_tail(inner, full, model_split)
            elif full in model_split.skipped_shapes:
                children[child] = _SkippedTrunkModule(inner, model_split.skipped_shapes[full], self._feature_slot)
        own.__dict__["_modules"] = children
        return own


def is_submodule_of(name: str, outer: str) -> bool:
    """Whether a module is another one, or in it."""
    return name == outer or name.startswith(f"{outer}.")


class _FeatureSlot:
    """Holds features until the cut module takes them: until then what runs is the trunk, and is skipped."""

    def __init__(self) -> None:
        self.features: Tensor | None = None

    @contextmanager
    def provide(self, features: Tensor) -> Iterator[None]:
        self.features = features
        try:
            yield
            if self.features is not None:
                raise ValueError("no module has taken the features")
        finally:
            self.features = None


class _FeatureInputHook:
    """A hook that gives a module the features when it is come to; an object, so that a copy has a copy of it."""

    def __init__(self, feature_slot: _FeatureSlot) -> None:
        self.feature_slot = feature_slot

    def __call__(self, _module: nn.Module, given: Sequence[Any]) -> tuple[Any, ...] | None:
        features, self.feature_slot.features = self.feature_slot.features, None
        return None if features is None else (features, *given[1:])


class _SkippedTrunkModule(nn.Module):
    """Stands for a module of the trunk; after the cut module has run, it runs the module itself."""

    def __init__(self, module: nn.Module, shape: Shape, feature_slot: _FeatureSlot) -> None:
        super().__init__()
        self._module = (module,)
        self._shape = shape
        self._feature_slot = feature_slot

    def forward(self, *given: Any, **named: Any) -> Any:
        features = self._feature_slot.features
        return self._module[0](*given, **named) if features is None else _nan_batch(features, self._shape)

    def extra_repr(self) -> str:
        return "×".join(map(str, self._shape))


def _nan_batch(features: Tensor, shape: Shape) -> Tensor:
    """NaN of a shape for each image, without taking the memory."""
    return features.new_full((), math.nan).expand(len(features), *shape)


# Above all levels of nested networks: none of them takes this exit for its own.
_SPLIT_LEVEL = 0
# Of the largest number: by so much rounding may differ where a device computes another batch in another way, above all
# one that rounds to 10 bits for convolutions, as CUDA devices do. What is wrong by its structure gives NaN.
TOLERANCE = 5e-3


@dataclass(frozen=True)
class ModelSplit:
    """Where a network is split; valid for every network of this structure, also for an average of its weights.

    Attributes:
        cut_module: the first module that is not in the trunk.
        image_shape: (C, H, W) of what goes in.
        feature_shape: the shape of what the trunk gives, without N.
        skipped_shapes: the modules of the trunk that the tail skips, and the shape of what each gives.
        trunk_modules: the outermost modules that run before the cut module, whatever they give: also those that give
            tuples, which the tail runs on NaN.
        tensor_owners: the modules whose own numbers the trunk may use.
        execution_order: the modules that run before the cut module, in their order.
    """

    cut_module: str
    image_shape: Shape
    feature_shape: Shape
    skipped_shapes: Mapping[str, Shape] = field(repr=False)
    trunk_modules: tuple[str, ...] = field(repr=False)
    tensor_owners: frozenset[str] = field(repr=False)
    execution_order: tuple[str, ...] = field(repr=False)

    def extract_features(self, network: nn.Module, images: Tensor) -> Tensor:
        """The features of images, N×...; in the mode in which the network is, without gradients."""
        with torch.no_grad():
            return _features_at(network, self.cut_module, images)

    def trainable_tail(self, network: nn.Module) -> TrainableTail:
        """The network as it takes features; it shares everything with the network."""
        return TrainableTail(network, self)

    def named_trunk_tensors(self, network: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """The trunk's numbers, by name: of what runs in front, and what modules on the way use themselves."""
        named = network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False)
        for name, tensor in chain(*named):
            if name.rpartition(".")[0] in self.tensor_owners:
                yield name, tensor

    def structure_key(self, network: nn.Module) -> list[str]:
        """What tells the trunk from others of the same numbers."""
        modules = dict(network.named_modules())
        # Heads differ in what follows; rows that are skipped tell how far the trunk reaches into one.
        cut_label = "head" if is_submodule_of(self.cut_module, "head") else self.cut_module
        found = [cut_label, repr(self.image_shape), repr(self.feature_shape)]
        found += [f"{name} {type(modules[name]).__qualname__}" for name in _ancestors(self.cut_module)]
        found += [
            f"{name} {module.cut_point!r}" for name, module in modules.items() if isinstance(module, TransferModel)
        ]
        # Of two places in one module, or of two cuts of one network, the skipped modules may be the same.
        found += self.execution_order
        return found + [f"{name} {self.skipped_shapes.get(name)} {modules[name]!r}" for name in self.trunk_modules]


def split_frozen(network: nn.Module, images: Tensor) -> ModelSplit:
    """Split a network as late as possible: before the first module that ever trains, or that draws.

    That both halves together give what the network gives is tried out on the images.

    Args:
        images: two or more, normalised, where the network lies, N×C×H×W.

    Raises:
        SpecError: nothing in front of what trains has weights, or the network can't be split there.
    """
    if not isinstance(network, TransferModel):
        raise _cannot_split("all of the network trains: it has no backbone")
    was_training = network.training
    with fork_rng(), torch.no_grad(), _preserve_buffers(network):
        try:
            unfreeze(network, math.inf)
            network.train()
            first, drawing = _first_trainable(network)
            return _latest_valid_split(network, images, first, drawing)
        finally:
            unfreeze(network, 0)
            network.train(was_training)


@contextmanager
def _preserve_buffers(network: nn.Module) -> Iterator[None]:
    """Whatever modules count or average within it, their buffers are what they were."""
    kept = [
        (module, name, buffer, buffer.clone())
        for module in network.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for module, name, buffer, numbers in kept:
            module._buffers[name] = buffer.copy_(numbers)


def _latest_valid_split(
    network: TransferModel, images: Tensor, first_trainable: str, is_stochastic: bool
) -> ModelSplit:
    """The latest valid split, at the first trainable module or one that contains it."""
    pieces, trouble = first_trainable.split(".") if first_trainable else [], ""
    for size in range(len(pieces), 0, -1):
        cut_module = ".".join(pieces[:size])
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
    verb = "draws" if is_stochastic else "trains, in some epoch at least"
    raise _cannot_split(f"nothing frozen stands in front of {first_trainable or 'the network'}, which {verb}")


def _first_trainable(network: TransferModel) -> tuple[str, bool]:
    """The first module to run that trains, or that draws while training; and whether it is for drawing.

    Statistics that a norm goes on taking train as well, also where it has no parameters.
    """
    positions = {name: number for number, name in enumerate(network.execution_order)}
    training = {_executing_module(name, positions) for name in network.unfreeze_at}
    training |= {
        name for name, module in network.named_modules() if name in positions and _updates_running_stats(module)
    }
    drawing = {name for name, module in network.named_modules() if name in positions and _is_stochastic(module)}
    first = min(training | drawing, key=lambda name: positions.get(name, -1))
    return first, first not in training


def _executing_module(name: str, positions: Mapping[str, int]) -> str:
    """The module itself, or, where only its numbers are used, the one that uses them."""
    while name and name not in positions:
        name = name.rpartition(".")[0]
    return name


def _updates_running_stats(module: nn.Module) -> bool:
    """Whether a module changes statistics of its own in the mode in which it is."""
    return module.training and any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))


def _is_stochastic(module: nn.Module) -> bool:
    """Whether a module draws in the mode in which it is. The names are those of torchvision, timm and this package."""
    name = type(module).__name__.lower()
    rate = next((getattr(module, key) for key in ("p", "drop_prob", "drop") if hasattr(module, key)), 1)
    is_one = isinstance(module, _DropoutNd) or "drop" in name or "stochastic" in name
    own = next(module.children(), None) is None
    return module.training and is_one and own and rate != 0


def _split_at(network: TransferModel, images: Tensor, cut_module: str) -> ModelSplit:
    """A split at a module, with the shapes of what is before it."""
    positions = {name: number for number, name in enumerate(network.execution_order)}
    trunk_modules = list(_modules_before(network, "", cut_module, positions))
    shapes: dict[str, Shape] = {}

    def record_shape(name: str) -> Any:
        def note(_module: nn.Module, _given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape[1:])

        return note

    def record_input_shape(name: str) -> Any:
        def note(_module: nn.Module, given: Any) -> None:
            shapes[name] = tuple(given[0].shape[1:])

        return note

    modules = dict(network.named_modules())
    network.eval()
    with ExitStack() as undo:
        for name in trunk_modules:
            holder, _, own = name.rpartition(".")
            outer = modules[holder]
            if isinstance(outer, TransferModel) and own == "backbone":  # a cut one never returns
                undo.enter_context(outer.head.register_forward_pre_hook(record_input_shape(name)))
            else:
                undo.enter_context(modules[name].register_forward_hook(record_shape(name)))
        features = _features_at(network, cut_module, images)
    return ModelSplit(
        cut_module,
        tuple(images.shape[1:]),
        tuple(features.shape[1:]),
        skipped_shapes={name: shapes[name] for name in trunk_modules if name in shapes},
        trunk_modules=tuple(trunk_modules),
        tensor_owners=frozenset(_tensor_owners(modules, trunk_modules, _ancestors(cut_module), positions)),
        execution_order=tuple(name for name, number in positions.items() if number < positions[cut_module]),
    )


def _tensor_owners(
    modules: Mapping[str, nn.Module],
    trunk_modules: Sequence[str],
    ancestors: Sequence[str],
    positions: Mapping[str, int],
) -> Iterator[str]:
    """The modules before the cut module, its ancestors, and those whose tensors these use themselves."""
    for name in modules:
        if _executing_module(name, positions) in ancestors or any(
            is_submodule_of(name, outer) for outer in trunk_modules
        ):
            yield name


def _ancestors(module_name: str) -> list[str]:
    """The modules that contain a module, from the network itself on."""
    pieces = module_name.split(".")
    return [".".join(pieces[:size]) for size in range(len(pieces))]


def _modules_before(module: nn.Module, name: str, cut_module: str, positions: Mapping[str, int]) -> Iterator[str]:
    """The outermost modules that run before the cut module."""
    for child, inner in module.named_children():
        full = f"{name}.{child}".lstrip(".")
        if full == cut_module:
            continue
        if is_submodule_of(cut_module, full) or full not in positions:  # a list of modules does not run itself
            yield from _modules_before(inner, full, cut_module, positions)
        elif positions[full] < positions[cut_module]:
            yield full


def _check_equivalence(network: TransferModel, images: Tensor, model_split: ModelSplit) -> None:
    """Raise where the halves don't give what the whole gives, or features are not each image's own."""
    network.train()
    training = model_split.extract_features(network, images)
    network.eval()
    features, logits = model_split.extract_features(network, images), network(images)
    if not _allclose(training, features):
        raise ValueError("what is in front of it draws, or differs in training")
    if len(features) != len(images) or not _allclose(model_split.extract_features(network, images[:-1]), features[:-1]):
        raise ValueError("an image's features depend on other images")
    if not _allclose(model_split.trainable_tail(network).eval()(features), logits):
        raise ValueError("what follows needs more of the image than it is given there")


def _allclose(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * other.abs().max())


def _features_at(network: nn.Module, cut_module: str, images: Tensor) -> Tensor:
    hook = network.get_submodule(cut_module).register_forward_pre_hook(TruncateHook(_SPLIT_LEVEL, before=True))
    try:
        network(images)
    except EarlyExit as reached:
        if reached.level != _SPLIT_LEVEL:
            raise
        return reached.features
    finally:
        hook.remove()
    raise ValueError(f"{cut_module} does not run")


def _cannot_split(what: str) -> SpecError:
    return SpecError(what, where="train.cache", next_step="leave train.cache out: the frozen part is computed anew")
