"""What the machine offers, and what is wrong with its set-up."""

from __future__ import annotations

import os
import platform
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from cnnlab.api import doctor
from cnnlab.api.doctor import DoctorCheck, run_doctor
from cnnlab.runs.environment import code_hash, environment


def found(runs: Path) -> dict[str, DoctorCheck]:
    return {finding.name: finding for finding in run_doctor(runs).findings}


def test_it_looks_at_everything_and_keeps_nothing(tmp_path: Path) -> None:
    findings = found(tmp_path / "new" / "runs")
    assert list(findings) == [
        "cnnlab", "torch", "torchvision", "processor", "vector unit", "accelerator", "precision trials", "cache folder",
        "runs folder", "data on disk", "downloads",
    ]  # fmt: skip
    assert findings["torch"].value == torch.__version__
    assert platform.python_version() in findings["cnnlab"].value
    assert findings["downloads"].value == "off (CNNLAB_OFFLINE)"
    assert findings["data on disk"].value.startswith("shapes (built in)")
    assert all(bool(finding.next_step) != finding.ok for finding in findings.values())
    assert list(tmp_path.iterdir()) == []


def test_trials_of_precision_are_told_and_forgotten_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "cache"))
    assert found(tmp_path)["precision trials"].value == "none kept"
    (tmp_path / "cache" / "precision").mkdir(parents=True)
    for number, name in enumerate(("new.json", "old.json")):
        (tmp_path / "cache" / "precision" / name).write_text("{}")
        os.utime(tmp_path / "cache" / "precision" / name, (1_000_000_000 - number * 10**8,) * 2)
    assert found(tmp_path)["precision trials"].value.startswith("2 kept, the oldest of 1998-07-")
    [finding] = [each for each in run_doctor(tmp_path, retune=True).findings if each.name == "precision trials"]
    assert finding.value.startswith("none kept: 2 deleted")
    assert list((tmp_path / "cache" / "precision").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    finding = found(tmp_path)["runs folder"]
    assert (finding.value, finding.ok) == (f"{tmp_path}: Permission denied", False)
    assert "--runs" in finding.next_step
    monkeypatch.undo()
    (tmp_path / "runs").write_text("")
    assert not found(tmp_path / "runs")["runs folder"].ok
    assert not found(tmp_path / "runs" / "deeper")["runs folder"].ok


def test_a_full_disk_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    finding = found(tmp_path)["runs folder"]
    assert not finding.ok
    assert finding.value == f"{tmp_path}, 0 GiB free"
    assert finding.next_step.startswith("free some space")


def test_a_torchvision_of_another_torch_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    finding = doctor._check_torchvision()
    assert finding.value == "can't be loaded: operator torchvision::nms does not exist"
    assert finding.next_step == "install the torchvision that belongs to this torch: make setup"


def test_the_environment_names_versions_machine_and_code() -> None:
    made = environment(torch.device("cpu"))
    assert (made.torch, made.python) == (torch.__version__, platform.python_version())
    assert made.threads == torch.get_num_threads()
    assert made.device == f"cpu: {made.processor}"
    assert made.code == code_hash()
    assert len(made.code) == 16


def test_a_data_folder_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    found = run_doctor(tmp_path / "runs", tmp_path / "nowhere")
    (finding,) = [finding for finding in found.findings if not finding.ok]
    assert finding.name == "data folder"
    assert "nowhere" in finding.value
    assert finding.next_step
