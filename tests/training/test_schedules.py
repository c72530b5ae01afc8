"""The learning rate over time, against torch's own schedulers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from cnnlab.records import Score
from cnnlab.spec.choices import schedules
from cnnlab.training.schedules import Schedule


def plain(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)


def scored(**figures: float) -> Score:
    known = dict.fromkeys(("loss", "accuracy", "top5", "balanced_accuracy", "macro_f1"), 0.5)
    return Score(images=1, **{**known, **figures})


def rate(schedule: Schedule, step: int, optimizer: torch.optim.Optimizer) -> float:
    schedule.before_step(step, optimizer)
    return optimizer.param_groups[0]["lr"]


def test_constant_stays() -> None:
    schedule, optimizer = Schedule(schedules.read("constant"), 10), plain(0.3)
    for step in range(10):
        assert rate(schedule, step, optimizer) == 0.3
        schedule.after_validation(scored(loss=step))


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(1, 60), floor=st.sampled_from([0.0, 0.01, 0.5, 1.0]), first=st.floats(1e-4, 10))
def test_cosine_is_torchs(steps: int, floor: float, first: float) -> None:
    schedule, ours = Schedule(schedules.read(f"cosine(floor={floor})"), steps), plain(first)
    theirs = plain(first)
    oracle = CosineAnnealingLR(theirs, T_max=steps, eta_min=floor * first)
    for step in range(steps):
        assert rate(schedule, step, ours) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9, abs=1e-12 * first)
        theirs.step()
        oracle.step()


@settings(max_examples=60, deadline=None)
@given(
    figures=st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8]), max_size=30),
    patience=st.integers(1, 4),
    metric=st.sampled_from(["loss", "accuracy", "macro_f1"]),
)
def test_plateau_is_torchs_with_one_less_patience(figures: list[float], patience: int, metric: str) -> None:
    """torch lets `patience` bad validations pass and reduces at the next; ours reduces at the `patience`-th."""
    choice = schedules.read(f"plateau(factor=0.5, patience={patience}, metric='{metric}')")
    schedule, ours, theirs = Schedule(choice, 100), plain(0.1), plain(0.1)
    mode = "min" if metric == "loss" else "max"
    oracle = ReduceLROnPlateau(theirs, mode, factor=0.5, patience=patience - 1, threshold=0, eps=0)
    for step, figure in enumerate(figures):
        schedule.after_validation(scored(**{metric: figure}))
        oracle.step(figure)
        assert rate(schedule, step, ours) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)


def test_plateau_waits_again_after_each_reduction() -> None:
    schedule, optimizer = Schedule(schedules.read("plateau(factor=0.1, patience=2)"), 100), plain(1.0)
    rates = []
    for step, loss in enumerate([1.0, 1.1, 1.2, 1.3, 1.4, 0.9, 0.9, 0.9]):
        schedule.after_validation(scored(loss=loss))
        rates.append(rate(schedule, step, optimizer))
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001])
