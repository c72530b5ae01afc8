"""Work on many image files in several processes, through pipes. No torch.

Each worker is a fresh interpreter (`python -P -m cnnlab.data.decoding.worker`) rather than a `multiprocessing` child:
those import the caller's main script again, which a script without a `__main__` guard does not survive, and forking a
process that runs torch's threads is unsafe. Threads are no help: for small images Python's own work dominates (20,000
JPEGs of 32×32 on two cores: 2.1 s in one thread, 3.3 s in two, 1.6 s in two processes).
"""

from __future__ import annotations

import json
import os
import selectors
import struct
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from cnnlab.data.decoding.worker import FRAME_FORMAT, ImageTask, open_output, process_image
from cnnlab.errors import CnnlabError

# Below this much work a worker's start (about 0.3 s) costs more than it saves.
MIN_FILES_FOR_WORKERS = 3000
MIN_BYTES_FOR_WORKERS = 32 * 2**20

MAX_WORKERS = 16

WorkItem = tuple[int, bytes]
WorkerReply = tuple[int, Any]


def run_image_task(
    task: ImageTask, items: Iterable[WorkItem], num_files: int, total_bytes: int
) -> Iterator[WorkerReply | None]:
    """Do one task for each (row, content).

    Yields:
        None as each item has been handed over, so that progress can be shown, then (row, answer) for each item
        that has one.

    Raises:
        CnnlabError: a worker ended early, or could not write.
    """
    workers = min(available_cpus(), MAX_WORKERS)
    if workers == 1 or (num_files < MIN_FILES_FOR_WORKERS and total_bytes < MIN_BYTES_FOR_WORKERS):
        yield from _run_inline(task, items)
    else:
        yield from _run_in_workers(task, items, workers)


def available_cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_inline(task: ImageTask, items: Iterable[WorkItem]) -> Iterator[WorkerReply | None]:
    answers = []
    with open_output(task) as file:
        for row, content in items:
            reply = process_image(task, file, row, content)
            if reply is not None:
                answers.append((row, reply))
            yield None
    yield from answers


def _run_in_workers(task: ImageTask, items: Iterable[WorkItem], num_workers: int) -> Iterator[WorkerReply | None]:
    """Each item goes to a worker whose pipe has room, so that one with large files holds up no other."""
    workers: list[_Worker] = []
    try:
        workers += (_start_worker(task) for _ in range(num_workers))
        free = deque(workers)
        with selectors.DefaultSelector() as full:
            for row, content in items:
                free += _flush_pipes(full, 0)
                while not free:
                    free += _flush_pipes(full, None)
                worker = free.popleft()
                worker.pending = memoryview(struct.pack(FRAME_FORMAT, row, len(content)) + content)
                if _write_pending(worker):
                    free.append(worker)
                else:
                    full.register(_require_pipe(worker.process.stdin), selectors.EVENT_WRITE, worker)
                yield None
            while full.get_map():
                _flush_pipes(full, None)
        for worker in workers:
            _require_pipe(worker.process.stdin).close()
        for worker in workers:
            yield from _read_replies(worker)
    finally:
        for worker in workers:
            _stop_worker(worker)


def _flush_pipes(full: selectors.BaseSelector, timeout_s: float | None) -> list[_Worker]:
    """Write on where a full pipe has room again, for which None waits; the workers that have their whole item now."""
    ready = [key for key, _ in full.select(timeout_s) if _write_pending(key.data)]
    for key in ready:
        full.unregister(key.fileobj)
    return [key.data for key in ready]


@dataclass
class _Worker:
    """A process that decodes.

    Attributes:
        stderr: what it complains of: a file, since a pipe that nobody reads would fill and hold the process up.
        pending: what remains of its item, for which its pipe has no room yet.
    """

    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    pending: memoryview = field(default_factory=lambda: memoryview(b""))


def _start_worker(task: ImageTask) -> _Worker:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    complaints = tempfile.TemporaryFile()  # noqa: SIM115  (it is closed in _stop)
    process = subprocess.Popen(
        # -P: with -m alone Python would take modules from the current folder first, whatever lies there.
        [sys.executable, "-P", "-m", "cnnlab.data.decoding.worker", task.to_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        bufsize=0,
        env=environment,
        # Ctrl-C is for the caller: a worker ends when its pipe does.
        start_new_session=True,
    )
    os.set_blocking(_require_pipe(process.stdin).fileno(), False)
    return _Worker(process, complaints)


def _stop_worker(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.wait()
    _require_pipe(worker.process.stdin).close()
    _require_pipe(worker.process.stdout).close()
    worker.stderr.close()


def _write_pending(worker: _Worker) -> bool:
    """Write what waits for a worker as far as its pipe has room; whether that was all."""
    try:
        written = _require_pipe(worker.process.stdin).write(worker.pending)
    except BrokenPipeError:
        raise _worker_error(worker) from None
    worker.pending = worker.pending[written or 0 :]
    return not worker.pending


def _read_replies(worker: _Worker) -> list[WorkerReply]:
    lines = _require_pipe(worker.process.stdout).read().splitlines()
    if worker.process.wait() != 0:
        raise _worker_error(worker)
    return [(row, reply) for row, reply in map(json.loads, lines)]


def _worker_error(worker: _Worker) -> CnnlabError:
    worker.process.wait()
    worker.stderr.seek(0)
    lines = worker.stderr.read().decode(errors="replace").strip().splitlines()
    return CnnlabError(
        "a process that decodes images ended early",
        where=f"process {worker.process.pid}, exit {worker.process.returncode}",
        received=lines[-1] if lines else "no message",
        next_step="see that memory and disk are not full, then try again",
    )


def _require_pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
