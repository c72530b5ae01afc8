"""A network as several processes train it; what two of them make of it is in tests/runs/test_processes.py."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from cnnlab.model.backbones import network
from cnnlab.processes import World
from cnnlab.training.together import SyncedBatchNorm, synchronise

TWO = World(rank=0, size=2)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_a_norm_keeps_the_activation_that_timm_puts_in_it() -> None:
    images = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    plain, synced = (network("timm/mobilenetv3_small_050", 4, device="cpu", seed=1) for _ in range(2))
    synchronise(synced, TWO)
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
    synchronise(made, TWO)
    assert isinstance(made[1], SyncedBatchNorm)
    made(torch.zeros(2, 3, 4, 4))
    assert called == ["before", "behind"]
