"""A study on a cluster: what is refused, and, where Ray is installed, two nodes of which one is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnlab.config.study import Study
from cnnlab.errors import RunError, UsageError
from cnnlab.studies import ray_cluster as studies_ray_cluster
from cnnlab.studies.folder import read_result, study_folder
from cnnlab.studies.ray_cluster import is_visible, ray_cluster, shared_token

fake_ray: Callable[..., Any] = runpy.run_path(str(Path(__file__).with_name("fake_ray.py")))["fake_ray"]
Studies = Callable[..., Study]
Tables = Callable[..., str]
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"Ray is not installed\n *next: *pip install 'cnnlab\[ray\]'"):
        ray_cluster()


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies_ray_cluster, "VISIBLE_TIMEOUT_S", 0.5)


@pytest.mark.usefixtures("_impatient")
def test_a_node_recognises_the_runs_folder_by_a_file_in_it(tmp_path: Path) -> None:
    late = tmp_path / "late"
    threading.Timer(0.2, late.touch).start()
    assert is_visible(late)
    with shared_token(tmp_path / "runs") as token:
        assert is_visible(token)
        assert not is_visible(tmp_path / "elsewhere" / token.name)
    assert [*(tmp_path / "runs" / ".locks").iterdir()] == []


@pytest.mark.usefixtures("ray", "_impatient")
def test_a_node_that_sees_another_folder_is_refused(study: Studies, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies_ray_cluster, "is_visible", lambda _: False)
    with pytest.raises(RunError, match=r"the node .* does not see the runs folder"):
        lab.carry_out(study(), ray_cluster())


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for Ray, with which these tests run where it is not installed."""
    ray = fake_ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(studies_ray_cluster, "READY_POLL_INTERVAL_S", 0)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    return ray


@pytest.mark.usefixtures("ray")
def test_a_cluster_gives_the_table_of_one_process(study: Studies, lab: Any, table: Tables) -> None:
    known = study(seeds=1)
    found = table(lab.carry_out(known, ray_cluster()))
    assert lab.counts() == {"done": 2}
    assert [*(lab.runs / ".locks").glob("shared-*")] == []
    lab.runs = lab.runs.with_name("straight")
    assert found == table(lab.carry_out(known))


@pytest.mark.parametrize(("deaths", "statuses"), [(1, {"done": 2}), (5, {"done": 1, "failed": 1})])
def test_a_run_whose_node_dies_is_retried_some_times(
    study: Studies, lab: Any, ray: Any, monkeypatch: pytest.MonkeyPatch, deaths: int, statuses: dict[str, int]
) -> None:
    left = [ray.exceptions.RayError("the node died")] * deaths
    real = studies_ray_cluster.run_task

    def dying(task: Any, *arguments: Any) -> Any:
        if task.arm == "slow" and left:
            raise left.pop()
        return real(task, *arguments)

    monkeypatch.setattr(studies_ray_cluster, "run_task", dying)
    lab.carry_out(study(seeds=1), ray_cluster())
    assert lab.counts() == statuses
    if deaths > 1:
        assert lab.failures() == {("slow", 0): "its process or node was ended 4 times (RayError: the node died)"}


@pytest.mark.usefixtures("ray")
def test_a_cluster_without_enough_cpus_is_refused(
    study: Studies, lab: Any, ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", fake_ray(0).nodes)
    with pytest.raises(UsageError, match=r"no node of the cluster has room for a run: it takes \d+ CPUs"):
        lab.carry_out(study(), ray_cluster())


def on_two_nodes(study: Study, lab: Any, harm: str, threads: int = 1) -> dict[str, Any]:
    """What a study tells on a cluster of two nodes."""
    file = lab.runs.with_name("study.toml")
    file.write_text(study.to_toml())
    program = [sys.executable, str(Path(__file__).with_name("ray_process.py")), str(file), str(lab.runs), harm]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [*program, str(threads)], capture_output=True, text=True, timeout=900, check=False, env=surroundings
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (told["nodes"], told["left"]) == (2, [])
    return told


@needs_ray
@pytest.mark.slow
def test_an_address_where_nobody_answers_is_refused_at_once(
    study: Studies, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_CLIENT_MODE", "RAY_USAGE_STATS_ENABLED"):  # which Ray sets when it is loaded, and we
        monkeypatch.setenv(name, "0")
    with pytest.raises(UsageError, match="there is no Ray cluster: ConnectionRefusedError") as caught:
        lab.carry_out(study(), ray_cluster("127.0.0.1:1"))
    assert "ray start --head" in str(caught.value)


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("harm", ["none", "node"])
def test_two_nodes_share_a_study_and_one_may_be_killed(study: Studies, lab: Any, table: Tables, harm: str) -> None:
    """Each run is made once, and the table is that of one process."""
    long = study(base={"epochs": 60}, seeds=3)
    told = on_two_nodes(long, lab, harm)
    assert told["harmed"] == (harm == "node")
    assert sorted(status for _, status, _ in told["outcomes"]) == ["done"] * 6
    lab.assert_each_once(6, epochs=60)
    found = table(read_result(study_folder(lab.runs, "colours")))
    lab.runs = lab.runs.with_name("straight")
    assert found == table(lab.carry_out(long))


@needs_ray
@pytest.mark.slow
def test_a_run_whose_processes_always_die_has_failed_and_the_others_go_on(study: Studies, lab: Any) -> None:
    told = on_two_nodes(study(base={"epochs": 400}, seeds=1), lab, "processes")
    [failed] = [message for _, status, message in told["outcomes"] if status == "failed"]
    assert failed.startswith("its process or node was ended 4 times (WorkerCrashedError")
    assert told["harmed"] == 4
    assert lab.run_of("plain", 0).result() is not None
    assert lab.run_of("slow", 0).result() is None


@needs_ray
@pytest.mark.slow
def test_a_cluster_without_room_for_a_run_is_refused(study: Studies, lab: Any) -> None:
    told = on_two_nodes(study(), lab, "none", threads=2)
    assert "no node of the cluster has room for a run: it takes 2 CPUs" in told["error"]
    assert "1 CPUs, 0 GPUs" in told["error"]
    assert not list(lab.runs.glob("*/recipe.toml"))
