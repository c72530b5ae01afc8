"""A study's tasks on the machines of a Ray cluster, which share the runs folder.

Ray is an extra: `pip install 'cnnlab[ray]'`. The nodes need the same cnnlab, the runs folder at the same path, and the
data: what the catalogue names is downloaded where it is missing; a folder or archive lies at the same path everywhere.
Whether all nodes see one runs folder is checked with a file that the head writes.
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
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from cnnlab.context import RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.errors import RunError, UsageError
from cnnlab.studies.plan import StudyTask
from cnnlab.studies.tasks import LOCKS_FOLDER, TaskResult, run_task
from cnnlab.studies.worker_pool import POLL_INTERVAL_S, ContinueFn, Executor, TaskProgressFn, TaskResults

# A network file system shows other machines' files after some seconds.
VISIBLE_TIMEOUT_S = 10.0
POLL_S = 0.2


@contextmanager
def shared_token(runs: Path) -> Iterator[Path]:
    """A file in the runs folder by which a node can tell that it sees the same folder."""
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
        for path in folder.glob(f"{token.name}*"):
            path.unlink(missing_ok=True)


def write_reply(token: Path, node: str) -> str:
    """On a node: a file beside the token, by its name; none where the token is not seen, or nothing can be written."""
    found = token.with_name(f"{token.name}-{node}")
    try:
        if not is_visible(token):
            return ""
        found.write_text(node)
        return found.name
    except OSError:
        return ""


def is_visible(path: Path) -> bool:
    """Whether a file is there, or comes within some seconds."""
    ends = time.monotonic() + VISIBLE_TIMEOUT_S
    while not path.exists():
        if time.monotonic() > ends:
            return False
        time.sleep(POLL_S)
    return True


PROGRESS_INTERVAL_S = 0.5
READY_POLL_INTERVAL_S = 0.3
ANSWERED_WITHIN_S = 10.0
# A run is retried on another node where its process or node ended; both may be the cluster's fault and not the run's.
MAX_RETRIES = 3


def ray_cluster(address: str | None = None, *, jobs: int = 1) -> Executor:
    """Run the tasks on a Ray cluster, as many at a time as it has room for.

    Each run takes as many CPUs as it has threads, and one GPU where it computes on CUDA. One whose process or node ends
    is gone on with from its last whole epoch, on whatever node has room.

    Args:
        address: of the cluster, such as "auto" or "10.0.0.1:6379"; None: RAY_ADDRESS, else a cluster of this machine.
        jobs: this machine's threads are divided by it, and a run has as many on every node, so that all figures are
            those of `processes(jobs)`.

    Raises:
        UsageError: Ray is not installed; there is no cluster at the address; no node has room for a run.
        RunError: a node does not see the runs folder, or can't run cnnlab.
    """
    ray = _import_ray()

    def run_tasks(
        tasks: Sequence[StudyTask], context: RunContext, on_progress: TaskProgressFn, should_continue: ContinueFn
    ) -> TaskResults:
        threads = context.threads or max(1, torch.get_num_threads() // jobs)
        if not tasks:
            return
        with _connected(ray, address), shared_token(context.runs) as token:
            cluster = _Cluster(ray, replace(context.with_callbacks(), threads=threads), token)
            try:
                cluster.check()
                yield from cluster.run_tasks(deque(tasks), on_progress, should_continue)
            finally:
                cluster.shutdown()

    return run_tasks


class _ProgressBoard:
    """Where tasks write how far they are, and the study reads it."""

    def __init__(self) -> None:
        self.latest: dict[str, tuple[int, str]] = {}

    def update(self, task: str, images: int, text: str) -> None:
        self.latest[task] = (images, text)

    def take_updates(self) -> dict[str, tuple[int, str]]:
        taken, self.latest = self.latest, {}
        return taken


@dataclass
class _Cluster:
    """The nodes, the tasks they run, and how often each was tried."""

    ray: Any
    context: RunContext
    token: Path
    running: dict[Any, StudyTask] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # On the study's own node: another one may end.
        here = self._node_affinity(self.ray.get_runtime_context().get_node_id(), soft=True)
        self.board = self.ray.remote(_ProgressBoard).options(num_cpus=0, scheduling_strategy=here).remote()
        wanted = {"num_cpus": self.context.threads, "num_gpus": int(self.context.device == "cuda")}
        # Ray would try a run again without end where it is the memory that is full.
        self.remote_task = self.ray.remote(_run_remote_task).options(max_retries=0, **wanted)

    def check(self) -> None:
        """Refuse a cluster whose nodes do not all see the runs folder, or have no room for a run."""
        if not any(self._node_slots(node) for node in self._nodes()):
            raise UsageError(
                f"no node of the cluster has room for a run: {self._requirements()}",
                where="--executor ray",
                received=", ".join(_describe_node(node) for node in self._nodes()),
                next_step="let a run have fewer threads with --jobs, or start nodes that have more",
            )
        remote_reply = self.ray.remote(write_reply)
        replies = [
            (
                node["NodeManagerAddress"],
                remote_reply.options(**self._node_options(node)).remote(self.token, node["NodeID"]),
            )
            for node in self._nodes()
        ]
        for address, reply in replies:
            try:
                name = self.ray.get(reply)
            except self.ray.exceptions.RayError as error:
                step = "install the same cnnlab on every node"
                raise RunError(
                    f"a node can't run cnnlab: {_first_line(error)}", where=address, next_step=step
                ) from None
            if not name or not is_visible(self.token.with_name(name)):
                raise _not_shared_error(self.context.runs, address)

    def run_tasks(
        self, queue: deque[StudyTask], on_progress: TaskProgressFn, should_continue: ContinueFn
    ) -> TaskResults:
        """An outcome for each task, in the order in which they end."""
        by_id = {task.id: task for task in queue}
        while True:
            # One more than there is room for: a cluster that grows by demand sees that there is more to do.
            while queue and len(self.running) <= self._num_slots() and should_continue():
                task = queue.popleft()
                self.running[self.remote_task.remote(task, self.context, self.token, str(Path.cwd()), self.board)] = (
                    task
                )
            if not self.running:
                return
            time.sleep(
                READY_POLL_INTERVAL_S
            )  # not in Ray's own waiting, which makes another exit code of a termination
            running = list(self.running)
            ready, _ = self.ray.wait(running, num_returns=len(running), timeout=0)
            for task_id, (images, text) in self._take_progress().items():
                on_progress(by_id[task_id], images, text)
            for future in ready:
                result = self._task_result(future, self.running.pop(future))
                if result.status in ("busy", "again"):
                    queue.append(by_id[result.id])
                    time.sleep(POLL_INTERVAL_S if result.status == "busy" else 0)
                else:
                    yield result

    def shutdown(self) -> None:
        """End what the nodes are at; a run that is cut off can be gone on with."""
        for running in self.running:
            with suppress(self.ray.exceptions.RayError):
                self.ray.cancel(running, force=True)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(self.board)

    def _task_result(self, future: Any, task: StudyTask) -> TaskResult:
        errors = self.ray.exceptions
        try:
            result: TaskResult = self.ray.get(future)
            return result
        except errors.RayTaskError as error:  # an exception: the same again on every node
            return TaskResult(id=task.id, status="failed", message=_first_line(error.cause))
        except errors.RayError as error:
            self.tries[task.id] = self.tries.get(task.id, 0) + 1
            if self.tries[task.id] <= MAX_RETRIES:
                return TaskResult(id=task.id, status="again")
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
        """How many runs the nodes have room for at once."""
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
    """On a node: do a task unless it is done."""
    if not is_visible(token):
        return TaskResult(
            id=task.id, status="failed", message=f"the runs folder {context.runs} is not shared with its node"
        )
    with suppress(OSError):
        os.chdir(cwd)  # from which the paths of recipes are seen
    last = 0.0

    def on_progress(images: int, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_INTERVAL_S:
            last = time.monotonic()
            board.update.remote(task.id, images, text)

    return run_task(task, context, _dataset_cache(context), on_progress)


@cache
def _dataset_cache(context: RunContext) -> DatasetCache:
    """What a process has decoded, for all the tasks that it does."""
    return DatasetCache(context)


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Within it this process is connected with the cluster; it stays so where it was before."""
    if ray.is_initialized():
        yield
        return
    # A cluster that is started here would report to Ray's makers.
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
    with suppress(ValueError):  # only the main thread may; Ray has put its own handler there
        signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ask at an address with a port, where Ray itself would wait for many minutes.

    Raises:
        OSError: there is no reply.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), ANSWERED_WITHIN_S).close()


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
