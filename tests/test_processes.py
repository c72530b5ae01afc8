"""Who several processes are, and which images are whose; what they do together is in tests/runs/test_processes.py."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.errors import SourceError, UsageError
from cnnlab.processes import ALONE, World, command, is_writer, joined


@given(size=st.integers(1, 9), count=st.integers(0, 200))
def test_shares_lie_in_order_and_hold_every_image_once(size: int, count: int) -> None:
    shares = [list(range(count)[World(rank, size).share(count)]) for rank in range(size)]
    if World(0, size).divides(count):
        assert [image for share in shares for image in share] == list(range(count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert min(map(len, shares)) >= 2
    else:
        assert shares == [list(range(count))] * size
    assert World(0, size).divides(count) == (size > 1 and count >= 2 * size)


def test_one_process_is_alone_and_changes_nothing() -> None:
    numbers = torch.tensor([1.0, 2.0])
    with joined(torch.device("cpu")) as world:
        assert world == ALONE
        assert is_writer()
        assert world.told("é") == "é"
        world.wait()
        assert world.gather(world.from_writer(world.sum(numbers)), 2).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("local_rank", "order"), [(0, ["body", "wait"]), (1, ["wait", "body"])])
def test_one_process_goes_first_and_lets_the_others_go_on_whatever_happens(
    monkeypatch: pytest.MonkeyPatch, local_rank: int, order: list[str]
) -> None:
    done: list[str] = []
    monkeypatch.setattr(World, "wait", lambda _: done.append("wait"))

    def work() -> None:
        with World(local_rank, 2, local_rank).one_first():
            done.append("body")
            raise SourceError("no such file")

    with pytest.raises(SourceError):
        work()
    assert done == order


@pytest.mark.parametrize(
    ("size", "here", "told"),
    [
        ("1", "1", "torchrun --nproc-per-node 1 -m cnnlab"),
        ("8", "4", "torchrun --nnodes 2 --nproc-per-node 4 -m cnnlab"),
    ],
)
def test_the_command_is_that_of_the_processes_there_are(
    launched: pytest.MonkeyPatch, size: str, here: str, told: str
) -> None:
    launched.setenv("WORLD_SIZE", size)
    launched.setenv("LOCAL_WORLD_SIZE", here)
    assert command() == told
    launched.delenv("TORCHELASTIC_RUN_ID")
    assert command() == "cnnlab"


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As torchrun would start the second of two processes."""
    given = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.usefixtures("launched")
def test_an_mps_device_is_not_shared() -> None:
    assert not is_writer()
    with pytest.raises(UsageError, match="several processes can't share an MPS device"), joined(torch.device("mps")):
        pass


def test_each_process_needs_a_cuda_device_of_its_own(launched: pytest.MonkeyPatch) -> None:
    launched.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(UsageError, match="2 processes on this machine, and 1 CUDA device") as caught,
        joined(torch.device("cuda")),
    ):
        pass
    assert caught.value.problems[0].allowed == "1 to 1"
