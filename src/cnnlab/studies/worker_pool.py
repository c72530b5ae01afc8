"""Who carries out the tasks of a study: this process, or several of them side by side.

An executor is given tasks and answers with an outcome for each, in the order in which they end. It says what is
heard of a run in the meantime. Another executor is a function of the same signature (see `studies/ray_cluster.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeAlias

import torch

from cnnlab.data.dataset_cache import Shelf
from cnnlab.studies.plan import Task
from cnnlab.studies.tasks import Outcome, Place, carry_out

# (task, images so far of its run, what is to be said)
Watch: TypeAlias = Callable[[Task, int, str], None]
# Asked before each task is begun: False ends the study there.
GoOn: TypeAlias = Callable[[], bool]
# Closing what an executor answers ends all that it is at.
Outcomes: TypeAlias = Generator[Outcome, None, None]
Executor: TypeAlias = Callable[[Sequence[Task], Place, Watch, GoOn], Outcomes]

# A fresh interpreter: a fork of this process would have its threads' locks, and can't compute on a GPU.
START = "spawn"
# How often a run is asked for that another process is at.
PATIENCE_S = 0.5
HEARD_EVERY_S = 0.2
# A process that ends in a run is given this many more tries: the machine's memory may be full for a moment.
MORE_TRIES = 1


def here(tasks: Sequence[Task], place: Place, watch: Watch, go_on: GoOn, shelf: Shelf | None = None) -> Outcomes:
    """Carry the tasks out in this process, one after another."""
    shelf = shelf or Shelf(place.root)
    waiting = deque(tasks)
    refused = 0
    while waiting and go_on():
        task = waiting.popleft()
        outcome = carry_out(task, place, shelf, lambda images, words, task=task: watch(task, images, words))  # type: ignore[misc]
        if outcome.status != "busy":
            refused = 0
            yield outcome
            continue
        waiting.append(task)
        refused += 1
        if refused >= len(waiting):
            time.sleep(PATIENCE_S)


def processes(count: int) -> Executor:
    """Carry the tasks out in `count` processes side by side, which share the machine's threads.

    A process that dies takes only its run with it: that is tried once more, and then has failed.
    """

    def carry(tasks: Sequence[Task], place: Place, watch: Watch, go_on: GoOn) -> Outcomes:
        threads = place.threads or max(1, torch.get_num_threads() // count)
        crew = _Crew(replace(place, threads=threads), min(count, len(tasks)))
        try:
            yield from crew.carry(deque(tasks), watch, go_on)
        finally:
            crew.dismiss()

    return carry


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: Task | None = None


class _Crew:
    """Processes that stay for the whole study, so that torch is imported and data is decoded once in each."""

    def __init__(self, place: Place, count: int) -> None:
        self.place = place
        self.workers = [self._hired() for _ in range(count)]
        self.tries: dict[str, int] = {}

    def carry(self, waiting: deque[Task], watch: Watch, go_on: GoOn) -> Outcomes:
        """An outcome for each task, those that other processes are at last."""
        while True:
            for worker in self.workers:
                if worker.task is None and waiting and go_on():
                    worker.task = waiting.popleft()
                    with suppress(OSError):  # it died idle: its pipe's end is heard below
                        worker.pipe.send(worker.task)
            busy = [worker for worker in self.workers if worker.task is not None]
            if not busy:
                return
            for worker in self._heard_of(busy):
                task, outcome = worker.task, self._answer(worker, watch)
                if outcome is None or task is None:
                    continue
                worker.task = None
                if outcome.status == "busy":
                    waiting.append(task)
                    time.sleep(PATIENCE_S / len(self.workers))
                elif outcome.status == "again":
                    waiting.append(task)
                else:
                    yield outcome

    def dismiss(self) -> None:
        """End all processes, whatever they are at; a run that is cut off can be gone on with."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()

    def _hired(self) -> _Worker:
        context = multiprocessing.get_context(START)
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.place), daemon=True)  # type: ignore[attr-defined]
        with _interrupts_held_back():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _heard_of(self, workers: list[_Worker]) -> list[_Worker]:
        ready = wait([worker.pipe for worker in workers])
        return [worker for worker in workers if worker.pipe in ready]

    def _answer(self, worker: _Worker, watch: Watch) -> Outcome | None:
        """What a worker answers; None where it only tells how far it is."""
        assert worker.task is not None
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            return self._replaced(worker, worker.task)
        if isinstance(said, Outcome):
            return said
        images, words = said
        watch(worker.task, images, words)
        return None

    def _replaced(self, worker: _Worker, task: Task) -> Outcome:
        """A worker that died gives its place to another; its run is tried again, or has failed."""
        worker.process.join()
        ended = _how(worker.process.exitcode)
        fresh = self._hired()
        worker.process, worker.pipe = fresh.process, fresh.pipe
        self.tries[task.id] = self.tries.get(task.id, 0) + 1
        if self.tries[task.id] <= MORE_TRIES:
            return Outcome(id=task.id, status="again")
        return Outcome(
            id=task.id, status="failed", message=f"its process was ended {self.tries[task.id]} times ({ended})"
        )


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """A process that is started within it is never interrupted: Ctrl-C reaches all of a terminal's processes, and the
    parent alone answers it and ends the others."""
    resource_tracker.ensure_running()  # it would take the mask away when it is first started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}{', as when the memory is full' if code == -9 else ''}"
    return f"exit code {code}"


def _serve(pipe: Connection, place: Place) -> None:
    """A worker's life: tasks in, outcomes out, until the pipe or the parent ends."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    shelf = Shelf(place.root)
    last = 0.0

    def heard(images: int, words: str) -> None:
        nonlocal last
        if time.monotonic() - last >= HEARD_EVERY_S:
            last = time.monotonic()
            pipe.send((images, words))

    with suppress(EOFError, OSError):
        while True:
            pipe.send(carry_out(pipe.recv(), place, shelf, heard))


def end_with_parent() -> None:
    """Without it a killed study would leave its processes at work, and the next one would wait for them."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
