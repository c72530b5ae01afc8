"""A backbone with a head: images are resized, turned into features, and classified.

A network that is cut stops by an exception at its last layer, whatever its own code would do next: so any library's
network can be cut at any of its modules, and keeps the names of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.models.pretrained.truncate import CutPoint, EarlyExit, truncate

_PARAMETRIZATION_SUFFIX = ".parametrizations.weight"


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


class TransferModel(nn.Module):
    """N×C×H×W images to N×K logits, by way of a backbone's features.

    Attributes:
        cut_point: where the backbone is cut.
        unfreeze_at: for each module that trains, by name, the epoch from which on it does; what is not named is frozen.
        execution_order: the modules in the order in which they run.
    """

    def __init__(self, resize: Resize | None, backbone: nn.Module, cut_point: CutPoint, head: nn.Module) -> None:
        super().__init__()
        # One within another: what stops the inner one is not meant for the outer one.
        self.nesting_level: int = 1 + max(
            (module.nesting_level for module in backbone.modules() if isinstance(module, TransferModel)), default=0
        )
        self.resize = resize
        self.backbone = backbone
        self.cut_point = cut_point
        self.head = head
        self.execution_order: tuple[str, ...] = ()
        self.unfreeze_at: dict[str, int] = {}
        self._eval_only: frozenset[str] = frozenset()
        truncate(backbone, cut_point, self.nesting_level)

    def forward_features(self, images: Tensor) -> Tensor:
        """What the backbone makes of images: N×C×H×W maps or N×F vectors."""
        try:
            found: Tensor = self.backbone(images if self.resize is None else self.resize(images))
        except EarlyExit as reached:
            if reached.level != self.nesting_level:
                raise
            return reached.features
        return found

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.forward_features(images))
        return logits

    def train(self, mode: bool = True) -> TransferModel:
        """As every module's, but what is frozen stays in eval mode: its norms keep their statistics."""
        super().train(mode)
        if mode:
            for name, module in self.named_modules():
                if name in self._eval_only:
                    module.training = False
        return self

    def set_unfreeze_schedule(self, unfreeze_at: Mapping[str, int], execution_order: Sequence[str]) -> None:
        """Set what trains, and from which epoch on; then call `unfreeze`."""
        self.unfreeze_at, self.execution_order = dict(unfreeze_at), tuple(execution_order)

    def unfreeze(self, epoch: float) -> bool:
        """Unfreeze the layers scheduled for this epoch (from 0) and freeze the others; True if that changes any."""
        trainable = {name for name, begin in self.unfreeze_at.items() if begin <= epoch}
        before = [parameter.requires_grad for parameter in self.parameters()]
        self._eval_only = frozenset(_modules_kept_in_eval(self, trainable, self.execution_order))
        for inner in self.modules():
            if isinstance(inner, TransferModel) and inner is not self:
                inner._eval_only = frozenset()  # what is frozen is said here alone
        for name, module in self.named_modules():
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(row_of_module(name) in trainable)
        self.train(self.training)
        return before != [parameter.requires_grad for parameter in self.parameters()]


def max_resize(network: nn.Module) -> tuple[int, int] | None:
    """The largest height and width that a network, or one within it, resizes images to; None where none does."""
    sizes = [module.size for module in network.modules() if isinstance(module, Resize)]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def unfreeze(network: nn.Module, epoch: float) -> bool:
    """As `TransferModel.unfreeze`, also of a `TrainableTail`; in any other network everything trains."""
    own: Callable[[float], bool] | None = getattr(network, "unfreeze", None)
    return own is not None and own(epoch)


def stateful_modules(network: nn.Module) -> list[str]:
    """The modules with parameters or running statistics of their own, by name, in their order."""
    return list(dict.fromkeys(row_of_module(name) for name, module in network.named_modules() if _has_state(module)))


def _has_state(module: nn.Module) -> bool:
    """Whether training changes numbers of a module itself: a norm without weights has statistics."""
    return next(module.parameters(recurse=False), None) is not None or getattr(module, "running_mean", None) is not None


def row_of_module(module: str) -> str:
    """The row that a module belongs to: a normalised weight is a module of its own within it."""
    return module.removesuffix(_PARAMETRIZATION_SUFFIX)


def _modules_kept_in_eval(network: nn.Module, trainable: set[str], execution_order: Sequence[str]) -> Iterator[str]:
    """The modules that stay in eval mode: nothing within them trains, and they hold numbers or lie in front.

    In front of everything that trains also a backbone's dropout has nothing to do: the features there are those of eval
    mode. The head's is the recipe's own wish.
    """
    positions = {name: number for number, name in enumerate(execution_order)}
    first = min((positions[name] for name in trainable if name in positions), default=len(execution_order))
    for name, module in network.named_modules():
        inner = f"{name}." if name else ""
        is_head = name == "head" or name.startswith("head.")
        row = name.partition(".parametrizations")[0]
        if is_head or row in trainable or any(other.startswith(inner) for other in trainable):
            continue
        holds = next(module.parameters(), None) is not None or next(module.buffers(), None) is not None
        if holds or positions.get(name, len(execution_order)) < first:
            yield name
