"""A backbone with a head: images are resized, turned into features, and classified.

A truncated network stops by an exception at its cut, so that any library's network can be cut at any of its modules,
and keeps the names of its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.models.pretrained.truncate import CutPoint, EarlyExit, truncate

_PARAMETRIZATION_SUFFIX = ".parametrizations.weight"


class Resize(nn.Module):
    """Resize N×C×H×W images; smaller ones are antialiased."""

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
        unfreeze_at: the epoch from which on each module trains, by name; modules without one are frozen.
        execution_order: the modules in the order in which they run.
    """

    def __init__(self, resize: Resize | None, backbone: nn.Module, cut_point: CutPoint, head: nn.Module) -> None:
        super().__init__()
        # Of nested networks, each catches the exception of its own cut only.
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
        """The backbone's features of images: N×C×H×W maps or N×F vectors."""
        try:
            features: Tensor = self.backbone(images if self.resize is None else self.resize(images))
        except EarlyExit as reached:
            if reached.level != self.nesting_level:
                raise
            return reached.features
        return features

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
        """Set what trains, and from which epoch on; `train_mode.set_epoch` puts it into effect."""
        self.unfreeze_at, self.execution_order = dict(unfreeze_at), tuple(execution_order)

    def set_eval_only(self, modules: Iterable[str]) -> None:
        """Set the modules, by name, that stay in eval mode whatever `train` says; those of a network within it too."""
        self._eval_only = frozenset(modules)
        for inner in self.modules():
            if isinstance(inner, TransferModel) and inner is not self:
                inner._eval_only = frozenset()


def max_resize(network: nn.Module) -> tuple[int, int] | None:
    """The largest height and width that a network, or one within it, resizes images to; None where none does."""
    sizes = [module.size for module in network.modules() if isinstance(module, Resize)]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def stateful_modules(network: nn.Module) -> list[str]:
    """The modules with parameters or running statistics of their own, by name, in their order."""
    return list(dict.fromkeys(row_of_module(name) for name, module in network.named_modules() if _has_state(module)))


def _has_state(module: nn.Module) -> bool:
    """Whether training changes numbers of a module itself: a norm without weights has statistics."""
    return next(module.parameters(recurse=False), None) is not None or getattr(module, "running_mean", None) is not None


def row_of_module(module: str) -> str:
    """The row that a module belongs to: a normalised weight is a module of its own within it."""
    return module.removesuffix(_PARAMETRIZATION_SUFFIX)
