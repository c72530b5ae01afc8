"""Check a data source: every image is decoded once, nothing is trained. No torch.

Images are compared by a hash of their decoded pixels, so that the same picture is found under another name or in
another file format; no label and no model is used for that, so a sealed test set stays sealed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cnnlab.context import LOCAL, ProgressCallback, RunContext
from cnnlab.data.dataset import find_files, open_source
from cnnlab.data.decoding.images import FORMATS, ImageFault
from cnnlab.data.decoding.pool import InspectTask
from cnnlab.data.sources.base import DataSource, Split
from cnnlab.data.sources.class_folders import SourceIssue, find_class_folders
from cnnlab.data.sources.file_readers import open_reader
from cnnlab.data.sources.image_folder import HeaderStats, ImageFolder
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.records import Record

# From this ratio of the largest class to the smallest on, accuracy says little about the small ones.
IMBALANCE_RATIO = 20


class SplitCount(Record):
    """How many images a split has, in all and of each class."""

    images: int
    per_class: dict[str, int]


class SourceReport(Record):
    """The contents of a source, and its problems; with a fatal one it can't be trained on."""

    source: str
    images: int
    classes: tuple[str, ...]
    splits: dict[str, SplitCount]
    problems: tuple[SourceIssue, ...]


@dataclass(frozen=True)
class _ScannedImage:
    """One decoded image; `hash` is of its size and pixels."""

    split: Split
    label: int
    name: str
    size: tuple[int, int]
    hash: str
    format: str = ""


def check_source(name: str, context: RunContext = LOCAL) -> SourceReport:
    """Decode every image of a catalogue's data set, a folder or an archive, and list the problems.

    Args:
        name: as a recipe's `data.source`.
        context: names the data folder.

    Raises:
        SourceError: nothing is found by this name, or an archive is unsafe to read.
        DownloadError: a catalogue's data set is not on disk and can't be downloaded.
    """
    progress = context.callbacks.progress
    if name in CATALOGUE:
        source = open_source(name, context)
        return _build_report(source, list(_inspect_arrays(source, progress)), [])
    reader = open_reader(find_files(name, context.data_root))
    layout = find_class_folders(reader.list_files())
    files = ImageFolder(name, reader, layout)
    images, faults = _inspect_files(files, progress)
    return _build_report(files, images, [*layout.issues, *faults])


def _build_report(source: DataSource, images: list[_ScannedImage], issues: list[SourceIssue]) -> SourceReport:
    splits = {split: _count_split(source, split) for split in source.splits}
    train = splits["train"].per_class if "train" in splits else {}
    all_issues = [
        *issues,
        *_imbalance_issues(train),
        *_extension_issues(images),
        *_size_issues(images),
        *_duplicate_issues(images, source.classes),
    ]
    return SourceReport(
        source=source.name,
        images=sum(count.images for count in splits.values()),
        classes=source.classes,
        splits={str(split): count for split, count in splits.items()},
        problems=tuple(sorted(all_issues, key=lambda issue: not issue.fatal)),
    )


def _count_split(source: DataSource, split: Split) -> SplitCount:
    labels = source.labels(split)
    counts = np.bincount(labels[labels >= 0], minlength=len(source.classes)).tolist()
    return SplitCount(images=len(labels), per_class=dict(zip(source.classes, counts, strict=True)))


def _inspect_files(files: ImageFolder, progress: ProgressCallback) -> tuple[list[_ScannedImage], list[SourceIssue]]:
    images: list[_ScannedImage] = []
    faults: list[SourceIssue] = []
    for split in files.splits:
        entries, labels = files.layout.entries[split], files.layout.labels[split]
        replies = files.map_files(InspectTask(), entries, f"checking {split}", progress)
        for row, found in sorted(replies, key=lambda reply: reply[0]):
            path = entries[row].path
            if isinstance(found, ImageFault):
                faults.append(SourceIssue(found.kind, path, found.message, fatal=True))
            else:
                header, pixel_hash = found
                size = (header.height, header.width)
                images.append(_ScannedImage(split, labels[row], path, size, f"{size}{pixel_hash}", header.format))
    return images, faults


def _inspect_arrays(source: DataSource, progress: ProgressCallback) -> Iterator[_ScannedImage]:
    """The images of a source that has no files of single images."""
    spec = source.native_spec()
    for split in source.splits:
        labels, names = source.labels(split), source.image_names(split)
        pixels = source.pixels(split, np.arange(len(labels)), spec, progress)
        for row, name in enumerate(names):
            pixel_hash = hashlib.blake2b(pixels[row].tobytes(), digest_size=16).hexdigest()
            yield _ScannedImage(split, int(labels[row]), name, (spec.height, spec.width), pixel_hash)


def _imbalance_issues(per_class: Mapping[str, int]) -> Iterator[SourceIssue]:
    counts = {name: count for name, count in per_class.items() if count}
    for name, count in counts.items():
        if count == 1:
            yield SourceIssue("one image in a class", name, "it can't be both trained on and held out")
    if counts and max(counts.values()) >= IMBALANCE_RATIO * min(counts.values()):
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        message = f"{counts[most]:,} images of {most!r}, {counts[least]:,} of {least!r}: judge by balanced_accuracy"
        yield SourceIssue("imbalance", least, message)


def _extension_issues(images: list[_ScannedImage]) -> Iterator[SourceIssue]:
    for image in images:
        if image.format in FORMATS and not image.name.lower().endswith(FORMATS[image.format]):
            yield SourceIssue("wrong ending", image.name, f"it is a {image.format} file; it is read all the same")


def _size_issues(images: list[_ScannedImage]) -> Iterator[SourceIssue]:
    files: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for image in images:
        files[image.size].append(image.name)
    if len(files) > 1:
        shown = HeaderStats.from_files(files).format_sizes()
        yield SourceIssue(
            "different sizes", "", f"{len(files):,} sizes (height×width): {shown}; a recipe needs data.size"
        )


def _duplicate_issues(images: list[_ScannedImage], classes: tuple[str, ...]) -> Iterator[SourceIssue]:
    """Images with the same pixels, each listed once, with the first of them."""
    groups: defaultdict[str, list[_ScannedImage]] = defaultdict(list)
    for image in images:
        groups[image.hash].append(image)
    for first, *others in groups.values():
        for other in others:
            if other.label != first.label:
                names = " and ".join(classes[image.label] if image.label >= 0 else "?" for image in (first, other))
                yield SourceIssue("same image, two labels", other.name, f"the same as {first.name}: {names}")
            if other.split != first.split:
                message = f"{other.split} has it, and {first.split} too, as {first.name}: a leak"
                yield SourceIssue("same image in two splits", other.name, message)
            elif other.label == first.label:
                yield SourceIssue(
                    "duplicate", other.name, f"the same as {first.name}; a split may put them on both sides"
                )
