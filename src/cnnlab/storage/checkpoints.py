"""Checkpoints on disk: safetensors for the tensors, JSON for the rest; no pickle.

    best-3515.safetensors     the tensors, named by the step
    best.json                 the name of that file, its SHA-256, and the state beside the tensors

The JSON file is replaced last, atomically: it names the new file or the old one, both complete. The checkpoint before
the newest is kept, and used, with a warning, if the newest is damaged. `last.json` also holds `best.json` as it was
then, so that a resumed training has the best weights of that time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cnnlab.atomic_io import atomic_write
from cnnlab.errors import RunError
from cnnlab.records import EarlyStoppingState, Record, SafeFilename, also_read_as, first_validation_error

CheckpointKind = Literal["best", "last"]
WEIGHTS = "network/"


class TrainingProgress(Record):
    """The state of a training beside its tensors; `best` is the content of `best.json` at that time."""

    epoch: int
    step: int
    seconds: float
    selected_epoch: float
    stopped: bool
    diverged: bool
    factor: float
    averaged: int = 0
    best_tracker: Annotated[EarlyStoppingState, also_read_as("best_tracker", "chooser")]
    early_stopping: Annotated[EarlyStoppingState | None, also_read_as("early_stopping", "stopper")]
    plateau: EarlyStoppingState | None
    best: CheckpointIndex | None = None


class CheckpointFile(Record):
    """A file of tensors."""

    file: SafeFilename
    sha256: str
    epoch: float
    progress: TrainingProgress | None = None


class CheckpointIndex(Record):
    """The content of `best.json` and `last.json`."""

    newest: CheckpointFile
    before: CheckpointFile | None = None


def load_weights(
    folder: Path, kind: CheckpointKind, warn: Callable[[str], None], epoch: float | None = None
) -> tuple[dict[str, Tensor], CheckpointFile]:
    """Read the network's tensors of a checkpoint, on the CPU.

    Args:
        epoch: of the weights to read; None: the newest, or with a warning those before them if they are damaged.

    Raises:
        RunError: there is no such checkpoint, or it is damaged.
    """
    tensors, saved = load_checkpoint(folder, kind, warn, epoch)
    return strip_prefix(WEIGHTS, tensors), saved


def completed_epochs(folder: Path) -> int:
    """The number of whole epochs that a resumed training skips.

    Raises:
        RunError: `last.json` is damaged.
    """
    index = _read_index(folder, "last")
    return int(index.newest.epoch) if index else 0


def load_network_state(network: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load tensors of the same names and shapes into a network.

    Raises:
        RunError: they are of another network; the first difference is named.
    """
    own = network.state_dict()
    for name in [*own, *tensors]:
        expected, stored = own.get(name), tensors.get(name)
        if expected is None or stored is None or expected.shape != stored.shape:
            shapes = f"{_shape_text(stored)} in the file and {_shape_text(expected)} in the network"
            raise RunError(
                f"these weights are of another network: '{name}' is {shapes}",
                where=where,
                next_step="use the recipe that the weights were trained with",
            )
    network.load_state_dict(dict(tensors))


def save_checkpoint(
    folder: Path, kind: CheckpointKind, step: int, tensors: Mapping[str, Tensor], saved: CheckpointFile
) -> None:
    """Write tensors and their index; `saved` is completed with the name and checksum of the file."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    file = f"{kind}-{step}.safetensors"
    newest = saved.model_copy(update={"file": file, "sha256": hashlib.sha256(content).hexdigest()})
    older = read_index_or_none(folder, kind)
    # A resumed training reaches the same step again; that file is not the one before itself.
    others = [each for each in (older.newest, older.before) if each and each.file != file] if older else []
    before = others[0] if others else None
    atomic_write(folder / file, content)
    atomic_write(folder / f"{kind}.json", CheckpointIndex(newest=newest, before=before).to_json(indent=2).encode())
    delete_unreferenced(folder)


def delete_unreferenced(folder: Path) -> None:
    """Remove the tensors that neither `best.json` nor `last.json` names, and files that were left half written.

    Nothing is removed if one of the two can't be read.
    """
    try:
        best, last = _read_index(folder, "best"), _read_index(folder, "last")
    except RunError:
        return
    checkpoints = [*_saved_in(best), *_saved_in(last)]
    for saved in _saved_in(last):
        checkpoints += _saved_in(saved.progress.best if saved.progress else None)
    referenced = {saved.file for saved in checkpoints}
    unreferenced = [path for path in folder.glob("*.safetensors") if path.name not in referenced]
    for path in (*unreferenced, *folder.glob(".*.safetensors.*.tmp")):
        if path.name.lstrip(".").startswith(("best-", "last-")):
            path.unlink(missing_ok=True)


def _saved_in(index: CheckpointIndex | None) -> list[CheckpointFile]:
    return [saved for saved in (index.newest, index.before) if saved] if index else []


def write_best_index(folder: Path, best: CheckpointIndex | None) -> None:
    """Write `best.json`, or remove it."""
    if best is None:
        (folder / "best.json").unlink(missing_ok=True)
    elif best != read_index_or_none(folder, "best"):
        atomic_write(folder / "best.json", best.to_json(indent=2).encode())


def read_index_or_none(folder: Path, kind: CheckpointKind) -> CheckpointIndex | None:
    """Read an index; None if there is none, or it is damaged."""
    try:
        return _read_index(folder, kind)
    except RunError:
        return None


def _read_index(folder: Path, kind: CheckpointKind) -> CheckpointIndex | None:
    path = folder / f"{kind}.json"
    try:
        return CheckpointIndex.from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        what = first_validation_error(error) if isinstance(error, ValidationError) else str(error)
        raise RunError(f"{path.name} can't be read: {what}", where=str(path), next_step="train it again") from None


def load_checkpoint(
    folder: Path, kind: CheckpointKind, warn: Callable[[str], None], epoch: float | None = None
) -> tuple[dict[str, Tensor], CheckpointFile]:
    """Read all tensors of a checkpoint; arguments and errors as `load_weights`."""
    index = _read_index(folder, kind)
    if index is None:
        raise RunError(f"this run has no '{kind}' checkpoint", where=str(folder), next_step="train it again")
    damage: list[str] = []
    for saved in _saved_in(index):
        if epoch not in (None, saved.epoch):
            continue
        try:
            content = (folder / saved.file).read_bytes()
            if hashlib.sha256(content).hexdigest() == saved.sha256:
                if damage:
                    warn(f"{damage[0]}; the checkpoint before it ({saved.file}) is used")
                return load(content), saved
            damage.append(f"{folder / saved.file} is damaged: its checksum is not the one written beside it")
        except (OSError, SafetensorError) as error:
            damage.append(f"{folder / saved.file} can't be read: {error}")
    what = "; ".join(damage) or f"there are no weights of epoch {epoch:g}, which the run's figures are of"
    raise RunError(what, where=str(folder), next_step="train it again")


def add_prefix(prefix: str, network: torch.nn.Module) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in network.state_dict().items()}


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _shape_text(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "×".join(map(str, tensor.shape)) or "a scalar"
