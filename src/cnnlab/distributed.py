"""The processes that train one network together, and how they communicate.

`torchrun` starts them. Each has a shard of every batch. The main process writes the run folder and shows progress; the
others only compute. Only this module and `cnnlab.training.distributed_model` use torch.distributed.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cnnlab.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The main process may download and decode for hours while the others wait. Within a step nobody waits that long: NCCL,
# which does not notice that a process has died, times out after ten minutes.
BARRIER_TIMEOUT = timedelta(hours=12)
CGROUP_ROOT, PROC_SELF = Path("/sys/fs/cgroup"), Path("/proc/self")
# With fewer images per process, batch norm without synchronization would have no variance.
MIN_IMAGES_PER_PROCESS = 2


class ProcessLostError(Exception):
    """Another process of this training has ended, or can't be reached."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one training; by default there is only one.

    Attributes:
        rank: this process's index.
        world_size: the number of processes.
        local_rank: this process's index on its machine.
        is_initialized: whether torch.distributed connects them, which torchrun does even for one.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    is_initialized: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def is_sharded(self, count: int) -> bool:
        """Return whether a batch of `count` images is divided; each process computes a smaller one whole."""
        return self.world_size > 1 and count >= MIN_IMAGES_PER_PROCESS * self.world_size

    def shard(self, count: int) -> slice:
        """Return this process's slice of `count` images; slices are in order, and sizes differ by at most one."""
        return self._shard_of(self.rank, count)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum over the processes, in place; bitwise equal in all."""
        if self.world_size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor)
        return tensor

    def all_gather(self, rows: Tensor, count: int) -> Tensor:
        """Return all `count` rows, in order, from each process's shard."""
        if not self.is_sharded(count):
            return rows
        import torch
        import torch.distributed as dist

        shares = [self._shard_of(rank, count) for rank in range(self.world_size)]
        sizes = [share.stop - share.start for share in shares]
        own = rows.new_zeros(max(sizes), *rows.shape[1:])  # tensors that are gathered must have equal sizes
        own[: len(rows)] = rows
        gathered = [torch.empty_like(own) for _ in sizes]
        dist.all_gather(gathered, own)
        return torch.cat([shard[:size] for shard, size in zip(gathered, sizes, strict=True)])

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Copy the main process's values to all processes, in place."""
        if self.world_size > 1:
            import torch.distributed as dist

            dist.broadcast(tensor, src=0)
        return tensor

    def broadcast_str(self, text: str) -> str:
        """Return the main process's text in every process."""
        if self.world_size == 1:
            return text
        import torch
        import torch.distributed as dist

        content = list(text.encode())
        size = torch.tensor(len(content))
        dist.broadcast(size, src=0, group=_gloo_group())
        received = (
            torch.tensor(content, dtype=torch.uint8) if self.is_main else torch.empty(int(size), dtype=torch.uint8)
        )
        if len(received):
            dist.broadcast(received, src=0, group=_gloo_group())
        return bytes(received.tolist()).decode()

    def barrier(self) -> None:
        """Wait until all processes get here."""
        if self.world_size > 1:
            import torch
            import torch.distributed as dist

            dist.all_reduce(torch.zeros(1), group=_gloo_group())

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Context that one process of each machine runs before the others, which then find its files in the cache."""
        if self.local_rank:
            self.barrier()
        try:
            yield
        finally:  # also after an error, since the others are waiting
            if not self.local_rank:
                self.barrier()

    def _shard_of(self, rank: int, count: int) -> slice:
        if not self.is_sharded(count):
            return slice(0, count)
        return slice(rank * count // self.world_size, (rank + 1) * count // self.world_size)


SINGLE_PROCESS = ProcessGroup()


def launched_by_torchrun() -> bool:
    """Return whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def launch_command() -> str:
    """Return the command that starts such a process: `cnnlab`, or torchrun with the current number of processes."""
    if not launched_by_torchrun():
        return "cnnlab"
    here, size = _env_int("LOCAL_WORLD_SIZE"), _env_int("WORLD_SIZE")
    machines = f"--nnodes {size // here} " if here < size else ""
    return f"torchrun {machines}--nproc-per-node {here} -m cnnlab"


def local_world_size() -> int:
    """Return the number of processes that share this machine's memory."""
    return _env_int("LOCAL_WORLD_SIZE") if launched_by_torchrun() else 1


def total_memory_bytes() -> int:
    """Return the memory available to this machine's processes: all of it, or the limit of their container."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_cgroup_memory_limits()])


def is_main_process() -> bool:
    """Return whether this is the main process, also before and after the group exists."""
    return not launched_by_torchrun() or os.environ["RANK"] == "0"


@contextmanager
def init_process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Connect the processes that torchrun started; without torchrun, this process alone.

    NCCL connects CUDA devices, one per local rank; gloo connects the rest. The connection lasts until the processes
    end, so that a later training uses it again.

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
    except RuntimeError as error:  # torch's DistError is a RuntimeError
        if isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL")):
            raise ProcessLostError(str(error).partition("\n")[0]) from error
        raise


@cache
def _gloo_group() -> Any:
    """Connect the processes, once, and return the gloo group for barriers and text."""
    import torch
    import torch.distributed as dist
    import torch.distributed.nn  # before there is a group: default arguments in it would keep that group for ever

    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    atexit.register(_disconnect)
    return dist.new_group(backend="gloo", timeout=BARRIER_TIMEOUT)


def _disconnect() -> None:
    """Destroy the groups and join their threads.

    A gloo thread that frees the tensor of its last collective while Python shuts down aborts the process
    (pytorch/pytorch#179291). A group joins its threads when nothing refers to it any more.
    """
    import torch.distributed as dist

    _gloo_group.cache_clear()
    dist.destroy_process_group()


def _cgroup_memory_limits() -> Iterator[int]:
    """Yield the memory limits in bytes of this process's control groups and their parents; only Linux has any.

    Source: the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst. In a container the path may be the host's,
    of which only the top is readable.
    """
    with suppress(OSError):
        for line in (PROC_SELF / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            top, name = CGROUP_ROOT, "memory.max"
            if controllers:  # version 1
                top, name = CGROUP_ROOT / "memory", "memory.limit_in_bytes"
            if controllers and "memory" not in controllers.split(","):
                continue
            group = PurePosixPath(path.lstrip("/"))
            for folder in (group, *group.parents):
                with suppress(OSError):
                    limit = (top / folder / name).read_text().strip()
                    if limit.isdecimal():  # else "max"
                        yield int(limit)


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
