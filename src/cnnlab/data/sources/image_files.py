"""Class folders of image files as a `Source`, wherever the files lie. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from cnnlab.data.decoding import pool
from cnnlab.data.decoding.cache import cached_facts, cached_pixels, pixels_key
from cnnlab.data.decoding.images import DECODER_VERSION, Fault, Header
from cnnlab.data.decoding.worker import Task
from cnnlab.data.sources.base import ImageForm, Indices, Labels, Part, Pixels, Progress, silent
from cnnlab.data.sources.class_folders import Entry, Files, Layout, digest, digest_of
from cnnlab.errors import Problem, SourceError

SHOWN = 5
SHOWN_FILES = 3
GLANCE = 32
_STEP = 64


class Reader(Protocol):
    """What gives the files of a folder or an archive."""

    @property
    def path(self) -> Path: ...

    def files(self) -> Files: ...

    def read(self, entries: Sequence[Entry]) -> Iterator[tuple[int, bytes | Fault]]: ...

    def headers(self, entries: Sequence[Entry]) -> Iterator[tuple[int, Header | Fault]]: ...


@dataclass(frozen=True)
class Looked:
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
    def of_facts(cls, facts: Mapping[str, Any]) -> Self:
        """What was kept as `{"channels": 3, "sizes": [[height, width, count, [path, …]], …]}`."""
        rows = [((height, width), count, files) for height, width, count, files in facts["sizes"]]
        return cls(facts["channels"], {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows})

    def told_sizes(self) -> str:
        """The sizes with their counts, and which files have another size than the most.

        >>> Looked(3, {(6, 8): 40, (1, 1): 1}, {(6, 8): ["cat/1.png"], (1, 1): ["cat/7.png"]}).told_sizes()
        '6×8 (40 images), 1×1 (1 image: cat/7.png)'
        """
        told = []
        for place, ((height, width), count) in enumerate(list(self.sizes.items())[:SHOWN]):
            named = list(self.files[height, width])[:SHOWN_FILES] if place else []
            few = ": " if len(named) == count else ", such as "
            which = f"{few}{', '.join(named)}" if named else ""
            told.append(f"{height}×{width} ({count:,} image{'' if count == 1 else 's'}{which})")
        more = f" and {len(self.sizes) - SHOWN:,} more sizes" if len(self.sizes) > SHOWN else ""
        return ", ".join(told) + more


@dataclass(frozen=True)
class ImageFiles:
    """A `Source` of image files. `name` is the path as it was given."""

    name: str
    reader: Reader
    layout: Layout

    @property
    def classes(self) -> tuple[str, ...]:
        return self.layout.classes

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.layout.parts

    @property
    def fixed(self) -> bool:
        return False

    def count(self, part: Part) -> int:
        return len(self.layout.entries[part])

    def identity(self, part: Part, indices: Indices) -> list[str]:
        """Class, path below the class folder and size in bytes."""
        entries, labels = self.layout.entries[part], self.layout.labels[part]
        named = ((self.classes[labels[index]], entries[index]) for index in indices)
        return [f"{name}/{self.layout.below_class(entry)}\0{entry.size}" for name, entry in named]

    def content_digest(self) -> str:
        """Of each image's part, class, path below the class folder, size, and time of change or CRC."""
        return digest_of(
            (f"{part}/{name.partition(chr(0))[0]}", entry.size, entry.changed)
            for part in self.parts
            for entry, name in sorted(
                zip(self.layout.entries[part], self.identity(part, np.arange(self.count(part))), strict=True),
                key=_identity,
            )
        )

    def labels(self, part: Part) -> Labels:
        """A label for each image of a part, in the order of the paths; shape N."""
        return np.array(self.layout.labels[part], dtype=np.int64)

    def image_names(self, part: Part) -> list[str]:
        """Each image's path in the source."""
        return [entry.path for entry in self.layout.entries[part]]

    def natural_form(self) -> ImageForm:
        """The images' own channels and size, from every header of the parts other than test.

        Raises:
            SourceError: the sizes differ; it names them. Or no image can be read.
        """
        return self.form_of(self.look())

    def look(self) -> Looked:
        """The channels and sizes of every image outside the test part, from the headers; kept, since it takes long."""
        entries = [entry for part in self.parts if part != "test" for entry in self.layout.entries[part]]
        key = f"{digest(entries)[:40]}-sizes-d{DECODER_VERSION}"
        return Looked.of_facts(cached_facts(key, lambda: self._headers(entries)))

    def glance(self) -> Looked:
        """The same of a few training images, spread over the part."""
        entries = self.layout.entries["train"]
        spread = np.unique(np.linspace(0, len(entries) - 1, GLANCE).astype(int))
        return Looked.of_facts(self._headers([entries[index] for index in spread]))

    def form_of(self, looked: Looked) -> ImageForm:
        """The one form of what was looked at; errors as `natural_form`."""
        if len(looked.sizes) == 1:
            ((height, width),) = looked.sizes
            return ImageForm(looked.channels, height, width)
        raise SourceError(
            "the images have different sizes (height×width)",
            where=self.name,
            received=looked.told_sizes(),
            allowed="images of one size, or a size in the recipe",
            next_step="set the size they are brought to, such as data.size = [64, 64]",
        )

    def pixels(self, part: Part, indices: Indices, form: ImageForm, progress: Progress = silent) -> Pixels:
        """The images at `indices`, decoded once and kept: a read-only memory map, uint8, N×C×H×W.

        Raises:
            SourceError: some can't be decoded; the first of them are named with their reasons.
        """
        entries = [self.layout.entries[part][index] for index in indices]

        def fill(file: Path, start: int) -> None:
            task = Task("decode", form, str(file), start)
            faults = [(row, fault) for row, fault in self.work(task, entries, "decoding images", progress)]
            if faults:
                raise self._faulty(
                    [(entries[row], Fault(*answer["fault"])) for row, answer in sorted(faults, key=_row)]
                )

        return cached_pixels(pixels_key(digest(entries), form), len(entries), form, fill)

    def work(self, task: Task, entries: Sequence[Entry], what: str, progress: Progress) -> Iterator[pool.Answer]:
        """Do a task for each file: (position in `entries`, answer) for those that have one. Reports progress."""
        unread: list[pool.Answer] = []

        def contents() -> Iterator[pool.Item]:
            for position, content in self.reader.read(entries):
                if isinstance(content, Fault):
                    unread.append((position, {"fault": [content.kind, content.message]}))
                else:
                    yield position, content

        done = 0
        for answer in pool.run(task, contents(), len(entries), sum(entry.size for entry in entries)):
            if answer is not None:
                yield answer
                continue
            done += 1
            if done % _STEP == 0:
                progress(what, done, len(entries), "images")
        progress(what, len(entries), len(entries), "images")
        yield from unread

    def _headers(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """What `Looked.of_facts` reads, of the headers that can be read."""
        sizes: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
        channels = 1
        faults: list[tuple[Entry, Fault]] = []
        for position, header in self.reader.headers(entries):
            if isinstance(header, Fault):
                faults.append((entries[position], header))
            else:
                sizes[header.height, header.width].append(entries[position].path)
                channels = max(channels, header.channels)
        if not sizes:
            raise self._faulty(faults)
        return {"channels": channels, "sizes": sized(sizes)}

    def _faulty(self, faults: Sequence[tuple[Entry, Fault]]) -> SourceError:
        problems = [
            Problem(f"no image can be read from this file: {fault.kind}", where=entry.path, received=fault.message)
            for entry, fault in faults[:SHOWN]
        ]
        summary = Problem(
            f"{len(faults):,} of the files give no image" if len(faults) != 1 else "1 of the files gives no image",
            where=self.name,
            next_step=f"`cnnlab data check {self.name}` lists them all; replace them or take them away",
        )
        error = SourceError.together([summary, *problems])
        assert isinstance(error, SourceError)
        return error


def sized(files: Mapping[tuple[int, int], Sequence[str]]) -> list[list[Any]]:
    """`Looked`'s sizes of the paths of all images with each (height, width), as values that JSON has."""
    most = sorted(files.items(), key=lambda item: -len(item[1]))
    return [[*size, len(paths), sorted(paths)[:SHOWN_FILES]] for size, paths in most]


def _identity(pair: tuple[Entry, str]) -> str:
    return pair[1]


def _row(answer: pool.Answer) -> int:
    return answer[0]
