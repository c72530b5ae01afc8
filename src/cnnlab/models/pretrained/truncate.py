"""Truncate a network at one of its layers; all names stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cnnlab.architecture.layer_table import BACKBONE_PREFIX, matching_names, name_prefixes
from cnnlab.architecture.layers import layers
from cnnlab.errors import SpecError, did_you_mean
from cnnlab.records import LayerRecord


@dataclass(frozen=True)
class CutPoint:
    """Where a network is cut: after a module, or before it. With an empty name it is whole."""

    module: str = ""
    before: bool = False


class EarlyExit(Exception):  # noqa: N818
    """Stops a forward pass at the cut; `level` tells the cuts of nested networks apart."""

    def __init__(self, features: Tensor, level: int) -> None:
        super().__init__("the cut")
        self.features = features
        self.level = level


class TruncateHook:
    """A hook that stops a network's forward pass, with what has been computed so far.

    An object, not a function, so that it is copied with its network.
    """

    def __init__(self, level: int, before: bool) -> None:
        self.level = level
        self.before = before

    def __call__(self, _module: nn.Module, inputs: Any, output: Any = None) -> None:
        features = inputs[0] if self.before else output
        if not isinstance(features, Tensor):
            raise SpecError("this layer's output is no tensor", where="model.cut", next_step="cut at another layer")
        raise EarlyExit(features, self.level)


def truncate(network: nn.Module, cut_point: CutPoint, level: int) -> None:
    """Truncate a network at a cut point, in place.

    Raises:
        SpecError: there is no such module; suggests the nearest name.
    """
    if not cut_point.module:
        return
    modules = dict(network.named_modules())
    if cut_point.module not in modules:
        raise _unknown_layer(cut_point.module, modules)
    hook = TruncateHook(level, cut_point.before)
    if cut_point.before:
        modules[cut_point.module].register_forward_pre_hook(hook)
    else:
        modules[cut_point.module].register_forward_hook(hook)


class PrunedModule(nn.Module):
    """Replaces a module whose output is not used. Returns a copy, since what comes next may write to it."""

    def forward(self, value: Any, *_args: Any, **_kwargs: Any) -> Any:
        return value.detach().clone() if isinstance(value, Tensor) else value


def find_cut_point(network: nn.Module, name: str, rows: Callable[[], Collection[LayerRecord]]) -> CutPoint:
    """The cut point after the layer of this name, with or without the 'backbone.' of a recipe's table.

    Args:
        rows: the network's rows, needed where no module has the name: a row may be a function within a module.

    Raises:
        SpecError: no module has the name; suggests the nearest one, or the one that holds the function.
    """
    modules = dict(network.named_modules())
    bare = name.removeprefix(BACKBONE_PREFIX)
    found = matching_names(name, modules) or matching_names(bare, modules)
    if len(found) > 1:
        raise SpecError(
            f"several layers of the backbone are called '{name}'",
            where="model.cut",
            received=name,
            allowed=", ".join(found),
            next_step=f"write the whole name: cut = '{found[0]}'",
        )
    if found:
        return CutPoint(found[0])
    steps = matching_names(bare, [row.name for row in rows()])
    if not steps:
        raise _unknown_layer(name, modules)
    outer = next((whole for whole in reversed(name_prefixes(steps[0])[:-1]) if whole in modules), "")
    raise SpecError(
        "this row is a step within a larger module, and a network is cut after a module",
        where="model.cut",
        received=name,
        allowed="the name of a module",
        next_step=f"cut after the whole module: cut = '{outer}'" if outer else "leave the cut out, or cut before it",
    )


def prune(network: nn.Module, executed_modules: Collection[str], used_tensors: Collection[str]) -> None:
    """Remove what does not contribute to a network's output, in place.

    A module becomes a `PrunedModule`, a weight None.

    Args:
        executed_modules: the modules that run, by name.
        used_tensors: the parameters and buffers that are used; those of a module may be used without running it.
    """
    needed = {""}
    for name in (*executed_modules, *(tensor.rpartition(".")[0] for tensor in used_tensors)):
        parts = name.split(".")
        needed |= {".".join(parts[:size]) for size in range(1, len(parts) + 1)}
    for name, module in list(network.named_modules()):
        for child in list(dict(module.named_children())):
            if f"{name}.{child}".lstrip(".") not in needed:
                setattr(module, child, PrunedModule())
    for name in [name for name, _ in network.named_parameters() if name not in used_tensors]:
        holder, _, own = name.rpartition(".")
        setattr(network.get_submodule(holder), own, None)


def _unknown_layer(name: str, modules: Collection[str]) -> SpecError:
    return SpecError(
        "the backbone has no layer of this name",
        where="model.cut",
        received=name,
        allowed="the name of a module, such as those in the table of 'cnnlab describe RECIPE'",
        next_step=did_you_mean(name.removeprefix(BACKBONE_PREFIX), [known for known in modules if known])
        or "leave the cut out, and see the names: cnnlab describe RECIPE",
    )


def find_classifier_layer(records: Collection[LayerRecord], modules: Collection[str]) -> str:
    """The last row with weights that is a module, which is the classifier; "" where there is none."""
    names = [row.name for row in records if row.parameters and row.name in modules and row.kind in layers.kinds]
    return names[-1] if names else ""


def make_stem_small(network: nn.Module, executed_modules: Collection[str]) -> str:
    """Adapt a network's first layers to small images, in place: a 3×3 kernel, stride 1, and no max pool after it.

    Args:
        executed_modules: the modules that run, by name, in their order.

    Returns:
        The name of the convolution, whose weights are new.

    Raises:
        SpecError: the network's first layer is no strided convolution.
    """
    run = [(name, network.get_submodule(name)) for name in executed_modules]
    convs = [(name, module) for name, module in run if isinstance(module, nn.Conv2d)]
    name, first = convs[0] if convs else ("", None)
    if first is None or first.stride == (1, 1) or max(first.kernel_size) > 11 or first.groups > 1:
        raise SpecError(
            "this network has no stem that could be made small",
            where="model.backbone",
            received="stem='small'",
            allowed="networks that begin with a convolution whose stride is 2 or more, such as ResNets",
            next_step="leave stem out",
        )
    has_bias, device = first.bias is not None, first.weight.device
    network.set_submodule(name, nn.Conv2d(first.in_channels, first.out_channels, 3, 1, 1, bias=has_bias, device=device))
    between = run[[other for other, _ in run].index(name) :]
    for other, module in between:
        if isinstance(module, nn.MaxPool2d):
            network.set_submodule(other, nn.Identity())
        if isinstance(module, nn.Conv2d) and other != name:
            break
    return name
