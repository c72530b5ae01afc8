"""Classes, splits and labels from the paths of files alone, the same for folders and archives. No torch."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cnnlab.data.decoding.images import EXTENSIONS
from cnnlab.data.sources.base import SPLITS, Split
from cnnlab.render.formatting import sanitize

# In any mixture of capitals and small letters.
SPLIT_FOLDERS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}
# Names that people give to splits and hardly to classes: "dev", "train_set", "test-images", "Trainingsdaten".
_SPLIT_LIKE = re.compile(
    r"(train|trn|training|validation|valid|val|dev|test|testing|tst|eval|evaluation|holdout)s?"
    r"([-_ .]?(set|data|daten|split|part|images|imgs|fold)?[-_ .]?[0-9]*)"
)

_IGNORED_FILES = ("thumbs.db", "desktop.ini")
_IGNORED_FOLDERS = ("__macosx",)


class FileEntry(NamedTuple):
    """One file of a folder or an archive.

    Attributes:
        path: from the source's root, with "/" between folders.
        size: bytes when unpacked.
        stamp: changes when the content does: a CRC, or the file's times.
        key: how the reader of the source finds it.
        change_stamp: the part of the stamp that a faithful copy keeps: a CRC, or the time of the last change.
    """

    path: str
    size: int
    stamp: str
    key: str
    change_stamp: str = ""


@dataclass(frozen=True)
class SourceIssue:
    """A problem of a source. With a `fatal` one the source can't be used."""

    kind: str
    file: str
    message: str
    fatal: bool = False


@dataclass(frozen=True)
class FileListing:
    """What a folder or an archive holds: its files, its folders (empty ones too), and its issues."""

    entries: tuple[FileEntry, ...]
    folders: frozenset[str]
    issues: tuple[SourceIssue, ...] = ()


@dataclass(frozen=True)
class ClassFolders:
    """Images by split and class.

    Attributes:
        classes: natural order of the names ("2" before "10"); a label is an index into it.
        entries: each split's images, in the order of their paths.
        labels: their labels; -1 where a split has a class that train has not (then there is a fatal issue).
        issues: those of the files and of their layout.
        class_depth: the number of folders in an image's path down to its class folder, that one included.
    """

    classes: tuple[str, ...]
    entries: Mapping[Split, tuple[FileEntry, ...]]
    labels: Mapping[Split, tuple[int, ...]]
    issues: tuple[SourceIssue, ...]
    class_depth: int

    def path_in_class(self, entry: FileEntry) -> str:
        """An image's path from its class folder on, the same in a folder, a wrapped folder and an archive."""
        return unicodedata.normalize("NFC", entry.path.split("/", self.class_depth)[-1])

    @property
    def splits(self) -> tuple[Split, ...]:
        return tuple(split for split in SPLITS if split in self.entries)


def find_class_folders(files: FileListing) -> ClassFolders:
    """Find splits, classes and labels.

    A folder `train` (or `training`) with class folders in it makes a split, and `validation` (or `val`, `valid`) and
    `test` (or `testing`) beside it are its other splits, in capitals or small letters; otherwise every top folder is
    a class. A single folder around everything is skipped.
    Hidden files and folders are left out; files that are no images are left out and reported. A folder or an image
    whose name can't be shown is a fatal issue: left out, it would be missing unnoticed.
    """
    entries = [entry for entry in files.entries if not is_ignored(entry.path)]
    folders = {folder for folder in files.folders if not is_ignored(folder)}
    images = [entry for entry in entries if entry.path.lower().endswith(EXTENSIONS)]
    others = [sanitize(entry.path) for entry in entries if not entry.path.lower().endswith(EXTENSIONS)]
    issues = [*files.issues, *_name_issues([*folders, *(image.path for image in images)])]
    issues += [SourceIssue("not an image", path, "its suffix is not that of an image file") for path in others]
    images = [image for image in images if _is_text(image.path)]
    folders = {folder for folder in folders if _is_text(folder)}
    scheme = _find_scheme([entry.path for entry in images], folders)
    assigned, outside = _assign_images(images, scheme)
    train_folders = (
        name for split, name in map(scheme.locate, (f"{folder}/" for folder in folders)) if split == "train"
    )
    names = {*train_folders, *(name for _, name in assigned.get("train", []))} - {""}
    classes = tuple(sorted(names, key=natural_sort_key))
    issues += outside + _class_issues(assigned, classes) + _split_issues(scheme, classes)
    number = {name: index for index, name in enumerate(classes)}
    return ClassFolders(
        classes,
        {split: tuple(entry for entry, _ in rows) for split, rows in assigned.items()},
        {split: tuple(number.get(name, -1) for _, name in rows) for split, rows in assigned.items()},
        tuple(issues),
        scheme.root.count("/") + (2 if scheme.has_splits else 1),
    )


def is_ignored(path: str) -> bool:
    """Whether a path is hidden, or is what an operating system leaves behind."""
    *folders, name = path.split("/")
    if name.lower() in _IGNORED_FILES:
        return True
    return any(part.startswith(".") or part.lower() in _IGNORED_FOLDERS for part in (*folders, name))


def natural_sort_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts "s2" before "s10"; names that differ stay in a definite order."""
    pieces = re.split(r"([0-9]+)", name)
    numbered = tuple((0, int(piece), piece) if piece.isdecimal() else (1, 0, piece.casefold()) for piece in pieces)
    return (*numbered, (2, 0, name))


def file_stamp(stat: os.stat_result) -> str:
    """Device, inode and times: a text that changes when a file is written again or replaced."""
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def digest_entries(entries: Iterable[FileEntry]) -> str:
    """A hash of names, sizes and stamps, in hex."""
    return digest_stamps((entry.path, entry.size, entry.stamp) for entry in entries)


def digest_stamps(files: Iterable[tuple[str, int, str]]) -> str:
    """As `digest_entries`, of (name, size, stamp)."""
    return hashlib.sha256("".join(f"{name}\0{size}\0{stamp}\n" for name, size, stamp in files).encode()).hexdigest()


@dataclass(frozen=True)
class _FolderScheme:
    """How the folders are used: below `root` ("" or "a/b/") there are folders for splits, or class folders at once."""

    root: str
    has_splits: bool

    def locate(self, path: str) -> tuple[Split | None, str]:
        """The split ("train" where no folder names one, None outside all) and the class ("" outside all classes)."""
        if not path.startswith(self.root):
            return None, ""
        first, *rest = path[len(self.root) :].split("/")
        split = SPLIT_FOLDERS.get(first.lower()) if self.has_splits else "train"
        folders = rest[:-1] if self.has_splits else [first, *rest][:-1]
        return split, unicodedata.normalize("NFC", folders[0]) if folders else ""


def _find_scheme(images: Sequence[str], folders: Iterable[str]) -> _FolderScheme:
    """Skip a folder that is around everything, then decide whether the top folders are splits."""
    root = ""
    while True:
        inner = [path[len(root) :] for path in images if path.startswith(root)]
        tops = {path.split("/")[0] for path in inner if "/" in path}
        others = {folder[len(root) :].split("/")[0] for folder in folders if folder.startswith(root)} - {""}
        splits = {top for top in tops if top.lower() in SPLIT_FOLDERS}
        holds_images = any(path.count("/") <= 1 for path in inner)
        if len(tops) != 1 or len(tops | others) > 1 or holds_images or splits:
            return _FolderScheme(root, bool(tops) and (tops == splits or _has_class_folders(inner)))
        root += f"{tops.pop()}/"


def _has_class_folders(paths: Sequence[str]) -> bool:
    """Whether `train` holds class folders. A class may be called "train" too: then it holds images itself."""
    depths = [path.count("/") for path in paths if SPLIT_FOLDERS.get(path.split("/")[0].lower()) == "train"]
    return 2 * sum(depth >= 2 for depth in depths) > len(depths)


def _name_issues(paths: Iterable[str]) -> list[SourceIssue]:
    """Names with control characters, marks that turn the direction of writing, or bytes that are no text."""
    names = {_first_unprintable(path) for path in paths if not _is_text(path)}
    message = "its name is no printable text; rename it"
    return [SourceIssue("name", ascii(name), message, fatal=True) for name in sorted(names)]


def _is_text(name: str) -> bool:
    return sanitize(name) == name and not set(name) & {"\t", "\n"}


def _first_unprintable(path: str) -> str:
    """The path up to its first part that is no printable text."""
    parts = path.split("/")
    return "/".join(parts[: 1 + next(index for index, part in enumerate(parts) if not _is_text(part))])


_Assigned = dict[Split, list[tuple[FileEntry, str]]]


def _assign_images(images: Sequence[FileEntry], scheme: _FolderScheme) -> tuple[_Assigned, list[SourceIssue]]:
    """Each split's images with their class names, and the issues of images outside all splits or classes."""
    assigned: _Assigned = {}
    issues: list[SourceIssue] = []
    for image in sorted(images, key=lambda image: image.path):
        split, name = scheme.locate(image.path)
        if split is None:
            message = f"its top folder is not one of {', '.join(SPLIT_FOLDERS)}"
            issues.append(SourceIssue("outside the splits", image.path, message))
        elif not name:
            issues.append(SourceIssue("outside the classes", image.path, "it is in no class folder"))
        else:
            assigned.setdefault(split, []).append((image, name))
    if not assigned.get("train"):
        message = "no training image is in a class folder"
        issues.append(SourceIssue("no images", scheme.root, message, fatal=True))
    return assigned, issues


def _class_issues(assigned: _Assigned, classes: tuple[str, ...]) -> list[SourceIssue]:
    counts = Counter(name for _, name in assigned.get("train", []))
    issues = [
        SourceIssue("empty class", name, "this class folder holds no training image", fatal=True)
        for name in classes
        if not counts[name]
    ]
    if len(classes) == 1:
        message = "a classifier needs two classes or more"
        issues.append(SourceIssue("one class only", classes[0], message, fatal=True))
    for split in assigned.keys() - {"train"}:
        for name in sorted({name for _, name in assigned[split]} - set(classes), key=natural_sort_key):
            message = f"{split} has this class, train has not"
            issues.append(SourceIssue("unknown class", f"{split}: {name}", message, fatal=True))
    return issues


def _split_issues(scheme: _FolderScheme, classes: tuple[str, ...]) -> list[SourceIssue]:
    """Folders that were taken for classes, though all are called like splits."""
    if scheme.has_splits or len(classes) < 2 or not all(_SPLIT_LIKE.fullmatch(name.lower()) for name in classes):
        return []
    message = f"these look like splits, not classes; splits are called {', '.join(SPLIT_FOLDERS)}"
    return [SourceIssue("splits not understood", ", ".join(classes), message, fatal=True)]
