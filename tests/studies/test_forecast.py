from __future__ import annotations

from collections.abc import Callable
from math import isclose
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from cnnlab.api.study import plan_study
from cnnlab.config.model import Model
from cnnlab.config.study import Study
from cnnlab.context import RunContext
from cnnlab.data.dataset import Dataset
from cnnlab.models.network_plan import plan_network
from cnnlab.records import PrecisionConfig
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.runs.setup import keep_gflops, kept_gflops, training_flops
from cnnlab.studies.forecast import forecast
from cnnlab.studies.plan import make_plan

Studies = Callable[..., Study]


@pytest.mark.full
def test_a_plan_before_the_first_run_is_a_trials(study: Studies, lab: Any) -> None:
    """The base leaves its precision open, so that each network is tried."""
    known = study(base={"precision": "auto"}, metric="validation_accuracy")
    found = forecast(make_plan(known, "colours", RunContext(device="cpu")), RunIndex(lab.runs))
    assert (found.runs, found.done, found.to_do) == (4, 0, 4)
    assert found.seconds is not None
    assert 0 < found.seconds < float("inf")
    assert "each network timed on cpu" in found.basis
    assert not lab.runs.exists()


def test_a_plan_reads_no_image_and_times_a_step_of_each_network(
    study: Studies, lab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What takes long on a slow machine is left to the study."""
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path))  # without the benchmarks of other tests
    sizes: list[int] = []

    def timed(_way: PrecisionConfig, _network: nn.Module, images: Tensor, _labels: Tensor) -> float:
        sizes.append(len(images))
        return 100.0 * len(sizes)

    monkeypatch.setattr(Dataset, "pixels", lambda *_: pytest.fail("images were read"))
    monkeypatch.setattr("cnnlab.training.precision._benchmark_all", lambda *_: pytest.fail("a trial was made"))
    monkeypatch.setattr("cnnlab.runs.setup.quick_training_speed", timed, raising=False)
    arms: dict[str, Any] = {"plain": {}, "slow": {"train.optimizer": "sgd(0.001)"}, "large": {"train.batch_size": 9}}
    known = study(arms, base={"precision": "auto"})
    plan = plan_study(known, runs=lab.runs, device="cpu", measure=True).plan
    assert sizes == [8, 9]
    plain, slow, large = (arm.seconds for arm in plan.arms)
    assert plain == slow == pytest.approx(2 * large)


def test_a_plan_estimates_times_from_multiply_adds_and_kept_throughput(
    study: Studies, lab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(Dataset, "pixels", lambda *_: pytest.fail("images were read"))
    monkeypatch.setattr("cnnlab.runs.setup.quick_training_speed", lambda *_: pytest.fail("a step was timed"))
    known = study(base={"precision": "auto"})
    before = plan_study(known, runs=lab.runs, device="cpu")
    assert "50 GFLOP/s on cpu, assumed" in before.basis
    (tmp_path / "throughput.json").write_text('{"cpu": [10, 25, 1000]}')
    after = plan_study(known, runs=lab.runs, device="cpu")
    assert "25 GFLOP/s on cpu, from 3 kept benchmarks" in after.basis
    assert before.seconds is not None
    assert after.seconds == pytest.approx(2 * before.seconds, rel=1e-3)


def test_the_throughput_of_tiny_networks_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path))
    for rows, kept in ((["flatten", "dense(classes)"], []), (["conv(64, 5)", "flatten", "dense(classes)"], [600])):
        plan = plan_network(Model(layers=rows), (3, 32, 32), 10)
        keep_gflops(plan, 600e9 / training_flops(plan), "cpu")
        assert kept_gflops("cpu") == pytest.approx(kept)


@pytest.mark.full
def test_runs_that_were_made_tell_how_long_the_others_take(study: Studies, lab: Any, carried: Any) -> None:
    carried(study())
    more = study(seeds=4)
    found = forecast(make_plan(more, "colours", RunContext(device="cpu")), RunIndex(lab.runs))
    assert (found.runs, found.done, found.to_do) == (8, 4, 4)
    taken = {arm: [lab.run_of(arm, seed).result().seconds for seed in (0, 1)] for arm in ("plain", "slow")}
    assert found.seconds is not None
    assert isclose(found.seconds, sum(sum(seconds) for seconds in taken.values()), rel_tol=1e-9)
    assert "the 4 runs made already" in found.basis
