"""Load weights into a backbone, with a report about every tensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnlab.errors import RunError
from cnnlab.models.pretrained.tensor_files import abbreviate
from cnnlab.models.pretrained.weights import PretrainedWeights
from cnnlab.records import WeightLoadReport
from cnnlab.render.formatting import format_count, pluralize, shorten

# The fraction of a file's tensors that may be unexpected: a head of another name is, but no blocks of another network.
MAX_UNEXPECTED_SHARE = 0.1
# Batch norm's count of its batches, which files from before torch 0.4.1 lack, and which changes no output.
_BATCH_COUNTER = "num_batches_tracked"


def load_state_dict_report(
    backbone: nn.Module,
    weights: PretrainedWeights,
    full_shapes: Mapping[str, tuple[int, ...]],
    reinitialized: Collection[str] = (),
) -> WeightLoadReport:
    """Copy tensors into a backbone, by name and in place, in the backbone's dtypes.

    Args:
        backbone: the network up to its cut, under its library's own names.
        weights: the tensors.
        full_shapes: names and shapes of all tensors of the whole network: those that the backbone lacks are after the
            cut.
        reinitialized: modules or tensors of the backbone that are trained from scratch. They are neither expected nor
            loaded nor counted.

    Raises:
        RunError: no tensor belongs to the backbone, or many are unexpected; one has another shape; or one holds NaN or
            ±Inf.
    """
    model_state = {
        name: tensor for name, tensor in backbone.state_dict().items() if not _is_within_any(name, reinitialized)
    }
    file_state = {name: tensor for name, tensor in weights.tensors.items() if not _is_within_any(name, reinitialized)}
    shared = [name for name in model_state if name in file_state]
    assert not any(tensor.is_meta for tensor in model_state.values())
    ignored = tuple(name for name in file_state if name not in model_state and name not in full_shapes)
    _check_weights(model_state, file_state, shared, ignored, weights.file or weights.source)
    with torch.no_grad():
        for name in shared:
            model_state[name].copy_(file_state[name])
    return WeightLoadReport(
        source=weights.source,
        file=weights.file,
        sha256=weights.sha256,
        published=weights.published,
        loaded=len(shared),
        missing=tuple(name for name in model_state if name not in file_state and not _is_batch_counter(name)),
        ignored=ignored,
        behind=tuple(name for name in file_state if name not in model_state and name in full_shapes),
    )


def report_lines(report: WeightLoadReport) -> list[str]:
    """The report as lines of text; warnings begin with '! '.

    >>> report = WeightLoadReport(
    ...     source="x.pth", file="w/x.pth", sha256="", published=None, loaded=3, missing=("a",)
    ... )
    >>> report_lines(report)
    ['x.pth: 3 tensors loaded', '! x.pth: missing in the file, random at first (1): a']
    """
    label = Path(report.file).name if report.file else report.source
    behind = f", {format_count(len(report.behind))} after the cut left out" if report.behind else ""
    lines = [f"{label}: {pluralize(report.loaded, 'tensor')} loaded{behind}"]
    notes = {"missing in the file, random at first": report.missing, "not of this network, ignored": report.ignored}
    return lines + [
        f"! {label}: {note} ({format_count(len(names))}): {abbreviate(names)}" for note, names in notes.items() if names
    ]


def _check_weights(
    model_state: Mapping[str, Tensor],
    file_state: Mapping[str, Tensor],
    shared: Sequence[str],
    unexpected: Sequence[str],
    where: str,
) -> None:
    step = "use weights of this network"
    tensors = pluralize(len(file_state), "tensor")
    if not shared:
        what = f"0 of {tensors} loaded: none belongs to this network"
        received, allowed = (
            abbreviate(file_state, 3),
            abbreviate(model_state, 3) or "no tensor: nothing is left to load",
        )
        raise RunError(what, where=where, received=received, allowed=allowed, next_step=step)
    another = "these are the weights of another network"
    for name in shared:
        if model_state[name].shape != file_state[name].shape:
            shapes = f"{_shape_text(file_state[name])} there and {_shape_text(model_state[name])} here"
            raise RunError(f"{another}: '{shorten(name)}' is {shapes}", where=where, next_step=step)
    if len(unexpected) > MAX_UNEXPECTED_SHARE * len(file_state):
        # A file of a larger network, whose first blocks fit by name and shape.
        what = f"{another}: {format_count(len(unexpected))} of {tensors} are not in this one"
        raise RunError(what, where=where, received=abbreviate(unexpected, 3), next_step=step)
    # Tensors after the cut are not checked: torchvision's vgg16 for features alone has NaN there.
    for name in shared:
        tensor = file_state[name]
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = format_count(int((~torch.isfinite(tensor)).sum()))
            raise RunError(
                f"'{shorten(name)}' holds NaN or ±Inf in {bad} of its {format_count(tensor.numel())} numbers",
                where=where,
                next_step="use other weights, or cut the network before it",
            )


def _is_within_any(name: str, modules: Collection[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _is_batch_counter(name: str) -> bool:
    return name.rpartition(".")[2] == _BATCH_COUNTER


def _shape_text(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "one number"
