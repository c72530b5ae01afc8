"""Carries out a study on a Ray cluster of two nodes of one CPU, one of which may end; see test_ray_cluster.py."""

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

import torch
from ray.cluster_utils import Cluster

from cnnlab.config.study import Study
from cnnlab.context import Callbacks, RunContext
from cnnlab.errors import CnnlabError
from cnnlab.studies.ray_cluster import ray_cluster
from cnnlab.studies.study import execute_study

if __name__ == "__main__":
    file, runs, harm, threads = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(threads)
    room = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**room, "include_dashboard": False})
    other = cluster.add_node(**room)
    told = {"outcomes": [], "harmed": 0, "nodes": len(cluster.list_all_nodes())}

    def harm_runs():
        """Once a run is under way on each node, kill one node; or kill each process that runs the doomed arm."""
        while not finished.wait(0.05):
            epochs = [path for path in runs.glob("*/metrics.jsonl") if path.stat().st_size]
            if harm == "node" and len(epochs) > 1 and not told["harmed"]:
                told["harmed"] += 1
                cluster.remove_node(other, allow_graceful=False)
            for path in epochs if harm == "processes" else ():
                lock = runs / ".locks" / "-".join(path.parent.name.split("-")[-2:]) / "lock"
                with contextlib.suppress(OSError, ValueError):
                    pid = int(lock.read_text())
                    if "-slow-" in path.parent.name and pid not in killed:
                        os.kill(pid, signal.SIGKILL)
                        killed.add(pid)
        told["harmed"] += len(killed)

    finished, killed = threading.Event(), set()
    harming = threading.Thread(target=harm_runs)
    harming.start()
    audience = Callbacks(
        on_task_end=lambda task, one: told["outcomes"].append([task.id, one.status, one.message]),
    )
    try:
        executor = ray_cluster(cluster.address)
        execute_study(
            Study.read(file), "colours", RunContext(runs=runs, device="cpu", callbacks=audience), executor=executor
        )
    except CnnlabError as error:
        told["error"] = str(error)
    finished.set()
    harming.join()
    told["left"] = [path.name for path in runs.glob(".locks/shared-*")]
    sys.stdout.write(json.dumps(told) + "\n")
    cluster.shutdown()
