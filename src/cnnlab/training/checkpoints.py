"""Save the state of a training in checkpoints, and restore it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnlab.errors import RunError
from cnnlab.storage.checkpoints import (
    WEIGHTS,
    CheckpointFile,
    TrainingProgress,
    add_prefix,
    delete_unreferenced,
    load_checkpoint,
    load_network_state,
    read_index_or_none,
    save_checkpoint,
    strip_prefix,
    write_best_index,
)
from cnnlab.training.loop import TrainingState

_AVERAGE = "average/"
_OPTIMIZER = "optimizer/"


def save_weights(folder: Path, training: TrainingState, epoch: float) -> None:
    """Save the weights, or their average, as the best so far.

    Raises:
        RunError: the file can't be written; the previous checkpoint is intact.
    """
    save_checkpoint(
        folder,
        "best",
        training.step,
        add_prefix(WEIGHTS, training.eval_model),
        CheckpointFile(file="", sha256="", epoch=epoch),
    )


def save_training_state(folder: Path, training: TrainingState) -> None:
    """Save everything that is needed to resume; errors as in `save_weights`."""
    schedule, early_stopping = training.schedule, training.early_stopping
    progress = TrainingProgress(
        epoch=training.epoch,
        step=training.step,
        seconds=training.seconds,
        selected_epoch=training.selected_epoch,
        stopped=training.stopped,
        diverged=training.diverged,
        factor=schedule.plateau_factor,
        averaged=training.average.num_averaged if training.average else 0,
        best_tracker=training.best_tracker.state,
        early_stopping=early_stopping.state if early_stopping else None,
        plateau=schedule.plateau_tracker.state if schedule.plateau_tracker else None,
        best=read_index_or_none(folder, "best"),
    )
    tensors = {**add_prefix(WEIGHTS, training.network), **_optimizer_tensors(training)}
    if training.average is not None:
        tensors |= add_prefix(_AVERAGE, training.average.network)
    saved = CheckpointFile(file="", sha256="", epoch=float(training.epoch), progress=progress)
    save_checkpoint(folder, "last", training.step, tensors, saved)


def restore_training_state(
    folder: Path, training: TrainingState, warn: Callable[[str], None], *, is_main: bool = True
) -> None:
    """Restore the state that `save_training_state` saved; without a checkpoint, the training starts from scratch.

    Best weights that were saved after that state are discarded: the resumed training may differ on another machine.

    Args:
        is_main: False for a process that only reads the folder.

    Raises:
        RunError: as in `load_weights`.
    """
    if not (folder / "last.json").exists():
        if is_main:
            write_best_index(folder, None)
        return
    tensors, saved = load_checkpoint(folder, "last", warn)
    progress = saved.progress
    if progress is None:
        raise RunError("this checkpoint holds weights only", where=str(folder), next_step="train it again")
    load_network_state(training.network, strip_prefix(WEIGHTS, tensors), str(folder))
    if training.average is not None:
        load_network_state(training.average.network, strip_prefix(_AVERAGE, tensors), str(folder))
        training.average.num_averaged = progress.averaged
    training.epoch, training.step, training.seconds = progress.epoch, progress.step, progress.seconds
    training.selected_epoch = progress.selected_epoch
    training.stopped, training.diverged = progress.stopped, progress.diverged
    training.schedule.plateau_factor, training.best_tracker.state = progress.factor, progress.best_tracker
    if training.early_stopping and progress.early_stopping:
        training.early_stopping.state = progress.early_stopping
    if training.schedule.plateau_tracker and progress.plateau:
        training.schedule.plateau_tracker.state = progress.plateau
    _load_optimizer(training, tensors)
    # If best.json could not be read when this state was saved, it is left as it is.
    if is_main and (progress.best is not None or not progress.selected_epoch):
        write_best_index(folder, progress.best)
    if is_main:
        delete_unreferenced(folder)


def _optimizer_tensors(training: TrainingState) -> dict[str, Tensor]:
    state = training.optimizer.state_dict()["state"]
    return {
        f"{_OPTIMIZER}{index}/{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def _load_optimizer(training: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in training.optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            _, index, entry = name.split("/")
            state.setdefault(int(index), {})[entry] = _match_memory_layout(parameters[int(index)], tensor)
    # Groups come from the recipe; the schedule sets their rates.
    groups = training.optimizer.state_dict()["param_groups"]
    training.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _match_memory_layout(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return the tensor in the memory format of its parameter, which torch's fused optimizers require."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
