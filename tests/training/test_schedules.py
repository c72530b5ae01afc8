"""The learning rate over time, against torch's own schedulers."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from cnnlab.config.schedules import schedules
from cnnlab.records import Score
from cnnlab.training.schedules import LRScheduler


def plain(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)


def scored(**figures: float) -> Score:
    known = dict.fromkeys(("loss", "accuracy", "top5", "balanced_accuracy", "macro_f1"), 0.5)
    return Score(images=1, **{**known, **figures})


def rate(schedule: LRScheduler, step: int, optimizer: torch.optim.Optimizer) -> float:
    schedule.before_step(step, optimizer)
    return optimizer.param_groups[0]["lr"]


@given(steps=st.integers(1, 60), floor=st.sampled_from([0.0, 0.01, 0.5, 1.0]), first=st.floats(1e-4, 10))
def test_cosine_is_torchs(steps: int, floor: float, first: float) -> None:
    schedule, ours = LRScheduler(schedules.read(f"cosine(floor={floor})"), steps), plain(first)
    theirs = plain(first)
    oracle = CosineAnnealingLR(theirs, T_max=steps, eta_min=floor * first)
    for step in range(steps):
        assert rate(schedule, step, ours) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9, abs=1e-12 * first)
        theirs.step()
        oracle.step()


@given(
    figures=st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8]), max_size=30),
    patience=st.integers(1, 4),
    metric=st.sampled_from(["loss", "accuracy", "macro_f1"]),
)
def test_plateau_is_torchs_with_one_less_patience(figures: list[float], patience: int, metric: str) -> None:
    """torch lets `patience` bad validations pass and reduces at the next; ours reduces at the `patience`-th."""
    choice = schedules.read(f"plateau(factor=0.5, patience={patience}, metric='{metric}')")
    schedule, ours, theirs = LRScheduler(choice, 100), plain(0.1), plain(0.1)
    mode = "min" if metric == "loss" else "max"
    oracle = ReduceLROnPlateau(theirs, mode, factor=0.5, patience=patience - 1, threshold=0, eps=0)
    for step, figure in enumerate(figures):
        schedule.after_validation(scored(**{metric: figure}))
        oracle.step(figure)
        assert rate(schedule, step, ours) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)


def held_against(
    text: str, oracle: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], steps: int, per_epoch: int
) -> None:
    """Every step's rate is the one of torch's scheduler, which steps with each training step."""
    schedule, ours, theirs = LRScheduler(schedules.read(text), steps, per_epoch), plain(0.3), plain(0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scheduler of torch warns of another that steps within it
        scheduler = oracle(theirs)
        for step in range(steps):
            expected = theirs.param_groups[0]["lr"]
            assert rate(schedule, step, ours) == pytest.approx(expected, rel=1e-9, abs=1e-12), f"{text}, step {step}"
            theirs.step()
            if step + 1 < steps:
                scheduler.step()


ORACLES = {
    "constant": lambda made, _steps, _epoch: lr_scheduler.ConstantLR(made, 1.0),
    "cosine": lambda made, steps, _epoch: CosineAnnealingLR(made, steps),
    "step(2, 0.5)": lambda made, _steps, epoch: lr_scheduler.StepLR(made, 2 * epoch, 0.5),
    "multistep([1, 3], 0.5)": lambda made, _steps, epoch: lr_scheduler.MultiStepLR(made, [epoch, 3 * epoch], 0.5),
    "exponential(0.9)": lambda made, _steps, epoch: lr_scheduler.LambdaLR(made, lambda step: 0.9 ** (step // epoch)),
    "linear(0.1)": lambda made, steps, _epoch: lr_scheduler.LinearLR(made, 1.0, 0.1, steps),
    "restarts(2, 1, 0.1)": lambda made, _steps, epoch: lr_scheduler.CosineAnnealingWarmRestarts(
        made, 2 * epoch, 1, 0.03
    ),
    "restarts(1, 2)": lambda made, _steps, epoch: lr_scheduler.CosineAnnealingWarmRestarts(made, epoch, 2),
}


@given(text=st.sampled_from(sorted(ORACLES)), epochs=st.integers(1, 9), per_epoch=st.integers(1, 7))
def test_it_is_torchs(text: str, epochs: int, per_epoch: int) -> None:
    steps = epochs * per_epoch
    held_against(text, lambda made: ORACLES[text](made, steps, per_epoch), steps, per_epoch)


@given(
    text=st.sampled_from(sorted(ORACLES)),
    epochs=st.integers(3, 9),
    per_epoch=st.integers(1, 7),
    start=st.sampled_from([0.01, 0.5, 1.0]),
)
def test_a_warm_up_in_front_is_torchs_sequence(text: str, epochs: int, per_epoch: int, start: float) -> None:
    steps, rising = epochs * per_epoch, 2 * per_epoch

    def oracle(made: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        up = lr_scheduler.LinearLR(made, start, 1.0, rising)
        return lr_scheduler.SequentialLR(made, [up, ORACLES[text](made, steps - rising, per_epoch)], [rising])

    held_against(f"warmup(2, {text}, start={start})", oracle, steps, per_epoch)


@given(steps=st.integers(8, 80), rise=st.floats(0.2, 0.8), first=st.floats(1, 50), last=st.floats(1, 1e5))
def test_one_cycle_is_torchs_without_its_momentum(steps: int, rise: float, first: float, last: float) -> None:
    def oracle(made: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.OneCycleLR(
            made, 0.3, steps, pct_start=rise, div_factor=first, final_div_factor=last, cycle_momentum=False
        )

    held_against(f"onecycle({rise}, {first}, {last})", oracle, steps, 1)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("name", schedules.kinds)
def test_the_shortest_trainings_have_a_rate(name: str, steps: int) -> None:
    text = "multistep([1])" if name == "multistep" else name
    schedule, optimizer = LRScheduler(schedules.read(text), steps), plain(0.3)
    for step in range(steps):
        assert 0 < rate(schedule, step, optimizer) <= 0.3


def test_a_plateau_behind_a_warm_up_reduces_what_the_warm_up_reached() -> None:
    schedule = LRScheduler(schedules.read("warmup(2, plateau(0.5, 1), start=0.5)"), 4)
    optimizer = plain(1.0)
    rates = []
    for step, loss in enumerate([1.0, 2.0, 2.0, 0.5]):
        rates.append(rate(schedule, step, optimizer))
        schedule.after_validation(scored(loss=loss))
    assert rates == pytest.approx([0.5, 0.75, 0.5, 0.25])


def test_each_group_keeps_its_share_of_the_rate() -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": parameters[:1], "lr": 0.1}, {"params": parameters[1:], "lr": 0.4}]
    optimizer = torch.optim.SGD(groups)
    schedule = LRScheduler(schedules.read("exponential(0.5)"), 3)
    for step in range(3):
        schedule.before_step(step, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.025, 0.1])


@pytest.mark.parametrize(
    "name", ["cosine(floor=0.1)", "linear(floor=0.1)", "onecycle()", "warmup(1, cosine())", "warmup(10, cosine())"]
)
def test_a_rate_that_falls_over_the_whole_training_falls_by_the_budget_where_that_ends_first(name: str) -> None:
    steps = 100
    whole, cut = LRScheduler(schedules.read(name), steps, 5), LRScheduler(schedules.read(name), 10 * steps, 5)
    optimizer = plain(1.0)
    for step in range(0 if "warmup" not in name else 50 if "10" in name else 5, steps):  # a warm-up is of epochs
        rates = []
        for schedule, spent in ((whole, 0.0), (cut, step / steps)):
            schedule.before_step(step, optimizer, spent)
            rates.append(schedule.lr_multiplier)
        assert rates[1] == pytest.approx(rates[0], abs=0.05)
    lowest = min(whole.lr_multiplier, cut.lr_multiplier)
    cut.before_step(steps, optimizer, 1.0)
    assert cut.lr_multiplier <= lowest
    # A budget that is not the first to end changes nothing.
    whole.before_step(50, optimizer, 0.0)
    before = whole.lr_multiplier
    whole.before_step(50, optimizer, 0.3)
    assert whole.lr_multiplier == before


@pytest.mark.parametrize("name", ["step(epochs=2)", "multistep([3])", "exponential(0.9)", "restarts(3)", "constant"])
def test_a_rate_that_goes_by_epochs_does_not_go_by_a_budget(name: str) -> None:
    schedule, optimizer = LRScheduler(schedules.read(name), 100, 5), plain(1.0)
    schedule.before_step(37, optimizer)
    before = schedule.lr_multiplier
    schedule.before_step(37, optimizer, 0.9)
    assert schedule.lr_multiplier == before
