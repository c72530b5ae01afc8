"""What is in a data source, and what is wrong with it: every image is decoded once, nothing is trained. No torch.

Images are compared by a hash of their decoded pixels, so that the same picture is found under another name or in
another file format; no label and no model is used for that, so a sealed test set stays sealed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnnlab.data.dataset import find_files, open_source
from cnnlab.data.decoding.images import FORMATS
from cnnlab.data.decoding.worker import Task
from cnnlab.data.sources.base import Part, Progress, Source, silent
from cnnlab.data.sources.class_folders import Finding, arrange
from cnnlab.data.sources.image_files import ImageFiles, Looked, sized
from cnnlab.data.sources.image_folder import reader_for
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.records import Record

# From this ratio of the largest class to the smallest on, accuracy says little about the small ones.
IMBALANCE = 20


class PartCount(Record):
    """How many images a part has, in all and of each class."""

    images: int
    per_class: dict[str, int]


class SourceProblem(Record):
    """Something a person should know about a source; `fatal` where it can't be trained on before that is mended."""

    kind: str
    file: str
    message: str
    fatal: bool = False


class SourceReport(Record):
    """What is in a source, and what is wrong with it."""

    source: str
    images: int
    classes: tuple[str, ...]
    splits: dict[str, PartCount]
    problems: tuple[SourceProblem, ...]


@dataclass(frozen=True)
class _Image:
    """One image as it was found; `hash` is of its size and pixels."""

    part: Part
    label: int
    name: str
    size: tuple[int, int]
    hash: str
    format: str = ""


def check(name: str, root: Path | None = None, *, download: bool = True, progress: Progress = silent) -> SourceReport:
    """Look at every image of a catalogue's data set, a folder or an archive.

    Args:
        name: what a recipe's `data.source` would say.
        root: the data folder.

    Raises:
        SourceError: nothing is found by this name, or an archive is unsafe to read.
        DownloadError: a catalogue's data set is not at hand and can't be had.
    """
    if name in CATALOGUE:
        source = open_source(name, root, download=download, progress=progress)
        return _report(source, list(_arrays(source, progress)), [])
    reader = reader_for(find_files(name, root))
    layout = arrange(reader.files())
    files = ImageFiles(name, reader, layout)
    images, faults = _inspected(files, progress)
    return _report(files, images, [*layout.findings, *faults])


def _report(source: Source, images: list[_Image], findings: list[Finding]) -> SourceReport:
    splits = {part: _counted(source, part) for part in source.parts}
    train = splits["train"].per_class if "train" in splits else {}
    found = [*findings, *_balance(train), *_endings(images), *_sizes(images), *_twins(images, source.classes)]
    problems = (SourceProblem(kind=f.kind, file=f.file, message=f.message, fatal=f.fatal) for f in found)
    return SourceReport(
        source=source.name,
        images=sum(count.images for count in splits.values()),
        classes=source.classes,
        splits={str(part): count for part, count in splits.items()},
        problems=tuple(sorted(problems, key=lambda problem: not problem.fatal)),
    )


def _counted(source: Source, part: Part) -> PartCount:
    labels = source.labels(part)
    counts = np.bincount(labels[labels >= 0], minlength=len(source.classes)).tolist()
    return PartCount(images=len(labels), per_class=dict(zip(source.classes, counts, strict=True)))


def _inspected(files: ImageFiles, progress: Progress) -> tuple[list[_Image], list[Finding]]:
    images: list[_Image] = []
    faults: list[Finding] = []
    for part in files.parts:
        entries, labels = files.layout.entries[part], files.layout.labels[part]
        for row, answer in sorted(
            files.work(Task("inspect"), entries, f"checking {part}", progress), key=lambda a: a[0]
        ):
            path = entries[row].path
            if "fault" in answer:
                kind, message = answer["fault"]
                faults.append(Finding(kind, path, message, fatal=True))
            else:
                size = (answer["height"], answer["width"])
                images.append(_Image(part, labels[row], path, size, f"{size}{answer['hash']}", answer["format"]))
    return images, faults


def _arrays(source: Source, progress: Progress) -> Iterator[_Image]:
    """The images of a source that has no files of single images."""
    form = source.natural_form()
    for part in source.parts:
        labels, names = source.labels(part), source.image_names(part)
        pixels = source.pixels(part, np.arange(len(labels)), form, progress)
        for row, name in enumerate(names):
            found = hashlib.blake2b(pixels[row].tobytes(), digest_size=16).hexdigest()
            yield _Image(part, int(labels[row]), name, (form.height, form.width), found)


def _balance(per_class: Mapping[str, int]) -> Iterator[Finding]:
    counts = {name: count for name, count in per_class.items() if count}
    for name, count in counts.items():
        if count == 1:
            yield Finding("one image in a class", name, "it can't be both trained on and held out")
    if counts and max(counts.values()) >= IMBALANCE * min(counts.values()):
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        message = f"{counts[most]:,} images of {most!r}, {counts[least]:,} of {least!r}: judge by balanced_accuracy"
        yield Finding("imbalance", least, message)


def _endings(images: list[_Image]) -> Iterator[Finding]:
    for image in images:
        if image.format in FORMATS and not image.name.lower().endswith(FORMATS[image.format]):
            yield Finding("wrong ending", image.name, f"it is a {image.format} file; it is read all the same")


def _sizes(images: list[_Image]) -> Iterator[Finding]:
    files: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for image in images:
        files[image.size].append(image.name)
    if len(files) > 1:
        shown = Looked.of_facts({"channels": 3, "sizes": sized(files)}).told_sizes()
        yield Finding("different sizes", "", f"{len(files):,} sizes (height×width): {shown}; a recipe needs data.size")


def _twins(images: list[_Image], classes: tuple[str, ...]) -> Iterator[Finding]:
    """Images that show the same, each told once, beside the first of its kind."""
    groups: defaultdict[str, list[_Image]] = defaultdict(list)
    for image in images:
        groups[image.hash].append(image)
    for first, *others in groups.values():
        for other in others:
            if other.label != first.label:
                names = " and ".join(classes[image.label] if image.label >= 0 else "?" for image in (first, other))
                yield Finding("same image, two labels", other.name, f"the same as {first.name}: {names}")
            if other.part != first.part:
                message = f"{other.part} has it, and {first.part} too, as {first.name}: a leak"
                yield Finding("same image in two splits", other.name, message)
            elif other.label == first.label:
                yield Finding("duplicate", other.name, f"the same as {first.name}; a split may put them on both sides")
