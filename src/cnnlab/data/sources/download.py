"""Downloads that can be trusted: several mirrors, resumed where they broke off, used only with the right checksum.

A file grows as NAME.part beside its place and gets its name once it is whole and verified. Mirrors that fail, lie,
stall or crawl are left for the next; in the last round a slow one is better than none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from cnnlab.context import ProgressCallback, no_op
from cnnlab.data.sources.releases import RemoteFile
from cnnlab.errors import DownloadError

_CHUNK = 1 << 16
_HEADERS = {"User-Agent": "cnnlab (urllib)", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for a mirror.

    Attributes:
        read_timeout_s: seconds without a byte after which it is left; without an answer at all it isn't asked again.
        min_bytes_per_s: bytes per second, over `window_s` seconds, below which it is left; not in the last round.
        rounds: how often all mirrors are tried; a mirror without the right file is tried once.
        pause_s: seconds between rounds.
    """

    read_timeout_s: float = 10.0
    min_bytes_per_s: float = 300_000.0
    window_s: float = 10.0
    rounds: int = 3
    pause_s: float = 2.0


def fetch(
    file: RemoteFile, folder: Path, progress: ProgressCallback = no_op, retry: RetryPolicy = RetryPolicy()
) -> Path:
    """The path of the file in `folder`, downloaded unless it is there with the right checksum.

    Several processes may ask for the same file: one downloads, the others wait for it.

    Raises:
        DownloadError: no mirror gave the file (each is listed with its reason), or the folder can't hold it.
    """
    destination = folder / file.name
    if is_verified(destination, file.checksum):
        return destination
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _exclusive_file(folder / f"{file.name}.part") as part:
            if not is_verified(destination, file.checksum):
                _require_free_space(file, folder, _file_length(part))
                _download_from_mirrors(file, folder, part, progress, retry)
                Path(part.name).replace(destination)
    except OSError as failed:
        what = "the disk is full" if failed.errno == errno.ENOSPC else "the file can't be written"
        raise DownloadError(
            what,
            where=str(folder),
            received=str(failed),
            allowed=f"a folder that can be written, with {file.size:,} bytes free",
            next_step="make room, or give another data folder",
        ) from failed
    return destination


def is_verified(path: Path, checksum: str) -> bool:
    """Whether the file is there and has the checksum, "md5:…" or "sha256:…"."""
    kind, _, expected = checksum.partition(":")
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest() == expected


def manual_download_text(file: RemoteFile, folder: Path) -> str:
    """What a person does where the program can't: the addresses, the checksum and the folder."""
    kind, _, digest = file.checksum.partition(":")
    places = "".join(f"\n    {url}" for url in file.mirrors)
    return f"put {file.name} ({file.size:,} bytes, {kind} {digest}) into {folder}, from one of{places}"


def measure_bandwidth(file: RemoteFile, timeout_s: float, sample_bytes: int = 2_000_000) -> float | None:
    """Bytes per second of the fastest mirror that offers the file, or None; takes at most `seconds`.

    All mirrors are asked at once; the first to deliver `sample_bytes` settles it.
    """
    deadline = time.monotonic() + timeout_s
    rates: dict[str, float] = {}
    settled = threading.Event()
    # Daemons: a name server that never answers must hold up neither the answer nor the program's end.
    probes = [
        threading.Thread(target=_probe, args=(url, file.size, sample_bytes, deadline, rates, settled), daemon=True)
        for url in file.mirrors
    ]
    for probe in probes:
        probe.start()
    while time.monotonic() < deadline and not settled.is_set() and any(probe.is_alive() for probe in probes):
        settled.wait(min(0.05, max(0.0, deadline - time.monotonic())))
    return max(list(rates.values()), default=None)


def _probe(
    url: str, size: int, sample_bytes: int, deadline: float, rates: dict[str, float], done: threading.Event
) -> None:
    began, received = time.monotonic(), 0
    with contextlib.suppress(_MirrorError), _open_url(url, 0, max(0.1, deadline - began)) as response:
        if _length_header(response) not in (None, size) or _is_html(response, b""):
            return
        while received < min(sample_bytes, size) and time.monotonic() < deadline and (chunk := _read_chunk(response)):
            received += len(chunk)
            rates[url] = received / max(time.monotonic() - began, 1e-6)
        if received >= min(sample_bytes, size):
            done.set()


class _MirrorError(Exception):
    """Why a mirror was left; `final` when asking it again is of no use."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def _download_from_mirrors(
    file: RemoteFile, folder: Path, partial_file: IO[bytes], progress: ProgressCallback, retry: RetryPolicy
) -> None:
    """Fill `partial_file` with the verified file."""
    reasons: dict[str, str] = {}
    left = list(file.mirrors)
    for turn in range(retry.rounds):
        last = turn == retry.rounds - 1
        for url in list(left):
            try:
                return _download_from_mirror(
                    url, file, partial_file, progress, retry, 0.0 if last else retry.min_bytes_per_s
                )
            except _MirrorError as failed:
                reasons[url] = str(failed)
                if failed.final:
                    left.remove(url)
        if not left:
            break
        if not last:
            time.sleep(retry.pause_s)
    raise DownloadError(
        f"no mirror gave {file.name}",
        where=str(folder),
        received="".join(f"\n    {url}: {reason}" for url, reason in reasons.items()),
        allowed=f"{file.size:,} bytes with {file.checksum}",
        next_step=manual_download_text(file, folder),
    )


def _download_from_mirror(
    url: str,
    file: RemoteFile,
    partial_file: IO[bytes],
    progress: ProgressCallback,
    retry: RetryPolicy,
    min_bytes_per_s: float,
) -> None:
    resumed = _file_length(partial_file) > 0
    if _file_length(partial_file) < file.size:
        with _open_url(url, _file_length(partial_file), retry.read_timeout_s) as response:
            _prepare_partial_file(response, file, partial_file)
            _copy_response(response, file, partial_file, progress, retry, min_bytes_per_s)
    partial_file.flush()
    os.fsync(partial_file.fileno())
    if is_verified(Path(partial_file.name), file.checksum):
        return
    partial_file.truncate(0)
    if not resumed:
        raise _MirrorError("sent another file (its checksum is wrong)", final=True)
    # What was there before may have been the fault: this mirror gets a clean start.
    _download_from_mirror(url, file, partial_file, progress, retry, min_bytes_per_s)


def _prepare_partial_file(response: Any, file: RemoteFile, partial_file: IO[bytes]) -> None:
    """Prepare `partial_file` for this response; its bytes are dropped only where the right file begins anew."""
    have, length = _file_length(partial_file), _length_header(response)
    if response.status == http.client.PARTIAL_CONTENT:
        span = response.headers.get("Content-Range", "")
        if span != f"bytes {have}-{file.size - 1}/{file.size}":
            raise _MirrorError(f"sent the range '{span}' of another file", final=True)
        return
    if _is_html(response, b""):
        raise _MirrorError("sent a web page instead of the file", final=True)
    if length is not None and length != file.size:
        raise _MirrorError(f"offers another file of {length:,} bytes", final=True)
    partial_file.truncate(0)


def _copy_response(
    response: Any,
    file: RemoteFile,
    partial_file: IO[bytes],
    progress: ProgressCallback,
    retry: RetryPolicy,
    min_bytes_per_s: float,
) -> None:
    have, window_began, window_bytes = _file_length(partial_file), time.monotonic(), 0
    while have < file.size:
        chunk = _read_chunk(response)
        if not chunk:
            raise _MirrorError(f"stopped after {have:,} of {file.size:,} bytes")
        if have == 0 and _is_html(response, chunk):
            raise _MirrorError("sent a web page instead of the file", final=True)
        partial_file.write(chunk[: file.size - have])
        have, window_bytes = min(file.size, have + len(chunk)), window_bytes + len(chunk)
        progress(f"downloading {file.name}", have, file.size, "bytes")
        elapsed = time.monotonic() - window_began
        if elapsed >= retry.window_s:
            if window_bytes < min_bytes_per_s * elapsed:
                raise _MirrorError(f"is slow: {window_bytes / elapsed / 1000:,.0f} kB/s")
            window_began, window_bytes = time.monotonic(), 0


def _open_url(url: str, start: int, timeout_s: float) -> Any:
    """The mirror's answer, from byte `start` on if it can; a _MirrorError in plain words where there is none."""
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https", "file"):
        raise _MirrorError(f"'{scheme}' isn't http, https or file", final=True)
    headers = _HEADERS | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return _build_opener().open(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as refused:
        refused.close()
        again = refused.code >= 500 or refused.code in (408, 429)
        reason = str(refused.reason).splitlines()[0] if refused.reason else ""
        raise _MirrorError(f"answered {refused.code} {reason}", final=not again) from None
    except (OSError, http.client.HTTPException) as failed:
        raise _mirror_error(failed, opening=True) from None


def _read_chunk(response: Any) -> bytes:
    """What has come, up to a chunk; b"" at the end."""
    try:
        # read would wait for a full chunk, however slowly it comes.
        return bytes(response.read1(_CHUNK))
    except (OSError, http.client.HTTPException) as failed:
        raise _mirror_error(failed) from None


def _mirror_error(error: Exception, opening: bool = False) -> _MirrorError:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return _MirrorError("was silent too long", final=opening)
    # A name that isn't found is nearly always a machine without a network: asking again would only keep it waiting.
    words = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause) or type(cause).__name__
    return _MirrorError(f"{'no connection' if opening else 'broke off'}: {words}", isinstance(cause, socket.gaierror))


def _build_opener() -> urllib.request.OpenerDirector:
    """Handlers by name: the default opener would follow a redirect to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.FileHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _length_header(response: Any) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _is_html(response: Any, first_bytes: bytes) -> bool:
    kind = response.headers.get("Content-Type", "")
    return kind.startswith("text/html") or first_bytes.lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))


def _file_length(partial_file: IO[bytes]) -> int:
    return partial_file.seek(0, os.SEEK_END)


def _require_free_space(file: RemoteFile, folder: Path, have_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < file.size - have_bytes:
        raise OSError(errno.ENOSPC, f"{free:,} bytes are free, {file.size - have_bytes:,} are needed for {file.name}")


@contextlib.contextmanager
def _exclusive_file(path: Path) -> Iterator[IO[bytes]]:
    """The file, opened to append, while no other process or thread has it; removed again if it stays empty."""
    while True:
        handle = path.open("ab+")
        # Some network file systems know no locks; there the checksum alone protects.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Whoever had it before may have renamed or removed it while this process waited.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                break
        handle.close()
    try:
        yield handle
    finally:
        with contextlib.suppress(OSError):
            if _file_length(handle) == 0 and os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                path.unlink()
        # On a full disk even closing fails; whoever wrote has been told already.
        with contextlib.suppress(OSError):
            handle.close()
