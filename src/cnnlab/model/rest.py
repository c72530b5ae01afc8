"""The rest of a network that was parted: features to logits, with the network's own modules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from cnnlab.architecture.layer import Shape
from cnnlab.model.transfer import unfreeze

if TYPE_CHECKING:
    from cnnlab.model.parting import Parting


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
