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
from cnnlab.models.pretrained.transfer import Transfer, unfreeze
from cnnlab.models.pretrained.truncate import Reached, Stop
from cnnlab.randomness import torch_state


class Rest(nn.Module):
    """Features to logits. Its modules are the network's own, but for copies of those on the way to the place."""

    def __init__(self, network: nn.Module, parting: Parting) -> None:
        super().__init__()
        self._network = (network,)  # in a tuple: what the trunk holds is none of this module's
        self._copies: list[tuple[nn.Module, nn.Module]] = []
        self._door = _Door()
        self._image = parting.image
        self.inner = self._opened(network, "", parting)

    def forward(self, features: Tensor) -> Tensor:
        with self._door.holding(features):
            logits: Tensor = self.inner(_nothing(features, self._image))
            return logits

    def train(self, mode: bool = True) -> Rest:
        """As the network's own: what is frozen stays in eval mode."""
        self._network[0].train(mode)
        for own, original in self._copies:
            own.training = original.training
        self.training = mode
        return self

    def unfreeze(self, epoch: float) -> bool:
        """See `Transfer.unfreeze`."""
        changed = unfreeze(self._network[0], epoch)
        self.train(self.training)
        return changed

    def _opened(self, module: nn.Module, name: str, parting: Parting) -> nn.Module:
        own = copy(module)
        self._copies.append((own, module))
        if name == parting.place:
            own.__dict__["_forward_pre_hooks"] = type(module._forward_pre_hooks)(module._forward_pre_hooks)
            own.register_forward_pre_hook(_Entry(self._door), prepend=True)
            return own
        children = dict(module._modules)
        for child, inner in module._modules.items():
            full = f"{name}.{child}".lstrip(".")
            if inner is None:
                continue
            if is_within(parting.place, full) or any(
                is_within(other, full) for other in parting.skipped if other != full
            ):
                children[child] = self._opened(inner, full, parting)
            elif full in parting.skipped:
                children[child] = _Skipped(inner, parting.skipped[full], self._door)
        own.__dict__["_modules"] = children
        return own


def is_within(name: str, outer: str) -> bool:
    """Whether a module is another one, or in it."""
    return name == outer or name.startswith(f"{outer}.")


class _Door:
    """Holds features until the module at the place takes them: until then what runs is the trunk, and is skipped."""

    def __init__(self) -> None:
        self.features: Tensor | None = None

    @contextmanager
    def holding(self, features: Tensor) -> Iterator[None]:
        self.features = features
        try:
            yield
            if self.features is not None:
                raise ValueError("nobody has taken the features")
        finally:
            self.features = None


class _Entry:
    """A hook that gives a module the features when it is come to; an object, so that a copy has a copy of it."""

    def __init__(self, door: _Door) -> None:
        self.door = door

    def __call__(self, _module: nn.Module, given: Sequence[Any]) -> tuple[Any, ...] | None:
        features, self.door.features = self.door.features, None
        return None if features is None else (features, *given[1:])


class _Skipped(nn.Module):
    """A module of the trunk. One that runs again behind the door is itself there."""

    def __init__(self, module: nn.Module, shape: Shape, door: _Door) -> None:
        super().__init__()
        self._module = (module,)
        self._shape = shape
        self._door = door

    def forward(self, *given: Any, **named: Any) -> Any:
        features = self._door.features
        return self._module[0](*given, **named) if features is None else _nothing(features, self._shape)

    def extra_repr(self) -> str:
        return "×".join(map(str, self._shape))


def _nothing(features: Tensor, shape: Shape) -> Tensor:
    """NaN of a shape for each image, without taking the memory."""
    return features.new_full((), math.nan).expand(len(features), *shape)


# Above all levels of networks within others: nobody on the way takes this stop for its own.
_LEVEL = 0
# Of the largest number: by so much rounding may differ where a device computes another batch in another way, above all
# one that rounds to 10 bits for convolutions, as CUDA devices do. What is wrong by its structure gives NaN.
TOLERANCE = 5e-3


@dataclass(frozen=True)
class Parting:
    """Where a network is parted; of every network of this structure, an average of its weights too.

    Attributes:
        place: the first module that is not in the trunk.
        image: (C, H, W) of what goes in.
        features: the shape of what the trunk gives, without N.
        skipped: the modules of the trunk that the rest passes over, and the shape of what each gives.
        front: the outermost modules that run in front of the place, whatever they give: also those that give tuples,
            which the rest runs on NaN.
        holders: the modules whose own numbers the trunk may use.
        order: the modules that run before the place, in their order.
    """

    place: str
    image: Shape
    features: Shape
    skipped: Mapping[str, Shape] = field(repr=False)
    front: tuple[str, ...] = field(repr=False)
    holders: frozenset[str] = field(repr=False)
    order: tuple[str, ...] = field(repr=False)

    def trunk(self, network: nn.Module, images: Tensor) -> Tensor:
        """The features of images, N×...; in the mode in which the network is, without gradients."""
        with torch.no_grad():
            return _features(network, self.place, images)

    def rest(self, network: nn.Module) -> Rest:
        """The network as it takes features; it shares everything with the network."""
        return Rest(network, self)

    def tensors(self, network: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """The trunk's numbers, by name: of what runs in front, and what modules on the way use themselves."""
        named = network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False)
        for name, tensor in chain(*named):
            if name.rpartition(".")[0] in self.holders:
                yield name, tensor

    def structure(self, network: nn.Module) -> list[str]:
        """What tells the trunk from others of the same numbers."""
        modules = dict(network.named_modules())
        # Heads differ in what follows; rows that are skipped tell how far the trunk reaches into one.
        place = "head" if is_within(self.place, "head") else self.place
        found = [place, repr(self.image), repr(self.features)]
        found += [f"{name} {type(modules[name]).__qualname__}" for name in _way(self.place)]
        found += [f"{name} {module.place!r}" for name, module in modules.items() if isinstance(module, Transfer)]
        # Of two places in one module, or of two cuts of one network, the skipped modules may be the same.
        found += self.order
        return found + [f"{name} {self.skipped.get(name)} {modules[name]!r}" for name in self.front]


def part(network: nn.Module, images: Tensor) -> Parting:
    """Part a network as late as can be: in front of the first module that ever trains, or that draws.

    That both halves together give what the network gives is tried out on the images.

    Args:
        images: two or more, normalised, where the network lies, N×C×H×W.

    Raises:
        SpecError: nothing in front of what trains has weights, or the network can't be parted there.
    """
    if not isinstance(network, Transfer):
        raise _refused("all of the network trains: it has no backbone")
    was_training = network.training
    with torch_state(), torch.no_grad(), _buffers_kept(network):
        try:
            unfreeze(network, math.inf)
            network.train()
            first, drawing = _first(network)
            return _parted(network, images, first, drawing)
        finally:
            unfreeze(network, 0)
            network.train(was_training)


@contextmanager
def _buffers_kept(network: nn.Module) -> Iterator[None]:
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


def _parted(network: Transfer, images: Tensor, first: str, drawing: bool) -> Parting:
    """The latest parting that holds, at the first module or one that holds it."""
    pieces, trouble = first.split(".") if first else [], ""
    for size in range(len(pieces), 0, -1):
        place = ".".join(pieces[:size])
        try:
            parting = _found(network, images, place)
            if not any(True for _ in parting.tensors(network)):
                break
            _check(network, images, parting)
            return parting
        except Exception as error:  # a library's network may fail in any way where its modules are skipped
            trouble = trouble or f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if trouble:
        raise _refused(f"the network can't be parted at {first} ({trouble})")
    verb = "draws" if drawing else "trains, in some epoch at least"
    raise _refused(f"nothing frozen stands in front of {first or 'the network'}, which {verb}")


def _first(network: Transfer) -> tuple[str, bool]:
    """The first module to run that trains, or that draws while training; and whether it is for drawing.

    Statistics that a norm goes on taking train as well, also where it has no parameters.
    """
    place = {name: number for number, name in enumerate(network.order)}
    training = {_entered(name, place) for name in network.begins}
    training |= {name for name, module in network.named_modules() if name in place and _takes_statistics(module)}
    drawing = {name for name, module in network.named_modules() if name in place and _draws(module)}
    first = min(training | drawing, key=lambda name: place.get(name, -1))
    return first, first not in training


def _entered(name: str, place: Mapping[str, int]) -> str:
    """The module itself, or, where only its numbers are used, the one that uses them."""
    while name and name not in place:
        name = name.rpartition(".")[0]
    return name


def _takes_statistics(module: nn.Module) -> bool:
    """Whether a module changes statistics of its own in the mode in which it is."""
    return module.training and any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))


def _draws(module: nn.Module) -> bool:
    """Whether a module draws in the mode in which it is. The names are those of torchvision, timm and this package."""
    name = type(module).__name__.lower()
    rate = next((getattr(module, key) for key in ("p", "drop_prob", "drop") if hasattr(module, key)), 1)
    is_one = isinstance(module, _DropoutNd) or "drop" in name or "stochastic" in name
    own = next(module.children(), None) is None
    return module.training and is_one and own and rate != 0


def _found(network: Transfer, images: Tensor, place: str) -> Parting:
    """A parting at a place, with the shapes of what is in front of it."""
    order = {name: number for number, name in enumerate(network.order)}
    front = list(_in_front(network, "", place, order))
    shapes: dict[str, Shape] = {}

    def noting(name: str) -> Any:
        def note(_module: nn.Module, _given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape[1:])

        return note

    def noting_features(name: str) -> Any:
        def note(_module: nn.Module, given: Any) -> None:
            shapes[name] = tuple(given[0].shape[1:])

        return note

    modules = dict(network.named_modules())
    network.eval()
    with ExitStack() as undo:
        for name in front:
            holder, _, own = name.rpartition(".")
            outer = modules[holder]
            if isinstance(outer, Transfer) and own == "backbone":  # a cut one never returns
                undo.enter_context(outer.head.register_forward_pre_hook(noting_features(name)))
            else:
                undo.enter_context(modules[name].register_forward_hook(noting(name)))
        features = _features(network, place, images)
    return Parting(
        place,
        tuple(images.shape[1:]),
        tuple(features.shape[1:]),
        skipped={name: shapes[name] for name in front if name in shapes},
        front=tuple(front),
        holders=frozenset(_holders(modules, front, _way(place), order)),
        order=tuple(name for name, number in order.items() if number < order[place]),
    )


def _holders(
    modules: Mapping[str, nn.Module], front: Sequence[str], way: Sequence[str], order: Mapping[str, int]
) -> Iterator[str]:
    """The modules in front of a place, those on the way to it, and those whose numbers these use themselves."""
    for name in modules:
        if _entered(name, order) in way or any(is_within(name, outer) for outer in front):
            yield name


def _way(place: str) -> list[str]:
    """The modules that hold a place, from the network itself on."""
    pieces = place.split(".")
    return [".".join(pieces[:size]) for size in range(len(pieces))]


def _in_front(module: nn.Module, name: str, place: str, order: Mapping[str, int]) -> Iterator[str]:
    """The outermost modules that run before a place."""
    for child, inner in module.named_children():
        full = f"{name}.{child}".lstrip(".")
        if full == place:
            continue
        if is_within(place, full) or full not in order:  # a list of modules does not run itself
            yield from _in_front(inner, full, place, order)
        elif order[full] < order[place]:
            yield full


def _check(network: Transfer, images: Tensor, parting: Parting) -> None:
    """Raise where the halves don't give what the whole gives, or features are not each image's own."""
    network.train()
    training = parting.trunk(network, images)
    network.eval()
    features, logits = parting.trunk(network, images), network(images)
    if not _close(training, features):
        raise ValueError("what is in front of it draws, or differs in training")
    if len(features) != len(images) or not _close(parting.trunk(network, images[:-1]), features[:-1]):
        raise ValueError("an image's features depend on other images")
    if not _close(parting.rest(network).eval()(features), logits):
        raise ValueError("what follows needs more of the image than it is given there")


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * other.abs().max())


def _features(network: nn.Module, place: str, images: Tensor) -> Tensor:
    stop = network.get_submodule(place).register_forward_pre_hook(Stop(_LEVEL, before=True))
    try:
        network(images)
    except Reached as reached:
        if reached.level != _LEVEL:
            raise
        return reached.features
    finally:
        stop.remove()
    raise ValueError(f"{place} does not run")


def _refused(what: str) -> SpecError:
    return SpecError(what, where="train.cache", next_step="leave train.cache out: the frozen part is computed anew")
