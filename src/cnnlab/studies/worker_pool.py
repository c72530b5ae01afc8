"""Executors of a study's tasks: this process, or several at a time.

An executor receives tasks and yields a result for each, in the order in which they end. It reports the progress of
runs in the meantime. Another executor is a function of the same signature (see `studies/ray_cluster.py`).
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
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeAlias

import torch

from cnnlab.context import RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.studies.plan import StudyTask
from cnnlab.studies.tasks import TaskResult, run_task

# (task, images so far of its run, a status text)
TaskProgressFn: TypeAlias = Callable[[StudyTask, int, str], None]
# Called before each task starts: False ends the study there.
ContinueFn: TypeAlias = Callable[[], bool]
# Closing the generator ends all tasks that are running.
TaskResults: TypeAlias = Generator[TaskResult, None, None]
Executor: TypeAlias = Callable[[Sequence[StudyTask], RunContext, TaskProgressFn, ContinueFn], TaskResults]

# A fresh interpreter: a fork of this process would have its threads' locks, and can't compute on a GPU.
START_METHOD = "spawn"
# How often a run is polled that another process makes.
POLL_INTERVAL_S = 0.5
PROGRESS_INTERVAL_S = 0.2
# A process that ends in a run is given this many more tries: the machine's memory may be full for a moment.
MAX_RETRIES = 1


def in_process(
    tasks: Sequence[StudyTask],
    context: RunContext,
    on_progress: TaskProgressFn,
    should_continue: ContinueFn,
    dataset_cache: DatasetCache | None = None,
) -> TaskResults:
    """Run the tasks in this process, one after another."""
    dataset_cache = dataset_cache or DatasetCache(context)
    waiting = deque(tasks)
    refused = 0
    while waiting and should_continue():
        task = waiting.popleft()
        result = run_task(task, context, dataset_cache, partial(on_progress, task))
        if result.status != "busy":
            refused = 0
            yield result
            continue
        waiting.append(task)
        refused += 1
        if refused >= len(waiting):
            time.sleep(POLL_INTERVAL_S)


def processes(count: int) -> Executor:
    """Run the tasks in `count` processes, which share the machine's threads.

    A process that dies takes only its run with it: that is retried once, and then has failed.
    """

    def run_tasks(
        tasks: Sequence[StudyTask], context: RunContext, on_progress: TaskProgressFn, should_continue: ContinueFn
    ) -> TaskResults:
        threads = context.threads or max(1, torch.get_num_threads() // count)
        pool = _WorkerPool(replace(context.with_callbacks(), threads=threads), min(count, len(tasks)))
        try:
            yield from pool.run_tasks(deque(tasks), on_progress, should_continue)
        finally:
            pool.shutdown()

    return run_tasks


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: StudyTask | None = None


class _WorkerPool:
    """Processes that stay for the whole study, so that torch is imported and data is decoded once in each."""

    def __init__(self, context: RunContext, count: int) -> None:
        self.context = context
        self.workers = [self._start_worker() for _ in range(count)]
        self.tries: dict[str, int] = {}

    def run_tasks(
        self, queue: deque[StudyTask], on_progress: TaskProgressFn, should_continue: ContinueFn
    ) -> TaskResults:
        """A result for each task, those that other processes run at last."""
        while True:
            for worker in self.workers:
                if worker.task is None and queue and should_continue():
                    worker.task = queue.popleft()
                    with suppress(OSError):  # it died idle: the end of its pipe is received below
                        worker.pipe.send(worker.task)
            busy = [worker for worker in self.workers if worker.task is not None]
            if not busy:
                return
            for worker in self._ready_workers(busy):
                task, result = worker.task, self._receive(worker, on_progress)
                if result is None or task is None:
                    continue
                worker.task = None
                if result.status == "busy":
                    queue.append(task)
                    time.sleep(POLL_INTERVAL_S / len(self.workers))
                elif result.status == "again":
                    queue.append(task)
                else:
                    yield result

    def shutdown(self) -> None:
        """End all processes, whatever they run; an interrupted run can be resumed."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()

    def _start_worker(self) -> _Worker:
        context = multiprocessing.get_context(START_METHOD)
        ours, theirs = context.Pipe()
        process = context.Process(target=_worker_main, args=(theirs, self.context), daemon=True)  # type: ignore[attr-defined]
        with _ignore_interrupts():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _ready_workers(self, workers: list[_Worker]) -> list[_Worker]:
        ready = wait([worker.pipe for worker in workers])
        return [worker for worker in workers if worker.pipe in ready]

    def _receive(self, worker: _Worker, on_progress: TaskProgressFn) -> TaskResult | None:
        """A worker's result; None where the message is only its progress."""
        assert worker.task is not None
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            return self._replace_worker(worker, worker.task)
        if isinstance(message, TaskResult):
            return message
        images, text = message
        on_progress(worker.task, images, text)
        return None

    def _replace_worker(self, worker: _Worker, task: StudyTask) -> TaskResult:
        """Replace a worker that died; its run is retried, or has failed."""
        worker.process.join()
        exit_text = _describe_exit(worker.process.exitcode)
        fresh = self._start_worker()
        worker.process, worker.pipe = fresh.process, fresh.pipe
        self.tries[task.id] = self.tries.get(task.id, 0) + 1
        if self.tries[task.id] <= MAX_RETRIES:
            return TaskResult(id=task.id, status="again")
        return TaskResult(
            id=task.id, status="failed", message=f"its process was ended {self.tries[task.id]} times ({exit_text})"
        )


@contextmanager
def _ignore_interrupts() -> Iterator[None]:
    """A process that is started within it is never interrupted: Ctrl-C reaches all of a terminal's processes, and the
    parent alone handles it and ends the others."""
    resource_tracker.ensure_running()  # it would take the mask away when it is first started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}{', as when the memory is full' if code == -9 else ''}"
    return f"exit code {code}"


def _worker_main(pipe: Connection, context: RunContext) -> None:
    """The main loop of a worker: tasks in, results out, until the pipe or the parent ends."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    dataset_cache = DatasetCache(context)
    last = 0.0

    def on_progress(images: int, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_INTERVAL_S:
            last = time.monotonic()
            pipe.send((images, text))

    with suppress(EOFError, OSError):
        while True:
            pipe.send(run_task(pipe.recv(), context, dataset_cache, on_progress))


def end_with_parent() -> None:
    """End this process with its parent: otherwise a killed study would leave workers that the next one waits for."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
