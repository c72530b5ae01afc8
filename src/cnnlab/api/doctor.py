"""Check what a machine offers for training, and its installation."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from cnnlab.data.dataset import data_roots
from cnnlab.data.sources.catalogue import find_local
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.errors import SourceError
from cnnlab.records import Record
from cnnlab.runs.checks import memory_bytes
from cnnlab.settings import cache_dir, is_offline
from cnnlab.training.device import choose_device, device_name, processor_name
from cnnlab.training.precision import cached_benchmarks, clear_benchmarks
from cnnlab.version import __version__

# Room for a decoded data set and a few run folders.
LEAST_FREE_BYTES = 2 * 2**30


class DoctorCheck(Record):
    """One check; `next_step` says what to do if it is not ok."""

    name: str
    value: str
    ok: bool = True
    next_step: str = ""


class DoctorReport(Record):
    """All checks."""

    findings: tuple[DoctorCheck, ...]


def run_doctor(runs: Path, data: Path | None = None, *, retune: bool = False) -> DoctorReport:
    """Check versions, devices, memory, folders and data; nothing is downloaded or kept.

    Args:
        retune: delete the cached choices of precision, so that they are benchmarked again.
    """
    return DoctorReport(
        findings=(
            *_check_software(),
            *_check_devices(),
            _check_precision_benchmarks(clear_benchmarks() if retune else 0),
            _check_folder("cache folder", cache_dir()),
            _check_folder("runs folder", runs),
            *_check_data(data),
        )
    )


def _check_software() -> Iterator[DoctorCheck]:
    yield DoctorCheck(
        name="cnnlab", value=f"{__version__} on Python {platform.python_version()}, {platform.platform()}"
    )
    yield DoctorCheck(name="torch", value=torch.__version__)
    yield _check_torchvision()


def _check_torchvision() -> DoctorCheck:
    """torchvision's compiled extension loads only with the torch version it was built for."""
    try:
        return DoctorCheck(name="torchvision", value=str(importlib.import_module("torchvision").__version__))
    except (ImportError, RuntimeError) as error:
        step = "install the torchvision that belongs to this torch: make setup"
        return DoctorCheck(name="torchvision", value=f"can't be loaded: {error}", ok=False, next_step=step)


def _check_devices() -> Iterator[DoctorCheck]:
    memory = memory_bytes(torch.device("cpu")) / 2**30
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    yield DoctorCheck(name="processor", value=f"{processor_name()}, {threads}, {memory:.0f} GiB")
    yield DoctorCheck(name="vector unit", value=torch.backends.cpu.get_cpu_capability())
    device = choose_device("auto")
    accelerator = device_name(device) if device.type != "cpu" else "none found; the CPU computes"
    yield DoctorCheck(name="accelerator", value=accelerator)


def _check_precision_benchmarks(num_deleted: int) -> DoctorCheck:
    """The benchmarks by which precision and memory format were chosen."""
    cached = cached_benchmarks()
    value = f"none kept: {num_deleted} deleted, measured again when next needed" if num_deleted else "none kept"
    if cached:
        oldest = time.strftime("%Y-%m-%d", time.localtime(cached[0].stat().st_mtime))
        value = f"{len(cached)} kept, the oldest of {oldest}; --retune deletes them, so that they are measured again"
    return DoctorCheck(name="precision trials", value=value)


def _check_folder(name: str, path: Path) -> DoctorCheck:
    """Check whether a folder can be made and written to, and its free space."""
    nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            free = shutil.disk_usage(nearest).free
    except OSError as error:
        step = "choose another with --runs, CNNLAB_RUNS or CNNLAB_CACHE"
        return DoctorCheck(name=name, value=f"{path}: {error.strerror}", ok=False, next_step=step)
    roomy = free >= LEAST_FREE_BYTES
    step = "" if roomy else "free some space, or choose another disk with --runs, CNNLAB_RUNS or CNNLAB_CACHE"
    return DoctorCheck(name=name, value=f"{path}, {free / 2**30:.0f} GiB free", ok=roomy, next_step=step)


def _check_data(data: Path | None) -> Iterator[DoctorCheck]:
    try:
        roots = data_roots(data)
    except SourceError as error:
        problem = error.problems[0]
        value = f"{problem.received}: {problem.what}"
        yield DoctorCheck(name="data folder", value=value, ok=False, next_step=problem.next_step)
        roots = ()
    on_disk = [name for name in CATALOGUE if find_local(name, roots) is not None]
    yield DoctorCheck(name="data on disk", value=", ".join(["shapes (built in)", *on_disk]))
    yield DoctorCheck(name="downloads", value="off (CNNLAB_OFFLINE)" if is_offline() else "on")
