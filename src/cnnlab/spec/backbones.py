"""The networks that a recipe may begin with instead of a table: known ones by name, and runs of our own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal, TypeAlias

from cnnlab.errors import Problem, SpecError
from cnnlab.spec.calls import Call, parse, write
from cnnlab.spec.problems import refuse
from cnnlab.spec.registry import Registry

TIMM = "timm/"
_EXAMPLE = "resnet18(weights='imagenet'), timm/convnext_tiny(weights='none') or run('runs/x', cut='row')"
_kinds: Registry[Any] = Registry("backbone")


@_kinds.add("network")
class Known:
    """A classification network of torchvision or timm.

    `weights` is 'none', 'imagenet', the name of published weights, or a file's path. `cut` is the layer whose output
    are the features; empty: what goes into the last layer with weights. A small `stem` is made for small images: the
    first convolution has a 3×3 window and stride 1, and the max pool behind it is left out.
    """

    kind: ClassVar[str]
    name: str
    weights: str
    cut: str = ""
    stem: Literal["own", "small"] = "own"


@_kinds.add("run")
class OfRun:
    """The network of a run, with its trained weights or, with weights='none', with new ones; `cut` as above.

    `path` may be a pattern, such as 'runs/*-trunk': the newest finished run of such a name.
    """

    kind: ClassVar[str]
    path: str
    cut: str = ""
    weights: Literal["trained", "none"] = "trained"


Backbone: TypeAlias = Known | OfRun


def read_backbone(value: Any) -> Backbone:
    """The backbone that a text names.

    >>> read_backbone("resnet18(weights='imagenet')").name
    'resnet18'

    Raises:
        SpecError: it can't be read, or an argument is unknown, missing or wrong.
    """
    if isinstance(value, Known | OfRun):
        return value
    if not isinstance(value, str) or not value.strip():
        raise refuse(f"a text such as {_EXAMPLE}")
    call = _parsed(value.strip())
    if call.label:
        raise SpecError("a backbone has no label", received=value, allowed=_EXAMPLE)
    if call.name == "run":
        found: Backbone = _kinds.read(call)
        return found
    if not call.positional and not call.named:
        step = f"write {call.name}(weights='imagenet'), or weights='none' to begin at random"
        raise SpecError(f"it is not said which weights {call.name} begins with", received=value, next_step=step)
    try:
        found = _kinds.read(replace(call, name="network", positional=(call.name, *call.positional)))
    except SpecError as error:
        raise SpecError.together(_of_network(problem, call.name, value) for problem in error.problems) from None
    return found


def with_weights(backbone: Known, weights: str) -> Known:
    """The same network with other weights."""
    made: Any = backbone
    changed: Known = replace(made, weights=weights)
    return changed


def at_path(backbone: OfRun, path: str) -> OfRun:
    """The same of the run at another path."""
    made: Any = backbone
    changed: OfRun = replace(made, path=path)
    return changed


def write_backbone(backbone: Backbone) -> str:
    """The text that `read_backbone` reads back, defaults spelled out."""
    call = _kinds.write(backbone, defaults=True)
    if isinstance(backbone, OfRun):
        return str(call)
    name, weights = call.positional
    arguments = ", ".join(f"{key}={write(given)}" for key, given in {"weights": weights, **call.named}.items())
    return f"{name}({arguments})"


def _parsed(text: str) -> Call:
    """timm's names hold dots, and stand behind its own; a name of the grammar holds neither."""
    if not text.startswith(TIMM):
        return parse(text)
    name, bracket, rest = text.partition("(")
    return replace(parse(f"timm{bracket}{rest}"), name=name.strip())


def _of_network(problem: Problem, name: str, received: str) -> Problem:
    allowed = f"{name}(weights='imagenet', cut='', stem='own')"
    what = problem.what.replace("network", name, 1) if problem.what.startswith("network") else problem.what
    generic = "network(" in problem.allowed
    return replace(problem, what=what, received=received, allowed=allowed if generic else problem.allowed)
