"""Carries out a study on a Ray cluster of two nodes of one CPU, one of which may end; see test_ray_cluster.py."""

import json
import os
import signal
import sys
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
    under_way, told = set(), {"outcomes": [], "harmed": 0, "nodes": len(cluster.list_all_nodes())}

    def heard(task, images, _):
        """Once a run is under way on each node, one node is killed; or each process that is at the doomed arm."""
        if images < task.images:
            under_way.add(task.id)
        if harm == "node" and len(under_way) > 1 and not told["harmed"]:
            told["harmed"] += 1
            cluster.remove_node(other, allow_graceful=False)
        if harm == "processes" and task.arm == "slow":
            for lock in runs.glob(f".locks/{task.id}/lock"):
                os.kill(int(lock.read_text()), signal.SIGKILL)
                told["harmed"] += 1

    audience = Callbacks(
        on_task_progress=heard,
        on_task_end=lambda task, one: told["outcomes"].append([task.id, one.status, one.message]),
    )
    try:
        executor = ray_cluster(cluster.address)
        execute_study(
            Study.read(file), "colours", RunContext(runs=runs, device="cpu", callbacks=audience), executor=executor
        )
    except CnnlabError as error:
        told["error"] = str(error)
    told["left"] = [path.name for path in runs.glob(".locks/shared-*")]
    sys.stdout.write(json.dumps(told) + "\n")
    cluster.shutdown()
