"""Work on many image files in several processes, fed through pipes. No torch.

Each worker is a fresh interpreter (`python -P -m cnnlab.data.decoding.worker`) rather than a `multiprocessing` child: those
import the caller's main script again, which a script without a `__main__` guard does not survive, and forking a
process that runs torch's threads is unsafe. Threads are no help: for small images Python's own work dominates
(20,000 JPEGs of 32×32 on two cores: 2.1 s in one thread, 3.3 s in two, 1.6 s in two processes).
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

from cnnlab.data.decoding.worker import FRAME, Task, act, opened
from cnnlab.errors import CnnlabError

# Below this much work a worker's start (about 0.3 s) costs more than it saves.
FEW_FILES = 3000
FEW_BYTES = 32 * 2**20

MAX_WORKERS = 16

Item = tuple[int, bytes]
Answer = tuple[int, Any]


def run(task: Task, items: Iterable[Item], files: int, total_bytes: int) -> Iterator[Answer | None]:
    """Do one task for each (row, content).

    Yields:
        None as each item has been handed over, so that progress can be shown, then (row, answer) for each item
        that has one.

    Raises:
        CnnlabError: a worker ended early, or could not write.
    """
    workers = min(cpus(), MAX_WORKERS)
    if workers == 1 or (files < FEW_FILES and total_bytes < FEW_BYTES):
        yield from _run_here(task, items)
    else:
        yield from _run_apart(task, items, workers)


def cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_here(task: Task, items: Iterable[Item]) -> Iterator[Answer | None]:
    answers = []
    with opened(task) as file:
        for row, content in items:
            answer = act(task, file, row, content)
            if answer is not None:
                answers.append((row, answer))
            yield None
    yield from answers


def _run_apart(task: Task, items: Iterable[Item], count: int) -> Iterator[Answer | None]:
    """Each item goes to a worker whose pipe has room, so that one with large files holds up no other."""
    workers: list[_Worker] = []
    try:
        workers += (_start(task) for _ in range(count))
        free = deque(workers)
        with selectors.DefaultSelector() as full:
            for row, content in items:
                free += _fed(full, 0)
                while not free:
                    free += _fed(full, None)
                worker = free.popleft()
                worker.waiting = memoryview(struct.pack(FRAME, row, len(content)) + content)
                if _feed(worker):
                    free.append(worker)
                else:
                    full.register(_pipe(worker.process.stdin), selectors.EVENT_WRITE, worker)
                yield None
            while full.get_map():
                _fed(full, None)
        for worker in workers:
            _pipe(worker.process.stdin).close()
        for worker in workers:
            yield from _answers(worker)
    finally:
        for worker in workers:
            _stop(worker)


def _fed(full: selectors.BaseSelector, timeout_s: float | None) -> list[_Worker]:
    """Write on where a full pipe has room again, for which None waits; the workers that have their whole item now."""
    fed = [key for key, _ in full.select(timeout_s) if _feed(key.data)]
    for key in fed:
        full.unregister(key.fileobj)
    return [key.data for key in fed]


@dataclass
class _Worker:
    """A process that decodes.

    Attributes:
        complaints: what it complains of: a file, since a pipe that nobody reads would fill and hold the process up.
        waiting: the rest of its item, for which its pipe has no room yet.
    """

    process: subprocess.Popen[bytes]
    complaints: IO[bytes]
    waiting: memoryview = field(default_factory=lambda: memoryview(b""))


def _start(task: Task) -> _Worker:
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
    os.set_blocking(_pipe(process.stdin).fileno(), False)
    return _Worker(process, complaints)


def _stop(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.wait()
    _pipe(worker.process.stdin).close()
    _pipe(worker.process.stdout).close()
    worker.complaints.close()


def _feed(worker: _Worker) -> bool:
    """Write what waits for a worker as far as its pipe has room; whether that was all."""
    try:
        written = _pipe(worker.process.stdin).write(worker.waiting)
    except BrokenPipeError:
        raise _ended(worker) from None
    worker.waiting = worker.waiting[written or 0 :]
    return not worker.waiting


def _answers(worker: _Worker) -> list[Answer]:
    lines = _pipe(worker.process.stdout).read().splitlines()
    if worker.process.wait() != 0:
        raise _ended(worker)
    return [(row, answer) for row, answer in map(json.loads, lines)]


def _ended(worker: _Worker) -> CnnlabError:
    worker.process.wait()
    worker.complaints.seek(0)
    lines = worker.complaints.read().decode(errors="replace").strip().splitlines()
    return CnnlabError(
        "a process that decodes images ended early",
        where=f"process {worker.process.pid}, exit {worker.process.returncode}",
        received=lines[-1] if lines else "no message",
        next_step="see that memory and disk are not full, then try again",
    )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
