"""How a step is computed on this machine: precision and memory format, chosen by a short timed trial and kept.

A trial times every way on the recipe's own network with a real batch. A way whose loss or gradient is not that of
plain 32-bit floats is out, however fast: some bf16 convolutions on CPUs are wrong or many times slower.
"""

from __future__ import annotations

import hashlib
import math
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

from cnnlab.atomic_io import write_whole
from cnnlab.config.recipe import Train
from cnnlab.data.decoding.cache import cache_dir
from cnnlab.errors import RunError, SpecError
from cnnlab.models.pretrained.transfer import unfreeze
from cnnlab.randomness import seed_torch, torch_state
from cnnlab.records import Way
from cnnlab.training.device import processor

WARM_UP_STEPS = 2
TIMED_S = 0.4
# A look ahead times one batch; of a network for which that takes longer than this, so few images.
QUICK_S, QUICK_IMAGES = 1.0, 8
# bf16 keeps 8 bits: a relative error of 2⁻⁸ an operation. These bounds let rounding through, and nothing else.
LOSS_TOLERANCE = 0.05
GRADIENT_COSINE = 0.98

PLAIN = Way(precision="fp32", memory_format="contiguous", reason="as the recipe says")


def autocast(way: Way, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a training step's forward pass runs."""
    if way.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def choose_way(train: Train, network: nn.Module, images: Tensor, labels: Tensor) -> Way:
    """The fastest way that is right, of those that the recipe leaves open.

    `precision = "fp32"` alone asks for plain computing: no trial, contiguous memory. A recipe that fixes both
    precision and memory format is taken at its word: its way is neither timed nor checked. The choice is kept in the
    cache folder for this machine, torch, network and batch, so that a noisy trial never makes two runs of one recipe
    differ, and says of which day it is; `forget_trials` lets it be made anew. Of two processes that try at once, both
    take the choice that was kept first. All that will ever train does so in the trial: a way that is right for a head
    may be wrong for what lies in front of it.

    Args:
        images, labels: one training batch on the device, N×C×H×W (or features of a frozen part, N×...) and N.

    Raises:
        SpecError: no way that the recipe leaves open gave the result of 32-bit floats.
    """
    if (known := known_way(train, network, images)) is not None:
        return known
    open_ways = list(_open_ways(train, images.dim() == 4))
    kept = _place(network, images, open_ways)
    unfreeze(network, math.inf)
    try:
        return _keep(kept, _try_all(open_ways, network, images, labels))
    finally:
        unfreeze(network, 0)


def known_way(train: Train, network: nn.Module, images: Tensor) -> Way | None:
    """What `choose_way` answers where it needs no trial; None: it would make one.

    Args:
        images: a batch of the shape and on the device that is trained with.
    """
    open_ways = list(_open_ways(train, images.dim() == 4))
    return open_ways[0] if len(open_ways) == 1 else _kept(_place(network, images, open_ways))


def _place(network: nn.Module, images: Tensor, open_ways: list[Way]) -> Path:
    """Where the choice is kept: by the network with all that will ever train."""
    unfreeze(network, math.inf)
    try:
        return cache_dir() / "ways" / f"{_fingerprint(network, images, open_ways)}.json"
    finally:
        unfreeze(network, 0)


def _open_ways(train: Train, maps: bool) -> Iterator[Way]:
    if train.precision == "fp32" and train.memory_format == "auto":
        yield PLAIN
        return
    precisions: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    formats: tuple[Literal["contiguous", "channels_last"], ...] = ("contiguous", "channels_last")
    if train.memory_format == "auto" and not maps:  # vectors have one format
        formats = ("contiguous",)
    for precision, memory_format in product(precisions, formats):
        if train.precision in ("auto", precision) and train.memory_format in ("auto", memory_format):
            yield Way(precision=precision, memory_format=memory_format, reason="as the recipe says")


def _try_all(open_ways: list[Way], network: nn.Module, images: Tensor, labels: Tensor) -> Way:
    """Time every way on the network, whose weights and random state are left as they were."""
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    was_training = network.training
    speeds: list[tuple[float, Way]] = []
    try:
        with torch_state():
            truth = _outcome(PLAIN, network, images, labels)
            for way in open_ways:
                if _agrees(_outcome(way, network, images, labels), truth):
                    speeds.append((training_speed(way, network, images, labels), way))
    finally:
        network.load_state_dict(state)
        network.zero_grad(set_to_none=True)
        network.train(was_training).to(memory_format=torch.contiguous_format)
    tried = {name_of_way(way): round(speed) for speed, way in speeds}
    if not speeds and PLAIN in open_ways:
        return PLAIN.model_copy(update={"reason": "no other way gave the result of 32-bit floats", "tried": tried})
    if not speeds:
        raise SpecError(
            f"the result of 32-bit floats is not what comes out of {' or '.join(map(name_of_way, open_ways))}",
            where="train.precision" if all(way.precision == "bf16" for way in open_ways) else "train.memory_format",
            next_step='set train.precision = "fp32"; a way is taken unchecked where the recipe sets both '
            "train.precision and train.memory_format",
        )
    _, fastest = max(speeds, key=lambda timed: timed[0])
    reason = f"the fastest of a timed trial on {_today()}"
    return fastest.model_copy(update={"reason": reason, "tried": tried})


def _outcome(way: Way, network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss and the gradient as one vector, without dropout: it draws in the order of memory, so formats differ."""
    seed_torch(0, "way")
    step = _step(way, network, images, labels)
    for module in network.modules():
        if isinstance(module, _DropoutNd):
            module.eval()
    loss = step()
    gradients = [parameter.grad.flatten().float() for parameter in network.parameters() if parameter.grad is not None]
    return loss.detach().float(), torch.cat(gradients)


def _agrees(outcome: tuple[Tensor, Tensor], truth: tuple[Tensor, Tensor]) -> bool:
    loss_close = bool((outcome[0] - truth[0]).abs() <= LOSS_TOLERANCE * truth[0].abs().clamp(min=0.1))
    return loss_close and float(F.cosine_similarity(outcome[1], truth[1], dim=0)) >= GRADIENT_COSINE


def training_speed(way: Way, network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Training steps, in images/s, without the optimiser's part, which is the same for all ways."""
    return _speed(_step(way, network, images, labels), images, WARM_UP_STEPS, TIMED_S, 2)


def quick_speed(way: Way, network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """As `training_speed`, from as few steps as the time needs, one at least; a large network's from a few images."""
    few = images[:QUICK_IMAGES]
    speed = _speed(_step(way, network, few, labels[:QUICK_IMAGES]), few, 1, 0.0, 1)
    if len(images) / speed > QUICK_S:
        return speed
    return _speed(_step(way, network, images, labels), images, 1, TIMED_S, 1)


def _speed(step: Callable[[], Tensor], images: Tensor, warm_up: int, seconds: float, least: int) -> float:
    """Images/s of steps that are timed for so many seconds, and `least` of them at least."""
    for _ in range(warm_up):
        step()
    _wait(images.device)
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or steps < least:
        step()
        _wait(images.device)
        steps += 1
    return steps * len(images) / (time.perf_counter() - began)


def _step(way: Way, network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    layout = torch_format(way)
    network.train().to(memory_format=layout)
    # Of features that are vectors there is one format.
    shaped = images.contiguous(memory_format=layout) if images.dim() == 4 else images

    def step() -> Tensor:
        network.zero_grad(set_to_none=True)
        with autocast(way, images.device):
            loss = F.cross_entropy(network(shaped), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    return step


def torch_format(way: Way) -> torch.memory_format:
    """The memory format of a way, as torch calls it."""
    return torch.channels_last if way.memory_format == "channels_last" else torch.contiguous_format


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def name_of_way(way: Way) -> str:
    """What a way is called in a trial's table."""
    return f"{way.precision} {way.memory_format}"


def _fingerprint(network: nn.Module, images: Tensor, open_ways: list[Way]) -> str:
    device = images.device
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} {processor()}"
    parts = (
        device.type,
        machine,
        torch.__version__,
        torch.get_num_threads(),
        str(network),
        "".join(str(int(parameter.requires_grad)) for parameter in network.parameters()),
        tuple(images.shape),
        *map(name_of_way, open_ways),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _kept(path: Path) -> Way | None:
    """The choice that was written down; None where there is none, or a damaged one, which a new trial mends."""
    try:
        return Way.from_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def trials_kept() -> list[Path]:
    """The choices that are kept for this machine and others, the oldest first."""
    stamps = []
    for path in (cache_dir() / "ways").glob("*.json"):
        with suppress(OSError):  # another process may have forgotten it
            stamps.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(stamps)]


def forget_trials() -> int:
    """Delete the kept choices, so that each is timed anew when it is next needed.

    Returns:
        How many there were.

    Raises:
        RunError: the cache can't be written to.
    """
    kept = trials_kept()
    try:
        for path in kept:
            path.unlink(missing_ok=True)
    except OSError as error:
        what = f"kept trials can't be removed: {error.strerror}"
        raise RunError(what, where=str(cache_dir()), next_step="see who may write there, or set CNNLAB_CACHE") from None
    return len(kept)


def _today() -> str:
    return time.strftime("%Y-%m-%d")


def _keep(path: Path, way: Way) -> Way:
    """Write the choice down, and answer with the one that counts: that of whoever wrote first.

    A cache that can't be written to only costs the next run a trial.
    """
    own = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError, RunError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(own, way.to_json().encode())
        try:
            os.link(own, path)  # fails where the name is taken
        except OSError:
            first = _kept(path)
            if first is not None:
                return first
            own.replace(path)
        finally:
            own.unlink(missing_ok=True)
    return way
