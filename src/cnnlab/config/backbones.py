"""The choices about a backbone: which network, which part of it trains, and whether its features are cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from cnnlab.architecture.layer_table import matches, name_prefixes
from cnnlab.errors import Problem, SpecError, did_you_mean
from cnnlab.grammar.arguments import Count
from cnnlab.grammar.calls import Call, format_value, parse_call
from cnnlab.grammar.registry import Choice, Registry
from cnnlab.grammar.validation_errors import value_error

TIMM = "timm/"
_EXAMPLE = "resnet18(weights='imagenet'), timm/convnext_tiny(weights='none') or run('runs/x', cut='row')"
_kinds: Registry[Any] = Registry("backbone")


@_kinds.register("network")
class LibraryBackbone:
    """A classification network of torchvision or timm.

    `weights` is 'none', 'imagenet', the name of published weights, or a file's path. `cut` is the layer whose output
    are the features; empty: what goes into the last layer with weights. A small `stem` is made for small images: the
    first convolution has a 3×3 window and stride 1, and the max pool after it is left out.
    """

    kind: ClassVar[str]
    name: str
    weights: str
    cut: str = ""
    stem: Literal["own", "small"] = "own"


@_kinds.register("run")
class RunBackbone:
    """The network of a run, with its trained weights or, with weights='none', with new ones; `cut` as above.

    `path` may be a pattern, such as 'runs/*-trunk': the newest finished run of such a name.
    """

    kind: ClassVar[str]
    path: str
    cut: str = ""
    weights: Literal["trained", "none"] = "trained"


Backbone: TypeAlias = LibraryBackbone | RunBackbone
BackboneT = TypeVar("BackboneT", LibraryBackbone, RunBackbone)


def read_backbone(value: Any) -> Backbone:
    """Read a backbone from its text.

    >>> read_backbone("resnet18(weights='imagenet')").name
    'resnet18'

    Raises:
        SpecError: it can't be read, or an argument is unknown, missing or wrong.
    """
    if isinstance(value, LibraryBackbone | RunBackbone):
        return value
    if not isinstance(value, str) or not value.strip():
        raise value_error(f"a text such as {_EXAMPLE}")
    call = _parse_call(value.strip())
    if call.label:
        raise SpecError("a backbone has no label", received=value, allowed=_EXAMPLE)
    if call.name == "run":
        found: Backbone = _kinds.read(call)
        return found
    if not call.positional and not call.named:
        step = f"write {call.name}(weights='imagenet'), or weights='none' to begin at random"
        raise SpecError(f"the weights of {call.name} are missing", received=value, next_step=step)
    try:
        found = _kinds.read(replace(call, name="network", positional=(call.name, *call.positional)))
    except SpecError as error:
        raise SpecError.from_problems(
            _network_problem(problem, call.name, value) for problem in error.problems
        ) from None
    return found


def change_backbone(backbone: BackboneT, **changes: str) -> BackboneT:
    """The same backbone with other weights, or of a run at another path."""
    choice: Any = backbone
    changed: BackboneT = replace(choice, **changes)
    return changed


def format_backbone(backbone: Backbone) -> str:
    """The text of a backbone, with defaults spelled out; `read_backbone` reads it."""
    call = _kinds.to_call(backbone, defaults=True)
    if isinstance(backbone, RunBackbone):
        return str(call)
    name, weights = call.positional
    arguments = ", ".join(f"{key}={format_value(given)}" for key, given in {"weights": weights, **call.named}.items())
    return f"{name}({arguments})"


def _parse_call(text: str) -> Call:
    """Parse a backbone's call. A name of timm has dots and a prefix, which names in the grammar don't."""
    if not text.startswith(TIMM):
        return parse_call(text)
    name, bracket, rest = text.partition("(")
    return replace(parse_call(f"timm{bracket}{rest}"), name=name.strip())


def _network_problem(problem: Problem, name: str, received: str) -> Problem:
    allowed = f"{name}(weights='imagenet', cut='', stem='own')"
    what = problem.what.replace("network", name, 1) if problem.what.startswith("network") else problem.what
    generic = "network(" in problem.allowed
    return replace(problem, what=what, received=received, allowed=allowed if generic else problem.allowed)


trainable_choices: Registry[Any] = Registry("choice of what trains")
_KEY = "model.trainable"


@trainable_choices.register("all")
class TrainAll(Choice):
    """Everything, starting from the backbone's weights."""


@trainable_choices.register("none")
class TrainHeadOnly(Choice):
    """Nothing of the backbone: only the head trains, on fixed features."""


@trainable_choices.register("last_convs")
class TrainLastConvs(Choice):
    """The last `count` convolutions; their norms stay frozen."""

    count: Count


@trainable_choices.register("rows")
class TrainModules(Choice):
    """The modules of these names or patterns, such as 'layer4.*.conv1', with all modules within them."""

    names: tuple[str, ...]


@trainable_choices.register("gradual")
class GradualUnfreezing(Choice):
    """Only the head at first; every `every` epochs the next of `parts` unfreezes (Howard, Ruder, 2018).

    By default the parts are the backbone's stages, the last one first.
    """

    parts: tuple[str, ...] = ()
    every: Count = 1


def unfreeze_epochs(trainable: Any, module_names: Sequence[str], conv_names: Sequence[str]) -> dict[str, int]:
    """The epoch (from 0) from which on a module trains, for each module that does.

    Args:
        trainable: a choice of what trains.
        module_names: the backbone's modules with parameters of their own, by name, in their order.
        conv_names: its convolutions, in the order of the data.

    Raises:
        SpecError: the backbone has no such module, or fewer convolutions.
    """
    if isinstance(trainable, TrainHeadOnly):
        return {}
    if isinstance(trainable, TrainLastConvs):
        if trainable.count > len(conv_names):
            what, received = f"the backbone has {len(conv_names)} convolutions", f"last_convs({trainable.count})"
            raise SpecError(what, where=_KEY, received=received, allowed=f"up to {len(conv_names)}")
        return dict.fromkeys(conv_names[-trainable.count :], 0)
    if isinstance(trainable, TrainModules):
        return {name: 0 for pattern in trainable.names for name in _matching_modules(pattern, module_names)}
    if isinstance(trainable, GradualUnfreezing):
        parts = trainable.parts or tuple(reversed(dict.fromkeys(_stage_name(name) for name in module_names)))
        epochs: dict[str, int] = {}
        for number, part in enumerate(parts, start=1):
            for name in _matching_modules(part, module_names):
                epochs.setdefault(name, number * trainable.every)
        return epochs
    return dict.fromkeys(module_names, 0)


def _stage_name(name: str) -> str:
    """A module's stage: its first name, or its first two names in a numbered list of modules."""
    pieces = name.split(".")
    return ".".join(pieces[:2]) if len(pieces) > 1 and pieces[1].isdigit() and pieces[0] == "features" else pieces[0]


def _matching_modules(pattern: str, module_names: Sequence[str]) -> list[str]:
    # In the table of a recipe these names begin with 'backbone.'.
    written = (pattern, pattern.removeprefix("backbone."))
    found = next((found for text in written if (found := [name for name in module_names if matches(text, name)])), [])
    if not found:
        known = dict.fromkeys(outer for name in module_names for outer in name_prefixes(name))
        raise SpecError(
            "no part of the backbone with weights has this name",
            where=_KEY,
            received=pattern,
            allowed="names and patterns such as 'layer4' or 'layer4.*.conv1'",
            next_step=did_you_mean(pattern, known) or "see the names: cnnlab describe",
        )
    return found


cache_policies: Registry[Any] = Registry("cache policy")


@cache_policies.register("auto")
class AutoCache(Choice):
    """Cache features if that gives the same training and saves time: without augmentation, or with flips only."""

    dtype: Literal["fp32", "bf16"] = "fp32"


@cache_policies.register("never")
class NoCache(Choice):
    """Compute the features for each batch."""
