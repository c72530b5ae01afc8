"""Stores of weights for tests: true names and shapes, made-up numbers, and no network."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import get_model_weights

from cnnlab.models.pretrained.architectures import create_model


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hosts that were asked for: there is no network but this machine itself."""
    hosts: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        if host in ("127.0.0.1", b"127.0.0.1"):
            return real(host, *arguments, **named)
        hosts.append(str(host))
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return hosts


@pytest.fixture
def torch_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's own store of weights, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    store = tmp_path / "torch" / "hub" / "checkpoints"
    store.mkdir(parents=True)
    return store


@pytest.fixture
def publish(torch_store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes torchvision publish a file with these tensors, under a name that holds its checksum."""

    def make(name: str, state: dict[str, Tensor], weights: str = "IMAGENET1K_V1", served: Path | None = None) -> Path:
        """The file's path: in the store; or, where it is `served` from a folder, there."""
        written = torch_store / "new.pth"
        torch.save(state, written)
        digest = hashlib.sha256(written.read_bytes()).hexdigest()
        path = written.rename((served or torch_store) / f"{name}-{digest[:8]}.pth")
        url = path.as_uri() if served else f"https://weights.invalid/models/{path.name}"
        monkeypatch.setattr(get_model_weights(name)[weights].value, "url", url)
        return path

    return make


@pytest.fixture(scope="session")
def squeezenet() -> dict[str, Tensor]:
    """The tensors of a SqueezeNet 1.1, 5 MB."""
    return dict(create_model("squeezenet1_1", device="cpu", seed=1).state_dict())


@pytest.fixture(scope="session")
def mobilenet() -> dict[str, Tensor]:
    """The tensors of a MobileNet v3, small, 10 MB: with batch norm."""
    return dict(create_model("mobilenet_v3_small", device="cpu", seed=1).state_dict())
