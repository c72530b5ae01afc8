"""A backbone filled with weights that were found for it, and what became of every tensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnlab.errors import RunError
from cnnlab.models.pretrained.tensor_files import few
from cnnlab.models.pretrained.weights import Found
from cnnlab.records import LoadedRecord
from cnnlab.render.formatting import count, shown

# What the libraries set beside the tensors: these networks undo ImageNet's normalisation for one of their own.
_SET_WITH_WEIGHTS = {"googlenet": ("transform_input", True), "inception_v3": ("transform_input", True)}
# Of a file's tensors so large a share may belong to nothing: a head of another name, no blocks of another network.
STRANGERS = 0.1
# Batch norm's count of its batches, which files from before torch 0.4.1 lack, and which changes no output.
_COUNTER = "num_batches_tracked"


def fill(
    backbone: nn.Module, found: Found, whole: Mapping[str, tuple[int, ...]], fresh: Collection[str] = ()
) -> LoadedRecord:
    """Copy tensors into a backbone, by name and in place; each keeps the backbone's number format.

    Args:
        backbone: the network up to its cut, under its library's own names.
        found: the tensors.
        whole: names and shapes of all tensors of the whole network: what of them the backbone lacks is behind the cut.
        fresh: modules or tensors of the backbone that begin anew. They are neither expected nor loaded nor counted.

    Raises:
        RunError: no tensor belongs to the backbone, or many to nothing; one has another shape there; or one holds NaN
            or ±Inf.
    """
    own = {name: tensor for name, tensor in backbone.state_dict().items() if not _within(name, fresh)}
    given = {name: tensor for name, tensor in found.tensors.items() if not _within(name, fresh)}
    shared = [name for name in own if name in given]
    assert not any(tensor.is_meta for tensor in own.values())
    where = found.file or found.source
    _require_shared(own, given, shared, where)
    _require_shapes(own, given, shared, where)
    _require_numbers(given, shared, where)
    ignored = tuple(name for name in given if name not in own and name not in whole)
    _require_home(ignored, given, where)
    with torch.no_grad():
        for name in shared:
            own[name].copy_(given[name])
    return LoadedRecord(
        source=found.source,
        file=found.file,
        sha256=found.sha256,
        published=found.published,
        loaded=len(shared),
        missing=tuple(name for name in own if name not in given and not _is_counter(name)),
        ignored=ignored,
        behind=tuple(name for name in given if name not in own and name in whole),
    )


def sentences(record: LoadedRecord) -> list[str]:
    """What a person is told of the filling, a line each; the warnings among them begin with '! '.

    >>> sentences(LoadedRecord(source="x.pth", file="w/x.pth", sha256="", published=None, loaded=3, missing=("a",)))
    ['x.pth: 3 tensors loaded', '! x.pth: 1 tensor is missing and begins at random: a']
    """
    label = Path(record.file).name if record.file else record.source
    behind = f", {count(len(record.behind))} behind the cut left out" if record.behind else ""
    lines = [f"{label}: {_tensors(record.loaded)} loaded{behind}"]
    if record.missing:
        verbs = "is missing and begins" if len(record.missing) == 1 else "are missing and begin"
        lines.append(f"! {label}: {_tensors(len(record.missing))} {verbs} at random: {few(record.missing)}")
    if record.ignored:
        verb = "belongs" if len(record.ignored) == 1 else "belong"
        lines.append(f"! {label}: {_tensors(len(record.ignored))} {verb} to nothing here: {few(record.ignored)}")
    return lines


def as_published(network: nn.Module, name: str) -> None:
    """Set what its library sets beside the tensors when it loads its published weights: `transform_input`.

    Args:
        network: the network or its beginning, changed in place.
        name: its name in `cnnlab.models.pretrained.architectures`.
    """
    if name in _SET_WITH_WEIGHTS:
        attribute, value = _SET_WITH_WEIGHTS[name]
        assert hasattr(network, attribute)
        setattr(network, attribute, value)


def _require_shared(own: Mapping[str, Tensor], given: Mapping[str, Tensor], shared: list[str], where: str) -> None:
    if shared:
        return
    if not own:
        raise RunError(
            "nothing is left to load: no part of the backbone that keeps its weights has any",
            where=where,
            next_step="cut the network further back, or begin without weights",
        )
    raise RunError(
        f"0 of {_tensors(len(given))} loaded: none belongs to this network",
        where=where,
        received=few(given, 3),
        allowed=few(own, 3),
        next_step="use weights of this network",
    )


def _require_shapes(own: Mapping[str, Tensor], given: Mapping[str, Tensor], shared: list[str], where: str) -> None:
    unlike = [name for name in shared if own[name].shape != given[name].shape]
    if unlike:
        first = unlike[0]
        raise RunError(
            f"these are the weights of another network: '{shown(first)}' is {_shape(given[first])} there and "
            f"{_shape(own[first])} here",
            where=where,
            received=f"another shape in {count(len(unlike))} of the {_tensors(len(shared))} that both have",
            next_step="use weights of this network",
        )


def _require_home(ignored: Collection[str], given: Mapping[str, Tensor], where: str) -> None:
    """Refuse a file that is of a larger network, whose first blocks would fit by name and shape."""
    if len(ignored) > STRANGERS * len(given):
        share = f"{count(len(ignored))} of {_tensors(len(given))} have no place here"
        raise RunError(
            f"these are the weights of another network: {share}",
            where=where,
            received=few(ignored, 3),
            next_step="use weights of this network",
        )


def _require_numbers(given: Mapping[str, Tensor], shared: list[str], where: str) -> None:
    # What lies behind the cut may be anything: torchvision's vgg16 for features alone has NaN there.
    for name in shared:
        tensor = given[name]
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise RunError(
                f"'{shown(name)}' holds NaN or ±Inf in {count(bad)} of its {count(tensor.numel())} numbers",
                where=where,
                next_step="use other weights, or cut the network in front of it",
            )


def _within(name: str, modules: Collection[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == _COUNTER


def _tensors(number: int) -> str:
    return f"{count(number)} tensor" + ("" if number == 1 else "s")


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "one number"
