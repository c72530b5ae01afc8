"""Class folders of image files as a `Source`, wherever the files lie. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from cnnlab.data import pool
from cnnlab.data.cache import cached_facts, cached_pixels, pixels_key
from cnnlab.data.images import DECODER_VERSION, Fault, Header
from cnnlab.data.listing import Entry, Files, Layout, digest, digest_of
from cnnlab.data.source import ImageForm, Indices, Labels, Part, Pixels, Progress, silent
from cnnlab.data.worker import Task
from cnnlab.errors import Problem, SourceError

SHOWN = 5
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
    """What the headers of images say, as whole numbers that can be kept."""

    numbers: Mapping[str, int]

    @property
    def channels(self) -> int:
        """1 where all images are grey, else 3."""
        return self.numbers["channels"]

    @property
    def sizes(self) -> dict[tuple[int, int], int]:
        """How many images have each (height, width), the most first."""
        pairs = ((name.split("x"), count) for name, count in self.numbers.items() if name != "channels")
        return {(int(height), int(width)): count for (height, width), count in pairs}


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
        key = f"{digest(entries)[:40]}-headers-d{DECODER_VERSION}"
        return Looked(cached_facts(key, lambda: self._headers(entries)))

    def glance(self) -> Looked:
        """The same of a few training images, spread over the part."""
        entries = self.layout.entries["train"]
        spread = np.unique(np.linspace(0, len(entries) - 1, GLANCE).astype(int))
        return Looked(self._headers([entries[index] for index in spread]))

    def form_of(self, looked: Looked) -> ImageForm:
        """The one form of what was looked at; errors as `natural_form`."""
        if len(looked.sizes) == 1:
            ((height, width),) = looked.sizes
            return ImageForm(looked.channels, height, width)
        most = list(looked.sizes.items())[:SHOWN]
        shown = ", ".join(f"{height}×{width} ({count:,} images)" for (height, width), count in most)
        more = f" and {len(looked.sizes) - SHOWN} more sizes" if len(looked.sizes) > SHOWN else ""
        raise SourceError(
            "the images have different sizes (height×width)",
            where=self.name,
            received=shown + more,
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

    def _headers(self, entries: Sequence[Entry]) -> dict[str, int]:
        """{"channels": 1 or 3, "HEIGHTxWIDTH": how many images, …}, of the headers that can be read."""
        sizes: Counter[str] = Counter()
        channels = 1
        faults: list[tuple[Entry, Fault]] = []
        for position, header in self.reader.headers(entries):
            if isinstance(header, Fault):
                faults.append((entries[position], header))
            else:
                sizes[f"{header.height}x{header.width}"] += 1
                channels = max(channels, header.channels)
        if not sizes:
            raise self._faulty(faults)
        return {"channels": channels, **dict(sizes.most_common())}

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


def _identity(pair: tuple[Entry, str]) -> str:
    return pair[1]


def _row(answer: pool.Answer) -> int:
    return answer[0]
