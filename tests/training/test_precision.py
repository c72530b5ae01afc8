"""How a step is computed: tried once, kept, and only ever one that is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from cnnlab.config.recipe import Train
from cnnlab.errors import SpecError
from cnnlab.records import PrecisionConfig
from cnnlab.training import precision as training_precision
from cnnlab.training.precision import (
    FP32,
    autotune_precision,
    cached_benchmarks,
    clear_benchmarks,
    known_precision,
    quick_training_speed,
)

AUTO = Train()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own cache."""
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(training_precision, "BENCHMARK_S", 0.001)
    return tmp_path / "precision"


@pytest.fixture
def case() -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3))
        return network, torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])


def no_trial(*_: object) -> PrecisionConfig:
    raise AssertionError("a benchmark was run")


def test_fp32_is_plain_computing_without_a_trial(kept: Path, case: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_precision, "_benchmark_all", no_trial)
    assert autotune_precision(Train(precision="fp32"), *case) == FP32
    assert not kept.exists()


def test_what_the_recipe_leaves_no_choice_in_is_not_tried(case: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_precision, "_benchmark_all", no_trial)
    precision_config = autotune_precision(Train(precision="bf16", memory_format="channels_last"), *case)
    assert (precision_config.precision, precision_config.memory_format) == ("bf16", "channels_last")


def test_what_a_trial_chose_is_known_without_one(kept: Path, case: tuple) -> None:
    network, images, labels = case
    assert known_precision(Train(precision="fp32"), network, images) == FP32
    assert known_precision(AUTO, network, images) is None
    chosen = autotune_precision(AUTO, network, images, labels)
    assert known_precision(AUTO, network, images) == chosen
    assert known_precision(AUTO, network, images[:3]) is None
    assert {file.suffix for file in kept.iterdir()} == {".json"}


@pytest.mark.parametrize(("took", "batches"), [(0.25, [8, 8, 16, 16, 16]), (1.0, [8, 8])], ids=["fast", "slow"])
def test_a_quick_speed_is_of_few_steps_and_of_a_slow_network_on_few_images(
    monkeypatch: pytest.MonkeyPatch, took: float, batches: list[int]
) -> None:
    """A step takes this long, by a clock of its own."""
    seen: list[int] = []
    clock = SimpleNamespace(now=0.0)

    def step(images: Tensor) -> None:
        seen.append(len(images))
        clock.now += took

    monkeypatch.setattr(training_precision, "_make_step", lambda _way, _network, images, _labels: lambda: step(images))
    monkeypatch.setattr(training_precision, "BENCHMARK_S", 0.5)
    monkeypatch.setattr(training_precision, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    images, labels = torch.zeros(16, 3, 8, 8), torch.zeros(16, dtype=torch.long)
    assert quick_training_speed(FP32, nn.Identity(), images, labels) == pytest.approx(batches[-1] / took)
    assert seen == batches


def test_a_trial_is_kept_and_read_the_second_time(kept: Path, case: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    first = autotune_precision(AUTO, *case)
    assert first.reason.startswith("the fastest in a benchmark on ")
    assert first.tried[f"{first.precision} {first.memory_format}"] == max(first.tried.values())  # rounded
    (file,) = kept.iterdir()
    assert PrecisionConfig.from_json(file.read_bytes()) == first
    monkeypatch.setattr(training_precision, "_benchmark_all", no_trial)
    assert autotune_precision(AUTO, *case) == first


def test_trials_that_are_forgotten_are_made_anew(kept: Path, case: tuple) -> None:
    autotune_precision(AUTO, *case)
    (file,) = kept.iterdir()
    slow = PrecisionConfig(precision="fp32", memory_format="contiguous", reason="of a busy machine", tried={})
    file.write_text(slow.to_json())
    assert autotune_precision(AUTO, *case) == slow
    assert clear_benchmarks() == 1
    assert cached_benchmarks() == []
    assert autotune_precision(AUTO, *case).reason.startswith("the fastest in a benchmark on ")
    assert clear_benchmarks() == 1


def test_a_damaged_cache_file_is_made_anew(kept: Path, case: tuple) -> None:
    autotune_precision(AUTO, *case)
    (file,) = kept.iterdir()
    file.write_text("{")
    assert autotune_precision(AUTO, *case) == PrecisionConfig.from_json(file.read_bytes())


def test_another_network_batch_or_choice_is_tried_by_itself(kept: Path, case: tuple) -> None:
    network, images, labels = case
    autotune_precision(AUTO, network, images, labels)
    autotune_precision(AUTO, network, images[:3], labels[:3])
    autotune_precision(Train(memory_format="contiguous"), network, images, labels)
    autotune_precision(AUTO, network[1:], images[:, :1].expand(-1, 4, -1, -1)[:, :, :6, :6], labels)
    assert len(list(kept.iterdir())) == 4


@pytest.mark.parametrize("fault", ["loss", "gradient", "nan"])
@pytest.mark.usefixtures("kept")
def test_a_way_that_gives_another_result_is_out(case: tuple, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    honest = training_precision._loss_and_gradient

    def outcome(precision_config: PrecisionConfig, *args: object) -> tuple[Tensor, Tensor]:
        loss, gradient = honest(precision_config, *args)
        if precision_config.precision == "fp32":
            return loss, gradient
        spoilt = {"loss": (loss * 1.5, gradient), "gradient": (loss, -gradient), "nan": (loss, gradient * torch.nan)}
        return spoilt[fault]

    monkeypatch.setattr(training_precision, "_loss_and_gradient", outcome)
    precision_config = autotune_precision(AUTO, *case)
    assert precision_config.precision == "fp32"
    assert set(precision_config.tried) == {"fp32 contiguous", "fp32 channels_last"}


@pytest.mark.usefixtures("kept")
def test_where_nothing_agrees_plain_computing_is_left(case: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_precision, "_matches_reference", lambda *_: False)
    precision_config = autotune_precision(AUTO, *case)
    assert (precision_config.precision, precision_config.memory_format, precision_config.tried) == (
        "fp32",
        "contiguous",
        {},
    )
    assert precision_config.reason == "no other choice gave the result of 32-bit floats"
    assert autotune_precision(Train(memory_format="contiguous"), *case).memory_format == "contiguous"


@pytest.mark.parametrize(("training", "broken"), [(True, False), (False, True)])
@pytest.mark.usefixtures("kept")
def test_a_trial_leaves_no_trace(case: tuple, monkeypatch: pytest.MonkeyPatch, training: bool, broken: bool) -> None:
    network = case[0].train(training)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    if broken:

        def fail(*_: object) -> float:
            raise RuntimeError("broken")

        monkeypatch.setattr(training_precision, "training_speed", fail)
        with pytest.raises(RuntimeError, match="broken"):
            autotune_precision(AUTO, *case)
    else:
        autotune_precision(AUTO, *case)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network[0].weight.is_contiguous()
    assert network.training is training
    assert torch.equal(torch.get_rng_state(), random)


def test_a_step_in_bf16_runs_in_bf16(setup: Callable[..., object]) -> None:
    seen: list[torch.dtype] = []
    for precision in ("fp32", "bf16"):
        made = setup(precision_config=PrecisionConfig(precision=precision, memory_format="channels_last"), epochs=1)
        made.training.network[0].register_forward_hook(lambda module, _, output: seen.append((module.training, output)))
        made.fit()
        assert {(mode, output.dtype) for mode, output in seen} == {
            (True, torch.bfloat16 if precision == "bf16" else torch.float32),
            (False, torch.float32),
        }
        assert all(output.is_contiguous(memory_format=torch.channels_last) for _, output in seen)
        assert all(tensor.dtype != torch.bfloat16 for tensor in made.weights.values())
        seen.clear()


@pytest.mark.usefixtures("kept")
def test_a_choice_of_the_recipe_that_is_wrong_is_refused(case: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_precision, "_matches_reference", lambda *_: False)
    words = "^train.precision: bf16 contiguous and bf16 channels_last don't give the result of 32-bit floats"
    with pytest.raises(SpecError, match=words):
        autotune_precision(Train(precision="bf16"), *case)


def test_of_two_processes_that_benchmark_at_once_both_take_the_first_choice(
    kept: Path, case: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = PrecisionConfig(precision="bf16", memory_format="channels_last", reason="the other's")
    benchmark = training_precision._benchmark_all

    def slower(candidates: list[PrecisionConfig], *arguments: object) -> PrecisionConfig:
        path = training_precision._cache_path(*arguments[:2], candidates)
        path.parent.mkdir()
        path.write_text(first.to_json())
        return benchmark(candidates, *arguments)

    monkeypatch.setattr(training_precision, "_benchmark_all", slower)
    assert autotune_precision(AUTO, *case) == first
    (file,) = kept.iterdir()
    assert PrecisionConfig.from_json(file.read_bytes()) == first


def test_every_kind_of_device_has_its_own_choice(case: tuple) -> None:
    """The processor's name alone stands for a Mac's CPU and its MPS alike."""
    batches = [SimpleNamespace(device=torch.device(kind), shape=case[1].shape) for kind in ("cpu", "mps", "meta")]
    assert len({training_precision._cache_path(case[0], images, [FP32]) for images in batches}) == 3
