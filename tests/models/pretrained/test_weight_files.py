"""Downloads of weights: torch's own, with our words and our sizes."""

from __future__ import annotations

import hashlib
import http.server
import io
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cnnlab.errors import DownloadError
from cnnlab.models.pretrained.weight_files import WeightsFile, url_file

pytestmark = pytest.mark.usefixtures("asked", "torch_store")
CONTENT = bytes(range(256)) * 1000


def _served(folder: Path, content: bytes = CONTENT, digest: str = "") -> WeightsFile:
    digest = digest or hashlib.sha256(CONTENT).hexdigest()[:10]
    path = folder / f"net0.5_top1_67.8-{digest}.pth"
    path.write_bytes(content)
    return url_file("V1 of a net", path.as_uri(), 0.256)


def _fetch(published: WeightsFile, say: Callable[[str], None] = lambda _: None) -> Path:
    return published.fetch(download=True, log=say)


def test_a_file_comes_whole_to_where_torch_looks_for_it(tmp_path: Path, torch_store: Path, capfd: Any) -> None:
    published, said = _served(tmp_path), list[str]()
    path = _fetch(published, said.append)
    assert path == published.path == torch_store / path.name
    assert path.read_bytes() == CONTENT
    assert list(torch_store.iterdir()) == [path]
    assert said == [f"downloading {path.name} (0.3 MB) to {torch_store}"]
    # Results go to stdout, and there is a progress bar where a person looks.
    assert tuple(capfd.readouterr()) == ("", "")


def test_on_a_terminal_there_is_a_progress_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    _fetch(_served(tmp_path))
    assert "100%" in terminal.getvalue()


def test_another_file_is_not_kept(tmp_path: Path, torch_store: Path) -> None:
    published = _served(tmp_path, CONTENT[:-1])
    with pytest.raises(DownloadError, match=r"V1 of a net are not on disk\n  received: .*invalid hash"):
        _fetch(published)
    assert list(torch_store.iterdir()) == []


def test_digits_that_are_a_checksum_are_told_from_others() -> None:
    def digits(name: str) -> str:
        file = url_file("", f"https://x.invalid/{name}")
        return file.sha256_prefix(file.path)

    assert digits("mnasnet0.5_top1_67.823-3ffadce67e.pth") == "3ffadce67e"
    assert digits("IN1K-vit.h.14-300e.pth.tar") == ""
    assert digits("weights.pth?token=-12345678.") == ""


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("net-12345678.pth", r"HTTP Error 404: Not Found"),
        ("hang-up-12345678.pth", r"Remote end closed connection without"),
    ],
)
def test_what_a_server_answers_is_said(server: str, torch_store: Path, file: str, words: str) -> None:
    published = url_file("V1 of a net", f"{server}/{file}")
    with pytest.raises(DownloadError, match=rf"V1 of a net are not on disk\n  received: 127\.0\.0\.1:\d+: {words}"):
        _fetch(published)
    assert list(torch_store.iterdir()) == []


def test_a_store_that_cannot_be_written_is_said(tmp_path: Path, torch_store: Path) -> None:
    torch_store.rmdir()
    torch_store.write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=r"not on disk\n  received: .*File exists"):
        _fetch(_served(tmp_path))


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "hang-up" not in self.path:
            self.send_error(404)

    def log_message(self, *arguments: Any) -> None:
        """Tests are quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    listening = http.server.HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_address[1]}"
    listening.shutdown()
    listening.server_close()
    thread.join()
