"""Download a file from several mirrors: resumed where it broke off, used only with the right checksum.

A file grows as NAME.part and gets its name once it is whole and verified. A mirror that fails, stalls or sends another
file is left for the next one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cnnlab.context import ProgressCallback, no_op
from cnnlab.data.sources.releases import RemoteFile
from cnnlab.errors import DownloadError

_CHUNK = 1 << 16
_HEADERS = {"User-Agent": "cnnlab (urllib)", "Accept-Encoding": "identity"}


# Seconds without a byte after which a mirror is left.
READ_TIMEOUT_S = 10.0


def fetch(file: RemoteFile, folder: Path, progress: ProgressCallback = no_op, timeout_s: float | None = None) -> Path:
    """Return the path of the file in `folder`, downloaded unless it is there with the right checksum.

    Several processes may ask for the same file: one downloads, the others wait for it.

    Args:
        timeout_s: seconds without a byte after which a mirror is left; None: READ_TIMEOUT_S.

    Raises:
        DownloadError: no mirror gave the file (each is listed with its reason), or the folder can't hold it.
    """
    destination = folder / file.name
    if is_verified(destination, file.checksum):
        return destination
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{file.name}.part").open("ab+") as partial_file:
            # Some network file systems know no locks; there the checksum alone protects.
            with contextlib.suppress(OSError):
                fcntl.flock(partial_file, fcntl.LOCK_EX)
            if is_verified(destination, file.checksum):  # by now, by another process
                Path(partial_file.name).unlink(missing_ok=True)
            else:
                _require_free_space(file, folder, _file_length(partial_file))
                _Download(file, partial_file, progress, timeout_s or READ_TIMEOUT_S).from_mirrors(folder)
                Path(partial_file.name).replace(destination)
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
    urls = "".join(f"\n    {url}" for url in file.mirrors)
    return f"put {file.name} ({file.size:,} bytes, {kind} {digest}) into {folder}, from one of{urls}"


class _MirrorError(Exception):
    """Why a mirror was left."""


@dataclass(frozen=True)
class _Download:
    """Fills `partial_file`, an open file that may hold the beginning, with the verified file."""

    file: RemoteFile
    partial_file: IO[bytes]
    progress: ProgressCallback
    timeout_s: float

    def from_mirrors(self, folder: Path) -> None:
        reasons: dict[str, str] = {}
        for url in self.file.mirrors:
            try:
                return self._from_mirror(url)
            except _MirrorError as failed:
                reasons[url] = str(failed)
        raise DownloadError(
            f"no mirror gave {self.file.name}",
            where=str(folder),
            received="".join(f"\n    {url}: {reason}" for url, reason in reasons.items()),
            allowed=f"{self.file.size:,} bytes with {self.file.checksum}",
            next_step=f"try again, which goes on where it stopped; or {manual_download_text(self.file, folder)}",
        )

    def _from_mirror(self, url: str) -> None:
        start = _file_length(self.partial_file)
        if start < self.file.size:
            with _open_url(url, start, self.timeout_s) as response:
                self._check_response(response, start)
                self._copy(response)
        self.partial_file.flush()
        os.fsync(self.partial_file.fileno())
        if is_verified(Path(self.partial_file.name), self.file.checksum):
            return
        self.partial_file.truncate(0)
        if start == 0:
            raise _MirrorError("sent another file (its checksum is wrong)")
        # What was there before may have been the fault: this mirror gets a clean start.
        self._from_mirror(url)

    def _check_response(self, response: Any, start: int) -> None:
        """Refuse another file; empty the partial file where the right one is sent from its beginning."""
        size, length = self.file.size, response.headers.get("Content-Length")
        if response.status == http.client.PARTIAL_CONTENT:
            span = response.headers.get("Content-Range", "")
            if span != f"bytes {start}-{size - 1}/{size}":
                raise _MirrorError(f"sent the range '{span}' of another file")
            return
        if length not in (None, str(size)):
            raise _MirrorError(f"offers another file, of {length} bytes")
        self.partial_file.truncate(0)

    def _copy(self, response: Any) -> None:
        size, done = self.file.size, _file_length(self.partial_file)
        while done < size:
            chunk = _read_chunk(response)
            if not chunk:
                raise _MirrorError(f"stopped after {done:,} of {size:,} bytes")
            self.partial_file.write(chunk[: size - done])
            done = min(size, done + len(chunk))
            self.progress(f"downloading {self.file.name}", done, size, "bytes")


def _open_url(url: str, start: int, timeout_s: float) -> Any:
    """The response, from byte `start` on if the mirror can; a _MirrorError where there is none."""
    headers = _HEADERS | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as refused:
        refused.close()
        reason = str(refused.reason).splitlines()[0] if refused.reason else ""
        raise _MirrorError(f"answered {refused.code} {reason}") from None
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
        return _MirrorError("was silent too long")
    words = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause) or type(cause).__name__
    return _MirrorError(f"{'no connection' if opening else 'broke off'}: {words}")


def _file_length(file: IO[bytes]) -> int:
    return file.seek(0, os.SEEK_END)


def _require_free_space(file: RemoteFile, folder: Path, have_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < file.size - have_bytes:
        raise OSError(errno.ENOSPC, f"{free:,} bytes are free, {file.size - have_bytes:,} are needed for {file.name}")
