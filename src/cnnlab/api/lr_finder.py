"""A recipe's learning-rate range test from end to end. It makes no run folder, and opens the training part only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from cnnlab.config.optimization import Constant, Muon, optimizers, schedules
from cnnlab.config.recipe import Recipe, Train
from cnnlab.data.sources.base import Progress, silent
from cnnlab.models.network_plan import NetworkPlan
from cnnlab.models.pretrained.transfer import Transfer
from cnnlab.runs.checks import memory_watched
from cnnlab.runs.resolve_recipe import resolve
from cnnlab.runs.setup import Bench
from cnnlab.training.device import choose_device, whole_floats
from cnnlab.training.lr_finder.curve import ladder, read_curve, steps_that_count
from cnnlab.training.lr_finder.range_test import Steady, losses_of_rates
from cnnlab.training.lr_finder.result import RangeTest, round_rate

# Fewer left too much noise in the curve, with batches of 64, for the lowest loss to be found again with another seed.
STEPS = 200


@whole_floats()
def lr_range(
    recipe: Recipe | str | Path,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = STEPS,
    name: str = "",
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
    watch: Steady = lambda *_: None,
    say: Callable[[str], None] = lambda _: None,
) -> RangeTest:
    """Train a recipe for some steps with a rate that rises from each to the next, and see which rates suit.

    L. N. Smith: Cyclical learning rates for training neural networks, 2015. All else is as in the recipe's training:
    the first weights, order, augmentation, batches, loss, clipping, and the way of computing.
    What joins in after some epochs trains from the first step.

    Args:
        recipe: a recipe, or the path of its file.
        low, high: the first and the last rate.
        steps: how many; 10 to 10,000. It ends earlier when the loss blows up.
        name: what the recipe is called; by default the file's name.
        data: where catalogue data lives; by default the cache folder.
        device: auto, cpu, cuda or mps.
        progress, watch, say: told of the data, of each step, and of how it is computed.

    Returns:
        The curve with its `suggestion`, which is None where the curve tells none; `reading.trouble` says why.

    Raises:
        UsageError: rates or steps that can't be.
        SpecError, SourceError, DownloadError: the recipe can't be trained here.
        RunError: the memory is full.
    """
    planned = ladder(low, high, steps)
    known = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    called = name or ("a recipe" if isinstance(recipe, Recipe) else Path(recipe).stem)
    with memory_watched(known.train.batch_size, command="lr"):
        root = Path(data) if data is not None else None
        known = resolve(known, root)
        bench = Bench.prepare(known, root, choose_device(device), True, progress, validate=False)
        way = f"{bench.way.precision} on {bench.device.type}"
        say(f"computing in {bench.way.precision}, {bench.way.memory_format} ({bench.way.reason})")
        all_train = _let_all_train(bench.network)
        training = bench.training()
        groups = tuple(group["lr"] for group in training.optimizer.param_groups)
        losses = losses_of_rates(training, bench.train, len(bench.dataset.classes), planned, watch)
    kept, own = steps_that_count(losses), known.train.optimizer
    reading = read_curve(planned, losses)
    suggested = ""
    if reading.suggestion is not None:
        suggested = str(optimizers.write(at_rate(own, round_rate(reading.suggestion))))
    return RangeTest(
        recipe=called,
        optimizer=str(optimizers.write(own)),
        own=own.lr,
        groups=tuple(sorted({round(rate / own.lr, 12) for rate in groups})),
        planned=planned,
        rates=planned[:kept],
        losses=tuple(losses[:kept]),
        images=len(bench.train),
        batch=known.train.batch_size * known.train.accumulate,
        seed=known.train.seed,
        way=way,
        reading=reading,
        suggested=suggested,
        remarks=tuple(_remarks(known.train, bench.plan, all_train)),
    )


def at_rate(choice: Any, rate: float) -> Any:
    """An optimiser with another rate; muon's companion goes with it, as it did in the test.

    >>> at_rate(optimizers.read("sgd(0.1, momentum=0.9)"), 0.02)
    SGD(lr=0.02, momentum=0.9, nesterov=False, weight_decay=0.0)
    """
    changed: dict[str, Any] = {"lr": rate}
    if isinstance(choice, Muon):
        changed["companion"] = at_rate(choice.companion, round_rate(choice.companion.lr * rate / choice.lr))
    return replace(choice, **changed)


def _let_all_train(network: nn.Module) -> bool:
    """Let all that will ever train do so from the first step; whether something would have joined in later."""
    if not isinstance(network, Transfer) or not any(network.begins.values()):
        return False
    network.set_policy(dict.fromkeys(network.begins, 0), network.order)
    return True


def _remarks(train: Train, plan: NetworkPlan, all_train: bool) -> list[str]:
    found = []
    if all_train:
        found.append(
            "All that trains in some epoch did so from the first step: what joins in later bears the rate too."
        )
    if isinstance(train.optimizer, Muon):
        found.append("The companion's rate rose in proportion, and is in proportion in the suggested line.")
    if train.rates:
        found.append("Rows with a factor in train.rates had their share of the rate, as in training.")
    if any(row.kind == "batchnorm" and not row.frozen for row in plan.layers):
        found.append(
            "With batch norm a network bears rates in a test that are too high for a whole training: try a tenth of "
            "the suggested one, too."
        )
    if not isinstance(train.schedule, Constant):
        written = schedules.write(train.schedule)
        found.append(f"The schedule, {written}, did not act; in training it changes the rate that is compared here.")
    return found
