"""A folder, or an archive, of class folders as a `DataSource`. No torch."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from cnnlab.context import ProgressCallback, no_op
from cnnlab.data.decoding import pool
from cnnlab.data.decoding.cache import cached_json, cached_pixels, pixels_key
from cnnlab.data.decoding.images import DECODER_VERSION, ImageFault, try_header
from cnnlab.data.decoding.pool import DecodeTask, ImageItem, ImageTask, Reply
from cnnlab.data.sources.base import ImageSpec, Indices, Labels, Pixels, Split
from cnnlab.data.sources.class_folders import (
    ClassFolders,
    FileEntry,
    FileListing,
    SourceIssue,
    digest_entries,
    digest_stamps,
    file_stamp,
    find_class_folders,
)
from cnnlab.data.sources.file_readers import FileReader, FolderReader, expand_home, open_reader
from cnnlab.errors import Problem, SourceError
from cnnlab.render.formatting import pluralize

MAX_LISTED = 5
HEADER_SAMPLE_SIZE = 32


@dataclass(frozen=True)
class HeaderStats:
    """The channels and sizes in the headers of images.

    Attributes:
        channels: 1 where all images are grey, else 3.
        sizes: how many images have each (height, width), the most first.
        examples: of each size the path of an image.
    """

    channels: int
    sizes: Mapping[tuple[int, int], int]
    examples: Mapping[tuple[int, int], str]

    @classmethod
    def from_rows(cls, channels: int, rows: Iterable[tuple[int, int, int, str]]) -> Self:
        """The stats of (height, width, number of images, path of one)."""
        known = sorted(rows, key=lambda row: -row[2])
        return cls(channels, {row[:2]: row[2] for row in known}, {row[:2]: row[3] for row in known})

    @classmethod
    def from_files(cls, files: Mapping[tuple[int, int], Sequence[str]], channels: int = 3) -> Self:
        """The stats of all images' paths by (height, width)."""
        return cls.from_rows(channels, ((*size, len(paths), min(paths)) for size, paths in files.items()))

    def format_sizes(self) -> str:
        """The sizes with their counts, each with a file that has it.

        >>> HeaderStats(3, {(6, 8): 40, (1, 1): 1}, {(6, 8): "cat/1.png", (1, 1): "cat/7.png"}).format_sizes()
        '6×8 (40 images, cat/1.png), 1×1 (1 image, cat/7.png)'
        """
        shown = ", ".join(
            f"{height}×{width} ({pluralize(count, 'image')}, {self.examples[height, width]})"
            for (height, width), count in islice(self.sizes.items(), MAX_LISTED)
        )
        more = len(self.sizes) - MAX_LISTED
        return f"{shown} and {more:,} more sizes" if more > 0 else shown


def open_folder(path: str | Path) -> ImageFolder:
    """Open a folder or an archive (.zip, .tar, .tar.gz, .tgz) of class folders.

    Only names are read, no image, and of an archive that has not changed since it was last opened not even those;
    `cnnlab.data.sources.class_folders.find_class_folders` describes which folders are splits and which classes. The
    source's name is the path as it is given; "~" stands for the home folder.

    Raises:
        SourceError: it is not there, is unsafe (links, paths that lead outside), or holds no usable classes; all
            its problems are listed together.
    """
    reader = open_reader(expand_home(path))
    layout = find_class_folders(_list_files(reader))
    fatal = [issue for issue in layout.issues if issue.fatal]
    if fatal:
        raise SourceError.from_problems(_problem_from_issue(issue, str(path)) for issue in fatal[:MAX_LISTED])
    return ImageFolder(str(path), reader, layout)


def _list_files(reader: FileReader) -> FileListing:
    """What a reader has; the listing of an archive is cached until it changes."""
    if isinstance(reader, FolderReader):
        return reader.list_files()

    def listing() -> dict[str, Any]:
        files = reader.list_files()
        return {"entries": files.entries, "folders": sorted(files.folders)}

    about = reader.path.stat()
    file = f"{type(reader).__name__}:{about.st_size}:{file_stamp(about)}"
    saved = cached_json(f"{hashlib.sha256(file.encode()).hexdigest()[:40]}-listing", listing)
    return FileListing(tuple(FileEntry(*row) for row in saved["entries"]), frozenset(saved["folders"]))


def _problem_from_issue(issue: SourceIssue, source: str) -> Problem:
    return Problem(
        f"this data can't be used: {issue.kind}",
        where=f"{source}: {issue.file}" if issue.file else source,
        received=issue.message,
        allowed="folders named by class with images in them, at the top or below train/, validation/ and test/",
        next_step=f"mend it; `cnnlab data check {source}` lists all problems",
    )


@dataclass(frozen=True)
class ImageFolder:
    """A `DataSource` of image files. `name` is the path as it was given."""

    name: str
    reader: FileReader
    layout: ClassFolders
    is_fixed: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        return self.layout.classes

    @property
    def splits(self) -> tuple[Split, ...]:
        return self.layout.splits

    def num_images(self, split: Split) -> int:
        return len(self.layout.entries[split])

    def image_ids(self, split: Split, indices: Indices) -> list[str]:
        """Class, path below the class folder and size in bytes."""
        entries, labels = self.layout.entries[split], self.layout.labels[split]
        named = ((self.classes[labels[index]], entries[index]) for index in indices)
        return [f"{name}/{self.layout.path_in_class(entry)}\0{entry.size}" for name, entry in named]

    def content_digest(self) -> str:
        """Of each image's split, class, path below the class folder, size, and time of change or CRC."""
        return digest_stamps(
            (f"{split}/{image_id.partition(chr(0))[0]}", entry.size, entry.change_stamp)
            for split in self.splits
            for image_id, entry in sorted(
                zip(self.image_ids(split, np.arange(self.num_images(split))), self.layout.entries[split], strict=True),
                key=lambda pair: pair[0],
            )
        )

    def labels(self, split: Split) -> Labels:
        """A label for each image of a split, in the order of the paths; shape N."""
        return np.array(self.layout.labels[split], dtype=np.int64)

    def image_names(self, split: Split) -> list[str]:
        """Each image's path in the source."""
        return [entry.path for entry in self.layout.entries[split]]

    def native_spec(self) -> ImageSpec:
        """The images' own channels and size, from every header of the splits other than test.

        Raises:
            SourceError: the sizes differ; it names them. Or no image can be read.
        """
        return self.spec_from_headers(self.scan_headers())

    def scan_headers(self) -> HeaderStats:
        """The channels and sizes of every image outside the test split, from the headers; cached."""
        entries = [entry for split in self.splits if split != "test" for entry in self.layout.entries[split]]

        def read() -> dict[str, Any]:
            stats = self._read_headers(entries)
            rows = [(*size, count, stats.examples[size]) for size, count in stats.sizes.items()]
            return {"channels": stats.channels, "sizes": rows}

        saved = cached_json(f"{digest_entries(entries)[:40]}-headers-d{DECODER_VERSION}", read)
        return HeaderStats.from_rows(saved["channels"], map(tuple, saved["sizes"]))

    def sample_headers(self) -> HeaderStats:
        """The same of a few training images, spread over the split."""
        entries = self.layout.entries["train"]
        spread = np.unique(np.linspace(0, len(entries) - 1, HEADER_SAMPLE_SIZE).astype(int))
        return self._read_headers([entries[index] for index in spread])

    def spec_from_headers(self, stats: HeaderStats) -> ImageSpec:
        """The one image spec of these headers; errors as `native_spec`."""
        if len(stats.sizes) == 1:
            ((height, width),) = stats.sizes
            return ImageSpec(stats.channels, height, width)
        raise SourceError(
            "the images have different sizes (height×width)",
            where=self.name,
            received=stats.format_sizes(),
            allowed="images of one size, or a size in the recipe",
            next_step="set the size they are brought to, such as data.size = [64, 64]",
        )

    def pixels(
        self, split: Split, indices: Indices, image_spec: ImageSpec, progress: ProgressCallback = no_op
    ) -> Pixels:
        """The images at `indices`, decoded once and cached: a read-only memory map, uint8, N×C×H×W.

        Raises:
            SourceError: some can't be decoded; the first of them are named with their reasons.
        """
        entries = [self.layout.entries[split][index] for index in indices]

        def fill(file: Path, start: int) -> None:
            task = DecodeTask(image_spec, file, start)
            replies = sorted(self.map_files(task, entries, "decoding images", progress), key=lambda reply: reply[0])
            faults = [(entries[row], fault) for row, fault in replies if isinstance(fault, ImageFault)]
            if faults:
                raise self._unreadable_error(faults)

        return cached_pixels(pixels_key(digest_entries(entries), image_spec), len(entries), image_spec, fill)

    def map_files(
        self, task: ImageTask, entries: Sequence[FileEntry], description: str, progress: ProgressCallback
    ) -> Iterator[Reply]:
        """Do a task for each file: (position in `entries`, reply), in any order. Reports progress."""
        unread: list[Reply] = []

        def items() -> Iterator[ImageItem]:
            for position, file in self.reader.read(entries):
                if isinstance(file, ImageFault):
                    unread.append((position, file))
                else:
                    yield ImageItem(position, entries[position].path, file)

        done = 0
        for count, replies in pool.run_image_task(task, items(), len(entries), sum(entry.size for entry in entries)):
            yield from replies
            done += count
            progress(description, done, len(entries), "images")
        if unread:
            yield from unread
            progress(description, len(entries), len(entries), "images")

    def _read_headers(self, entries: Sequence[FileEntry]) -> HeaderStats:
        sizes: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
        channels = 1
        faults: list[tuple[FileEntry, ImageFault]] = []
        for position, file in self.reader.read(entries):
            header = file if isinstance(file, ImageFault) else try_header(file)
            if isinstance(header, ImageFault):
                faults.append((entries[position], header))
            else:
                sizes[header.height, header.width].append(entries[position].path)
                channels = max(channels, header.channels)
        if not sizes:
            raise self._unreadable_error(faults)
        return HeaderStats.from_files(sizes, channels)

    def _unreadable_error(self, faults: Sequence[tuple[FileEntry, ImageFault]]) -> SourceError:
        problems = [
            Problem(f"no image can be read from this file: {fault.kind}", where=entry.path, received=fault.message)
            for entry, fault in faults[:MAX_LISTED]
        ]
        summary = Problem(
            f"{len(faults):,} of the files give no image" if len(faults) != 1 else "1 of the files gives no image",
            where=self.name,
            next_step=f"`cnnlab data check {self.name}` lists them all; replace them or take them away",
        )
        return SourceError.from_problems([summary, *problems])
