"""The warnings of a run before it starts: about its table, recipe and images, and the first loss of its network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from copy import deepcopy
from itertools import islice

import torch
from torch import nn
from torch.nn import functional as F

from cnnlab.architecture.warnings import Finding, WarningChecks, format_warning
from cnnlab.config.recipe import Recipe
from cnnlab.config.warnings import summarize
from cnnlab.context import LOCAL, RunContext
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.loader import Loader
from cnnlab.data.warnings import data_warnings, leakage_warnings
from cnnlab.errors import SourceError
from cnnlab.models.network_plan import plan_network
from cnnlab.records import LayerTable, WarningRecord
from cnnlab.runs.checks import BYTES_PER_PARAMETER, memory_bytes
from cnnlab.runs.resolve_recipe import resolve_recipe
from cnnlab.runs.setup import TrainingSetup, make_image_loader
from cnnlab.storage.run_folder import RunFolder
from cnnlab.torch_rng import fork_rng, manual_seed_torch
from cnnlab.training.precision import FP32

# The mean over this many images is known to a few hundredths of a nat.
INITIAL_LOSS_IMAGES = 256
# Relative to the loss of guessing. In the recipes of this repository the default, orthogonal and dirac give 1.0 to 1.4,
# xavier up to 1.6 and kaiming 1.3 to 2.8.
MAX_LOSS_RATIO, MIN_LOSS_RATIO = 2.0, 0.5


checks = WarningChecks()


def table_with_warnings(setup: TrainingSetup, network: nn.Module, train_loader: Loader) -> LayerTable:
    """The table of a run with all warnings before its first step; the test split is not read.

    Args:
        network: a network that takes what `train_loader` gives: images, or cached features.
    """
    recipe, dataset = setup.recipe, setup.dataset
    plan = setup.plan
    table = summarize(plan.layers, recipe, dataset.classes, parameters=plan.parameters, trainable=plan.trainable)
    off = _disabled_warnings(recipe)
    first = checks.find(recipe, network, train_loader, len(dataset.classes), disabled=off)
    return table.model_copy(update={"warnings": (*table.warnings, *data_warnings(dataset, off), *first)})


def image_warnings(recipe: Recipe, context: RunContext = LOCAL) -> tuple[WarningRecord, ...]:
    """The warnings that need the images of a recipe, also about test images that are trained on.

    This is no opening of the test set: its pixels are compared with those of the other splits, without labels or a
    model.

    Raises:
        SpecError: the table does not fit the images.
        SourceError, DownloadError: as `open_dataset`.
    """
    recipe = resolve_recipe(recipe, context.data_root)
    dataset = open_dataset(recipe.data, recipe.train.seed, context)
    plan = plan_network(recipe.model, dataset.image_spec.shape, len(dataset.classes))
    off, cpu = _disabled_warnings(recipe), torch.device("cpu")
    warnings = [*data_warnings(dataset, off), *leakage_warnings(dataset, off)]
    # The first loss of loaded weights is found when training has loaded them.
    if plan.load_weights is None and plan.parameters * BYTES_PER_PARAMETER < memory_bytes(cpu):
        network = plan.build(recipe.train.seed, "cpu")
        train = make_image_loader(dataset, "train", cpu, FP32)
        warnings += checks.find(recipe, network, train, len(dataset.classes), disabled=off)
    return tuple(warnings)


def _disabled_warnings(recipe: Recipe) -> tuple[str, ...]:
    """The warnings that the recipe switches off; with a backbone, normalisation is that of its weights on purpose."""
    own = recipe.warnings.off
    return own if recipe.model.backbone is None else (*own, "normalization-mismatch")


def check_test_leaks(folder: RunFolder, dataset: Dataset, log: Callable[[str], None]) -> None:
    """Compare an opened test split with the others; log the warnings, and add them to the run.

    The scores are written before: an image that can't be read any more does not lose them.
    """
    try:
        warnings = leakage_warnings(dataset, folder.recipe().warnings.off)
    except SourceError as error:
        log(f"the test images could not be compared with the others: {error.problems[0]}")
        return
    table = folder.table()
    fresh = tuple(warning for warning in warnings if warning not in table.warnings)
    if fresh:
        folder.write("layers.json", table.model_copy(update={"warnings": (*table.warnings, *fresh)}).to_json(indent=2))
        log_warnings(fresh, log)


def log_warnings(warnings: Iterable[WarningRecord], log: Callable[[str], None]) -> None:
    """Log each warning, a line each."""
    for warning in warnings:
        log(f"! {format_warning(warning)}")


def distributed_messages(setup: TrainingSetup) -> Iterator[str]:
    """Messages about a training in several processes, and where it differs from that in one."""
    train, process_group = setup.recipe.train, setup.process_group
    if process_group.world_size == 1:
        return
    yield f"{process_group.world_size} processes share each batch of {train.batch_size} images"
    rows = setup.plan.layers
    if not train.sync_batchnorm and any(row.kind == "batchnorm" and not row.frozen for row in rows):
        yield (
            "! each process's batch norm sees its own images only, which is not what one process would train; "
            "train.sync_batchnorm = true is"
        )


@checks.register("initial-loss")
def initial_loss(recipe: Recipe, network: nn.Module, train_loader: Loader, classes: int) -> Finding | None:
    """The mean loss of the first training batches before the first step, where it is far from that of guessing.

    It is computed with a copy of the network in train mode; neither its statistics nor any random state changes.
    """
    loss, images = _mean_initial_loss(recipe, network, train_loader)
    guessing = math.log(classes)
    if MIN_LOSS_RATIO * guessing <= loss <= MAX_LOSS_RATIO * guessing:
        return None
    loss_text = f"{loss:.3g}" if math.isfinite(loss) else "infinite" if loss == math.inf else "not a number"
    low = loss < guessing
    return Finding(
        where="model.init",
        message=f"the loss of the first {images} training images is {loss_text} before the first step; guessing among "
        f"{classes} classes gives ln {classes} = {guessing:.3g}",
        fix="check the labels: nothing has been learned yet" if low else "choose another init, or add batchnorm",
    )


def _mean_initial_loss(recipe: Recipe, network: nn.Module, train_loader: Loader) -> tuple[float, int]:
    own, chosen = deepcopy(network).train(), recipe.train
    # Batch norm needs two images.
    size = max(chosen.batch_size, 2)
    total, images = 0.0, 0
    batches = train_loader.train_batches(size, chosen.seed, 0, recipe.data.augment)
    with closing(batches), fork_rng(), torch.no_grad():  # type: ignore[type-var]
        manual_seed_torch(chosen.seed, "step", 0)  # dropout draws as in the first step
        for pixels, labels in islice(batches, -(-INITIAL_LOSS_IMAGES // size)):
            total += F.cross_entropy(own(pixels), labels, reduction="sum").item()
            images += len(labels)
    return total / images, images
