"""The files of a folder or of an archive: listed, and read without unpacking. No torch.

A reader's `list_files` gives all files and folders; a SourceError where an archive is damaged, or is refused: it holds
links or unsafe paths, or exceeds the limits. `read` gives (position in `entries`; content, path, or why there is none),
in any order.
"""

from __future__ import annotations

import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

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
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
)


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
        return _list_archive(self.path, self._members())

    def _members(self) -> Iterator[_Member]:
        with zipfile.ZipFile(self.path) as archive:
            for member in archive.infolist():
                is_link = stat.S_ISLNK(member.external_attr >> 16)
                forbidden = "a link" if is_link else "an encrypted member" if member.flag_bits & _ENCRYPTED else ""
                name, checksum = member.filename.replace("\\", "/"), f"{member.CRC:08x}"
                entry = FileEntry(name, member.file_size, checksum, member.filename, checksum)
                yield _Member(entry, member.is_dir(), forbidden)

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, bytes | Path | ImageFault]]:
        """The contents, in the order of `entries`."""
        with zipfile.ZipFile(self.path) as archive:
            for position, entry in enumerate(entries):
                yield position, _read_member(entry.size, partial(archive.open, entry.key))


@dataclass(frozen=True)
class TarReader:
    """Reads members of a tar archive, plain or compressed, from its beginning to its end."""

    path: Path

    def list_files(self) -> FileListing:
        """The archive's members. A tar has no checksums: the stamps are times of the archive and its members."""
        return _list_archive(self.path, self._members())

    def _members(self) -> Iterator[_Member]:
        own = file_stamp(self.path.stat())
        with _open_tar(self.path) as archive:
            for member in archive:
                changed = str(member.mtime)
                entry = FileEntry(member.name, member.size, f"{changed}:{own}", member.name, changed)
                is_plain = member.isdir() or member.isreg()
                yield _Member(entry, member.isdir(), "" if is_plain else "a link or a device")

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, bytes | Path | ImageFault]]:
        """The contents, in the archive's order, in one pass."""
        wanted = {entry.key: position for position, entry in enumerate(entries)}
        with _open_tar(self.path) as archive:
            for member in archive:
                position = wanted.pop(member.name, None)
                if position is not None:
                    yield position, _read_member(member.size, partial(archive.extractfile, member))
                if not wanted:
                    return


FileReader: TypeAlias = FolderReader | ZipReader | TarReader


def _open_tar(path: Path) -> tarfile.TarFile:
    """Open a plain or gzip-compressed tar; other compressions are refused."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return tarfile.open(path, "r:gz" if compressed else "r:")


class _Member(NamedTuple):
    """A member of an archive under its own name, and why it is forbidden, or ""."""

    entry: FileEntry
    is_folder: bool
    forbidden: str


def _list_archive(path: Path, members: Iterable[_Member]) -> FileListing:
    """The members, their paths without "." parts.

    Raises:
        SourceError: the archive is damaged; or a member is unsafe or goes past the limits.
    """
    max_bytes = max(MAX_UNPACKED_BYTES, MAX_RATIO * path.stat().st_size)
    entries: dict[str, FileEntry] = {}
    folders: set[str] = set()
    unpacked = 0
    try:
        for number, (entry, is_folder, forbidden) in enumerate(members, 1):
            unpacked += entry.size
            parts = [part for part in entry.path.split("/") if part not in ("", ".")]
            inner = "/".join(parts)
            if entry.path.startswith("/") or ".." in parts or entry.path[1:2] == ":":
                forbidden = "a path that leads outside"
            elif number > MAX_MEMBERS:
                forbidden = f"more than {MAX_MEMBERS:,} members"
            elif unpacked > max_bytes:
                forbidden = f"{unpacked:,} bytes when unpacked, where {max_bytes:,} are allowed"
            elif inner in entries:
                forbidden = "two members with one name"
            if forbidden:
                raise _refusal(path, entry.path, forbidden)
            if is_folder:
                folders.add(inner)
            else:
                entries[inner] = entry._replace(path=inner)
    except SourceError:
        raise
    except _DAMAGE as error:
        raise _damaged_error(path, error) from error
    return FileListing(tuple(entries.values()), frozenset(folders - {""}))


def _refusal(path: Path, member: str, received: str) -> SourceError:
    return SourceError(
        "this archive is refused",
        where=f"{path}: {member!r}",
        received=received,
        allowed="plain files and folders with paths inside the archive",
        next_step="pack the images again, or unpack it yourself and give the folder",
    )


def _read_member(size: int, open_member: Callable[[], IO[bytes] | None]) -> bytes | ImageFault:
    if size > MAX_BYTES:
        return ImageFault("too large", f"{size:,} bytes, where {MAX_BYTES:,} are allowed")
    try:
        with open_member() or BytesIO() as member:
            return member.read()
    except _DAMAGE as error:
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
