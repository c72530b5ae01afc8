"""A folder, or an archive, of class folders as a data source. No torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnlab.data.decoding.cache import cached_json
from cnnlab.data.decoding.images import MAX_BYTES, ImageFault, ImageHeader, try_header
from cnnlab.data.sources.archives import TAR_EXTENSIONS, ZIP_EXTENSIONS, TarReader, ZipReader, too_large_fault
from cnnlab.data.sources.class_folders import (
    LAYOUT_VERSION,
    ClassFolders,
    FileEntry,
    FileListing,
    SourceIssue,
    file_stamp,
    find_class_folders,
    is_ignored,
)
from cnnlab.data.sources.image_files import FileReader, ImageFolder
from cnnlab.errors import Problem, SourceError
from cnnlab.render.formatting import sanitize

MAX_LISTED = 5


def open_folder(path: str | Path) -> ImageFolder:
    """A folder or an archive (.zip, .tar, .tar.gz, .tgz) of class folders as a `DataSource`.

    Only names are read, no image, and of an archive that has not changed since it was last opened not even those;
    `cnnlab.data.sources.class_folders.find_class_folders` says which folders are splits and which classes. The source's
    name is the path as it is given; "~" stands for the home folder.

    Raises:
        SourceError: it is not there, is unsafe (links, paths that lead outside), or holds no usable classes; all
            its problems are listed together.
    """
    reader = open_reader(expand_home(path))
    layout = read_layout(reader)
    fatal = [finding for finding in layout.issues if finding.fatal]
    if fatal:
        raise SourceError.from_problems(problem_from_issue(finding, str(path)) for finding in fatal[:MAX_LISTED])
    return ImageFolder(str(path), reader, layout)


def read_layout(reader: FileReader) -> ClassFolders:
    """Parts, classes and labels of what a reader has; those of an archive are kept in the cache until it changes."""
    if isinstance(reader, FolderReader):
        return find_class_folders(reader.list_files())
    about = reader.path.stat()
    file = f"{type(reader).__name__}:{about.st_size}:{file_stamp(about)}"
    key = f"{hashlib.sha256(file.encode()).hexdigest()[:40]}-layout-{LAYOUT_VERSION}"
    return ClassFolders.from_dict(cached_json(key, lambda: find_class_folders(reader.list_files()).to_dict()))


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


_ALLOWED = f"a folder of class folders, or such an archive ({', '.join((*ZIP_EXTENSIONS, *TAR_EXTENSIONS))})"


@dataclass(frozen=True)
class FolderReader:
    """Reads the files of a folder."""

    path: Path

    def list_files(self) -> FileListing:
        """The folder's files and folders. Links that leave it or make a loop are fatal findings.

        Stamps are inode and times: reading all content for a checksum would take as long as decoding it, and the
        time of the last status change can't be set back by tools that keep modification times.
        """
        root = self.path.resolve()
        entries: list[FileEntry] = []
        folders: set[str] = set()
        findings: list[SourceIssue] = []
        for found in _walk(root, root, "", (root,)):
            if isinstance(found, FileEntry):
                entries.append(found)
            elif isinstance(found, SourceIssue):
                findings.append(found)
            else:
                folders.add(found)
        return FileListing(tuple(entries), frozenset(folders), tuple(findings))

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, bytes | ImageFault]]:
        """(position in `entries`, content or why there is none), in order."""
        for position, entry in enumerate(entries):
            yield position, _read_content(Path(entry.key))

    def read_headers(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, ImageHeader | ImageFault]]:
        """(position in `entries`, what the image's header says), in order; no more of a file is read."""
        for position, entry in enumerate(entries):
            yield position, try_header(Path(entry.key))


def problem_from_issue(issue: SourceIssue, source: str) -> Problem:
    """A fatal finding as the problem that an error tells."""
    return Problem(
        f"this data can't be used: {issue.kind}",
        where=f"{source}: {issue.file}" if issue.file else source,
        received=issue.message,
        allowed="folders named by class with images in them, at the top or below train/, validation/ and test/",
        next_step=f"mend it; `cnnlab data check {source}` lists all problems",
    )


def _walk(
    root: Path, folder: Path, prefix: str, ancestors: tuple[Path, ...]
) -> Iterator[FileEntry | SourceIssue | str]:
    """Files as entries, folders as their paths, and what was seen on the way."""
    try:
        children = sorted(os.scandir(folder), key=lambda child: child.name)
    except OSError as error:
        yield SourceIssue("unreadable", prefix or ".", error.strerror or str(error), fatal=True)
        return
    for child in children:
        path = f"{prefix}{child.name}"
        if is_ignored(child.name):
            continue
        if child.is_symlink() and (refusal := _link_error(root, Path(child.path), ancestors)):
            yield SourceIssue("link", sanitize(path), refusal, fatal=True)
        elif child.is_dir():
            yield path
            yield from _walk(root, Path(child.path), f"{path}/", (*ancestors, Path(child.path).resolve()))
        elif child.is_file():
            about = child.stat()
            yield FileEntry(path, about.st_size, file_stamp(about), child.path, str(about.st_mtime_ns))
        else:
            yield SourceIssue("not an image", sanitize(path), "it is no plain file")


def _link_error(root: Path, link: Path, ancestors: tuple[Path, ...]) -> str:
    """Why a link is refused, or ""."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return "this link leads nowhere, or to itself"
    if not target.is_relative_to(root):
        return "this link leads out of the folder"
    return "this link leads back to a folder that it lies in" if target in ancestors else ""


def _read_content(path: Path) -> bytes | ImageFault:
    try:
        size = path.stat().st_size
        return too_large_fault(size) if size > MAX_BYTES else path.read_bytes()
    except OSError as error:
        return ImageFault("unreadable", error.strerror or str(error))
