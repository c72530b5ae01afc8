"""The learning-rate range test of a recipe. It makes no run folder, and reads the training split only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from cnnlab.config.optimizers import MuonConfig, optimizers
from cnnlab.config.recipe import Recipe, Train
from cnnlab.config.schedules import ConstantSchedule, schedules
from cnnlab.context import NO_CALLBACKS, Callbacks, RunContext, no_op
from cnnlab.models.network_plan import NetworkPlan
from cnnlab.models.pretrained.transfer import TransferModel
from cnnlab.runs.checks import explain_out_of_memory
from cnnlab.runs.resolve_recipe import resolve_recipe
from cnnlab.runs.setup import TrainingSetup
from cnnlab.training.device import disable_tf32
from cnnlab.training.lr_finder.curve import analyze_curve, geometric_rates, num_valid_steps
from cnnlab.training.lr_finder.range_test import RangeTestCallback, range_test_losses
from cnnlab.training.lr_finder.result import LRRangeResult, round_lr

# With fewer steps and batches of 64, the lowest loss varied too much between seeds.
STEPS = 200


@disable_tf32()
def lr_range(
    recipe: Recipe | str | Path,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = STEPS,
    name: str = "",
    data: str | Path | None = None,
    device: str = "auto",
    on_step: RangeTestCallback = no_op,
    callbacks: Callbacks = NO_CALLBACKS,
) -> LRRangeResult:
    """Run a learning-rate range test: train a recipe for some steps with a rising rate.

    L. N. Smith: Cyclical learning rates for training neural networks, 2015. All else is as in the recipe's training:
    initial weights, order, augmentation, batches, loss, clipping and precision; layers that are unfrozen later train
    from the first step.

    Args:
        recipe: a recipe, or the path of its file.
        low, high: the first and the last rate.
        steps: 10 to 10,000; the test ends earlier when the loss blows up.
        name: of the recipe; by default the file's name.
        data: the folder of catalogue data; by default the cache folder.
        device: auto, cpu, cuda or mps.
        on_step: called after each step with its number, the number of steps, and its loss.
        callbacks: called with the progress of the data, and with messages.

    Returns:
        The curve with its `suggestion`; where that is None, `reading.trouble` says why.

    Raises:
        UsageError: rates or steps out of range.
        SpecError, SourceError, DownloadError: the recipe can't be trained here.
        RunError: out of memory.
    """
    planned = geometric_rates(low, high, steps)
    known = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    recipe_name = name or ("a recipe" if isinstance(recipe, Recipe) else Path(recipe).stem)
    with explain_out_of_memory(known.train.batch_size, command="lr"):
        context = RunContext.of(data, device, callbacks)
        known = resolve_recipe(known, context.data_root)
        setup = TrainingSetup.prepare(known, context, with_validation=False)
        config = setup.precision_config
        callbacks.log(f"computing in {config.precision}, {config.memory_format} ({config.reason})")
        unfrozen = _unfreeze_all(setup.network)
        training = setup.training()
        groups = tuple(group["lr"] for group in training.optimizer.param_groups)
        losses = range_test_losses(training, setup.train_loader, len(setup.dataset.classes), planned, on_step)
    num_valid, own = num_valid_steps(losses), known.train.optimizer
    reading = analyze_curve(planned, losses)
    suggested = ""
    if reading.suggestion is not None:
        suggested = str(optimizers.to_call(with_learning_rate(own, round_lr(reading.suggestion))))
    return LRRangeResult(
        recipe=recipe_name,
        optimizer=str(optimizers.to_call(own)),
        own=own.lr,
        groups=tuple(sorted({round(rate / own.lr, 12) for rate in groups})),
        planned=planned,
        rates=planned[:num_valid],
        losses=tuple(losses[:num_valid]),
        images=len(setup.train_loader),
        batch=known.train.batch_size * known.train.accumulate,
        seed=known.train.seed,
        precision=f"{config.precision} on {setup.device.type}",
        reading=reading,
        suggested=suggested,
        remarks=tuple(_notes(known.train, setup.plan, unfrozen)),
    )


def with_learning_rate(optimizer: Any, rate: float) -> Any:
    """An optimizer with another rate; the rate of muon's companion is scaled with it, as in the test.

    >>> with_learning_rate(optimizers.read("sgd(0.1, momentum=0.9)"), 0.02)
    SGDConfig(lr=0.02, momentum=0.9, nesterov=False, weight_decay=0.0)
    """
    changed: dict[str, Any] = {"lr": rate}
    if isinstance(optimizer, MuonConfig):
        changed["companion"] = with_learning_rate(
            optimizer.companion, round_lr(optimizer.companion.lr * rate / optimizer.lr)
        )
    return replace(optimizer, **changed)


def _unfreeze_all(network: nn.Module) -> bool:
    """Unfreeze all layers of the schedule now; returns whether any would have been unfrozen later."""
    if not isinstance(network, TransferModel) or not any(network.unfreeze_at.values()):
        return False
    network.set_unfreeze_schedule(dict.fromkeys(network.unfreeze_at, 0), network.execution_order)
    return True


def _notes(train: Train, plan: NetworkPlan, unfroze: bool) -> Iterator[str]:
    if unfroze:
        yield "Layers that are unfrozen later trained from the first step."
    if any(row.kind == "batchnorm" and not row.frozen for row in plan.layers):
        yield (
            "With batch norm a network bears rates in a test that are too high for a whole training: try a tenth of "
            "the suggested one, too."
        )
    if not isinstance(train.schedule, ConstantSchedule):
        yield f"The schedule, {schedules.to_call(train.schedule)}, did not act; in training it changes the rate."
