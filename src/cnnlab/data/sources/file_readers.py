"""The files of a folder or of an archive: listed, and read without unpacking. No torch."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cnnlab.data.decoding.images import MAX_BYTES, ImageFault
from cnnlab.data.sources.class_folders import FileEntry, FileListing, SourceIssue, file_stamp, is_ignored
from cnnlab.errors import SourceError
from cnnlab.render.formatting import sanitize

ZIP_EXTENSIONS = (".zip",)
TAR_EXTENSIONS = (".tar", ".tar.gz", ".tgz")

MAX_MEMBERS = 2_000_000
# An archive may unpack to this much, or to this many times its own size, whichever is more.
MAX_UNPACKED_BYTES = 2**30
MAX_RATIO = 200

_ENCRYPTED = 0x1
_ALLOWED = f"a folder of class folders, or such an archive ({', '.join((*ZIP_EXTENSIONS, *TAR_EXTENSIONS))})"
# What Python's own readers raise for a damaged archive or member.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, KeyError
)  # fmt: skip


class FileReader(Protocol):
    """Lists and reads the files of a folder or an archive."""

    @property
    def path(self) -> Path: ...

    def list_files(self) -> FileListing:
        """All files and folders.

        Raises:
            SourceError: an archive is damaged, or is refused: it holds links or unsafe paths, or exceeds the limits.
        """
        ...

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, bytes | Path | ImageFault]]:
        """(position in `entries`; content, path, or why there is none), in any order."""
        ...


def expand_home(path: str | Path) -> Path:
    """The path with "~" or "~name" at its beginning replaced by that home folder, where there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def open_reader(path: Path) -> FileReader:
    """The reader for a folder or an archive, by its ending.

    Raises:
        SourceError: it is not there, or is a file of another kind.
    """
    name = path.name.lower()
    if path.is_dir():
        return FolderReader(path)
    if not path.is_file():
        received = "a special file" if path.exists() else "nothing is there"
        raise SourceError(
            "no data is found here", where=str(path), received=received, allowed=_ALLOWED, next_step="check the path"
        )
    if name.endswith(ZIP_EXTENSIONS):
        return ZipReader(path)
    if name.endswith(TAR_EXTENSIONS):
        return TarReader(path)
    raise SourceError(
        "this file is no archive that is read here",
        where=str(path),
        received=path.suffix or "a file without an ending",
        allowed=_ALLOWED,
        next_step="unpack it and give the folder",
    )


@dataclass(frozen=True)
class FolderReader:
    """Reads the files of a folder."""

    path: Path

    def list_files(self) -> FileListing:
        """The folder's files and folders. Links that leave it or make a loop are fatal issues.

        Stamps are inode and times: reading all content for a checksum would take as long as decoding it, and the
        time of the last status change can't be set back by tools that keep modification times.
        """
        root = self.path.resolve()
        entries: list[FileEntry] = []
        folders: set[str] = set()
        issues: list[SourceIssue] = []
        # (folder, the start of its files' paths, all folders above it)
        pending: deque[tuple[Path, str, tuple[Path, ...]]] = deque([(root, "", (root,))])
        while pending:
            folder, prefix, ancestors = pending.popleft()
            try:
                children = sorted(os.scandir(folder), key=lambda child: child.name)
            except OSError as error:
                issues.append(SourceIssue("unreadable", prefix or ".", error.strerror or str(error), fatal=True))
                continue
            for child in children:
                path = f"{prefix}{child.name}"
                if is_ignored(child.name):
                    continue
                if child.is_symlink() and (refusal := _link_error(root, Path(child.path), ancestors)):
                    issues.append(SourceIssue("link", sanitize(path), refusal, fatal=True))
                elif child.is_dir():
                    folders.add(path)
                    pending.append((Path(child.path), f"{path}/", (*ancestors, Path(child.path).resolve())))
                elif child.is_file():
                    about = child.stat()
                    stamp = file_stamp(about)
                    entries.append(FileEntry(path, about.st_size, stamp, child.path, str(about.st_mtime_ns)))
                else:
                    issues.append(SourceIssue("not an image", sanitize(path), "it is no plain file"))
        return FileListing(tuple(entries), frozenset(folders), tuple(issues))

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, bytes | Path | ImageFault]]:
        """The files' paths: the decoder opens them, and of a header no more than that is read."""
        return ((position, Path(entry.key)) for position, entry in enumerate(entries))


@dataclass(frozen=True)
class ZipReader:
    """Reads members of a zip archive."""

    path: Path

    def list_files(self) -> FileListing:
        """The archive's members; their stamps are their checksums."""
        guard = _ArchiveGuard(self.path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = archive.infolist()
        except _DAMAGE as error:
            raise _damaged_error(self.path, error) from error
        for member in members:
            if stat.S_ISLNK(member.external_attr >> 16):
                raise guard.refusal(member.filename, "a link")
            if member.flag_bits & _ENCRYPTED:
                raise guard.refusal(member.filename, "an encrypted member")
            path = guard.check_member(member.filename.replace("\\", "/"), member.file_size)
            checksum = f"{member.CRC:08x}"
            guard.add(member.is_dir(), FileEntry(path, member.file_size, checksum, member.filename, checksum))
        return guard.listing()

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, bytes | Path | ImageFault]]:
        """The contents, in the order of `entries`."""
        with zipfile.ZipFile(self.path) as archive:
            for position, entry in enumerate(entries):
                yield position, self._read_member(archive, entry)

    def _read_member(self, archive: zipfile.ZipFile, entry: FileEntry) -> bytes | ImageFault:
        if entry.size > MAX_BYTES:
            return _too_large_fault(entry.size)
        try:
            with archive.open(entry.key) as member:
                return member.read()
        except _DAMAGE as error:
            return _damaged_fault(error)


@dataclass(frozen=True)
class TarReader:
    """Reads members of a tar archive, plain or gzipped, from its beginning to its end."""

    path: Path

    def list_files(self) -> FileListing:
        """The archive's members. A tar has no checksums: the stamps are times of the archive and its members."""
        own = file_stamp(self.path.stat())
        guard = _ArchiveGuard(self.path)
        try:
            with tarfile.open(self.path, _tar_mode(self.path)) as archive:
                for member in archive:
                    if not (member.isdir() or member.isreg()):
                        raise guard.refusal(member.name, "a link or a device")
                    path = guard.check_member(member.name, member.size)
                    changed = str(member.mtime)
                    entry = FileEntry(path, member.size, f"{changed}:{own}", member.name, changed)
                    guard.add(member.isdir(), entry)
        except SourceError:
            raise
        except _DAMAGE as error:
            raise _damaged_error(self.path, error) from error
        return guard.listing()

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, bytes | Path | ImageFault]]:
        """The contents, in the archive's order, in one pass."""
        wanted = {entry.key: position for position, entry in enumerate(entries)}
        with tarfile.open(self.path, _tar_mode(self.path)) as archive:
            for member in archive:
                position = wanted.pop(member.name, None)
                if position is not None:
                    yield position, self._read_member(archive, member)
                if not wanted:
                    return

    def _read_member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | ImageFault:
        if member.size > MAX_BYTES:
            return _too_large_fault(member.size)
        try:
            opened = archive.extractfile(member)
            return opened.read() if opened else ImageFault("unreadable", "no plain file")
        except _DAMAGE as error:
            return _damaged_fault(error)


class _ArchiveGuard:
    """Collects an archive's members, and refuses it where one of them is unsafe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.max_bytes = max(MAX_UNPACKED_BYTES, MAX_RATIO * path.stat().st_size)
        self.members = 0
        self.unpacked = 0
        self.entries: list[FileEntry] = []
        self.folders: set[str] = set()

    def check_member(self, name: str, size: int) -> str:
        """The member's path without "." parts; refused when it leads outside, or goes past the limits."""
        self.members += 1
        self.unpacked += size
        if self.members > MAX_MEMBERS:
            raise self.refusal(name, f"more than {MAX_MEMBERS:,} members")
        if self.unpacked > self.max_bytes:
            raise self.refusal(name, f"{self.unpacked:,} bytes when unpacked, where {self.max_bytes:,} are allowed")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name or name[1:2] == ":" or not _is_text(name):
            raise self.refusal(name, "a path that leads outside or is no text")
        return "/".join(parts)

    def add(self, is_folder: bool, entry: FileEntry) -> None:
        """Keep a member that was checked; the archive's own root ("./") is none."""
        if entry.path and is_folder:
            self.folders.add(entry.path)
        elif entry.path:
            self.entries.append(entry)

    def listing(self) -> FileListing:
        """All members; refused when two have one name."""
        counts = Counter(entry.path for entry in self.entries)
        if len(counts) < len(self.entries):
            name, count = counts.most_common(1)[0]
            raise self.refusal(name, f"{count} members with one name")
        return FileListing(tuple(self.entries), frozenset(self.folders))

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


def _tar_mode(path: Path) -> Literal["r:", "r:gz"]:
    with path.open("rb") as opened:
        return "r:gz" if opened.read(2) == b"\x1f\x8b" else "r:"


def _too_large_fault(size: int) -> ImageFault:
    return ImageFault("too large", f"{size:,} bytes, where {MAX_BYTES:,} are allowed")


def _damaged_fault(error: Exception) -> ImageFault:
    return ImageFault("unreadable", f"damaged in the archive: {error}")


def _damaged_error(path: Path, error: Exception) -> SourceError:
    return SourceError(
        "this archive can't be read",
        where=str(path),
        received=str(error) or type(error).__name__,
        allowed=", ".join((*ZIP_EXTENSIONS, *TAR_EXTENSIONS)),
        next_step="fetch or pack it again",
    )


def _link_error(root: Path, link: Path, ancestors: tuple[Path, ...]) -> str:
    """Why a link is refused, or ""."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return "this link leads nowhere, or to itself"
    if not target.is_relative_to(root):
        return "this link leads out of the folder"
    return "this link leads back to a folder that it is in" if target in ancestors else ""
