"""Several processes that train one network: who they are, and what they tell each other.

`torchrun` starts them and names each one in its environment. Each has its share of every batch. One of them, the
writer, keeps the run folder and speaks to the person; the others compute. Only this file and
`cnnlab.training.distributed_model` speak torch.distributed.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cnnlab.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The writer may download and decode for hours while the others wait for its word. In a step nobody waits so long: NCCL,
# which does not see that a process has died, gives up after its own ten minutes.
BARRIER_TIMEOUT = timedelta(hours=12)
CGROUP_ROOT, PROC_SELF = Path("/sys/fs/cgroup"), Path("/proc/self")
# With fewer images a process, batch norm without synchronisation would have no variance.
MIN_IMAGES_PER_PROCESS = 2


class ProcessLostError(Exception):
    """Another process of this training has ended, or can't be reached any more."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one training as one of them sees them; by default it is the only one.

    Attributes:
        rank: this process's number, counted from 0.
        world_size: how many there are.
        local_rank: this process's number on its machine.
        is_initialized: whether torch.distributed connects them, which torchrun does even for one.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    is_initialized: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def is_sharded(self, count: int) -> bool:
        """Whether so many images are divided among the processes; too few are computed whole by each of them."""
        return self.world_size > 1 and count >= MIN_IMAGES_PER_PROCESS * self.world_size

    def shard(self, count: int) -> slice:
        """Which of `count` images are this process's: shares lie in order, and their sizes differ by one at most."""
        return self._shard_of(self.rank, count)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, in place; the same bits in each."""
        if self.world_size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor)
        return tensor

    def all_gather(self, rows: Tensor, count: int) -> Tensor:
        """All `count` rows, in order, from each process's share of them."""
        if not self.is_sharded(count):
            return rows
        import torch
        import torch.distributed as dist

        shares = [self._shard_of(rank, count) for rank in range(self.world_size)]
        sizes = [share.stop - share.start for share in shares]
        own = rows.new_zeros(max(sizes), *rows.shape[1:])  # shares that are sent must be of one size
        own[: len(rows)] = rows
        found = [torch.empty_like(own) for _ in sizes]
        dist.all_gather(found, own)
        return torch.cat([part[:size] for part, size in zip(found, sizes, strict=True)])

    def broadcast(self, tensor: Tensor) -> Tensor:
        """The writer's numbers, in place, in every process."""
        if self.world_size > 1:
            import torch.distributed as dist

            dist.broadcast(tensor, src=0)
        return tensor

    def broadcast_str(self, text: str) -> str:
        """The writer's text, in every process."""
        return self._broadcast_str_from(0, text)

    def broadcast_first_str(self, text: str) -> str:
        """The text of the first process that has one, in every process; "" where none has."""
        if self.world_size == 1:
            return text
        import torch
        import torch.distributed as dist

        speaks = [torch.tensor(0) for _ in range(self.world_size)]
        dist.all_gather(speaks, torch.tensor(int(bool(text))), group=_gloo_group())
        first = next((rank for rank, one in enumerate(speaks) if int(one)), None)
        return "" if first is None else self._broadcast_str_from(first, text)

    def _broadcast_str_from(self, src: int, text: str) -> str:
        if self.world_size == 1:
            return text
        import torch
        import torch.distributed as dist

        content = list(text.encode())
        size = torch.tensor(len(content))
        dist.broadcast(size, src=src, group=_gloo_group())
        if not int(size):
            return ""
        speaks = self.rank == src
        own = torch.tensor(content, dtype=torch.uint8) if speaks else torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(own, src=src, group=_gloo_group())
        return bytes(own.tolist()).decode()

    def barrier(self) -> None:
        """Until all processes are here."""
        if self.world_size > 1:
            import torch
            import torch.distributed as dist

            dist.all_reduce(torch.zeros(1), group=_gloo_group())

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Within it one process of each machine works before the others: what it keeps in the cache, they find."""
        if self.local_rank:
            self.barrier()
        try:
            yield
        finally:  # whatever came of it, the others have waited long enough
            if not self.local_rank:
                self.barrier()

    def _shard_of(self, rank: int, count: int) -> slice:
        if not self.is_sharded(count):
            return slice(0, count)
        return slice(rank * count // self.world_size, (rank + 1) * count // self.world_size)


SINGLE_PROCESS = ProcessGroup()


def launched_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def launch_command() -> str:
    """How this process's kind is started: `cnnlab`, or torchrun with as many processes as there are now."""
    if not launched_by_torchrun():
        return "cnnlab"
    here, size = _env_int("LOCAL_WORLD_SIZE"), _env_int("WORLD_SIZE")
    machines = f"--nnodes {size // here} " if here < size else ""
    return f"torchrun {machines}--nproc-per-node {here} -m cnnlab"


def local_world_size() -> int:
    """How many processes share this machine's memory."""
    return _env_int("LOCAL_WORLD_SIZE") if launched_by_torchrun() else 1


def total_memory_bytes() -> int:
    """The memory that the processes on this machine may use together: all of it, or what their container allows."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_cgroup_memory_limits()])


def is_main_process() -> bool:
    """Whether this process writes and speaks, before and after the processes are joined too."""
    return not launched_by_torchrun() or os.environ["RANK"] == "0"


@contextmanager
def init_process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """The processes that torchrun started, connected; without torchrun this one alone.

    NCCL connects CUDA devices, of which each process takes the one of its own number; gloo connects the rest. They stay
    connected until they end: the next training finds them so.

    Raises:
        UsageError: more processes than CUDA devices, or a device that can't be connected.
        ProcessLostError: another process has ended.
    """
    if not launched_by_torchrun():
        yield SINGLE_PROCESS
        return
    import torch.distributed as dist

    _set_device(device)
    _gloo_group()
    try:
        yield ProcessGroup(_env_int("RANK"), _env_int("WORLD_SIZE"), _env_int("LOCAL_RANK"), is_initialized=True)
    except RuntimeError as error:  # torch's DistError is one
        if isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL")):
            raise ProcessLostError(str(error).partition("\n")[0]) from error
        raise


@cache
def _gloo_group() -> Any:
    """Connect this process with the others, once; the connection by which they wait and tell comes back."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    atexit.register(dist.destroy_process_group)
    return dist.new_group(backend="gloo", timeout=BARRIER_TIMEOUT)


def _cgroup_memory_limits() -> Iterator[int]:
    """The memory limits in bytes of this process's control groups and of those around them; Linux alone has any.

    Source: the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst. "max", or a number that is larger than
    any memory, is no limit. In a container the path may be the host's, of which only the top is there to be read.
    """
    try:
        lines = (PROC_SELF / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, name = CGROUP_ROOT, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = CGROUP_ROOT / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for folder in (group, *group.parents):
            try:
                text = (top / folder / name).read_text().strip()
            except OSError:
                continue
            if text.isdecimal():
                yield int(text)


def _env_int(name: str) -> int:
    return int(os.environ[name])


def _set_device(device: torch.device) -> None:
    import torch

    if device.type == "mps":
        raise UsageError(
            "several processes can't share an MPS device",
            where="--device",
            allowed="cpu, cuda",
            next_step="--device cpu",
        )
    if device.type == "cuda":
        here, devices = _env_int("LOCAL_WORLD_SIZE"), torch.cuda.device_count()
        if here > devices:
            raise UsageError(
                f"{here} processes on this machine, and {devices} CUDA device{'' if devices == 1 else 's'}",
                where="torchrun --nproc-per-node",
                allowed=f"1 to {devices}",
                next_step="start fewer, or compute with --device cpu",
            )
        torch.cuda.set_device(_env_int("LOCAL_RANK"))
