"""Downloads, against a server on this machine that also stalls, truncates, lies and breaks."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlab.data.sources import download
from cnnlab.data.sources.download import fetch, is_verified
from cnnlab.data.sources.releases import RemoteFile
from cnnlab.errors import DownloadError

CONTENT = np.random.default_rng(0).bytes(400_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
SLOW = ("stalls", "silent")


@dataclass
class Server:
    address: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def file(self, *paths: str) -> RemoteFile:
        return RemoteFile("data.bin", SHA256, len(CONTENT), tuple(self.address + path for path in paths))

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


# Paths that give no content: a status, and where to go instead.
EMPTY = {
    "missing": (404, ""),
    "broken": (500, ""),
    "loop": (302, "/loop"),
    "moved": (302, "/good"),
    "to_disk": (302, "file:///etc/hostname"),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """What it does is named by the path."""

    log: Server

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.log.requests.append((self.path, asked))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        what = self.path.strip("/")
        if what in EMPTY:
            status, to = EMPTY[what]
            self.head(status, 0, **({"Location": to} if to else {}))
        else:
            getattr(self, f"do_{what}")(start)

    def head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def partly(self, start: int, end: int | None = None, total: int = len(CONTENT)) -> None:
        self.head(206, total - start, Content_Range=f"bytes {start}-{total - 1}/{total}") if start else self.head(
            200, total
        )
        self.wfile.write(CONTENT[start:end])

    def do_good(self, start: int) -> None:
        self.partly(start)

    def do_rangeless(self, _: int) -> None:
        self.partly(0)

    def do_half(self, start: int) -> None:
        self.partly(start, start + 150_000)

    def do_stalls(self, start: int) -> None:
        self.partly(start, start + 1000)
        self.log.over.wait(20)

    def do_silent(self, _: int) -> None:
        self.log.over.wait(20)

    def do_wrong(self, _: int) -> None:
        self.head(200, len(CONTENT))
        self.wfile.write(bytes(len(CONTENT)))

    def do_longer(self, _: int) -> None:
        self.head(200, len(CONTENT) + 5)
        self.wfile.write(CONTENT + b"extra")

    def do_longer_without_length(self, _: int) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT + b"extra")

    def do_missing_at_first(self, start: int) -> None:
        if len(self.log.requests) > 1:
            return self.partly(start)
        time.sleep(0.1)
        return self.head(404, 0)

    def do_other_range(self, _: int) -> None:
        self.head(206, 100, Content_Range="bytes 0-99/100")
        self.wfile.write(bytes(100))

    def do_page(self, _: int) -> None:
        self.head(200, 30, Content_Type="text/html; charset=utf-8")
        self.wfile.write(b"<!DOCTYPE html><p>please log in")

    def do_page_without_length(self, _: int) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"\n<!doctype HTML><p>quota exceeded")


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of these tests."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    log = Server("")
    listening = QuietServer(("127.0.0.1", 0), type("Bound", (Handler,), {"log": log}))
    log.address = f"http://127.0.0.1:{listening.server_address[1]}/"
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield log
    log.over.set()
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_a_good_mirror_with_progress(server: Server, tmp_path: Path) -> None:
    message: list[tuple[str, int, int, str]] = []
    path = fetch(server.file("good"), tmp_path / "new" / "folder", lambda *report: message.append(report))
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert message[-1] == ("downloading data.bin", len(CONTENT), len(CONTENT), "bytes")
    assert [done for _, done, _, _ in message] == sorted(done for _, done, _, _ in message)
    fetch(server.file("good"), path.parent)
    assert server.paths == ["/good"], "a verified file is not asked for again"


@pytest.mark.parametrize(("path", "asked"), [("longer_without_length", 1), ("moved", 2)])
def test_more_than_the_file_is_left_unread_and_a_redirect_followed(
    server: Server, tmp_path: Path, path: str, asked: int
) -> None:
    (tmp_path / "data.bin").write_bytes(b"other content is replaced")
    assert fetch(server.file(path), tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == asked


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("stalls", "was silent too long"),
        ("silent", "was silent too long"),
        ("half", "stopped after 150,000 of 400,000 bytes"),
        ("wrong", "sent another file"),
        ("longer", "offers another file, of 400005 bytes"),
        ("page", "offers another file, of 30 bytes"),
        ("page_without_length", "stopped after 33 of 400,000 bytes"),
        ("missing", "answered 404"),
        ("broken", "answered 500"),
        ("loop", "answered 302"),
        ("to_disk", "answered 302"),
    ],
)
def test_a_bad_mirror_is_left_for_the_next_and_named_when_alone(
    server: Server, tmp_path: Path, bad: str, reason: str
) -> None:
    timeout_s = 0.4 if bad in SLOW else None  # else a busy machine could make a good mirror look silent
    assert fetch(server.file(bad, "good"), tmp_path, timeout_s=timeout_s).read_bytes() == CONTENT
    (tmp_path / "data.bin").unlink()
    with pytest.raises(DownloadError, match=rf"no mirror gave data\.bin(.|\n)*{bad}: {reason}") as raised:
        fetch(server.file(bad), tmp_path, timeout_s=timeout_s)
    message = raised.value.problems[0].next_step
    assert all(word in message for word in (server.address + bad, SHA256.split(":")[1], str(tmp_path), "400,000"))
    assert not (tmp_path / "data.bin").exists()


def test_refused_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    file = RemoteFile("data.bin", SHA256, len(CONTENT), ("http://127.0.0.1:1/data.bin",))
    with pytest.raises(DownloadError, match="no connection: Connection refused"):
        fetch(file, tmp_path)


@pytest.mark.parametrize("between", [[], ["page"], ["longer"], ["other_range"], ["missing"]])
def test_a_part_is_resumed_from_another_mirror_and_a_liar_costs_nothing(
    server: Server, tmp_path: Path, between: list[str]
) -> None:
    fetch(server.file("half", *between, "good"), tmp_path)
    assert server.requests[0] == ("/half", "")
    assert server.requests[-1] == ("/good", "bytes=150000-")
    assert is_verified(tmp_path / "data.bin", SHA256)


def test_an_interrupted_download_goes_on_in_the_next_call(server: Server, tmp_path: Path) -> None:
    def interrupt(*report: Any) -> None:
        if report[1] > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server.file("good"), tmp_path, interrupt)
    assert not (tmp_path / "data.bin").exists()
    fetch(server.file("good"), tmp_path)
    start = int(server.requests[1][1].removeprefix("bytes=").removesuffix("-"))
    assert 100_000 < start < len(CONTENT)
    assert is_verified(tmp_path / "data.bin", SHA256)


@pytest.mark.parametrize("path", ["good", "rangeless", "other_range"])
def test_a_part_of_another_file_is_begun_anew(server: Server, tmp_path: Path, path: str) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"rubbish" * 1000)
    fetch(server.file(path, "good"), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_full_disk_is_said_before_anything_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = download.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"the disk is full(.|\n)*1,000 bytes are free, 400,000 are needed"):
        fetch(server.file("good"), tmp_path)
    assert server.requests == []
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_threads_that_ask_for_the_same_file_download_it_once(server: Server, tmp_path: Path) -> None:
    found: list[bytes] = []

    def one() -> None:
        found.append(fetch(server.file("good"), tmp_path, lambda *_: time.sleep(0.01)).read_bytes())

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert server.paths == ["/good"]
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]


def test_who_waits_goes_on_where_the_first_gave_up(server: Server, tmp_path: Path) -> None:
    errors: list[DownloadError] = []

    def first() -> None:
        try:
            fetch(server.file("missing_at_first"), tmp_path)
        except DownloadError as error:
            errors.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    while not server.requests:
        time.sleep(0.005)
    assert fetch(server.file("missing_at_first"), tmp_path).read_bytes() == CONTENT
    thread.join()
    assert len(errors) == 1
