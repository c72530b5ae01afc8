"""How a step is computed on this machine: precision and memory format, chosen by a short benchmark and cached.

The benchmark times every candidate on the recipe's network with a real batch. A candidate whose loss or gradient
differs from float32 is rejected however fast it is: some bf16 convolutions on CPUs are wrong or many times slower.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import product
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd

from cnnlab.atomic_io import atomic_write
from cnnlab.config.recipe import Train
from cnnlab.errors import RunError, SpecError
from cnnlab.models.train_mode import all_trainable
from cnnlab.records import PrecisionConfig
from cnnlab.settings import cache_dir
from cnnlab.torch_rng import fork_rng, manual_seed_torch
from cnnlab.training.device import processor_name

WARM_UP_STEPS = 2
BENCHMARK_S = 0.4
# A forecast times one batch, or this few images of a network for which a batch takes longer.
QUICK_S, QUICK_IMAGES = 1.0, 8
# bf16 has 8 bits of precision: a relative error of 2⁻⁸ per operation. These bounds admit rounding only.
LOSS_TOLERANCE = 0.05
GRADIENT_COSINE = 0.98

FP32 = PrecisionConfig(precision="fp32", memory_format="contiguous", reason="as the recipe says")


def autocast(config: PrecisionConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a training step's forward pass."""
    if config.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def autotune_precision(train: Train, network: nn.Module, images: Tensor, labels: Tensor) -> PrecisionConfig:
    """Return the fastest correct precision and memory format among those that the recipe leaves open.

    `precision = "fp32"` alone means plain float32 in contiguous memory without a benchmark. A recipe that sets both
    precision and memory format is neither timed nor checked. The choice is cached by machine, torch version, network
    and batch, so that timing noise never makes two runs of one recipe differ; `clear_benchmarks` deletes it. All layers
    that will ever train do so in the benchmark: what is correct for a head may be wrong for the layers before it.

    Args:
        images, labels: one training batch on the device: N×C×H×W (or features of a frozen trunk, N×…), and N.

    Raises:
        SpecError: no candidate that the recipe leaves open gave the result of float32.
    """
    if (known := known_precision(train, network, images)) is not None:
        return known
    candidates = list(_candidates(train, images.dim() == 4))
    cache_path = _cache_path(network, images, candidates)
    with all_trainable(network):
        return _write_cached(cache_path, _benchmark_all(candidates, network, images, labels))


def known_precision(train: Train, network: nn.Module, images: Tensor) -> PrecisionConfig | None:
    """Return what `autotune_precision` would without running a benchmark; None where it would run one.

    Args:
        images: a batch with the shape and device of the training batches.
    """
    candidates = list(_candidates(train, images.dim() == 4))
    return candidates[0] if len(candidates) == 1 else _read_cached(_cache_path(network, images, candidates))


def _candidates(train: Train, is_spatial: bool) -> Iterator[PrecisionConfig]:
    if train.precision == "fp32" and train.memory_format == "auto":
        yield FP32
        return
    precisions: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    formats: tuple[Literal["contiguous", "channels_last"], ...] = ("contiguous", "channels_last")
    if train.memory_format == "auto" and not is_spatial:  # vectors have one format
        formats = ("contiguous",)
    for precision, memory_format in product(precisions, formats):
        if train.precision in ("auto", precision) and train.memory_format in ("auto", memory_format):
            yield PrecisionConfig(precision=precision, memory_format=memory_format, reason="as the recipe says")


def _benchmark_all(
    candidates: list[PrecisionConfig], network: nn.Module, images: Tensor, labels: Tensor
) -> PrecisionConfig:
    """Time every candidate on the network; its weights and the random state are restored."""
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    was_training = network.training
    speeds: list[tuple[float, PrecisionConfig]] = []
    try:
        with fork_rng():
            reference = _loss_and_gradient(FP32, network, images, labels)
            for config in candidates:
                if _matches_reference(_loss_and_gradient(config, network, images, labels), reference):
                    speeds.append((training_speed(config, network, images, labels), config))
    finally:
        network.load_state_dict(state)
        network.zero_grad(set_to_none=True)
        network.train(was_training).to(memory_format=torch.contiguous_format)
    tried = {precision_label(config): round(speed) for speed, config in speeds}
    if not speeds and FP32 in candidates:
        return FP32.model_copy(update={"reason": "no other choice gave the result of 32-bit floats", "tried": tried})
    if not speeds:
        raise SpecError(
            f"{' and '.join(map(precision_label, candidates))} don't give the result of 32-bit floats here",
            where="train.precision",
            next_step='set train.precision = "fp32"',
        )
    _, fastest = max(speeds, key=lambda timed: timed[0])
    reason = f"the fastest in a benchmark on {time.strftime('%Y-%m-%d')}"
    return fastest.model_copy(update={"reason": reason, "tried": tried})


def _loss_and_gradient(
    config: PrecisionConfig, network: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss and the gradient as one vector, without dropout, whose draws depend on the memory format."""
    manual_seed_torch(0, "way")
    step = _make_step(config, network, images, labels)
    for module in network.modules():
        if isinstance(module, _DropoutNd):
            module.eval()
    loss = step()
    gradients = [parameter.grad.flatten().float() for parameter in network.parameters() if parameter.grad is not None]
    return loss.detach().float(), torch.cat(gradients)


def _matches_reference(outcome: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor]) -> bool:
    loss_close = bool((outcome[0] - reference[0]).abs() <= LOSS_TOLERANCE * reference[0].abs().clamp(min=0.1))
    return loss_close and float(F.cosine_similarity(outcome[1], reference[1], dim=0)) >= GRADIENT_COSINE


def training_speed(config: PrecisionConfig, network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return images/s of training steps, without the optimizer, which costs the same for all candidates."""
    return _measure_speed(_make_step(config, network, images, labels), images, WARM_UP_STEPS, BENCHMARK_S)


def quick_training_speed(config: PrecisionConfig, network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """As `training_speed`, from as few steps as possible, and from a few images for a large network."""
    few = images[:QUICK_IMAGES]
    speed = _measure_speed(_make_step(config, network, few, labels[:QUICK_IMAGES]), few, 1, 0.0)
    if len(images) / speed > QUICK_S:
        return speed
    return _measure_speed(_make_step(config, network, images, labels), images, 1, BENCHMARK_S)


def _measure_speed(step: Callable[[], Tensor], images: Tensor, warm_up: int, seconds: float) -> float:
    """Return images/s of steps timed for this many seconds and at least once."""
    for _ in range(warm_up):
        step()
    _synchronize(images.device)
    began, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - began < seconds:
        step()
        _synchronize(images.device)
        steps += 1
    return steps * len(images) / (time.perf_counter() - began)


def _make_step(config: PrecisionConfig, network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    layout = torch_memory_format(config)
    network.train().to(memory_format=layout)
    # Vectors have one memory format.
    shaped = images.contiguous(memory_format=layout) if images.dim() == 4 else images

    def step() -> Tensor:
        network.zero_grad(set_to_none=True)
        with autocast(config, images.device):
            loss = F.cross_entropy(network(shaped), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    return step


def torch_memory_format(config: PrecisionConfig) -> torch.memory_format:
    """Return torch's constant for the memory format."""
    return torch.channels_last if config.memory_format == "channels_last" else torch.contiguous_format


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def precision_label(config: PrecisionConfig) -> str:
    """Return the name of a candidate in the benchmark table."""
    return f"{config.precision} {config.memory_format}"


def _cache_path(network: nn.Module, images: Tensor, candidates: list[PrecisionConfig]) -> Path:
    """Return the file of the cached choice, for the network with all layers unfrozen that will ever train."""
    device = images.device
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} {processor_name()}"
    with all_trainable(network):
        parts = (
            device.type,
            machine,
            torch.__version__,
            torch.get_num_threads(),
            str(network),
            "".join(str(int(parameter.requires_grad)) for parameter in network.parameters()),
            tuple(images.shape),
            *map(precision_label, candidates),
        )
    return cache_dir() / "precision" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}.json"


def _read_cached(path: Path) -> PrecisionConfig | None:
    """Return the cached choice, or None if there is none or it is damaged, in which case it is benchmarked again."""
    try:
        return PrecisionConfig.from_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _write_cached(path: Path, config: PrecisionConfig) -> PrecisionConfig:
    """Cache the choice and return the one that counts: another process may have written its own meanwhile.

    If the cache can't be written to, the next run benchmarks again.
    """
    own = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError, RunError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(own, config.to_json().encode())
        try:
            os.link(own, path)  # fails if the file exists
        except OSError:
            if (first := _read_cached(path)) is not None:
                return first
            own.replace(path)
        finally:
            own.unlink(missing_ok=True)
    return config


def cached_benchmarks() -> list[Path]:
    """Return the files of all cached choices, oldest first."""
    times = []
    for path in (cache_dir() / "precision").glob("*.json"):
        with suppress(OSError):  # another process may have deleted it
            times.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(times)]


def clear_benchmarks() -> int:
    """Delete the cached choices and return how many there were.

    Raises:
        RunError: the cache can't be written to.
    """
    cached = cached_benchmarks()
    try:
        for path in cached:
            path.unlink(missing_ok=True)
    except OSError as error:
        what = f"cached benchmarks can't be removed: {error.strerror}"
        raise RunError(what, where=str(cache_dir()), next_step="check its permissions, or set CNNLAB_CACHE") from None
    return len(cached)
