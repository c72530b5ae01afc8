"""Where a run is made: versions, machine, and the code's own hash."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from cnnlab.records import Environment
from cnnlab.training.machine import device_name, processor


def environment(device: torch.device) -> Environment:
    """What must be said for another person to repeat a run."""
    return Environment(
        cnnlab=version("cnnlab"),
        python=platform.python_version(),
        torch=torch.__version__,
        platform=platform.platform(),
        processor=processor(),
        device=f"{device.type}: {device_name(device)}",
        threads=torch.get_num_threads(),
        code=code_hash(),
    )


def code_hash() -> str:
    """A digest of cnnlab's own source files."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
