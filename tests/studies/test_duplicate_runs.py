"""Which arms are one experiment, and which can't be compared at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.context import RunContext
from cnnlab.errors import SpecError
from cnnlab.studies.plan import make_plan

Studies = Callable[..., Study]


def same_as(study: Study) -> dict[str, str]:
    return {arm.name: arm.same_as for arm in make_plan(study, "alike", RunContext(device="cpu")).arms}


def test_the_baseline_stands_for_its_experiment_wherever_it_is_listed(study: Studies, lab: Any) -> None:
    arms = {"copy": {}, "slow": {"train.optimizer": "sgd(0.001)"}, "plain": {"train.epochs": 2}}
    result = lab.carry_out(study(arms, seeds=1, baseline_seeds=2))
    assert {arm.name: arm.same_as for arm in result.arms} == {"copy": "plain", "slow": "", "plain": ""}
    assert [one.a for one in result.ablation.comparisons] == ["slow"]
    assert len(result.arm("plain").seeds) == 2


def test_a_recipe_with_another_seed_is_the_same_experiment(study: Studies, recipe: Callable[..., Recipe]) -> None:
    arms = {"plain": {}, "again": {"recipe": recipe(opened="sealed", seed=1)}}
    assert same_as(study(arms)) == {"plain": "", "again": "plain"}


def test_arms_on_other_images_are_not_compared(study: Studies, colours: Path, tmp_path: Path) -> None:
    """A folder of the same name and the same files, but for one image."""
    other = shutil.copytree(colours, tmp_path / colours.name)
    first = next(other.rglob("*.png"))
    pixels = np.asarray(Image.open(first)).copy()
    Image.fromarray(255 - pixels).save(first, compress_level=0)
    with pytest.raises(SpecError, match="'b' is measured on other images than 'plain'"):
        same_as(study({"plain": {}, "b": {"data.source": str(other)}}))
    with pytest.raises(SpecError, match="the same validation and test images for all arms"):
        same_as(study({"plain": {}, "more": {"data.validation": 0.5}}))


def test_arms_may_differ_in_the_images_that_they_are_trained_on(study: Studies) -> None:
    assert same_as(study({"plain": {}, "few": {"data.limit": 10}})) == {"plain": "", "few": ""}


@pytest.mark.full
def test_a_precision_that_an_arm_sets_itself_stays(study: Studies) -> None:
    arms = {"plain": {}, "whole": {"train.precision": "fp32"}, "half": {"train.precision": "bf16"}}
    known = study(arms, base={"precision": "auto"})
    made = {arm.name: arm.recipe.train.precision for arm in make_plan(known, "alike", RunContext(device="cpu")).arms}
    assert (made["whole"], made["half"]) == ("fp32", "bf16")
    assert made["plain"] in ("fp32", "bf16")


def test_a_study_stays_in_its_way_when_an_arm_is_added(study: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all its runs would be made again, though another way may be faster for the new network."""
    from cnnlab.records import PrecisionConfig

    formats = iter(["channels_last", "contiguous", "contiguous"])

    def tried(*_: object) -> PrecisionConfig:
        both = {"fp32 contiguous": 5.0, "fp32 channels_last": 6.0}
        return PrecisionConfig(precision="fp32", memory_format=next(formats), reason="tried", tried=both)

    monkeypatch.setattr("cnnlab.studies.precision.benchmark_precision", tried)
    base = {"precision": "auto"}
    arms = {"plain": {}, "slow": {"train.optimizer": "sgd(0.001)"}}
    first = make_plan(study(arms, base=base), "alike", RunContext(device="cpu"))
    assert first.study_precision.precision_config.memory_format == "channels_last"
    more = {**arms, "large": {"train.batch_size": 9}, "larger": {"train.batch_size": 10}}
    second = make_plan(study(more, base=base), "alike", RunContext(device="cpu"), saved_precision=first.study_precision)
    assert second.study_precision.precision_config.memory_format == "channels_last"
    ids = {arm.name: [task.id for task in arm.tasks] for arm in first.arms}
    assert {arm.name: [task.id for task in arm.tasks] for arm in second.arms if arm.name in arms} == ids


def test_a_run_of_another_device_or_torch_is_other_work(study: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    known = study()
    here = [task.id for task in make_plan(known, "alike", RunContext(device="cpu")).tasks()]
    monkeypatch.setattr("torch.__version__", "9.9")
    there = [task.id for task in make_plan(known, "alike", RunContext(device="cpu")).tasks()]
    assert [one.rpartition("-")[0] for one in here] == [one.rpartition("-")[0] for one in there]
    assert not set(here) & set(there)
