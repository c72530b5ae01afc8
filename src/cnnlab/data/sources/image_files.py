"""Class folders of image files as a `DataSource`, wherever the files lie. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from cnnlab.context import ProgressCallback, no_op
from cnnlab.data.decoding import pool
from cnnlab.data.decoding.cache import cached_json, cached_pixels, pixels_key
from cnnlab.data.decoding.images import DECODER_VERSION, ImageFault, ImageHeader
from cnnlab.data.decoding.worker import ImageTask
from cnnlab.data.sources.base import ImageSpec, Indices, Labels, Pixels, Split
from cnnlab.data.sources.class_folders import ClassFolders, FileEntry, FileListing, digest_entries, digest_stamps
from cnnlab.errors import Problem, SourceError

MAX_LISTED = 5
MAX_LISTED_FILES = 3
HEADER_SAMPLE_SIZE = 32
_PROGRESS_INTERVAL = 64


class FileReader(Protocol):
    """What gives the files of a folder or an archive."""

    @property
    def path(self) -> Path: ...

    def list_files(self) -> FileListing: ...

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, bytes | ImageFault]]: ...

    def read_headers(self, entries: Sequence[FileEntry]) -> Iterator[tuple[int, ImageHeader | ImageFault]]: ...


@dataclass(frozen=True)
class HeaderStats:
    """What the headers of images say.

    Attributes:
        channels: 1 where all images are grey, else 3.
        sizes: how many images have each (height, width), the most first.
        files: of each size the first few images' paths.
    """

    channels: int
    sizes: Mapping[tuple[int, int], int]
    files: Mapping[tuple[int, int], Sequence[str]]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What was kept as `{"channels": 3, "sizes": [[height, width, count, [path, …]], …]}`."""
        rows = [((height, width), count, files) for height, width, count, files in values["sizes"]]
        return cls(values["channels"], {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows})

    def format_sizes(self) -> str:
        """The sizes with their counts, and which files have another size than the most.

        >>> HeaderStats(3, {(6, 8): 40, (1, 1): 1}, {(6, 8): ["cat/1.png"], (1, 1): ["cat/7.png"]}).format_sizes()
        '6×8 (40 images), 1×1 (1 image: cat/7.png)'
        """
        texts = []
        for place, ((height, width), count) in enumerate(list(self.sizes.items())[:MAX_LISTED]):
            named = list(self.files[height, width])[:MAX_LISTED_FILES] if place else []
            few = ": " if len(named) == count else ", such as "
            which = f"{few}{', '.join(named)}" if named else ""
            texts.append(f"{height}×{width} ({count:,} image{'' if count == 1 else 's'}{which})")
        more = f" and {len(self.sizes) - MAX_LISTED:,} more sizes" if len(self.sizes) > MAX_LISTED else ""
        return ", ".join(texts) + more


@dataclass(frozen=True)
class ImageFolder:
    """A `DataSource` of image files. `name` is the path as it was given."""

    name: str
    reader: FileReader
    layout: ClassFolders

    @property
    def classes(self) -> tuple[str, ...]:
        return self.layout.classes

    @property
    def splits(self) -> tuple[Split, ...]:
        return self.layout.splits

    @property
    def is_fixed(self) -> bool:
        return False

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
            (f"{split}/{name.partition(chr(0))[0]}", entry.size, entry.change_stamp)
            for split in self.splits
            for entry, name in sorted(
                zip(self.layout.entries[split], self.image_ids(split, np.arange(self.num_images(split))), strict=True),
                key=_image_id_of,
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
        """The channels and sizes of every image outside the test split, from the headers; kept, since it takes long."""
        entries = [entry for split in self.splits if split != "test" for entry in self.layout.entries[split]]
        key = f"{digest_entries(entries)[:40]}-sizes-d{DECODER_VERSION}"
        return HeaderStats.from_dict(cached_json(key, lambda: self._collect_headers(entries)))

    def sample_headers(self) -> HeaderStats:
        """The same of a few training images, spread over the split."""
        entries = self.layout.entries["train"]
        spread = np.unique(np.linspace(0, len(entries) - 1, HEADER_SAMPLE_SIZE).astype(int))
        return HeaderStats.from_dict(self._collect_headers([entries[index] for index in spread]))

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
        """The images at `indices`, decoded once and kept: a read-only memory map, uint8, N×C×H×W.

        Raises:
            SourceError: some can't be decoded; the first of them are named with their reasons.
        """
        entries = [self.layout.entries[split][index] for index in indices]

        def fill(file: Path, start: int) -> None:
            task = ImageTask("decode", image_spec, str(file), start)
            faults = [(row, fault) for row, fault in self.map_files(task, entries, "decoding images", progress)]
            if faults:
                raise self._unreadable_error(
                    [(entries[row], ImageFault(*reply["fault"])) for row, reply in sorted(faults, key=_row_of)]
                )

        return cached_pixels(pixels_key(digest_entries(entries), image_spec), len(entries), image_spec, fill)

    def map_files(
        self, task: ImageTask, entries: Sequence[FileEntry], description: str, progress: ProgressCallback
    ) -> Iterator[pool.WorkerReply]:
        """Do a task for each file: (position in `entries`, answer) for those that have one. Reports progress."""
        unread: list[pool.WorkerReply] = []

        def contents() -> Iterator[pool.WorkItem]:
            for position, content in self.reader.read(entries):
                if isinstance(content, ImageFault):
                    unread.append((position, {"fault": [content.kind, content.message]}))
                else:
                    yield position, content

        done = 0
        for reply in pool.run_image_task(task, contents(), len(entries), sum(entry.size for entry in entries)):
            if reply is not None:
                yield reply
                continue
            done += 1
            if done % _PROGRESS_INTERVAL == 0:
                progress(description, done, len(entries), "images")
        progress(description, len(entries), len(entries), "images")
        yield from unread

    def _collect_headers(self, entries: Sequence[FileEntry]) -> dict[str, Any]:
        """What `HeaderStats.from_dict` reads, of the headers that can be read."""
        sizes: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
        channels = 1
        faults: list[tuple[FileEntry, ImageFault]] = []
        for position, header in self.reader.read_headers(entries):
            if isinstance(header, ImageFault):
                faults.append((entries[position], header))
            else:
                sizes[header.height, header.width].append(entries[position].path)
                channels = max(channels, header.channels)
        if not sizes:
            raise self._unreadable_error(faults)
        return {"channels": channels, "sizes": sizes_as_rows(sizes)}

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
        error = SourceError.from_problems([summary, *problems])
        assert isinstance(error, SourceError)
        return error


def sizes_as_rows(files: Mapping[tuple[int, int], Sequence[str]]) -> list[list[Any]]:
    """`HeaderStats`'s sizes of the paths of all images with each (height, width), as values that JSON has."""
    most = sorted(files.items(), key=lambda item: -len(item[1]))
    return [[*size, len(paths), sorted(paths)[:MAX_LISTED_FILES]] for size, paths in most]


def _image_id_of(pair: tuple[FileEntry, str]) -> str:
    return pair[1]


def _row_of(reply: pool.WorkerReply) -> int:
    return reply[0]
