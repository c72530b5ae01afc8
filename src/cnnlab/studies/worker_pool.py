"""Executors of a study's tasks in this process or several, and the process pool that studies and searches share.

An executor receives tasks and yields a result for each, in the order in which they end. Another executor is a function
of the same signature (see `studies/ray_cluster.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Self, TypeAlias, TypeVar

import torch

from cnnlab.context import RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.errors import CnnlabError, RunError
from cnnlab.studies.plan import StudyTask
from cnnlab.studies.tasks import TaskResult, run_task

# (task, images so far of its run, a status text)
TaskProgressFn: TypeAlias = Callable[[StudyTask, int, str], None]
# Called before each task starts: False ends the study there.
ContinueFn: TypeAlias = Callable[[], bool]
# Closing the generator ends all tasks that are running.
TaskResults: TypeAlias = Generator[TaskResult, None, None]
# The data sets are those that are open in this process.
Executor: TypeAlias = Callable[[Sequence[StudyTask], RunContext, DatasetCache, TaskProgressFn, ContinueFn], TaskResults]
Job = TypeVar("Job")
JobResult = TypeVar("JobResult")
# Sends a message from a worker to the pool.
Send: TypeAlias = Callable[[object], None]

# A fresh interpreter: a fork of this process would have its threads' locks, and can't compute on a GPU.
START_METHOD = "spawn"
# How often a run is polled that another process makes.
POLL_INTERVAL_S = 0.5
PROGRESS_INTERVAL_S = 0.2
# A job whose process ends is retried this many times: the machine's memory may have been full for a moment.
MAX_RETRIES = 1
SHUTDOWN_TIMEOUT_S = 5


def in_process(
    tasks: Sequence[StudyTask],
    context: RunContext,
    dataset_cache: DatasetCache,
    on_progress: TaskProgressFn,
    should_continue: ContinueFn,
) -> TaskResults:
    """Run the tasks in this process, one after another."""
    waiting = deque(tasks)
    while waiting and should_continue():
        task = waiting.popleft()
        result = run_task(task, context, dataset_cache, partial(on_progress, task))
        if result.status == "busy":
            waiting.append(task)
            time.sleep(POLL_INTERVAL_S)
        else:
            yield result


def processes(count: int) -> Executor:
    """Run the tasks in `count` processes, which share the machine's threads.

    A process that dies takes only its run with it, which is retried once.
    """

    def run_tasks(
        tasks: Sequence[StudyTask],
        context: RunContext,
        _: DatasetCache,
        on_progress: TaskProgressFn,
        should_continue: ContinueFn,
    ) -> TaskResults:
        queue = deque(tasks)
        work = partial(_run_task_in_worker, worker_context(context, count))
        with ProcessPool[StudyTask, TaskResult](work, min(count, len(tasks))) as pool:
            for task, result in pool.run(
                lambda: queue.popleft() if queue and should_continue() else None,
                lambda task, progress: on_progress(task, *progress),
            ):
                if isinstance(result, WorkerDeath):
                    yield TaskResult(id=task.id, status="failed", message=str(result))
                elif result.status == "busy":
                    queue.append(task)
                    time.sleep(POLL_INTERVAL_S / count)
                else:
                    yield result

    return run_tasks


def worker_context(context: RunContext, count: int) -> RunContext:
    """The context of each of `count` workers: they share this process's threads, and have no callbacks."""
    threads = context.threads or max(1, torch.get_num_threads() // count)
    return replace(context.with_callbacks(), threads=threads)


@cache
def worker_datasets(context: RunContext) -> DatasetCache:
    """The data sets that a worker process has opened, for all its jobs."""
    return DatasetCache(context)


def throttle(send: Callable[..., None], interval_s: float = PROGRESS_INTERVAL_S) -> Callable[..., None]:
    """A function that calls `send` with its arguments, and drops calls within the interval after the last one."""
    last = -interval_s

    def call(*arguments: object) -> None:
        nonlocal last
        if time.monotonic() - last >= interval_s:
            last = time.monotonic()
            send(*arguments)

    return call


def _run_task_in_worker(context: RunContext, task: StudyTask, send: Send) -> TaskResult:
    report = throttle(lambda images, text: send((images, text)))
    return run_task(task, context, worker_datasets(context), report)


@dataclass(frozen=True)
class WorkerDeath:
    """The end of a job whose process died each time that it was tried."""

    tries: int
    exit_code: int | None

    def __str__(self) -> str:
        memory = ", as when the memory is full" if self.exit_code == -signal.SIGKILL else ""
        return f"its process was ended {self.tries} times (exit code {self.exit_code}{memory})"


@dataclass
class _Worker(Generic[Job]):
    process: BaseProcess
    pipe: Connection
    job: Job | None = None
    tries: int = 0


class ProcessPool(Generic[Job, JobResult]):
    """Processes that do one job at a time each, and stay until the pool is left.

    They are not interrupted by Ctrl-C in the terminal: the parent alone handles it, and ends them.
    """

    def __init__(self, work: Callable[[Job, Send], JobResult], count: int) -> None:
        """Start the processes.

        Args:
            work: does a job in a worker; what it sends is passed to the caller of `run`.
        """
        self.work = work
        self.workers = [_Worker[Job](*self._start_process()) for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(SHUTDOWN_TIMEOUT_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()

    def run(
        self, next_job: Callable[[], Job | None], on_message: Callable[[Job, Any], None]
    ) -> Iterator[tuple[Job, JobResult | WorkerDeath]]:
        """Do jobs until there is no next one and none is running; each with its result, as they end.

        Args:
            next_job: called when a process is free; None: there is no job now.
            on_message: called with a job and what its worker sends.

        Raises:
            RunError: a worker raised a CnnlabError.
        """
        while True:
            for worker in self.workers:
                if worker.job is None and (job := next_job()) is not None:
                    self._assign(worker, job)
            busy = {worker.pipe: worker for worker in self.workers if worker.job is not None}
            if not busy:
                return
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                job = worker.job
                assert job is not None
                try:
                    kind, content = worker.pipe.recv()
                except (EOFError, OSError):
                    kind, content = "result", self._retry(worker, job)
                    if content is None:
                        continue
                if kind == "error":
                    raise RunError.from_problems(content)
                if kind == "message":
                    on_message(job, content)
                else:
                    worker.job, worker.tries = None, 0
                    yield job, content

    def _assign(self, worker: _Worker[Job], job: Job) -> None:
        worker.job = job
        with suppress(OSError):  # it died while it was idle: the end of its pipe is received next
            worker.pipe.send(job)

    def _retry(self, worker: _Worker[Job], job: Job) -> WorkerDeath | None:
        """Replace a process that died, and give its job to the new one unless it was retried before."""
        worker.process.join()
        worker.tries += 1
        death = WorkerDeath(worker.tries, worker.process.exitcode)
        worker.pipe.close()
        worker.process, worker.pipe = self._start_process()
        if worker.tries > MAX_RETRIES:
            return death
        self._assign(worker, job)
        return None

    def _start_process(self) -> tuple[BaseProcess, Connection]:
        context = multiprocessing.get_context(START_METHOD)
        ours, theirs = context.Pipe()
        process = context.Process(target=_worker_main, args=(theirs, self.work), daemon=True)  # type: ignore[attr-defined]
        with _blocked_interrupts():
            process.start()
        theirs.close()
        return process, ours


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """A process that is started within it inherits a mask without SIGINT."""
    resource_tracker.ensure_running()  # it would take the mask away when it is first started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _worker_main(pipe: Connection, work: Callable[[object, Send], object]) -> None:
    """The main loop of a worker: jobs in, messages and results out, until the pipe or the parent ends."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what is running may clean up
    with suppress(EOFError, OSError):
        while True:
            job = pipe.recv()
            try:
                pipe.send(("result", work(job, lambda content: pipe.send(("message", content)))))
            except CnnlabError as error:  # an exception of several problems does not pickle
                pipe.send(("error", error.problems))


def _exit_with_parent() -> None:
    """End this process with its parent: otherwise a killed study would leave workers that the next one waits for."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
