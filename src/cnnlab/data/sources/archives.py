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

from cnnlab.data.decoding.images import MAX_BYTES, ImageFault, ImageHeader, try_header
from cnnlab.data.sources.class_folders import FileEntry, FileListing, file_stamp
from cnnlab.errors import SourceError

ZIP_EXTENSIONS = (".zip",)
TAR_EXTENSIONS = (".tar", ".tar.gz", ".tgz")

MAX_MEMBERS = 2_000_000
# An archive may unpack to this much, or to this many times its own size, whichever is more.
MAX_UNPACKED_BYTES = 2**30
MAX_RATIO = 200

_ENCRYPTED = 0x1


@dataclass(frozen=True)
class ZipReader:
    """Reads members of a zip archive."""

    path: Path

    def list_files(self) -> FileListing:
        """The archive's members.

        Raises:
            SourceError: it is damaged or encrypted, or holds links, unsafe paths, or more than the limits allow.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise damaged_archive_error(self.path, error) from error
        guard = _ArchiveGuard(self.path)
        folders: list[str] = []
        entries: list[FileEntry] = []
        for member in members:
            if stat.S_ISLNK(member.external_attr >> 16):
                raise guard.refusal(member.filename, "a link")
            if member.flag_bits & _ENCRYPTED:
                raise guard.refusal(member.filename, "an encrypted member")
            path = guard.check_member(member.filename.replace("\\", "/"), member.file_size)
            if member.is_dir():
                folders.append(path)
            elif path:
                entries.append(
                    FileEntry(path, member.file_size, f"{member.CRC:08x}", member.filename, f"{member.CRC:08x}")
                )
        return guard.build_listing(entries, folders)

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, bytes | ImageFault]]:
        """(position in `entries`, content or why there is none), in any order."""
        with zipfile.ZipFile(self.path) as archive:
            for position, entry in enumerate(entries):
                yield position, _read_zip_member(archive, entry)

    def read_headers(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, ImageHeader | ImageFault]]:
        """(position in `entries`, what the image's header says), in any order."""
        return _read_headers(self.read(entries))


@dataclass(frozen=True)
class TarReader:
    """Reads members of a tar archive, plain or gzipped, from its beginning to its end."""

    path: Path

    def list_files(self) -> FileListing:
        """The archive's members. A tar has no checksums: the stamps are times of the archive and its members.

        Raises:
            SourceError: as for a zip archive.
        """
        own = file_stamp(self.path.stat())
        guard = _ArchiveGuard(self.path)
        folders: list[str] = []
        entries: list[FileEntry] = []
        try:
            with tarfile.open(self.path, _tar_mode(self.path)) as archive:
                for member in archive:
                    if not (member.isdir() or member.isreg()):
                        raise guard.refusal(member.name, "a link or a device")
                    path = guard.check_member(member.name, member.size)
                    if member.isdir():
                        folders.append(path)
                    else:
                        changed = str(member.mtime)
                        entries.append(FileEntry(path, member.size, f"{changed}:{own}", member.name, changed))
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise damaged_archive_error(self.path, error) from error
        return guard.build_listing(entries, folders)

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, bytes | ImageFault]]:
        """(position in `entries`, content or why there is none), in the archive's order: one pass, no way back."""
        wanted = {entry.key: position for position, entry in enumerate(entries)}
        with tarfile.open(self.path, _tar_mode(self.path)) as archive:
            for member in archive:
                position = wanted.pop(member.name, None)
                if position is not None:
                    yield position, _read_tar_member(archive, member)
                if not wanted:
                    return

    def read_headers(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, ImageHeader | ImageFault]]:
        """(position in `entries`, what the image's header says), in any order."""
        return _read_headers(self.read(entries))


def too_large_fault(size: int) -> ImageFault:
    """The fault of a file of more bytes than an image may have."""
    return ImageFault("too large", f"{size:,} bytes, where {MAX_BYTES:,} are allowed")


def damaged_archive_error(path: Path, error: Exception) -> SourceError:
    """The error for an archive that can't be read."""
    return SourceError(
        "this archive can't be read",
        where=str(path),
        received=str(error) or type(error).__name__,
        allowed=", ".join((*ZIP_EXTENSIONS, *TAR_EXTENSIONS)),
        next_step="fetch or pack it again",
    )


class _ArchiveGuard:
    """Counts what an archive promises, and refuses it where that is unsafe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.allowed = max(MAX_UNPACKED_BYTES, MAX_RATIO * path.stat().st_size)
        self.members = 0
        self.unpacked = 0

    def check_member(self, name: str, size: int) -> str:
        """The member's path without "." parts; refused when it leads outside, or goes past the limits."""
        self.members += 1
        self.unpacked += size
        if self.members > MAX_MEMBERS:
            raise self.refusal(name, f"more than {MAX_MEMBERS:,} members")
        if self.unpacked > self.allowed:
            raise self.refusal(name, f"{self.unpacked:,} bytes when unpacked, where {self.allowed:,} are allowed")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name or name[1:2] == ":" or not _is_text(name):
            raise self.refusal(name, "a path that leads outside or is no text")
        return "/".join(parts)

    def build_listing(self, entries: list[FileEntry], folders: Iterable[str]) -> FileListing:
        """All members; refused when two have one name."""
        counts = Counter(entry.path for entry in entries)
        if len(counts) < len(entries):
            name, count = counts.most_common(1)[0]
            raise self.refusal(name, f"{count} members with one name")
        return FileListing(tuple(entries), frozenset(folders) - {""})

    def refusal(self, name: str, received: str) -> SourceError:
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


def _read_zip_member(archive: zipfile.ZipFile, entry: FileEntry) -> bytes | ImageFault:
    if entry.size > MAX_BYTES:
        return too_large_fault(entry.size)
    try:
        with archive.open(entry.key) as member:
            return member.read()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, KeyError) as error:
        return ImageFault("unreadable", f"damaged in the archive: {error}")


def _read_tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | ImageFault:
    if member.size > MAX_BYTES:
        return too_large_fault(member.size)
    try:
        opened = archive.extractfile(member)
        return opened.read() if opened else ImageFault("unreadable", "no plain file")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        return ImageFault("unreadable", f"damaged in the archive: {error}")


def _tar_mode(path: Path) -> Literal["r:", "r:gz"]:
    with path.open("rb") as opened:
        return "r:gz" if opened.read(2) == b"\x1f\x8b" else "r:"


def _read_headers(contents: Iterable[tuple[int, bytes | ImageFault]]) -> Iterator[tuple[int, ImageHeader | ImageFault]]:
    for position, content in contents:
        yield position, content if isinstance(content, ImageFault) else try_header(content)
