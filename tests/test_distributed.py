"""Who several processes are, and which images are whose; what they do together is in tests/runs/test_processes.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnnlab import distributed
from cnnlab.config.recipe import Recipe
from cnnlab.data.array_store import resident_bytes
from cnnlab.data.dataset import open_dataset
from cnnlab.distributed import (
    SINGLE_PROCESS,
    ProcessGroup,
    init_process_group,
    is_main_process,
    launch_command,
    total_memory_bytes,
)
from cnnlab.errors import SourceError, UsageError
from cnnlab.runs import checks
from cnnlab.runs.cached_features import choose_cache_plan
from cnnlab.training.feature_cache.plan import CachePlan


@given(size=st.integers(1, 9), count=st.integers(0, 200))
def test_shares_lie_in_order_and_hold_every_image_once(size: int, count: int) -> None:
    shares = [list(range(count)[ProcessGroup(rank, size).shard(count)]) for rank in range(size)]
    if ProcessGroup(0, size).is_sharded(count):
        assert [image for share in shares for image in share] == list(range(count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert min(map(len, shares)) >= 2
    else:
        assert shares == [list(range(count))] * size
    assert ProcessGroup(0, size).is_sharded(count) == (size > 1 and count >= 2 * size)


def test_one_process_is_alone_and_changes_nothing() -> None:
    numbers = torch.tensor([1.0, 2.0])
    with init_process_group(torch.device("cpu")) as group:
        assert group == SINGLE_PROCESS
        assert is_main_process()
        assert group.broadcast_str("é") == "é"
        group.barrier()
        assert group.all_gather(group.broadcast(group.all_reduce(numbers)), 2).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("local_rank", "order"), [(0, ["body", "wait"]), (1, ["wait", "body"])])
def test_one_process_goes_first_and_lets_the_others_go_on_whatever_happens(
    monkeypatch: pytest.MonkeyPatch, local_rank: int, order: list[str]
) -> None:
    done: list[str] = []
    monkeypatch.setattr(ProcessGroup, "barrier", lambda _: done.append("wait"))

    def work() -> None:
        with ProcessGroup(local_rank, 2, local_rank).main_process_first():
            done.append("body")
            raise SourceError("no such file")

    with pytest.raises(SourceError):
        work()
    assert done == order


@pytest.mark.parametrize(
    ("size", "here", "command"),
    [
        ("1", "1", "torchrun --nproc-per-node 1 -m cnnlab"),
        ("8", "4", "torchrun --nnodes 2 --nproc-per-node 4 -m cnnlab"),
    ],
)
def test_the_command_is_that_of_the_processes_there_are(
    launched: pytest.MonkeyPatch, size: str, here: str, command: str
) -> None:
    launched.setenv("WORLD_SIZE", size)
    launched.setenv("LOCAL_WORLD_SIZE", here)
    assert launch_command() == command
    launched.delenv("TORCHELASTIC_RUN_ID")
    assert launch_command() == "cnnlab"


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As torchrun would start the second of two processes."""
    environment = {
        "TORCHELASTIC_RUN_ID": "x",
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.usefixtures("launched")
def test_an_mps_device_is_not_shared() -> None:
    assert not is_main_process()
    with (
        pytest.raises(UsageError, match="several processes can't share an MPS device"),
        init_process_group(torch.device("mps")),
    ):
        pass


def test_each_process_needs_a_cuda_device_of_its_own(launched: pytest.MonkeyPatch) -> None:
    launched.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(UsageError, match="2 processes on this machine, and 1 CUDA device") as caught,
        init_process_group(torch.device("cuda")),
    ):
        pass
    assert caught.value.problems[0].allowed == "1 to 1"


@pytest.mark.parametrize(
    ("own", "files", "memory"),
    [
        ("", {}, 1000),
        ("0::/", {"memory.max": "max"}, 1000),
        ("0::/", {"memory.max": "600"}, 600),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "700", "memory.max": "900"}, 700),
        ("0::/a", {"a/memory.max": "700", "other/memory.max": "1"}, 700),
        # The path is the host's, and what is there is the container's own.
        ("0::/docker/1f", {"memory.max": "500"}, 500),
        ("0::/", {"memory.max": ""}, 1000),
        # Version 1: a controller has a folder of its own, and a group without a limit has a huge number.
        ("12:pids:/\n4:cpu,memory:/docker/1f\n0::/", {"memory/memory.limit_in_bytes": "500"}, 500),
        ("4:memory:/a:b", {"memory/a:b/memory.limit_in_bytes": "400", "cpu/memory.limit_in_bytes": "1"}, 400),
        ("4:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 1000),
        ("12:cpu:/a", {"memory/a/memory.limit_in_bytes": "800", "a/memory.max": "700"}, 1000),
    ],
)
def test_a_container_s_memory_is_its_limit(
    own: str, files: dict[str, str], memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 10, "SC_PHYS_PAGES": 100}.__getitem__)
    monkeypatch.setattr(distributed, "CGROUP_ROOT", tmp_path / "groups")
    monkeypatch.setattr(distributed, "PROC_SELF", tmp_path)
    if own:
        (tmp_path / "cgroup").write_text(f"{own}\n")
    for name, content in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    assert total_memory_bytes() == checks.memory_bytes(torch.device("cpu")) == memory
    assert resident_bytes(torch.device("cpu")) == memory // 5


@pytest.mark.parametrize("reason", ["", "no room"])
def test_the_main_process_decides_whether_features_are_cached(
    monkeypatch: pytest.MonkeyPatch, recipe: Callable[..., Recipe], reason: str
) -> None:
    """Else the others would wait for it where it never comes."""
    config, plan = recipe(), Mock(trainable=1, parameters=2)
    monkeypatch.setattr(ProcessGroup, "broadcast_str", lambda *_: reason)

    def planned(*_: object, resuming: bool) -> CachePlan:
        return CachePlan(model_split=Mock()) if resuming else CachePlan(reason="not worthwhile here")

    monkeypatch.setattr("cnnlab.runs.cached_features.plan_feature_cache", planned)
    data = open_dataset(config.data, seed=0)
    chosen = choose_cache_plan(config, plan, Mock(), data, torch.device("cpu"), ProcessGroup(1, 2, 1))
    assert chosen is not None
    assert chosen.reason == reason
    assert (chosen.model_split is None) == bool(reason)
