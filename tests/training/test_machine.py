"""Choosing the device."""

from __future__ import annotations

import platform

import pytest
import torch

from cnnlab.errors import UsageError
from cnnlab.training import machine
from cnnlab.training.machine import choose_device, device_name, processor


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> object:
    """Sets which devices the machine has."""

    def set_devices(cuda: bool, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(machine, "_use_whole_floats", lambda: None)  # it would outlast the test

    return set_devices


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_cuda_then_mps_then_the_cpu(has: object, cuda: bool, mps: bool, chosen: str) -> None:
    has(cuda, mps)
    assert choose_device("auto").type == chosen
    assert choose_device("cpu").type == "cpu"


def test_32_bit_floats_are_not_shortened_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    places = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [place.fp32_precision for place in places]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    try:
        for place in places:
            place.fp32_precision = "tf32"
        choose_device("auto")
        assert [place.fp32_precision for place in places] == ["ieee", "ieee"]
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--device: unknown device 'tpu'\n  allowed:  auto, cpu, cuda, mps"):
        choose_device("tpu")


def test_a_device_that_is_not_there_is_refused(has: object) -> None:
    has(False, True)
    with pytest.raises(UsageError, match=r"no cuda device on this machine\n  allowed:  cpu, mps\n  next: .*doctor"):
        choose_device("cuda")


def test_the_cpu_has_a_name() -> None:
    assert device_name(torch.device("cpu")) == processor() != ""


def test_without_the_systems_word_python_names_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr("pathlib.Path.read_text", absent)
    assert processor() == (platform.processor() or platform.machine())
