"""Decode or inspect many image files, in several processes where they are many. No torch.

Threads are no help: for small images Python's own work dominates (20,000 JPEGs of 32×32 on two cores: 2.1 s in one
thread, 3.3 s in two, 1.6 s in two processes). Forking a process that runs torch's threads is unsafe, so workers are
spawned.
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
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

# A worker gets at most this many files or bytes at a time: with fewer, handing them over takes longer than the work.
CHUNK_FILES = 512
CHUNK_BYTES = 4 * 2**20
# Each worker gets at least this many chunks, so that all end at about the same time.
CHUNKS_PER_WORKER = 8
# So many chunks a worker are read ahead.
CHUNKS_AHEAD = 4


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
        CnnlabError: a worker process died.
    """
    workers = min(available_cpus(), MAX_WORKERS)
    chunks = _chunks(items, max(1, min(CHUNK_FILES, num_files // (CHUNKS_PER_WORKER * workers))))
    if workers == 1 or (num_files < MIN_FILES_FOR_WORKERS and total_bytes < MIN_BYTES_FOR_WORKERS):
        for chunk in chunks:
            yield len(chunk), task(chunk)
    else:
        yield from _run_in_workers(task, chunks, workers)


def available_cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(items: Iterable[ImageItem], max_files: int) -> Iterator[Chunk]:
    chunk: Chunk = []
    size = 0
    for item in items:
        chunk.append(item)
        size += len(item.file) if isinstance(item.file, bytes) else 0
        if len(chunk) == max_files or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _run_in_workers(task: ImageTask, chunks: Iterator[Chunk], num_workers: int) -> Iterator[tuple[int, list[Reply]]]:
    from concurrent.futures import ProcessPoolExecutor  # it takes milliseconds to load, which `describe` goes without

    executor = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), _begin_worker)
    pending: dict[Future[list[Reply]], Chunk] = {}
    try:
        while True:
            for chunk in itertools.islice(chunks, CHUNKS_AHEAD * num_workers - len(pending)):
                pending[_submit(executor, task, chunk)] = chunk
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                replies = future.result()
                yield len(pending.pop(future)), replies
    except BrokenExecutor as error:
        first = next(iter(pending.values()))[0]
        raise CnnlabError(
            "a process that decodes images died",
            where=f"at {first.name} or a file after it",
            received=str(error),
            next_step="see that there is memory left, then try again",
        ) from None
    finally:
        # From Python 3.14 on this is Executor.kill_workers.
        for process in list((executor._processes or {}).values()) if pending else ():
            process.kill()
        executor.shutdown(cancel_futures=True)


def _submit(executor: Executor, task: ImageTask, chunk: Chunk) -> Future[list[Reply]]:
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
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
