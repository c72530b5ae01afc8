"""Several processes at the trials of one search, and what is heard of them."""

from __future__ import annotations

import multiprocessing
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from cnnlab.data.dataset_cache import Shelf
from cnnlab.errors import CnnlabError, Problem, RunError
from cnnlab.studies.worker_pool import HEARD_EVERY_S, end_with_parent
from cnnlab.tuning.live_workers import ASKING
from cnnlab.tuning.objective import Job, Seen, try_all
from cnnlab.tuning.result import TrialRecord
from cnnlab.tuning.trials import Trials

# Processes that end in a row without one trial in between: then it is not the trials.
MOST_DEATHS = 5


@dataclass(frozen=True)
class Trouble:
    """What a worker can't go on for; an error itself would not come through the pipe whole."""

    problems: tuple[Problem, ...]


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection


def try_side_by_side(trials: Trials, job: Job, count: int, seen: Seen) -> None:
    """As `try_all`, in `count` processes, which share the machine's threads; one that dies gives its place to another.

    Raises:
        RunError: the processes can't work.
    """
    threads = job.place.threads or max(1, torch.get_num_threads() // count)
    job = replace(job, place=replace(job.place, threads=threads))
    workers = [_hired(job) for _ in range(count)]
    try:
        _listen(workers, job, seen)
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()
        with trials.holding(ASKING):
            trials.bury(counted=False)


def _listen(workers: list[_Worker], job: Job, seen: Seen) -> None:
    """Tell what is heard, until all have ended."""
    deaths = 0
    while workers:
        ready = wait([worker.pipe for worker in workers])
        for worker in [worker for worker in workers if worker.pipe in ready]:
            try:
                said = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                worker.pipe.close()
                workers.remove(worker)
                if worker.process.exitcode:
                    deaths += 1
                    if deaths >= MOST_DEATHS:
                        what = (
                            f"{deaths} processes have ended in a row, the last with exit code {worker.process.exitcode}"
                        )
                        raise RunError(what, next_step="take fewer side by side: --jobs 1") from None
                    workers.append(_hired(job))
                continue
            if isinstance(said, Trouble):
                raise RunError.together(said.problems)
            if isinstance(said, TrialRecord):
                deaths = 0
                seen.ended(said)
            else:
                seen.heard(*said)


def _hired(job: Job) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, job), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _serve(pipe: Connection, job: Job) -> None:
    """A worker's life."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    last = 0.0

    def heard(*said: object) -> None:
        nonlocal last
        if time.monotonic() - last >= HEARD_EVERY_S:
            last = time.monotonic()
            pipe.send(said)

    with suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            with Trials(job.search, job.name, job.folder, job.storage) as trials:
                try_all(trials, job, Shelf(job.place.root), Seen(heard, pipe.send))
        except CnnlabError as error:
            pipe.send(Trouble(error.problems))
    pipe.close()
