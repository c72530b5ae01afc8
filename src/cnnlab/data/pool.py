"""Work on many image files in several processes, fed through pipes. No torch.

Each worker is a fresh interpreter (`python -m cnnlab.data.worker`) rather than a `multiprocessing` child: those
import the caller's main script again, which a script without a `__main__` guard does not survive, and forking a
process that runs torch's threads is unsafe. Threads are no help: for small images Python's own work dominates
(20,000 JPEGs of 32×32 on two cores: 2.1 s in one thread, 3.3 s in two, 1.6 s in two processes).
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any

from cnnlab.data.worker import FRAME, Task, act, opened
from cnnlab.errors import CnnlabError

# Below this much work a worker's start (about 0.3 s) costs more than it saves.
FEW_FILES = 3000
FEW_BYTES = 32 * 2**20

MAX_WORKERS = 16
_ROUND = 64

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
    workers = [_start(task) for _ in range(count)]
    try:
        for number, (row, content) in enumerate(items):
            _feed(workers[number // _ROUND % count], struct.pack(FRAME, row, len(content)) + content)
            yield None
        for worker in workers:
            _feed(worker, None)
        for worker in workers:
            yield from _answers(worker)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout, worker.stderr):
                _close(pipe)


def _start(task: Task) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-m", "cnnlab.data.worker", task.to_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        # Ctrl-C is for the caller: a worker ends when its pipe does.
        start_new_session=True,
    )


def _feed(worker: subprocess.Popen[bytes], frame: bytes | None) -> None:
    """Hand a worker its next frame, or tell it that there is none."""
    try:
        if frame is None:
            _pipe(worker.stdin).close()
        else:
            _pipe(worker.stdin).write(frame)
    except BrokenPipeError:
        raise _ended(worker) from None


def _answers(worker: subprocess.Popen[bytes]) -> list[Answer]:
    lines = _pipe(worker.stdout).read().splitlines()
    if worker.wait() != 0:
        raise _ended(worker)
    return [(row, answer) for row, answer in map(json.loads, lines)]


def _ended(worker: subprocess.Popen[bytes]) -> CnnlabError:
    worker.wait()
    lines = _pipe(worker.stderr).read().decode(errors="replace").strip().splitlines()
    return CnnlabError(
        "a process that decodes images ended early",
        where=f"process {worker.pid}, exit {worker.returncode}",
        received=lines[-1] if lines else "no message",
        next_step="see that memory and disk are not full, then try again",
    )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _close(pipe: IO[bytes] | None) -> None:
    with contextlib.suppress(BrokenPipeError):
        _pipe(pipe).close()
