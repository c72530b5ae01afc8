"""A network as several processes train it; what two real ones make of it is in tests/runs/test_processes.py."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnlab.distributed import ProcessGroup
from cnnlab.models.pretrained.architectures import create_model
from cnnlab.training.distributed_model import DistributedModel, SyncedBatchNorm, convert_sync_batchnorm
from cnnlab.training.running_metrics import RunningMetrics

TWO = ProcessGroup(rank=0, world_size=2)


@dataclass(frozen=True)
class Thread(ProcessGroup):
    """One of two processes that are threads, which add numbers up where they meet."""

    world_size: int = 2
    meeting: Barrier = field(default_factory=lambda: Barrier(2, timeout=60))
    shared: dict[int, Tensor] = field(default_factory=dict)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        self.shared[self.rank] = tensor.detach().clone()
        self.meeting.wait()
        total = self.shared[0] + self.shared[1]
        self.meeting.wait()
        return tensor.copy_(total)


def in_two(work: Callable[[ProcessGroup], Any]) -> list[Any]:
    """What each of two threads finds."""
    first = Thread(rank=0)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, (first, Thread(rank=1, meeting=first.meeting, shared=first.shared))))


def norms() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4, affine=False)))
        nn.init.normal_(made[1].weight)
    return made


def test_shares_of_a_batch_are_normalised_as_torchs_norm_does_the_whole() -> None:
    """Outputs, gradients of images and weights, and running statistics; seven images in two shares."""
    images, factors = (torch.randn(7, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    factors, fresh = factors[:, [0, 1, 2, 0]], norms()  # drawn here, since threads share torch's random state

    def trained(world: ProcessGroup, share: slice) -> tuple[nn.Module, Tensor, Tensor]:
        made, part = deepcopy(fresh), images[share].clone().requires_grad_()
        convert_sync_batchnorm(made, world)
        with DistributedModel(made, world, made).batch_context(7, is_last=True) as whole:
            outputs = whole(part)
            (outputs * factors[share]).sum().backward()
        assert part.grad is not None
        return made, outputs.detach(), part.grad

    plain, outputs, gradient = trained(ProcessGroup(), slice(None))
    assert not any(isinstance(module, SyncedBatchNorm) for module in plain.modules())
    shares = in_two(lambda world: trained(world, world.shard(7)))
    torch.testing.assert_close(torch.cat([share[1] for share in shares]), outputs)
    torch.testing.assert_close(torch.cat([share[2] for share in shares]), gradient, rtol=1e-4, atol=1e-5)
    for name, parameter in plain.named_parameters():
        found = sum(share[0].get_parameter(name).grad for share in shares)
        torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-4)
    for made, _, _ in shares:
        for name, buffer in plain.named_buffers():
            torch.testing.assert_close(made.get_buffer(name), buffer)


def test_statistics_that_each_process_has_for_itself_are_averaged_but_for_frozen_ones() -> None:
    fresh = norms()

    def agreed(world: ProcessGroup) -> tuple[nn.Module, nn.Module]:
        made = deepcopy(fresh)
        made[1].running_mean.fill_(world.rank)
        made[2][0].running_var.fill_(3.0 + world.rank)
        made[2].eval()
        average = deepcopy(made).eval()
        DistributedModel(made, world, made).sync_batchnorm_stats(average)
        return made, average

    for rank, networks in enumerate(in_two(agreed)):
        for made in networks:
            assert made[1].running_mean.tolist() == [0.5] * 4
            assert made[2][0].running_var.tolist() == [3.0 + rank] * 4


def test_loss_and_hits_are_those_of_all_processes_images() -> None:
    def counted(world: ProcessGroup) -> Any:
        sums = RunningMetrics(torch.device("cpu"))
        labels = torch.zeros(2 + world.rank, dtype=torch.long)
        sums.update(torch.tensor(1.0 + world.rank), nn.functional.one_hot(labels + world.rank, 3), labels)
        return sums.compute(world)

    one, other = in_two(counted)
    assert one == other
    assert (one.images, one.loss, one.accuracy) == (5, 3 / 5, 2 / 5)


def test_a_batch_that_is_divided_counts_as_the_sum_of_its_shares() -> None:
    made = norms()
    together = DistributedModel(made, TWO, made)
    assert (
        together.loss_scale(8),
        together.loss_scale(3),
        DistributedModel(made, ProcessGroup(), made).loss_scale(8),
    ) == (2, 1, 1)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_a_norm_keeps_the_activation_that_timm_puts_in_it() -> None:
    images = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    plain, synced = (create_model("timm/mobilenetv3_small_050", 4, device="cpu", seed=1) for _ in range(2))
    convert_sync_batchnorm(synced, TWO)
    assert sum(isinstance(module, SyncedBatchNorm) for module in synced.modules()) > 10
    assert list(synced.state_dict()) == list(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(synced(images), plain(images))
        # A batch that is too small to be divided is each process's own.
        assert torch.equal(synced.train()(images), plain.train()(images))


def test_a_norm_keeps_its_hooks() -> None:
    """A backbone that is cut behind a norm stops by one."""
    made, called = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), []
    made[1].register_forward_pre_hook(lambda *_: called.append("before"))
    made[1].register_forward_hook(lambda *_: called.append("behind"))
    convert_sync_batchnorm(made, TWO)
    assert isinstance(made[1], SyncedBatchNorm)
    made(torch.zeros(2, 3, 4, 4))
    assert called == ["before", "behind"]


def test_without_a_momentum_the_statistics_are_the_plain_mean_over_all_batches() -> None:
    """As torch's norm has it."""
    batches = [torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) + seed for seed in range(3)]
    plain = nn.Sequential(nn.BatchNorm2d(3, momentum=None))
    for images in batches:
        plain(images)

    def trained(world: ProcessGroup) -> nn.Module:
        made = nn.Sequential(nn.BatchNorm2d(3, momentum=None))
        convert_sync_batchnorm(made, world)
        for images in batches:
            with DistributedModel(made, world, made).batch_context(6, is_last=True) as whole:
                whole(images[world.shard(6)])
        return made

    for made in in_two(trained):
        for name, buffer in plain.named_buffers():
            torch.testing.assert_close(made.get_buffer(name), buffer)
