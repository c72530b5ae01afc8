"""From the paths of files to classes, parts and labels, by names alone: the same for folders and archives. No torch."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Self

from cnnlab.data.decoding.images import ENDINGS
from cnnlab.data.sources.base import PART_ORDER, Part
from cnnlab.render.formatting import clean

# Part of the key of every kept arrangement: raise it when the same files would be arranged in another way.
LAYOUT_VERSION = 1

# In any mixture of capitals and small letters.
PART_FOLDERS: Mapping[str, Part] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}
# Names that people give to parts and hardly to classes: "dev", "train_set", "test-images", "Trainingsdaten".
_PART_LIKE = re.compile(
    r"(train|trn|training|validation|valid|val|dev|test|testing|tst|eval|evaluation|holdout)s?"
    r"([-_ .]?(set|data|daten|split|part|images|imgs|fold)?[-_ .]?[0-9]*)"
)

_IGNORED_FILES = ("thumbs.db", "desktop.ini")
_IGNORED_FOLDERS = ("__macosx",)


@dataclass(frozen=True)
class Entry:
    """One file of a folder or an archive.

    Attributes:
        path: from the source's root, with "/" between folders.
        size: bytes when unpacked.
        stamp: changes when the content does: a CRC, or the file's times.
        key: how the reader of the source finds it.
        changed: the part of the stamp that a faithful copy keeps: a CRC, or the time of the last change.
    """

    path: str
    size: int
    stamp: str
    key: str
    changed: str = ""


_FIELDS = tuple(attrgetter(field.name) for field in fields(Entry))


@dataclass(frozen=True)
class Finding:
    """Something that a person should know about a source. With a `fatal` one the source can't be used."""

    kind: str
    file: str
    message: str
    fatal: bool = False


@dataclass(frozen=True)
class Files:
    """What a folder or an archive holds: its files, its folders (empty ones too), and what was seen on the way."""

    entries: tuple[Entry, ...]
    folders: frozenset[str]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Images by part and class.

    Attributes:
        classes: natural order of the names ("2" before "10"); a label is an index into it.
        entries: each part's images, in the order of their paths.
        labels: their labels; -1 where a part has a class that train has not (then there is a fatal finding).
        findings: those of the files and of their arrangement.
        above: how many folders lie above an image's path in its class folder, that one included.
    """

    classes: tuple[str, ...]
    entries: Mapping[Part, tuple[Entry, ...]]
    labels: Mapping[Part, tuple[int, ...]]
    findings: tuple[Finding, ...]
    above: int

    def below_class(self, entry: Entry) -> str:
        """An image's path from its class folder on, the same in a folder, a wrapped folder and an archive."""
        return unicodedata.normalize("NFC", entry.path.split("/", self.above)[-1])

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for part in PART_ORDER if part in self.entries)

    def as_facts(self) -> dict[str, Any]:
        """The layout as values that JSON has."""
        return {
            "classes": self.classes,
            "entries": {part: [list(map(name, found)) for name in _FIELDS] for part, found in self.entries.items()},
            "labels": dict(self.labels),
            "findings": [[found.kind, found.file, found.message, found.fatal] for found in self.findings],
            "above": self.above,
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Self:
        """The layout that `as_facts` wrote."""
        return cls(
            tuple(facts["classes"]),
            {part: tuple(map(Entry, *columns)) for part, columns in facts["entries"].items()},
            {part: tuple(labels) for part, labels in facts["labels"].items()},
            tuple(Finding(*found) for found in facts["findings"]),
            facts["above"],
        )


def arrange(files: Files) -> Layout:
    """Find parts, classes and labels.

    A folder `train` (or `training`) with class folders in it makes a split, and `validation` (or `val`, `valid`) and
    `test` (or `testing`) beside it are its other parts, in capitals or small letters; otherwise every top folder is
    a class. One folder around everything is looked through.
    Hidden files and folders are left out; files that are no images are left out and reported. A folder or an image
    whose name can't be shown is a fatal finding: left out, it would be missing unseen.
    """
    seen = [entry for entry in files.entries if not is_ignored(entry.path)]
    folders = {folder for folder in files.folders if not is_ignored(folder)}
    strange = _name_findings([entry.path for entry in seen], folders)
    seen = [entry for entry in seen if _is_text(entry.path)]
    folders = {folder for folder in folders if _is_text(folder)}
    images = [entry for entry in seen if entry.path.lower().endswith(ENDINGS)]
    others = [entry for entry in seen if not entry.path.lower().endswith(ENDINGS)]
    findings = [
        *files.findings,
        *strange,
        *(Finding("not an image", o.path, "its ending is none of an image") for o in others),
    ]
    places = _places([entry.path for entry in images], folders)
    placed, more = _placed(images, places)
    names = {name for part, name in map(places.of, (f"{folder}/" for folder in folders)) if part == "train" and name}
    names |= {name for _, name in placed.get("train", [])}
    classes = tuple(sorted(names, key=natural_key))
    findings += more + _class_findings(placed, classes) + _part_findings(placed, places, classes)
    number = {name: index for index, name in enumerate(classes)}
    return Layout(
        classes,
        {part: tuple(entry for entry, _ in rows) for part, rows in placed.items()},
        {part: tuple(number.get(name, -1) for _, name in rows) for part, rows in placed.items()},
        tuple(findings),
        places.root.count("/") + (2 if places.split else 1),
    )


def is_ignored(path: str) -> bool:
    """Whether a path is hidden, or is what an operating system leaves behind."""
    *folders, name = path.split("/")
    if name.lower() in _IGNORED_FILES:
        return True
    return any(part.startswith(".") or part.lower() in _IGNORED_FOLDERS for part in (*folders, name))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts "s2" before "s10"; names that differ stay in a definite order."""
    pieces = re.split(r"([0-9]+)", name)
    numbered = tuple((0, int(piece), piece) if piece.isdecimal() else (1, 0, piece.casefold()) for piece in pieces)
    return (*numbered, (2, 0, name))


def stamp_of(about: os.stat_result) -> str:
    """What changes when a file is written anew or another takes its place: where it lies, and its times."""
    return f"{about.st_dev}:{about.st_ino}:{about.st_mtime_ns}:{about.st_ctime_ns}"


def digest(entries: Iterable[Entry]) -> str:
    """A hash of names, sizes and stamps, in hex."""
    return digest_of((entry.path, entry.size, entry.stamp) for entry in entries)


def digest_of(files: Iterable[tuple[str, int, str]]) -> str:
    """The same of (name, size, stamp)."""
    return hashlib.sha256("".join(f"{name}\0{size}\0{stamp}\n" for name, size, stamp in files).encode()).hexdigest()


@dataclass(frozen=True)
class _Places:
    """Where things lie: below `root` ("" or "a/b/"), in folders for parts or right away in class folders."""

    root: str
    split: bool

    def of(self, path: str) -> tuple[Part | None, str]:
        """The part ("train" without a split, None outside all parts) and the class ("" outside all classes)."""
        if not path.startswith(self.root):
            return None, ""
        first, *rest = path[len(self.root) :].split("/")
        part = PART_FOLDERS.get(first.lower()) if self.split else "train"
        folders = rest[:-1] if self.split else [first, *rest][:-1]
        return part, unicodedata.normalize("NFC", folders[0]) if folders else ""


def _places(images: Sequence[str], folders: Iterable[str]) -> _Places:
    """Look through a folder that is around everything, then decide whether the top folders are parts."""
    root = ""
    while True:
        inner = [path[len(root) :] for path in images if path.startswith(root)]
        tops = {path.split("/")[0] for path in inner if "/" in path}
        beside = {folder[len(root) :].split("/")[0] for folder in folders if folder.startswith(root)} - {""}
        in_parts = {top for top in tops if top.lower() in PART_FOLDERS}
        right_inside = any(path.count("/") <= 1 for path in inner)
        if len(tops) != 1 or len(tops | beside) > 1 or right_inside or in_parts:
            return _Places(root, bool(tops) and (tops == in_parts or _has_classes(inner)))
        root += f"{tops.pop()}/"


def _has_classes(paths: Sequence[str]) -> bool:
    """Whether `train` holds class folders. A class may be called "train" too: then its images lie right in it."""
    depths = [path.count("/") for path in paths if PART_FOLDERS.get(path.split("/")[0].lower()) == "train"]
    return 2 * sum(depth >= 2 for depth in depths) > len(depths)


def _name_findings(files: Sequence[str], folders: Iterable[str]) -> list[Finding]:
    """Names with control characters, marks that turn the direction of writing, or bytes that are no text."""
    found: dict[str, bool] = {}
    for path in files:
        if not _is_text(path):
            name = _first_strange(path)
            found[name] = name != path or path.lower().endswith(ENDINGS)
    found.update((_first_strange(folder), True) for folder in folders if not _is_text(folder))
    message = "its name is no printable text"
    return [
        Finding("name", ascii(name), f"{message}; rename it" if fatal else f"{message}; it is left out", fatal)
        for name, fatal in sorted(found.items())
    ]


def _is_text(name: str) -> bool:
    return clean(name) == name and not set(name) & {"\t", "\n"}


def _first_strange(path: str) -> str:
    """The path up to its first part that is no printable text."""
    parts = path.split("/")
    return "/".join(parts[: 1 + next(place for place, part in enumerate(parts) if not _is_text(part))])


_Placed = dict[Part, list[tuple[Entry, str]]]


def _placed(images: Sequence[Entry], places: _Places) -> tuple[_Placed, list[Finding]]:
    """Each part's images with their class names, and the findings about images that have no place."""
    placed: _Placed = {}
    findings: list[Finding] = []
    for image in sorted(images, key=lambda image: image.path):
        part, name = places.of(image.path)
        if part is None:
            message = f"its top folder is none of {', '.join(PART_FOLDERS)}"
            findings.append(Finding("outside the parts", image.path, message))
        elif not name:
            findings.append(Finding("outside the classes", image.path, "it lies in no class folder"))
        else:
            placed.setdefault(part, []).append((image, name))
    if not placed.get("train"):
        message = "no training image lies in a class folder"
        findings.append(Finding("no images", places.root, message, fatal=True))
    return placed, findings


def _class_findings(placed: _Placed, classes: tuple[str, ...]) -> list[Finding]:
    counts = Counter(name for _, name in placed.get("train", []))
    findings = [
        Finding("empty class", name, "this class folder holds no training image", fatal=True)
        for name in classes
        if not counts[name]
    ]
    if len(classes) == 1:
        message = "a classifier needs two classes or more"
        findings.append(Finding("one class only", classes[0], message, fatal=True))
    for part in placed.keys() - {"train"}:
        for name in sorted({name for _, name in placed[part]} - set(classes), key=natural_key):
            message = f"{part} has this class, train has not"
            findings.append(Finding("unknown class", f"{part}: {name}", message, fatal=True))
    return findings


def _part_findings(placed: _Placed, places: _Places, classes: tuple[str, ...]) -> list[Finding]:
    """Folders that were taken for classes, though their names and the folders in them say that they are parts."""
    if places.split or len(classes) < 2 or not all(_PART_LIKE.fullmatch(name.lower()) for name in classes):
        return []
    inner: dict[str, set[str]] = {name: set() for name in classes}
    for entry, name in placed.get("train", []):
        folder, _, rest = entry.path[len(places.root) :].partition("/")[2].partition("/")
        if not rest:
            return []
        inner[name].add(folder)
    if not any(inner[one] & inner[other] for one in classes for other in classes if one != other):
        return []
    message = f"these look like parts, not classes; parts are called {', '.join(PART_FOLDERS)}"
    return [Finding("parts not understood", ", ".join(classes), message, fatal=True)]
