"""The training loop, held against one that is written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnnlab.data.loader import balanced_indices
from cnnlab.evaluation.logits import predict_logits
from cnnlab.evaluation.metrics import compute_score
from cnnlab.randomness import stream_key
from cnnlab.records import StepMeans
from cnnlab.training.loop import fit

NO_DROPOUT = ("conv(4, 3, padding=1)", "batchnorm", "relu", "maxpool(2)", "flatten", "dense(classes)")
AUGMENT = ["crop(padding=1)", "flip(0.5)"]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_plain_torch_loop_ends_with_the_same_weights(setup: Callable[..., Any]) -> None:
    made, plain = setup(layers=NO_DROPOUT, augment=AUGMENT, epochs=3), setup(layers=NO_DROPOUT, augment=AUGMENT)
    records = made.fit()
    network: nn.Module = plain.training.network.train()
    stepper = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    means = []
    for epoch in range(3):
        loss_sum = hits = count = 0.0
        for images, labels in plain.loaders.train.train_batches(8, 0, epoch, plain.recipe.data.augment):
            outputs = network(images)
            loss = F.cross_entropy(outputs, labels)
            stepper.zero_grad()
            loss.backward()
            stepper.step()
            loss_sum += loss.item() * len(labels)
            hits += (outputs.argmax(1) == labels).sum().item()
            count += len(labels)
        means.append((count, loss_sum / count, hits / count))
    for name, tensor in plain.weights.items():
        torch.testing.assert_close(made.weights[name], tensor, rtol=1e-5, atol=1e-6)
    for record, (count, loss, accuracy) in zip(records, means, strict=True):
        assert record.train.images == count
        assert record.train.loss == pytest.approx(loss, rel=1e-5)
        assert record.train.accuracy == accuracy
    expected = compute_score(
        predict_logits(made.training.network, made.loaders.validation), made.loaders.validation.labels, "bgr"
    )
    assert records[-1].validation.loss == expected.loss


def test_rates_and_decay_of_the_recipe_reach_the_optimiser(setup: Callable[..., Any]) -> None:
    made = setup(
        layers=NO_DROPOUT,
        optimizer="sgd(0.1, weight_decay=0.01)",
        rates={"conv1": 0.0001, "dense1": 2.0},
        decay="weights",
        schedule="linear",
    )
    training, own = made.training, dict(made.training.network.named_parameters())
    found = {
        id(one): (group["lr"], group["weight_decay"])
        for group in training.optimizer.param_groups
        for one in group["params"]
    }
    assert {name: found[id(one)] for name, one in own.items()} == {
        "conv1.weight": (pytest.approx(1e-5), 0.01),
        "conv1.bias": (pytest.approx(1e-5), 0.0),
        "batchnorm1.weight": (0.1, 0.0),
        "batchnorm1.bias": (0.1, 0.0),
        "dense1.weight": (0.2, 0.01),
        "dense1.bias": (0.2, 0.0),
    }
    before = {name: one.detach().clone() for name, one in own.items()}
    made.fit()
    moved = {name: float((one.detach() - before[name]).abs().max()) for name, one in own.items()}
    assert moved["conv1.weight"] < 1e-4 < 1e-3 < moved["dense1.weight"]


def test_validating_several_times_an_epoch_changes_no_weight(setup: Callable[..., Any]) -> None:
    once, twice = setup(), setup(validations_per_epoch=2)
    once.fit()
    records = twice.fit()
    steps = twice.training.steps_per_epoch
    middle = math.ceil(steps / 2) / steps
    assert [record.epoch for record in records] == [middle, 1, 1 + middle, 2]
    assert [record.step for record in records] == [round(record.epoch * steps) for record in records]
    assert sum(record.train.images for record in records) == 2 * len(twice.loaders.train)
    assert equal(once.weights, twice.weights)


def test_more_validations_than_steps_are_one_a_step(setup: Callable[..., Any]) -> None:
    made = setup(epochs=1, validations_per_epoch=1000)
    assert [record.step for record in made.fit()] == list(range(1, made.training.steps_per_epoch + 1))


def test_the_watcher_sees_every_step(setup: Callable[..., Any]) -> None:
    made = setup()
    seen: list[tuple[int, int, StepMeans | None]] = []
    records = list(fit(made.training, made.loaders, lambda *args: seen.append(args)))
    size = len(made.loaders.train)
    assert [done for done, _, _ in seen] == [min(8 * step, size) + size * e for e in (0, 1) for step in range(1, 5)]
    assert {total for _, total, _ in seen} == {2 * size}
    assert seen[-1][2] == records[-1].train


def test_while_a_record_is_held_the_training_is_in_its_state(setup: Callable[..., Any]) -> None:
    made = setup(epochs=3, validations_per_epoch=2)
    for record in fit(made.training, made.loaders, lambda *_: None):
        assert made.training.step == record.step
        assert made.training.epoch == int(record.epoch)
        now = compute_score(
            predict_logits(made.training.network, made.loaders.validation), made.loaders.validation.labels, "bgr"
        )
        assert record.validation.loss == now.loss


def test_the_best_validation_is_selected_and_the_first_of_equals(
    setup: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = (0.5, 0.75, 0.625, 0.75, 0.5)
    left = iter(accuracies)
    monkeypatch.setattr(
        "cnnlab.training.loop.compute_score",
        lambda *parts: compute_score(*parts).model_copy(update={"accuracy": next(left)}),
    )
    made = setup(epochs=5)
    assert tuple(record.validation.accuracy for record in made.fit()) == accuracies
    assert made.training.selected_epoch == 2


def test_early_stopping_stops_at_the_patience_th_validation_without_improvement(setup: Callable[..., Any]) -> None:
    made = setup(epochs=50, optimizer="sgd(1e-30)", layers=["flatten", "dense(classes)"], stop="early(patience=3)")
    records = made.fit()
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    assert made.training.stopped
    assert made.training.selected_epoch == 1


def test_min_change_stops_a_training_that_improves_too_little(setup: Callable[..., Any]) -> None:
    made = setup(epochs=50, optimizer="sgd(1e-4)", stop="early(patience=2, min_change=10)")
    assert [record.epoch for record in made.fit()] == [1, 2, 3]


def test_a_plateau_reduces_the_rate_of_the_records(setup: Callable[..., Any]) -> None:
    made = setup(epochs=5, optimizer="sgd(1e-30)", layers=["flatten", "dense(classes)"], schedule="plateau(0.5, 2)")
    rates = [record.learning_rate for record in made.fit()]
    assert rates == pytest.approx([1e-30, 1e-30, 1e-30, 5e-31, 5e-31])


def test_a_validation_loss_that_is_no_number_is_divergence_too(setup: Callable[..., Any]) -> None:
    """The steps' losses are those before each step: the last step can still spoil everything."""
    made = setup(epochs=5, batch_size=27, optimizer="sgd(1e30)", layers=["conv(4, 3)", "flatten", "dense(classes)"])
    (record,) = made.fit()
    assert math.isfinite(record.train.loss)
    assert not math.isfinite(record.validation.loss)
    assert made.training.diverged


def test_the_global_random_state_is_left_alone(setup: Callable[..., Any]) -> None:
    made = setup(augment=AUGMENT)
    before = torch.get_rng_state()
    for _ in fit(made.training, made.loaders, lambda *_: None):
        assert torch.equal(torch.get_rng_state(), before)


def test_dropouts_draws_depend_on_seed_and_step_alone(setup: Callable[..., Any]) -> None:
    made = setup(seed=5, layers=["dropout(0.5)", "flatten", "dense(classes)"])
    drawn: list[torch.Tensor] = []
    made.training.network[0].register_forward_hook(
        lambda module, _, output: drawn.append(output == 0) if module.training else None
    )
    made.fit()
    for step, found in enumerate(drawn):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_key(5, "step", step))
            assert torch.equal(found, F.dropout(torch.ones(found.shape), 0.5) == 0)


def test_without_a_validation_part_weights_that_are_no_numbers_are_divergence(setup: Callable[..., Any]) -> None:
    """One step: its loss is finite, and the weights that it makes are not."""
    fields = {"layers": ["conv(4, 3)", "flatten", "dense(classes)"], "batch_size": 36, "validation": 0.0}
    made = setup(epochs=5, optimizer="sgd(1e39)", **fields)
    (record,) = made.fit()
    assert (record.step, record.validation) == (1, None)
    assert math.isfinite(record.train.loss)
    assert made.training.diverged
    assert made.training.selected_epoch == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "cross_entropy(weights=[1.0, 5.0, 0.5])"])
def test_accumulated_batches_step_as_one_large_batch(setup: Callable[..., Any], loss: str) -> None:
    """Without batch norm; 27 images are 5 batches of 5 and one of 2, which counts less in the last step."""
    layers = ("conv(4, 3, padding=1)", "relu", "flatten", "dense(classes)")
    apart, whole = (
        setup(layers=layers, loss=loss, batch_size=5, accumulate=2),
        setup(layers=layers, loss=loss, batch_size=10),
    )
    assert apart.training.steps_per_epoch == whole.training.steps_per_epoch == 3
    records, expected = apart.fit(), whole.fit()
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(apart.weights[name], tensor, rtol=1e-4, atol=1e-6)
    for one, other in zip(records, expected, strict=True):
        assert (one.step, one.train.images) == (other.step, other.train.images)
        assert one.train.loss == pytest.approx(other.train.loss, rel=1e-5)


def test_a_gradient_is_clipped_to_its_norm_and_left_alone_below_it(setup: Callable[..., Any]) -> None:
    made, plain, loose = (setup(layers=NO_DROPOUT, epochs=1, clip=clip) for clip in (0.01, None, 1e9))
    norms: list[float] = []
    step = made.training.optimizer.step

    def watched() -> None:
        gradients = [parameter.grad for parameter in made.training.network.parameters()]
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
        step()

    made.training.optimizer.step = watched
    for one in (made, plain, loose):
        one.fit()
    assert norms == pytest.approx([0.01] * 4, rel=1e-3)
    assert not equal(made.weights, plain.weights)
    assert equal(loose.weights, plain.weights)


def test_the_recipes_loss_is_the_one_that_is_stepped_by(setup: Callable[..., Any]) -> None:
    """The validation's loss is cross-entropy, whatever the training's is."""
    made = setup(epochs=1, batch_size=27, layers=("flatten", "dense(classes)"), loss="focal(2)")
    network = made.training.network
    images, labels = next(made.loaders.train.train_batches(27, 0, 0))
    log_p = F.log_softmax(network(images).detach(), 1).gather(1, labels[:, None])[:, 0]
    expected = float((-((1 - log_p.exp()) ** 2) * log_p).mean())
    (record,) = made.fit()
    assert record.train.loss == pytest.approx(expected, rel=1e-5)
    exact = compute_score(predict_logits(network, made.loaders.validation), made.loaders.validation.labels, "bgr")
    assert record.validation.loss == exact.loss


def test_a_budget_of_images_ends_with_the_step_that_reaches_it(setup: Callable[..., Any]) -> None:
    """Steps of 8, 8, 8 and 3 images."""
    made, plain = setup(epochs=5, budget="images(40)"), setup(epochs=5)
    records, others = made.fit(), []
    for record in fit(plain.training, plain.loaders, lambda *_: None):
        others.append(record)
        break
    assert [(record.epoch, record.step, record.train.images) for record in records] == [(1, 4, 27), (1.5, 6, 16)]
    assert records[0].train == others[0].train
    assert made.training.stopped
    assert made.training.done


@pytest.mark.parametrize(("images", "ends"), [(27, [1]), (28, [1, 1.25]), (54, [1, 2]), (1000, [1, 2])])
def test_a_budget_that_ends_with_an_epoch_adds_no_validation(
    setup: Callable[..., Any], images: int, ends: list[float]
) -> None:
    assert [record.epoch for record in setup(epochs=2, budget=f"images({images})").fit()] == ends


@pytest.mark.parametrize("budget", ["images(54)", "time(minutes=10)"])
def test_a_schedule_falls_by_the_budget(setup: Callable[..., Any], budget: str) -> None:
    made = setup(epochs=100, budget=budget, schedule="cosine()")
    if budget.startswith("time"):
        made.training.seconds = 599.9999
    *_, last = made.fit()
    assert last.epoch < 3
    assert last.learning_rate < 0.1 * made.training.train.optimizer.lr


def test_a_budget_of_time_ends_with_the_next_step_and_counts_what_was_before(setup: Callable[..., Any]) -> None:
    made = setup(epochs=5, budget="time(minutes=1e-9)")
    assert [record.step for record in made.fit()] == [1]
    later = setup(epochs=5, budget="time(minutes=10)")
    later.training.seconds = 600.0
    assert [record.step for record in later.fit()] == [1]
    assert len(setup(epochs=2, budget="time(minutes=10)").fit()) == 2


def test_balanced_sampling_is_what_is_trained_on(setup: Callable[..., Any]) -> None:
    made = setup(epochs=2, sampling="balanced", seed=4)
    seen: list[torch.Tensor] = []
    made.training.network[0].register_forward_hook(
        lambda module, given, _: seen.append(given[0]) if module.training else None
    )
    made.fit()
    part = made.loaders.train
    expected = [
        images
        for epoch in range(2)
        for images, _ in part.with_sampling(balanced_indices(part.labels, 4, epoch)).train_batches(8, 4, epoch)
    ]
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))
