"""An executor of a study's tasks on a Ray cluster, whose nodes share the runs folder.

Ray is an extra: `pip install 'cnnlab[ray]'`. All nodes need the same cnnlab, the runs folder at the same path, and the
data: data sets of the catalogue are downloaded where they are missing; folders and archives must have the same path.
That all nodes see the same runs folder is checked with a file in it.
"""

from __future__ import annotations

import importlib
import os
import secrets
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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
    throttle,
    worker_context,
    worker_datasets,
)

# A network file system shows other machines' files after some seconds.
VISIBLE_TIMEOUT_S = 10.0
POLL_S = 0.2


@contextmanager
def shared_token(runs: Path) -> Iterator[Path]:
    """Create a file in the runs folder, with which a node checks that it sees the same folder."""
    folder = runs / LOCKS_FOLDER
    token = folder / f"shared-{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        token.write_text("this study's nodes look for this file")
    except OSError as error:
        step = "choose another with --runs"
        what = f"the runs folder can't be written to: {error.strerror}"
        raise RunError(what, where=str(runs), next_step=step) from None
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


def is_visible(path: Path) -> bool:
    """Whether a file exists, or appears within some seconds."""
    ends = time.monotonic() + VISIBLE_TIMEOUT_S
    while not path.exists():
        if time.monotonic() > ends:
            return False
        time.sleep(POLL_S)
    return True


PROGRESS_INTERVAL_S = 0.5
READY_POLL_INTERVAL_S = 0.3
CONNECT_TIMEOUT_S = 10.0
# A run is retried on another node if its process or node dies, which need not be the run's fault.
MAX_RETRIES = 3


def ray_cluster(address: str | None = None, *, jobs: int = 1) -> Executor:
    """Run the tasks on a Ray cluster, as many at a time as its CPUs and GPUs allow.

    Each run takes one CPU a thread, and one GPU on CUDA. A run whose process or node dies continues from its last whole
    epoch on another node.

    Args:
        address: of the cluster, such as "auto" or "10.0.0.1:6379"; None: RAY_ADDRESS, else a cluster on this machine.
        jobs: a run has this machine's threads divided by it, on every node, so that results are those of
            `processes(jobs)`.

    Raises:
        UsageError: Ray is not installed; there is no cluster at the address; no node has room for a run.
        RunError: a node does not see the runs folder, or can't run cnnlab.
    """
    ray = _import_ray()

    def run_tasks(
        tasks: Sequence[StudyTask],
        context: RunContext,
        _: DatasetCache,
        on_progress: TaskProgressFn,
        should_continue: ContinueFn,
    ) -> TaskResults:
        if not tasks:
            return
        with _connected(ray, address), shared_token(context.runs) as token:
            cluster = _Cluster(ray, worker_context(context, jobs), token)
            try:
                cluster.check()
                yield from cluster.run_tasks(deque(tasks), on_progress, should_continue)
            finally:
                cluster.shutdown()

    return run_tasks


class _ProgressBoard:
    """A Ray actor to which tasks send their progress."""

    def __init__(self) -> None:
        self.latest: dict[str, tuple[int, str]] = {}

    def update(self, task: str, images: int, text: str) -> None:
        self.latest[task] = (images, text)

    def take_updates(self) -> dict[str, tuple[int, str]]:
        taken, self.latest = self.latest, {}
        return taken


@dataclass
class _Cluster:
    """The nodes, their running tasks, and the number of tries of each task."""

    ray: Any
    context: RunContext
    token: Path
    running: dict[Any, StudyTask] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # On this node: another one may die.
        here = self._node_affinity(self.ray.get_runtime_context().get_node_id(), soft=True)
        self.board = self.ray.remote(_ProgressBoard).options(num_cpus=0, scheduling_strategy=here).remote()
        wanted = {"num_cpus": self.context.threads, "num_gpus": int(self.context.device == "cuda")}
        # Ray itself would retry without end a run that is out of memory.
        self.remote_task = self.ray.remote(_run_remote_task).options(max_retries=0, **wanted)

    def check(self) -> None:
        """Check that a node can take a run, and that all nodes see the runs folder."""
        if not any(self._node_slots(node) for node in self._nodes()):
            raise UsageError(
                f"no node of the cluster has room for a run: {self._requirements()}",
                where="--executor ray",
                received=", ".join(_describe_node(node) for node in self._nodes()),
                next_step="let a run have fewer threads with --jobs, or start nodes that have more",
            )
        sees_token = self.ray.remote(is_visible)
        replies = {
            node["NodeManagerAddress"]: sees_token.options(**self._node_options(node)).remote(self.token)
            for node in self._nodes()
        }
        for address, reply in replies.items():
            try:
                is_shared = self.ray.get(reply)
            except self.ray.exceptions.RayError as error:
                step = "install the same cnnlab on every node"
                raise RunError(
                    f"a node can't run cnnlab: {_first_line(error)}", where=address, next_step=step
                ) from None
            if not is_shared:
                raise _not_shared_error(self.context.runs, address)

    def run_tasks(
        self, queue: deque[StudyTask], on_progress: TaskProgressFn, should_continue: ContinueFn
    ) -> TaskResults:
        """Run the tasks, and yield a result for each, in the order in which they end."""
        by_id = {task.id: task for task in queue}
        while True:
            # One more than fits: a cluster that scales by demand sees that there is more to do.
            while queue and len(self.running) <= self._num_slots() and should_continue():
                task = queue.popleft()
                self.running[self.remote_task.remote(task, self.context, self.token, str(Path.cwd()), self.board)] = (
                    task
                )
            if not self.running:
                return
            time.sleep(READY_POLL_INTERVAL_S)  # Ray's own waiting would change the exit code after SIGTERM
            running = list(self.running)
            ready, _ = self.ray.wait(running, num_returns=len(running), timeout=0)
            for task_id, (images, text) in self._take_progress().items():
                on_progress(by_id[task_id], images, text)
            for future in ready:
                task = self.running.pop(future)
                result = self._task_result(future, task)
                if result is None or result.status == "busy":
                    queue.append(task)
                    time.sleep(0 if result is None else POLL_INTERVAL_S)
                else:
                    yield result

    def shutdown(self) -> None:
        """Cancel all running tasks, whose runs can be resumed."""
        for running in self.running:
            with suppress(self.ray.exceptions.RayError):
                self.ray.cancel(running, force=True)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(self.board)

    def _task_result(self, future: Any, task: StudyTask) -> TaskResult | None:
        """The result of a task that ended; None where its process or node died, and it is retried."""
        errors = self.ray.exceptions
        try:
            result: TaskResult = self.ray.get(future)
            return result
        except errors.RayTaskError as error:  # an exception, which every node would raise
            return TaskResult(id=task.id, status="failed", message=_first_line(error.cause))
        except errors.RayError as error:
            self.tries[task.id] = self.tries.get(task.id, 0) + 1
            if self.tries[task.id] <= MAX_RETRIES:
                return None
            message = f"its process or node was ended {self.tries[task.id]} times ({_first_line(error)})"
            return TaskResult(id=task.id, status="failed", message=message)

    def _take_progress(self) -> dict[str, tuple[int, str]]:
        with suppress(self.ray.exceptions.RayError):
            taken: dict[str, tuple[int, str]] = self.ray.get(
                self.board.take_updates.remote(), timeout=PROGRESS_INTERVAL_S
            )
            return taken
        return {}

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def _num_slots(self) -> int:
        """The number of runs that fit on the nodes at a time."""
        return sum(self._node_slots(node) for node in self._nodes())

    def _node_slots(self, node: dict[str, Any]) -> int:
        has, threads = node["Resources"], self.context.threads or 1
        slots = int(has.get("CPU", 0) // threads)
        return min(slots, int(has.get("GPU", 0))) if self.context.device == "cuda" else slots

    def _requirements(self) -> str:
        gpu = " and a GPU" if self.context.device == "cuda" else ""
        return f"it takes {self.context.threads} CPU{'s' if self.context.threads != 1 else ''}{gpu}"

    def _node_options(self, node: dict[str, Any]) -> dict[str, Any]:
        return {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": self._node_affinity(node["NodeID"])}

    def _node_affinity(self, node: str, soft: bool = False) -> Any:
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        return strategies.NodeAffinitySchedulingStrategy(node_id=node, soft=soft)


def _run_remote_task(task: StudyTask, context: RunContext, token: Path, cwd: str, board: Any) -> TaskResult:
    """On a node: run a task unless it is done."""
    if not is_visible(token):
        return TaskResult(
            id=task.id, status="failed", message=f"the runs folder {context.runs} is not shared with its node"
        )
    with suppress(OSError):
        os.chdir(cwd)  # for relative paths in recipes
    report = throttle(lambda images, text: board.update.remote(task.id, images, text), PROGRESS_INTERVAL_S)
    return run_task(task, context, worker_datasets(context), report)


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
        ray.init(
            address, log_to_driver=False, logging_level="ERROR", **({} if address else {"include_dashboard": False})
        )
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


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        step = "pip install 'cnnlab[ray]', on every node"
        raise UsageError("Ray is not installed", where="--executor ray", next_step=step) from None


def _not_shared_error(runs: Path, address: str) -> RunError:
    return RunError(
        f"the node {address} does not see the runs folder",
        where=str(runs),
        allowed="a folder that all nodes share, such as one of a network file system, at the same path",
        next_step="give it with --runs",
    )


def _describe_node(node: dict[str, Any]) -> str:
    has = node["Resources"]
    return f"{node['NodeManagerAddress']} with {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
