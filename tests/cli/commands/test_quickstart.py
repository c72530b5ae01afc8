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


@pytest.mark.parametrize(
    ("seconds", "source", "words"),
    [
        (None, "shapes", "none of its mirrors answers"),
        (3600.0, "shapes", "would take about 60 minutes"),
        (30.0, "cifar10", "it could be downloaded"),
    ],
)
def test_what_is_not_at_hand_is_weighed(
    seconds: float | None, source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CNNLAB_OFFLINE")
    monkeypatch.setattr(catalogue, "estimate_download_s", lambda _name: seconds)
    monkeypatch.setattr(catalogue, "open_catalogue", lambda *_, **__: None)
    chosen, reason = choose_source(tmp_path, no_op)
    assert chosen == source
    assert words in reason


def test_offline_says_so(tmp_path: Path) -> None:
    assert choose_source(tmp_path, no_op) == ("shapes", "CIFAR-10 is not at hand and CNNLAB_OFFLINE is set")


def test_a_download_that_fails_or_drags_on_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNLAB_OFFLINE")
    monkeypatch.setattr(catalogue, "estimate_download_s", lambda _name: 5.0)

    def breaks(*_: object, **__: object) -> None:
        raise DownloadError("no mirror answered")

    monkeypatch.setattr(catalogue, "open_catalogue", breaks)
    assert choose_source(tmp_path, no_op) == ("shapes", "the download of CIFAR-10 failed: no mirror answered")

    clock = iter([0.0, 100.0, 1000.0])
    monkeypatch.setattr(quickstart.time, "monotonic", lambda: next(clock))

    def drags(*_: object, progress: ProgressCallback, **__: object) -> None:
        for done in (1, 2):
            progress("fetching", done, 100, "bytes")

    monkeypatch.setattr(catalogue, "open_catalogue", drags)
    source, reason = choose_source(tmp_path, no_op)
    assert source == "shapes"
    assert "it took longer than 6 minutes" in reason
