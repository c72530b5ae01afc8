"""A backbone with a head: images are resized, turned into features, and named.

A network that is cut stops by an exception at its last layer, whatever its own code would do next: so any library's
network can be cut at any of its modules, and keeps the names of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.models.pretrained.truncate import Place, Reached, cut

_PARAMETRISED = ".parametrizations.weight"


class Resize(nn.Module):
    """N×C×H×W images to another height and width; what is made smaller is smoothed first."""

    def __init__(self, size: tuple[int, int], mode: Literal["nearest", "bilinear", "bicubic"]) -> None:
        super().__init__()
        self.size = size
        self.mode = mode

    def extra_repr(self) -> str:
        return f"{self.size[0]}×{self.size[1]}, {self.mode}"

    def forward(self, images: Tensor) -> Tensor:
        smaller = images.shape[2] > self.size[0] or images.shape[3] > self.size[1]
        if self.mode == "nearest":
            whole = all(new % old == 0 for new, old in zip(self.size, images.shape[2:], strict=True))
            return F.interpolate(images, self.size, mode="nearest" if whole else "nearest-exact")
        return F.interpolate(images, self.size, mode=self.mode, antialias=smaller)


class Transfer(nn.Module):
    """N×C×H×W images to N×K logits, by way of a backbone's features.

    Attributes:
        place: where the backbone is cut.
        begins: for each module that trains, by name, the epoch from which on it does; what is not named is frozen.
        order: the modules in the order in which they run.
    """

    def __init__(self, resize: Resize | None, backbone: nn.Module, place: Place, head: nn.Module) -> None:
        super().__init__()
        # One within another: what stops the inner one is not meant for the outer one.
        self.level: int = 1 + max((part.level for part in backbone.modules() if isinstance(part, Transfer)), default=0)
        self.resize = resize
        self.backbone = backbone
        self.place = place
        self.head = head
        self.order: tuple[str, ...] = ()
        self.begins: dict[str, int] = {}
        self._still: frozenset[str] = frozenset()
        cut(backbone, place, self.level)

    def features(self, images: Tensor) -> Tensor:
        """What the backbone makes of images: N×C×H×W maps or N×F vectors."""
        try:
            found: Tensor = self.backbone(images if self.resize is None else self.resize(images))
        except Reached as reached:
            if reached.level != self.level:
                raise
            return reached.features
        return found

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits

    def train(self, mode: bool = True) -> Transfer:
        """As every module's, but what is frozen stays in eval mode: its norms keep their statistics."""
        super().train(mode)
        if mode:
            for name, module in self.named_modules():
                if name in self._still:
                    module.training = False
        return self

    def set_policy(self, begins: Mapping[str, int], order: Sequence[str]) -> None:
        """Say what trains, and from which epoch on; then `unfreeze`."""
        self.begins, self.order = dict(begins), tuple(order)

    def unfreeze(self, epoch: float) -> bool:
        """Let train what trains in this epoch (counted from 0), and freeze the rest; whether that changes anything."""
        trains = {name for name, begin in self.begins.items() if begin <= epoch}
        before = [parameter.requires_grad for parameter in self.parameters()]
        self._still = frozenset(_still(self, trains, self.order))
        for part in self.modules():
            if isinstance(part, Transfer) and part is not self:
                part._still = frozenset()  # what is frozen is said here alone
        for name, module in self.named_modules():
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(owner(name) in trains)
        self.train(self.training)
        return before != [parameter.requires_grad for parameter in self.parameters()]


def resized(network: nn.Module) -> tuple[int, int] | None:
    """The largest height and width that a network, or one within it, resizes images to; None where none does."""
    sizes = [module.size for module in network.modules() if isinstance(module, Resize)]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def unfreeze(network: nn.Module, epoch: float) -> bool:
    """As `Transfer.unfreeze`, also of one that is parted; in any other network everything trains."""
    own: Callable[[float], bool] | None = getattr(network, "unfreeze", None)
    return own is not None and own(epoch)


def owners(network: nn.Module) -> list[str]:
    """The modules with parameters or running statistics of their own, by name, in their order."""
    return list(dict.fromkeys(owner(name) for name, module in network.named_modules() if _learns(module)))


def _learns(module: nn.Module) -> bool:
    """Whether training changes numbers of a module itself: a norm without weights has statistics."""
    return next(module.parameters(recurse=False), None) is not None or getattr(module, "running_mean", None) is not None


def owner(module: str) -> str:
    """The row that a module belongs to: a normalised weight is a module of its own within it."""
    return module.removesuffix(_PARAMETRISED)


def _still(network: nn.Module, trains: set[str], order: Sequence[str]) -> Iterator[str]:
    """The modules that stay in eval mode: nothing within them trains, and they hold numbers or lie in front.

    In front of everything that trains also a backbone's dropout has nothing to do: the features there are those of eval
    mode. The head's is the recipe's own wish.
    """
    place = {name: number for number, name in enumerate(order)}
    first = min((place[name] for name in trains if name in place), default=len(order))
    for name, module in network.named_modules():
        inner = f"{name}." if name else ""
        is_head = name == "head" or name.startswith("head.")
        row = name.partition(".parametrizations")[0]
        if is_head or row in trains or any(other.startswith(inner) for other in trains):
            continue
        holds = next(module.parameters(), None) is not None or next(module.buffers(), None) is not None
        if holds or place.get(name, len(order)) < first:
            yield name
