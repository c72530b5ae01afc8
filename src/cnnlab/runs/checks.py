"""Checks before a run starts or resumes, and errors that say what to do where memory is too small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch

from cnnlab import distributed
from cnnlab.architecture.layer_table import matches
from cnnlab.config.recipe import Recipe, Train
from cnnlab.data.dataset import Dataset
from cnnlab.errors import Problem, RunError, SpecError, did_you_mean
from cnnlab.models.network_plan import NetworkPlan
from cnnlab.storage.run_folder import RunFolder

# Weights, gradients and two moments of Adam, four bytes each.
BYTES_PER_PARAMETER, BYTES_PER_NUMBER = 16, 4


def check_before_training(recipe: Recipe, plan: NetworkPlan, dataset: Dataset, device: torch.device) -> None:
    """Check that a recipe can be trained on this data and machine; all problems are reported.

    Raises:
        SpecError: a batch larger than the data or too small for batch norm, a network without weights or larger than
            the memory, early stopping or a schedule without a validation split, a learning-rate factor or class weights
            that don't fit.
    """
    train, problems = recipe.train, []
    images = dataset.num_images("train")
    if train.batch_size > images:
        what = f"a batch of {train.batch_size} is larger than the training split, which has {images} images"
        problems.append(Problem(what, "train.batch_size", allowed=f"up to {images}"))
    # With more values per channel, batch norm works on single images; that is a warning.
    alone = any(row.kind == "batchnorm" and prod(row.input[1:]) == 1 and not row.frozen for row in plan.layers)
    if train.batch_size == 1 and alone:
        problems.append(Problem("batch norm needs two images a batch", "train.batch_size", "1", "from 2"))
    problems += [*_unmatched_rates(train, plan), *_class_weights(train, len(dataset.classes))]
    if not plan.trainable:
        where = "model.layers" if recipe.model.backbone is None else "model.head"
        step = "add a row with weights, such as dense(classes)"
        problems.append(Problem("nothing is to be trained: no layer has trainable weights", where, next_step=step))
    needed, memory = plan.trainable * BYTES_PER_PARAMETER, memory_bytes(device)
    needed += (plan.parameters - plan.trainable) * BYTES_PER_NUMBER
    if needed > memory:
        sizes = f"{needed / 2**30:,.1f} GiB to train; there are {memory / 2**30:,.1f} GiB"
        what = f"{plan.parameters:,} parameters need {sizes}"
        problems.append(Problem(what, "model.layers", next_step="see the table: cnnlab describe RECIPE"))
    if "validation" not in dataset.splits:
        problems += [
            Problem(f"'{key}' needs a validation split", f"train.{key}", next_step="set data.validation")
            for key in ("stop", "schedule")
            if getattr(getattr(train, key), "metric", None)
        ]
    if problems:
        raise SpecError.from_problems(problems)


def _unmatched_rates(train: Train, plan: NetworkPlan) -> Iterator[Problem]:
    names = [row.name for row in plan.layers if row.parameters]
    for pattern in train.rates:
        if not any(matches(pattern, name) for name in names):
            what = f"no row with weights is called '{pattern}'"
            allowed = "the name of a row, or a pattern such as 'residual1.*'"
            yield Problem(
                what, "train.rates", "", allowed, did_you_mean(pattern, names) or "see the names: cnnlab describe"
            )


def _class_weights(train: Train, classes: int) -> Iterator[Problem]:
    weights = train.loss.weights
    if isinstance(weights, tuple) and len(weights) != classes:
        what = f"there are {len(weights)} class weights, but {classes} classes"
        yield Problem(what, "train.loss", allowed=f"{classes} numbers, or weights='balanced'")


def check_same_data(folder: RunFolder, dataset: Dataset) -> None:
    """Check that a resumed run has the data that it started with.

    Raises:
        RunError: names the first difference.
    """
    then, shape = folder.data(), dataset.image_spec.shape
    preprocessing = then.preprocessing
    # Almost any changed pixel changes the means, but not the split's hash.
    differences = {
        "classes": (then.classes, dataset.classes),
        "split_hash": (then.split_hash, dataset.split_hash),
        "shape": ((preprocessing.channels, preprocessing.height, preprocessing.width), shape),
        "mean": (preprocessing.mean, dataset.mean),
        "std": (preprocessing.std, dataset.std),
    }
    for name, (was, now) in differences.items():
        if was != now:
            raise RunError(
                f"the data has changed since this run began: {name} was {was}, and is {now}",
                where=str(folder.path),
                next_step="bring the old data back, or train the recipe again",
            )


def memory_bytes(device: torch.device) -> int:
    """Return the memory of the device, or what processes may use of the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return distributed.total_memory_bytes()


# torch reports out of memory on the CPU and MPS by a plain RuntimeError with these words.
OUT_OF_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


@contextmanager
def explain_out_of_memory(batch_size: int, folder: Path | None = None, command: str = "train") -> Iterator[None]:
    """Turn the out-of-memory errors of Python and torch into one error that says what to do.

    Args:
        batch_size: the recipe's.
        folder: the run folder; None before there is one.
        command: the command to run again.

    Raises:
        RunError: the memory is full.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in OUT_OF_MEMORY_MESSAGES):
            raise
        recipe = str(folder / "recipe.toml") if folder else "RECIPE"
        smaller = f"cnnlab {command} {recipe} --set train.batch_size={batch_size // 2}"
        raise RunError(
            f"the memory is full: {str(error).partition(chr(10))[0] or 'no more can be allocated'}",
            where=str(folder or "train.batch_size"),
            received=f"batches of {batch_size}",
            next_step=f"{smaller}, or a smaller network" if batch_size > 1 else "take a smaller network",
        ) from error
