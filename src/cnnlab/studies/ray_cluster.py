"""An executor of a study's tasks on a Ray cluster, whose nodes share the runs folder.

Ray is an extra: `pip install 'cnnlab[ray]'`. All nodes need the same cnnlab, the runs folder at the same path, and the
data: data sets of the catalogue are downloaded where they are missing; folders and archives must have the same path.
"""

from __future__ import annotations

import importlib
import os
import secrets
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cnnlab.context import RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.errors import RunError, UsageError
from cnnlab.studies.plan import StudyTask
from cnnlab.studies.tasks import LOCKS_FOLDER, TaskResult, run_task
from cnnlab.studies.worker_pool import (
    POLL_INTERVAL_S,
    ContinueFn,
    Executor,
    TaskProgressFn,
    TaskResults,
    worker_context,
    worker_datasets,
)

# A network file system shows other machines' files after some seconds.
VISIBLE_TIMEOUT_S = 10.0
READY_POLL_INTERVAL_S = 0.3
CONNECT_TIMEOUT_S = 10.0
# A run is retried on another node if its process or node dies, which need not be the run's fault.
MAX_RETRIES = 3


def ray_cluster(address: str | None = None, *, jobs: int = 1) -> Executor:
    """Run the tasks on a Ray cluster, as many at a time as its CPUs and GPUs allow.

    Each run takes one CPU a thread, and one GPU on CUDA. A run whose process or node dies continues from its last whole
    epoch on another node. Progress is reported when a run ends.

    Args:
        address: of the cluster, such as "auto" or "10.0.0.1:6379"; None: RAY_ADDRESS, else a cluster on this machine.
        jobs: a run has this machine's threads divided by it, on every node, so that results are those of
            `processes(jobs)`.

    Raises:
        UsageError: Ray is not installed; there is no cluster at the address; no node has room for a run.
        RunError: a node does not see the runs folder.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        step = "pip install 'cnnlab[ray]', on every node"
        raise UsageError("Ray is not installed", where="--executor ray", next_step=step) from None

    def run_tasks(
        tasks: Sequence[StudyTask],
        context: RunContext,
        _: DatasetCache,
        _on_progress: TaskProgressFn,
        should_continue: ContinueFn,
    ) -> TaskResults:
        if not tasks:
            return
        with _connected(ray, address), shared_token(context.runs) as token:
            yield from _run_on_nodes(ray, tasks, worker_context(context, jobs), token, should_continue)

    return run_tasks


@contextmanager
def shared_token(runs: Path) -> Iterator[Path]:
    """Create a file in the runs folder, with which a node checks that it sees the same folder."""
    token = runs / LOCKS_FOLDER / f"shared-{secrets.token_hex(8)}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


def is_visible(path: Path) -> bool:
    """Whether a file exists, or appears within some seconds."""
    ends = time.monotonic() + VISIBLE_TIMEOUT_S
    while not (found := path.exists()) and time.monotonic() < ends:
        time.sleep(READY_POLL_INTERVAL_S)
    return found


def _run_on_nodes(
    ray: Any, tasks: Sequence[StudyTask], context: RunContext, token: Path, should_continue: ContinueFn
) -> TaskResults:
    """Run the tasks, and yield a result for each, in the order in which they end."""
    _check_room(ray, context)
    wanted = {"num_cpus": context.threads, "num_gpus": int(context.device == "cuda")}
    # Ray itself would retry without end a run that is out of memory.
    remote = ray.remote(_run_remote_task).options(max_retries=0, **wanted)
    queue, running, deaths = deque(tasks), dict[Any, StudyTask](), Counter[str]()
    try:
        while True:
            # One more than fits: a cluster that scales by demand sees that there is more to do.
            while queue and len(running) <= _num_slots(ray, context) and should_continue():
                task = queue.popleft()
                running[remote.remote(task, context, token, Path.cwd())] = task
            if not running:
                return
            time.sleep(READY_POLL_INTERVAL_S)  # Ray's own waiting would change the exit code after SIGTERM
            ready, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
            for future in ready:
                task = running.pop(future)
                try:
                    result: TaskResult | str = ray.get(future)
                except ray.exceptions.RayTaskError as error:  # an exception, which every node would raise
                    result = TaskResult(id=task.id, status="failed", message=_first_line(error.cause))
                except ray.exceptions.RayError as error:
                    deaths[task.id] += 1
                    if deaths[task.id] <= MAX_RETRIES:
                        queue.append(task)
                        continue
                    message = f"its process or node was ended {deaths[task.id]} times ({_first_line(error)})"
                    result = TaskResult(id=task.id, status="failed", message=message)
                if isinstance(result, str):
                    raise RunError(
                        f"the node {result} does not see the runs folder",
                        where=str(context.runs),
                        allowed="a folder that all nodes share, such as one of a network file system, at the same path",
                        next_step="give it with --runs",
                    )
                if result.status == "busy":
                    queue.append(task)
                    time.sleep(POLL_INTERVAL_S)
                else:
                    yield result
    finally:  # what is running can be resumed
        for future in running:
            with suppress(ray.exceptions.RayError):
                ray.cancel(future, force=True)


def _run_remote_task(task: StudyTask, context: RunContext, token: Path, cwd: Path) -> TaskResult | str:
    """On a node: run a task unless it is done; return the node's name if it does not see the runs folder."""
    if not is_visible(token):
        return socket.gethostname()
    with suppress(OSError):
        os.chdir(cwd)  # for relative paths in recipes
    return run_task(task, context, worker_datasets(context), lambda *_: None)


def _check_room(ray: Any, context: RunContext) -> None:
    if not _num_slots(ray, context):
        has = [f"{node['Resources'].get(kind, 0):g} {kind}s" for node in ray.nodes() for kind in ("CPU", "GPU")]
        raise UsageError(
            f"no node of the cluster has room for a run: it takes {context.threads} CPUs"
            + (" and a GPU" if context.device == "cuda" else ""),
            where="--executor ray",
            received=", ".join(has),
            next_step="let a run have fewer threads with --jobs, or start nodes that have more",
        )


def _num_slots(ray: Any, context: RunContext) -> int:
    """The number of runs that fit on the nodes at a time."""
    slots = 0
    for has in (node["Resources"] for node in ray.nodes() if node["Alive"]):
        cpus = int(has.get("CPU", 0) // (context.threads or 1))
        slots += min(cpus, int(has.get("GPU", 0))) if context.device == "cuda" else cpus
    return slots


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to the cluster; an existing connection is used and kept."""
    if ray.is_initialized():
        yield
        return
    # A cluster that is started here would send usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        _check_reachable(address or os.environ.get("RAY_ADDRESS", ""))
        options: dict[str, Any] = {} if address else {"include_dashboard": False}
        ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"there is no Ray cluster: {_first_line(error)}",
            where="--address",
            received=address or "",
            next_step="start one with: ray start --head",
        ) from None
    with suppress(ValueError):  # only the main thread may; Ray installs its own handler
        signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Connect to an address with a port once, since Ray itself would wait for many minutes.

    Raises:
        OSError: nothing listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
