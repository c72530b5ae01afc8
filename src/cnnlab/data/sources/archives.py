"""Zip and tar archives of images, listed and streamed, never extracted. No torch."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cnnlab.data.decoding.images import MAX_BYTES, Fault, Header, try_header
from cnnlab.data.sources.class_folders import Entry, Files, stamp_of
from cnnlab.errors import SourceError

ZIP_ENDINGS = (".zip",)
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")

MAX_MEMBERS = 2_000_000
# An archive may unpack to this much, or to this many times its own size, whichever is more.
MAX_UNPACKED = 2**30
MAX_RATIO = 200

_ENCRYPTED = 0x1


@dataclass(frozen=True)
class ZipReader:
    """Reads members of a zip archive."""

    path: Path

    def files(self) -> Files:
        """The archive's members.

        Raises:
            SourceError: it is damaged or encrypted, or holds links, unsafe paths, or more than the limits allow.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise damaged(self.path, error) from error
        guard = _Guard(self.path)
        folders: list[str] = []
        entries: list[Entry] = []
        for member in members:
            if stat.S_ISLNK(member.external_attr >> 16):
                raise guard.refused(member.filename, "a link")
            if member.flag_bits & _ENCRYPTED:
                raise guard.refused(member.filename, "an encrypted member")
            path = guard.safe(member.filename.replace("\\", "/"), member.file_size)
            if member.is_dir():
                folders.append(path)
            elif path:
                entries.append(Entry(path, member.file_size, f"{member.CRC:08x}", member.filename, f"{member.CRC:08x}"))
        return guard.files(entries, folders)

    def read(self, entries: Sequence[Entry]) -> Iterator[tuple[int, bytes | Fault]]:
        """(position in `entries`, content or why there is none), in any order."""
        with zipfile.ZipFile(self.path) as archive:
            for position, entry in enumerate(entries):
                yield position, _zip_content(archive, entry)

    def headers(self, entries: Sequence[Entry]) -> Iterator[tuple[int, Header | Fault]]:
        """(position in `entries`, what the image's header says), in any order."""
        return _headers(self.read(entries))


@dataclass(frozen=True)
class TarReader:
    """Reads members of a tar archive, plain or gzipped, from its beginning to its end."""

    path: Path

    def files(self) -> Files:
        """The archive's members. A tar has no checksums: the stamps are times of the archive and its members.

        Raises:
            SourceError: as for a zip archive.
        """
        own = stamp_of(self.path.stat())
        guard = _Guard(self.path)
        folders: list[str] = []
        entries: list[Entry] = []
        try:
            with tarfile.open(self.path, _tar_mode(self.path)) as archive:
                for member in archive:
                    if not (member.isdir() or member.isreg()):
                        raise guard.refused(member.name, "a link or a device")
                    path = guard.safe(member.name, member.size)
                    if member.isdir():
                        folders.append(path)
                    else:
                        changed = str(member.mtime)
                        entries.append(Entry(path, member.size, f"{changed}:{own}", member.name, changed))
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise damaged(self.path, error) from error
        return guard.files(entries, folders)

    def read(self, entries: Sequence[Entry]) -> Iterator[tuple[int, bytes | Fault]]:
        """(position in `entries`, content or why there is none), in the archive's order: one pass, no way back."""
        wanted = {entry.key: position for position, entry in enumerate(entries)}
        with tarfile.open(self.path, _tar_mode(self.path)) as archive:
            for member in archive:
                position = wanted.pop(member.name, None)
                if position is not None:
                    yield position, _tar_content(archive, member)
                if not wanted:
                    return

    def headers(self, entries: Sequence[Entry]) -> Iterator[tuple[int, Header | Fault]]:
        """(position in `entries`, what the image's header says), in any order."""
        return _headers(self.read(entries))


def too_large(size: int) -> Fault:
    """The fault of a file of more bytes than an image may have."""
    return Fault("too large", f"{size:,} bytes, where {MAX_BYTES:,} are allowed")


def damaged(path: Path, error: Exception) -> SourceError:
    """The error for an archive that can't be read."""
    return SourceError(
        "this archive can't be read",
        where=str(path),
        received=str(error) or type(error).__name__,
        allowed=", ".join((*ZIP_ENDINGS, *TAR_ENDINGS)),
        next_step="fetch or pack it again",
    )


class _Guard:
    """Counts what an archive promises, and refuses it where that is unsafe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.allowed = max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size)
        self.members = 0
        self.unpacked = 0

    def safe(self, name: str, size: int) -> str:
        """The member's path without "." parts; refused when it leads outside, or goes past the limits."""
        self.members += 1
        self.unpacked += size
        if self.members > MAX_MEMBERS:
            raise self.refused(name, f"more than {MAX_MEMBERS:,} members")
        if self.unpacked > self.allowed:
            raise self.refused(name, f"{self.unpacked:,} bytes when unpacked, where {self.allowed:,} are allowed")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name or name[1:2] == ":" or not _is_text(name):
            raise self.refused(name, "a path that leads outside or is no text")
        return "/".join(parts)

    def files(self, entries: list[Entry], folders: Iterable[str]) -> Files:
        """All members; refused when two have one name."""
        counts = Counter(entry.path for entry in entries)
        if len(counts) < len(entries):
            name, count = counts.most_common(1)[0]
            raise self.refused(name, f"{count} members with one name")
        return Files(tuple(entries), frozenset(folders) - {""})

    def refused(self, name: str, received: str) -> SourceError:
        return SourceError(
            "this archive is refused",
            where=f"{self.path}: {name!r}",
            received=received,
            allowed="plain files and folders with paths inside the archive",
            next_step="pack the images again, or unpack it yourself and give the folder",
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _zip_content(archive: zipfile.ZipFile, entry: Entry) -> bytes | Fault:
    if entry.size > MAX_BYTES:
        return too_large(entry.size)
    try:
        with archive.open(entry.key) as member:
            return member.read()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, KeyError) as error:
        return Fault("unreadable", f"damaged in the archive: {error}")


def _tar_content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | Fault:
    if member.size > MAX_BYTES:
        return too_large(member.size)
    try:
        opened = archive.extractfile(member)
        return opened.read() if opened else Fault("unreadable", "no plain file")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        return Fault("unreadable", f"damaged in the archive: {error}")


def _tar_mode(path: Path) -> Literal["r:", "r:gz"]:
    with path.open("rb") as opened:
        return "r:gz" if opened.read(2) == b"\x1f\x8b" else "r:"


def _headers(contents: Iterable[tuple[int, bytes | Fault]]) -> Iterator[tuple[int, Header | Fault]]:
    for position, content in contents:
        yield position, content if isinstance(content, Fault) else try_header(content)
