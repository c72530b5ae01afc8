"""The range test's training, held against plain torch and against the largest stable rate of a quadratic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from cnnlab.training.losses import Loss
from cnnlab.training.lr_finder import range_test
from cnnlab.training.lr_finder.curve import analyze_curve, geometric_rates, num_valid_steps
from cnnlab.training.lr_finder.range_test import range_test_losses

LINEAR = ("flatten", "dense(classes)")
NO_DROPOUT = ("conv(4, 3, padding=1)", "batchnorm", "relu", "maxpool(2)", "flatten", "dense(classes)")
HIDDEN = ("conv(4, 3, padding=1)", "relu", "conv(8, 3)", "relu", "flatten", "dense(classes)")
RATES = geometric_rates(1e-5, 0.1, 21)


def found_by(made: Any, rates: tuple[float, ...] = RATES, **arguments: Any) -> list[float]:
    return range_test_losses(made.training, made.loaders.train, len(made.loaders.classes), rates, **arguments)


def rates_at_steps(made: Any) -> list[list[float]]:
    """A list that fills with the rates of all groups, as they are when the optimiser steps."""
    optimizer, seen = made.training.optimizer, []
    stepping = optimizer.step

    def step(*arguments: object) -> None:
        seen.append([group["lr"] for group in optimizer.param_groups])
        stepping(*arguments)

    optimizer.step = step
    return seen


@pytest.mark.parametrize(
    ("fields", "factors"),
    [
        ({"optimizer": "sgd(0.05, momentum=0.9)", "schedule": "cosine"}, {1.0}),
        ({"optimizer": "adam", "rates": {"conv1": 0.1, "dense1": 3.0}, "decay": "weights"}, {0.1, 1.0, 3.0}),
        ({"optimizer": "muon(0.02, companion=adamw(5e-4))", "layers": HIDDEN}, {1.0, 0.025}),
        ({"optimizer": "sgd(1e-9)", "accumulate": 2}, {1.0}),
    ],
    ids=["one group", "rates by row", "muon and its companion", "accumulated"],
)
def test_every_group_steps_with_its_share_of_the_rate(
    setup: Callable[..., Any], fields: dict, factors: set[float]
) -> None:
    made = setup(**{"layers": NO_DROPOUT, **fields})
    seen = rates_at_steps(made)
    found_by(made)
    assert len(seen) == len(RATES)
    for rate, groups in zip(RATES, seen, strict=True):
        assert sorted({round(one / rate, 9) for one in groups}) == sorted(factors)


def test_a_plain_torch_loop_has_the_same_losses(setup: Callable[..., Any]) -> None:
    augment = ["crop(padding=1)", "flip(0.5)"]
    made, plain = (setup(layers=NO_DROPOUT, augment=augment, clip=0.5) for _ in range(2))
    network = plain.training.network.train()
    stepper = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)
    expected: list[float] = []
    for epoch in range(6):  # four steps each: round the part again
        for images, labels in plain.loaders.train.train_batches(8, 0, epoch, plain.recipe.data.augment):
            if len(expected) == len(RATES):
                break
            for group in stepper.param_groups:
                group["lr"] = RATES[len(expected)]
            loss = F.cross_entropy(network(images), labels)
            stepper.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            stepper.step()
            expected.append(loss.item())
    assert found_by(made) == pytest.approx(expected, rel=1e-4)


def test_a_step_of_several_batches_has_the_mean_over_their_images(setup: Callable[..., Any]) -> None:
    still = geometric_rates(1e-30, 2e-30, 10)
    together = found_by(setup(layers=LINEAR, optimizer="sgd(1.0)", accumulate=4), still)
    made = setup(layers=LINEAR, optimizer="sgd(1.0)")
    images, labels = next(made.loaders.train.eval_batches(len(made.loaders.train)))
    whole = F.cross_entropy(made.training.network(images), labels).item()
    # Four batches, of which the last is smaller, are an epoch.
    assert together == pytest.approx([whole] * 10, rel=1e-5)


def test_a_recipe_draws_as_in_its_training(setup: Callable[..., Any]) -> None:
    """Dropout, augmentation, mixing and balanced sampling: at rates that change nothing, losses are those of a run."""
    fields = {
        "augment": ["crop(padding=1)", "noise"],
        "mix": "mixup",
        "sampling": "balanced",
        "optimizer": "sgd(1e-30)",
    }
    run = setup(**fields, epochs=3, validations_per_epoch=4)
    expected = [record.train.loss for record in run.fit()]
    losses = found_by(setup(**fields, epochs=1), geometric_rates(1e-30, 2e-30, len(expected)))
    assert losses == pytest.approx(expected, rel=1e-6)
    assert found_by(setup(**fields, seed=1), geometric_rates(1e-30, 2e-30, 12)) != pytest.approx(losses, rel=1e-3)


def test_the_watcher_is_told_of_every_step_and_it_ends_soon_after_the_blow_up(setup: Callable[..., Any]) -> None:
    seen: list[tuple[int, int, float]] = []
    losses = found_by(setup(layers=HIDDEN), geometric_rates(1.0, 1e9, 200), on_step=lambda *step: seen.append(step))
    kept = num_valid_steps(losses)
    assert kept < len(losses) <= kept + range_test.CHECK_EVERY < 200
    assert [step[:2] for step in seen] == [(number, 200) for number in range(1, len(losses) + 1)]
    assert [step[2] for step in seen] == losses


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_least_squares_blow_up_past_their_largest_stable_rate(
    setup: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, momentum: float
) -> None:
    """Gradient descent on half the squared error is stable up to 2 · (1 + momentum) / the Hessian's largest eigenvalue.

    Source: B. T. Polyak: Some methods of speeding up the convergence of iteration methods, 1964.
    """

    def squared(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return 0.5 * (outputs - F.one_hot(labels, outputs.shape[1])).square().sum(1).mean()

    monkeypatch.setattr(range_test, "loss_function", lambda *_: Loss(squared))
    made = setup(layers=LINEAR, optimizer=f"sgd(1.0, momentum={momentum})", batch_size=64)
    assert made.loaders.train.num_batches(64) == 1  # the whole part is a batch, so that every step is of one quadratic
    images, _ = next(made.loaders.train.eval_batches(64))
    rows = torch.cat([images.flatten(1), torch.ones(len(images), 1)], dim=1).double()
    stable = 2 * (1 + momentum) / float(torch.linalg.eigvalsh(rows.T @ rows / len(rows))[-1])
    rates = geometric_rates(stable / 10, stable * 10, 600)
    losses = found_by(made, rates)
    kept = num_valid_steps(losses)
    blown = rates[kept]
    # It falls at every stable step, and some unstable ones must pass before it shows: with these rungs, a few tenths.
    assert stable < blown < 1.6 * stable
    found = analyze_curve(rates, losses)
    assert stable / 3 < found.limit < blown
    assert found.suggestion < stable


def test_a_loss_that_is_no_number_ends_it(setup: Callable[..., Any]) -> None:
    made = setup(layers=LINEAR)
    with torch.no_grad():
        next(made.training.network.parameters()).fill_(math.nan)
    losses = found_by(made, geometric_rates(1e-6, 1.0, 100))
    assert len(losses) == range_test.CHECK_EVERY
    assert num_valid_steps(losses) == 0
