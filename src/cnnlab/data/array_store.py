"""Batches of the rows of arrays on the device, in any order: images as bytes, features as floats.

Small data is kept on the device as one tensor; data past a memory budget is streamed from its memory map by threads
that read ahead. Threads are enough: reading only copies rows, and NumPy holds no lock meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnlab.data.decoding.pool import available_cpus
from cnnlab.data.sources.base import Indices
from cnnlab.distributed import local_world_size, total_memory_bytes

# Up to this size a split is kept on the device, unless that is more than this fraction of the memory: of what is free
# on a CUDA device, of the machine's elsewhere. The rest is for the other splits, the network and its maps.
RESIDENT_BYTES = {"cpu": 4 * 2**30, "cuda": 16 * 2**30, "mps": 2 * 2**30}
RESIDENT_FRACTION = 0.2


def default_num_workers() -> int:
    """The number of threads that read ahead where data is streamed."""
    return min(4, available_cpus())


@dataclass
class ArrayStore:
    """The rows of one or several arrays; the rows of the second array are numbered after those of the first.

    Args:
        arrays: each N×...; all of one shape and dtype; may be memory maps.
        resident: whether they are kept on the device; None: if they fit the budget for that kind of device.
        num_workers: threads that read ahead when rows are streamed; with 0 each batch is read when it is used.
    """

    arrays: Sequence[npt.NDArray[Any]]
    device: torch.device
    resident: bool | None = None
    num_workers: int = field(default_factory=default_num_workers)
    _rows: Tensor | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if self.resident is None:
            self.resident = sum(array.nbytes for array in self.arrays) <= resident_bytes(self.device)
        if self.resident:
            self._rows = torch.from_numpy(_concatenate(self.arrays)).to(self.device)

    def batches(self, order: Indices, batch_sizes: Sequence[int]) -> Iterator[Tensor]:
        """The rows in `order` on the device, in batches of these sizes."""
        if self._rows is not None:
            for chunk in torch.split(torch.from_numpy(order).to(self.device), list(batch_sizes)):
                yield self._rows.index_select(0, chunk)
            return
        for rows in self._stream(order, batch_sizes):
            yield rows.to(self.device, non_blocking=True)

    def _stream(self, order: Indices, batch_sizes: Sequence[int]) -> Iterator[Tensor]:
        batches = np.split(order, np.cumsum(batch_sizes)[:-1])
        if not self.num_workers:
            yield from map(self._read_rows, batches)
            return
        readers = ThreadPoolExecutor(self.num_workers, thread_name_prefix="cnnlab-feed")
        try:
            ahead: deque[Future[Tensor]] = deque()
            for batch in batches:
                ahead.append(readers.submit(self._read_rows, batch))
                if len(ahead) > 2 * self.num_workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            readers.shutdown(cancel_futures=True)

    def _read_rows(self, indices: Indices) -> Tensor:
        rows = torch.from_numpy(self._gather(indices))
        return rows.pin_memory() if self.device.type == "cuda" else rows

    def _gather(self, indices: Indices) -> npt.NDArray[Any]:
        # As plain arrays: a memory map's own indexing gives memory maps, more slowly.
        first = np.asarray(self.arrays[0])
        if len(self.arrays) == 1:
            return np.take(first, indices, axis=0)
        rows = np.empty((len(indices), *first.shape[1:]), dtype=first.dtype)
        which, row = np.divmod(indices, len(first))
        for number, array in enumerate(self.arrays):
            is_here = which == number
            rows[is_here] = np.take(np.asarray(array), row[is_here], axis=0)
        return rows


def _concatenate(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """All rows as one writeable array in memory, copied where they are not one already."""
    if len(arrays) > 1:
        return np.concatenate(arrays)
    # PyTorch takes no read-only array without a warning, and memory maps are read from the disk again and again.
    return arrays[0] if type(arrays[0]) is np.ndarray and arrays[0].flags.writeable else np.array(arrays[0])


def resident_bytes(device: torch.device) -> int:
    """How many bytes of data may be kept on a device, with the memory that it has now."""
    # Each process keeps a copy in the machine's memory.
    memory = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else total_memory_bytes() // local_world_size()
    return min(RESIDENT_BYTES[device.type], int(RESIDENT_FRACTION * memory))
