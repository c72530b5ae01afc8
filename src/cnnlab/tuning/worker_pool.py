"""Several processes that run trials of one search, and the messages that they send."""

from __future__ import annotations

import multiprocessing
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from cnnlab.context import Callbacks
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.errors import CnnlabError, Problem, RunError
from cnnlab.studies.worker_pool import PROGRESS_INTERVAL_S, end_with_parent
from cnnlab.tuning.live_workers import ASK_LOCK
from cnnlab.tuning.objective import SearchJob, run_trials
from cnnlab.tuning.result import TrialRecord
from cnnlab.tuning.trials import TrialStore

# Processes that end in a row without one trial in between: then it is not the trials.
MAX_CONSECUTIVE_DEATHS = 5


@dataclass(frozen=True)
class WorkerFailure:
    """Why a worker can't go on; exceptions don't pickle whole."""

    problems: tuple[Problem, ...]


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection


def run_trials_in_processes(trials: TrialStore, job: SearchJob, count: int) -> None:
    """As `run_trials`, in `count` processes, which share the machine's threads; one that dies gives its place to
    another.

    Raises:
        RunError: the processes can't work.
    """
    threads = job.context.threads or max(1, torch.get_num_threads() // count)
    job = replace(job, context=replace(job.context, threads=threads))
    workers = [_start_worker(job) for _ in range(count)]
    try:
        _relay_messages(workers, job)
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()
        with trials.lock(ASK_LOCK):
            trials.requeue_lost(counted=False)


def _relay_messages(workers: list[_Worker], job: SearchJob) -> None:
    """Pass messages on to the callbacks, until all workers have ended."""
    deaths, callbacks = 0, job.context.callbacks
    while workers:
        ready = wait([worker.pipe for worker in workers])
        for worker in [worker for worker in workers if worker.pipe in ready]:
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                worker.pipe.close()
                workers.remove(worker)
                if worker.process.exitcode:
                    deaths += 1
                    if deaths >= MAX_CONSECUTIVE_DEATHS:
                        what = (
                            f"{deaths} processes have ended in a row, the last with exit code {worker.process.exitcode}"
                        )
                        raise RunError(what, next_step="take fewer side by side: --jobs 1") from None
                    workers.append(_start_worker(job))
                continue
            if isinstance(message, WorkerFailure):
                raise RunError.from_problems(message.problems)
            if isinstance(message, TrialRecord):
                deaths = 0
                callbacks.on_trial_end(message)
            else:
                callbacks.on_trial_progress(*message)


def _start_worker(job: SearchJob) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_worker_main, args=(theirs, replace(job, context=job.context.with_callbacks())), daemon=True
    )
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _worker_main(pipe: Connection, job: SearchJob) -> None:
    """The main loop of a worker."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    last = 0.0

    def on_progress(*update: object) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_INTERVAL_S:
            last = time.monotonic()
            pipe.send(update)

    with suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            with TrialStore(job.search, job.name, job.folder, job.storage) as trials:
                callbacks = Callbacks(on_trial_progress=on_progress, on_trial_end=pipe.send)
                job = replace(job, context=job.context.with_callbacks(callbacks))
                run_trials(trials, job, DatasetCache(job.context))
        except CnnlabError as error:
            pipe.send(WorkerFailure(error.problems))
    pipe.close()
