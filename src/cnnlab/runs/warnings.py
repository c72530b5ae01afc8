"""What deserves a look before a run: of its table, its recipe, its images, and its network's first loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from copy import deepcopy
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from cnnlab.architecture.warnings import in_words
from cnnlab.config.recipe import Recipe
from cnnlab.config.warnings import overview
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.loader import Supply
from cnnlab.data.sources.base import Progress, silent
from cnnlab.data.warnings import data_warnings, leaks_into_test
from cnnlab.errors import SourceError
from cnnlab.models.network_plan import plan_network
from cnnlab.randomness import seed_torch, torch_state
from cnnlab.records import Table, WarningRecord
from cnnlab.runs.checks import BYTES_PER_PARAMETER, memory_bytes
from cnnlab.runs.resolve_recipe import resolve
from cnnlab.runs.setup import Bench, feed_of
from cnnlab.storage.run_folder import RunFolder
from cnnlab.training.precision import PLAIN

# The mean over so many images is known to a few hundredths of a nat.
FIRST_IMAGES = 256
# In losses of guessing. Of the house's recipes torch's own start, orthogonal and dirac give 1.0 to 1.4, xavier up to
# 1.6 and kaiming 1.3 to 2.8; only the last of these is far out.
HIGH, LOW = 2.0, 0.5
# Rows that draw while training, beside those with an argument `drop`.
_DRAWING = ("dropout", "dropout2d", "stochastic_depth")


def table_with_warnings(bench: Bench, network: nn.Module, train: Supply) -> Table:
    """The table of a run with all that deserves a look before its first step; the test part stays shut.

    Args:
        network: as it takes what it is trained on.
        train: what that is.
    """
    recipe, dataset = bench.recipe, bench.dataset
    plan = bench.plan
    table = overview(plan.layers, recipe, dataset.classes, parameters=plan.parameters, trainable=plan.trainable)
    off = _off(recipe)
    first = None if "initial-loss" in off else initial_loss(recipe, network, train, len(dataset.classes))
    found = (*table.warnings, *data_warnings(dataset, off), *([first] if first is not None else []))
    return table.model_copy(update={"warnings": found})


def warnings_of_images(
    recipe: Recipe, root: Path | None = None, *, download: bool = True, progress: Progress = silent
) -> tuple[WarningRecord, ...]:
    """What the images of a recipe add to the warnings of its table, test images that are trained on among them.

    This is no opening of the test set: its pixels are compared with those of the other parts, without labels or a
    model.

    Raises:
        SpecError: the table does not fit the images.
        SourceError, DownloadError: as `open_dataset`.
    """
    recipe = resolve(recipe, root)
    dataset = open_dataset(recipe.data, seed=recipe.train.seed, root=root, download=download, progress=progress)
    plan = plan_network(recipe.model, dataset.form.shape, len(dataset.classes))
    off, cpu = _off(recipe), torch.device("cpu")
    found = [*data_warnings(dataset, off), *leaks_into_test(dataset, off)]
    # Of weights that are loaded only training knows the first loss.
    if "initial-loss" not in off and plan.load is None and plan.parameters * BYTES_PER_PARAMETER < memory_bytes(cpu):
        network = plan.make(recipe.train.seed, "cpu")
        train = feed_of(dataset, "train", cpu, PLAIN)
        first = initial_loss(recipe, network, train, len(dataset.classes))
        found += [first] if first is not None else []
    return tuple(found)


def _off(recipe: Recipe) -> tuple[str, ...]:
    """The warnings that are not wanted; images are meant to be normalised as a backbone's weights ask for it."""
    own = recipe.warnings.off
    return own if recipe.model.backbone is None else (*own, "normalization-mismatch")


def look_for_test_leaks(folder: RunFolder, dataset: Dataset, say: Callable[[str], None]) -> None:
    """Compare a test part that was opened and scored with the others; say and keep what is found.

    The figures stand already: a training image that can't be read any more is no reason to lose them.
    """
    try:
        found = leaks_into_test(dataset, folder.recipe().warnings.off)
    except SourceError as error:
        say(f"the test images could not be compared with the others: {error.problems[0]}")
        return
    table = folder.table()
    fresh = tuple(one for one in found if one not in table.warnings)
    if fresh:
        folder.write("layers.json", table.model_copy(update={"warnings": (*table.warnings, *fresh)}).to_json(indent=2))
        tell(fresh, say)


def tell(found: Iterable[WarningRecord], say: Callable[[str], None]) -> None:
    """Say each warning, a line each."""
    for warning in found:
        say(f"! {in_words(warning)}")


def said_of_processes(bench: Bench) -> Iterator[str]:
    """What several processes make of a recipe, and where it is not what one would make of it."""
    train, world = bench.recipe.train, bench.world
    if world.size == 1:
        return
    yield f"{world.size} processes share each batch of {train.batch_size} images"
    if bench.way.tried:
        yield "! the way of computing was chosen for their shares; with train.precision set it is that of one process"
    rows = bench.plan.layers
    if not train.sync_batchnorm and any(row.kind == "batchnorm" and not row.frozen for row in rows):
        yield (
            "! each process's batch norm sees its own images only, which is not what one process would train; "
            "train.sync_batchnorm = true is"
        )
    if any(row.kind in _DRAWING or "drop=" in row.text for row in rows):
        yield "! dropout draws for each process's own images: other units than in one process, as many of them"


def initial_loss(recipe: Recipe, network: nn.Module, train: Supply, classes: int) -> WarningRecord | None:
    """The mean loss of the first training batches before the first step, where it is far from that of guessing.

    It is computed with a copy of the network in train mode; neither its statistics nor any random state changes.
    """
    loss, images = _first_loss(recipe, network, train)
    guessing = math.log(classes)
    if LOW * guessing <= loss <= HIGH * guessing:
        return None
    told = f"{loss:.3g}" if math.isfinite(loss) else "infinite" if loss == math.inf else "not a number"
    low = loss < guessing
    return WarningRecord(
        name="initial-loss",
        where="model.init",
        message=f"the loss of the first {images} training images is {told} before the first step; guessing among "
        f"{classes} classes gives ln {classes} = {guessing:.3g}",
        fix="look at the labels: nothing has been learned yet" if low else "choose another init, or put batchnorm in",
    )


def _first_loss(recipe: Recipe, network: nn.Module, train: Supply) -> tuple[float, int]:
    own, chosen = deepcopy(network).train(), recipe.train
    # Batch norm needs two images.
    size = max(chosen.batch_size, 2)
    total, images = 0.0, 0
    batches = train.training(size, chosen.seed, 0, recipe.data.augment)
    with closing(batches), torch_state(), torch.no_grad():  # type: ignore[type-var]
        seed_torch(chosen.seed, "step", 0)  # dropout draws as in the first step
        for pixels, labels in islice(batches, -(-FIRST_IMAGES // size)):
            total += F.cross_entropy(own(pixels), labels, reduction="sum").item()
            images += len(labels)
    return total / images, images
