"""Decode or inspect many image files, in several processes where they are many. No torch.

Threads are no help: for small images Python's own work dominates (20,000 JPEGs of 32×32 on two cores: 2.1 s in one
thread, 3.3 s in two, 1.6 s in two processes). Forking a process that runs torch's threads is unsafe, so workers are
spawned.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from cnnlab.data.decoding.images import ImageFault, ImageHeader, try_decode, try_inspect
from cnnlab.data.sources.base import ImageSpec
from cnnlab.errors import CnnlabError

# Below this much work a worker's start (about 0.3 s) costs more than it saves.
MIN_FILES_FOR_WORKERS = 3000
MIN_BYTES_FOR_WORKERS = 32 * 2**20
MAX_WORKERS = 16

# A worker gets so many files at a time, fewer where they are large.
CHUNK_FILES = 64
CHUNK_BYTES = 4 * 2**20
# Without a finished chunk for so long the workers are stuck.
TIMEOUT_S = 600.0
# One file alone that takes longer than this is the one that they are stuck at.
FILE_TIMEOUT_S = 60.0


class ImageItem(NamedTuple):
    """One image file: its row in the result, its name for messages, and its content or path."""

    row: int
    name: str
    file: bytes | Path


class InspectedImage(NamedTuple):
    """What `InspectTask` finds: the header, and a hash of the pixels in RGB at the image's own size."""

    header: ImageHeader
    pixel_hash: str


Chunk = list[ImageItem]
Reply = tuple[int, ImageFault | InspectedImage]
ImageTask = Callable[[Chunk], list[Reply]]


@dataclass(frozen=True)
class DecodeTask:
    """Write each image's pixels, as `image_spec` wants them, into `file` at `start` + row × image size.

    Replies with the faults of images that can't be decoded.
    """

    image_spec: ImageSpec
    file: Path
    start: int

    def __call__(self, chunk: Chunk) -> list[Reply]:
        faults: list[Reply] = []
        # Written with write(), not through a memory map: on a full disk that is an error, not the death of the process.
        with self.file.open("r+b") as file:
            for item in chunk:
                pixels = try_decode(item.file, self.image_spec)
                if isinstance(pixels, ImageFault):
                    faults.append((item.row, pixels))
                else:
                    file.seek(self.start + item.row * pixels.nbytes)
                    file.write(pixels.tobytes())
        return faults


@dataclass(frozen=True)
class InspectTask:
    """Reply with each image's header and a hash of its pixels, or its fault."""

    def __call__(self, chunk: Chunk) -> list[Reply]:
        return [(item.row, _inspect(item.file)) for item in chunk]


def _inspect(file: bytes | Path) -> ImageFault | InspectedImage:
    inspected = try_inspect(file)
    if isinstance(inspected, ImageFault):
        return inspected
    header, pixels = inspected
    return InspectedImage(header, hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest())


def run_image_task(
    task: ImageTask, items: Iterable[ImageItem], num_files: int, total_bytes: int
) -> Iterator[tuple[int, list[Reply]]]:
    """Do a task for each image file, in this process or, where there is much to do, in several.

    Yields:
        (number of files, replies about them) for each chunk of files, in any order.

    Raises:
        CnnlabError: a worker process died, or is stuck; names the file that causes it, where one does.
    """
    workers = min(available_cpus(), MAX_WORKERS)
    if workers == 1 or (num_files < MIN_FILES_FOR_WORKERS and total_bytes < MIN_BYTES_FOR_WORKERS):
        for chunk in _chunks(items):
            yield len(chunk), task(chunk)
    else:
        yield from _run_in_workers(task, _chunks(items), workers)


def available_cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(items: Iterable[ImageItem]) -> Iterator[Chunk]:
    chunk: Chunk = []
    size = 0
    for item in items:
        chunk.append(item)
        size += len(item.file) if isinstance(item.file, bytes) else 0
        if len(chunk) == CHUNK_FILES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _run_in_workers(task: ImageTask, chunks: Iterable[Chunk], num_workers: int) -> Iterator[tuple[int, list[Reply]]]:
    executor = _start_workers(num_workers)
    pending: dict[Future[list[Reply]], Chunk] = {}
    try:
        for chunk in chunks:
            pending[_submit(executor, task, chunk)] = chunk
            if len(pending) >= 2 * num_workers:
                yield from _finished_chunks(pending)
        while pending:
            yield from _finished_chunks(pending)
    except BrokenExecutor as error:
        raise _worker_error(task, error, [item for chunk in pending.values() for item in chunk]) from None
    finally:
        _stop_workers(executor, kill=bool(pending))


def _finished_chunks(pending: dict[Future[list[Reply]], Chunk]) -> Iterator[tuple[int, list[Reply]]]:
    """Wait for a chunk; take those that are finished out of `pending`."""
    finished, _ = wait(pending, TIMEOUT_S, FIRST_COMPLETED)
    if not finished:
        raise BrokenExecutor(f"no file was finished for {TIMEOUT_S:.0f} s")
    for future in finished:
        replies = future.result()
        yield len(pending.pop(future)), replies


def _start_workers(number: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), _begin_worker)


def _submit(executor: ProcessPoolExecutor, task: ImageTask, chunk: Chunk) -> Future[list[Reply]]:
    """Submit a chunk, which may start a process.

    Without the changes here a new process would import the caller's script, which fails where that has no `__main__`
    guard, and would import its first modules from the current folder.
    """
    main, safe_path = sys.modules["__main__"], os.environ.get("PYTHONSAFEPATH")
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        return executor.submit(task, chunk)
    finally:
        sys.modules["__main__"] = main
        if safe_path is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = safe_path


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it: a killed parent can't end its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _stop_workers(executor: ProcessPoolExecutor, kill: bool) -> None:
    if kill:
        # From Python 3.14 on this is Executor.kill_workers.
        for process in list((executor._processes or {}).values()):
            process.kill()
    executor.shutdown(cancel_futures=True)


def _worker_error(task: ImageTask, error: Exception, suspects: list[ImageItem]) -> CnnlabError:
    died = isinstance(error, BrokenProcessPool)
    name = _find_culprit(task, suspects)
    return CnnlabError(
        "a process that decodes images died" if died else "the processes that decode images are stuck",
        where=name or ", ".join(item.name for item in suspects[:3]),
        received=str(error),
        next_step="take this file away, or save it again" if name else "see that there is memory left, then try again",
    )


def _find_culprit(task: ImageTask, suspects: list[ImageItem]) -> str:
    """The name of the first file that alone ends or holds up a worker; "" where none does."""
    executor, name = _start_workers(1), ""
    try:
        for item in suspects:
            name = item.name
            _submit(executor, task, [item]).result(FILE_TIMEOUT_S)
    except (BrokenProcessPool, TimeoutError):
        return name
    finally:
        _stop_workers(executor, kill=True)
    return ""
