"""Choose the device to compute on, and name it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cnnlab.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """Return the device of this name; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: an unknown name, or a device that this machine does not have.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    if name not in available:
        raise UsageError(f"unknown device '{name}'", where="--device", allowed=", ".join(DEVICES))
    if not available[name]:
        raise UsageError(
            f"torch finds no {name} device on this machine",
            where="--device",
            allowed=", ".join(kind for kind, is_there in available.items() if is_there),
            next_step="use --device auto; 'cnnlab doctor' says what is missing",
        )
    return torch.device(name)


@contextmanager
def disable_tf32() -> Iterator[None]:
    """Context manager (or decorator) that disables TensorFloat-32, so that CUDA computes in full float32.

    The flags are global to the process and are restored on exit.
    """
    backends: tuple[Any, ...] = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def device_name(device: torch.device) -> str:
    """Return the vendor's name of the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()


def processor_name() -> str:
    """Return the model of the processor, if the system reports it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
