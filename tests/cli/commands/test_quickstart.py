"""Which data a quick start takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnlab.cli.commands import quickstart
from cnnlab.cli.commands.quickstart import choose_source
from cnnlab.context import ProgressCallback, no_op
from cnnlab.data.sources import catalogue
from cnnlab.errors import DownloadError


def test_data_at_hand_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / name).write_bytes(b"")
    source, reason = choose_source(tmp_path, no_op)
    assert source == "cifar10"
    assert str(folder) in reason


def test_offline_says_so(tmp_path: Path) -> None:
    assert choose_source(tmp_path, no_op) == ("shapes", "CIFAR-10 is not on disk and CNNLAB_OFFLINE is set")


def test_a_download_that_fails_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNLAB_OFFLINE")

    def breaks(*_: object, timeout_s: float, **__: object) -> None:
        assert timeout_s == quickstart.TRIAL_S
        raise DownloadError("no mirror answered")

    monkeypatch.setattr(catalogue, "open_published", breaks)
    source, reason = choose_source(tmp_path, no_op)
    assert source == "shapes"
    assert reason.endswith("its download was given up: no mirror answered")


@pytest.mark.parametrize(("after_s", "source"), [(1.0, "cifar10"), (4.0, "shapes")])
def test_a_slow_download_is_given_up_after_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_s: float, source: str
) -> None:
    monkeypatch.delenv("CNNLAB_OFFLINE")
    clock = iter([0.0, after_s])
    monkeypatch.setattr(quickstart.time, "monotonic", lambda: next(clock))

    def begins(*_: object, progress: ProgressCallback, **__: object) -> None:
        progress("downloading", 50, 100, "bytes")
        progress("downloading", 51, 100, "bytes")

    monkeypatch.setattr(catalogue, "open_published", begins)
    assert choose_source(tmp_path, no_op)[0] == source
