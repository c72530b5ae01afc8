"""A published data set that lies at hand, unpacked or as its archive, read as it is.

An archive is checked against its checksum and read as a stream, and of its members only those with the expected names
and sizes. The decoded images and labels of a part are kept in the cache until one of its files changes.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from cnnlab.data.decoding.cache import Fill, cache_dir, cached_pixels, keep_array, kept_array, pixels_key
from cnnlab.data.sources.archives import TAR_ENDINGS
from cnnlab.data.sources.base import ImageForm, Indices, Labels, Part, Pixels, Progress, silent
from cnnlab.data.sources.class_folders import stamp_of
from cnnlab.data.sources.download import is_verified
from cnnlab.data.sources.formats import Decoded, NamedBytes, decode, in_form
from cnnlab.data.sources.releases import Facts, Form, RemoteFile
from cnnlab.errors import CnnlabError, SourceError, listed

# So many images at a time are brought to another size.
_CHUNK = 256


@dataclass(frozen=True)
class PublishedSource:
    """The Source (see `cnnlab.data.sources.base`) of a catalogue data set; a part is read when it is first asked for.

    Attributes:
        facts: what the files must hold.
        form: which of the published forms lies at `path`.
        path: the folder of the files, or the archive.
    """

    facts: Facts
    form: Form
    path: Path
    _read: dict[Part, Decoded] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.facts.classes

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(self.facts.counts)

    @property
    def fixed(self) -> bool:
        return True

    def natural_form(self) -> ImageForm:
        return ImageForm(self.facts.channels, self.facts.height, self.facts.width)

    def count(self, part: Part) -> int:
        if part not in self.facts.counts:
            raise SourceError(
                f"{self.name} has no such part",
                where=self.name,
                received=part,
                allowed=listed(self.facts.counts),
                next_step="split it off from train",
            )
        return self.facts.counts[part]

    def identity(self, part: Part, indices: Indices) -> list[str]:
        return [f"{self.name}/{part}/{index}" for index in indices]

    def content_digest(self) -> str:
        return hashlib.sha256(f"{self.name} {sorted(self.facts.counts.items())}".encode()).hexdigest()

    def labels(self, part: Part) -> Labels:
        return self._part(part)[1]

    def image_names(self, part: Part) -> list[str]:
        return [f"{part}[{index}]" for index in range(self.count(part))]

    def verified(self) -> tuple[str, ...]:
        """The names of the files at hand that have a published checksum; all of them are read and compared.

        Raises:
            SourceError: one has another checksum.
        """
        if self.form.archive and self.path.is_file():
            _require_published(self.form.archive, self.path)
            return (self.form.archive.name,)
        there = [file for file in self.form.downloads if (self.path / file.name).is_file()]
        for file in there:
            _require_published(file, self.path / file.name)
        return tuple(file.name for file in there)

    def pixels(self, part: Part, indices: Indices, form: ImageForm, progress: Progress = silent) -> Pixels:
        pixels = self._part(part, progress)[0]
        if form.shape != self.natural_form().shape:
            chosen = hashlib.sha256(self._files_digest(part).encode() + indices.tobytes()).hexdigest()
            fill = _changed(pixels, indices, form, f"resizing {self.name} {part}", progress)
            try:
                return cached_pixels(pixels_key(chosen, form), len(indices), form, fill)
            except CnnlabError:
                return in_form(pixels[indices], form)
        whole = len(indices) == len(pixels) and bool((indices == np.arange(len(pixels))).all())
        return pixels if whole else pixels[indices]

    def _part(self, part: Part, progress: Progress = silent) -> Decoded:
        """Images and labels, read-only; decoded where the cache has not both of them whole."""
        if part not in self._read:
            count, what = self.count(part), f"reading {self.name} {part}"
            progress(what, 0, count, "images")
            key = pixels_key(self._files_digest(part), self.natural_form())
            images_file, labels_file = (cache_dir() / "images" / f"{key}{end}.npy" for end in ("", "-labels"))
            pixels = kept_array(images_file, (count, *self.natural_form().shape))
            labels = kept_array(labels_file, (count,), np.int64)
            if pixels is None or labels is None:
                files = read_files(self.form, self.path, part, 4 * count * prod(self.natural_form().shape) + 2**20)
                decoded = self._checked(part, files)
                del files
                pixels, labels = decoded
                pixels.flags.writeable = labels.flags.writeable = False
                with suppress(CnnlabError):  # a cache that can't be written to only costs time and memory
                    pixels, labels = keep_array(images_file, decoded[0]), keep_array(labels_file, decoded[1])
            self._read[part] = pixels, labels
            progress(what, count, count, "images")
        return self._read[part]

    def _files_digest(self, part: Part) -> str:
        """SHA-256 in hex by which a part is found in the cache: of what its files must hold, and when they changed."""
        about = [path.stat() for path in paths(self.form, self.path, part)]
        stamps = [f"{found.st_size}:{stamp_of(found)}" for found in about]
        return hashlib.sha256(f"{self.form.kind} {self.facts} {part} {stamps}".encode()).hexdigest()

    def _checked(self, part: Part, files: Sequence[NamedBytes]) -> Decoded:
        """The decoded files, read-only, when they hold what the facts say."""
        pixels, labels = decode(self.form.kind, files)
        expected = (self.count(part), *self.natural_form().shape)
        if pixels.shape != expected:
            raise _not_published(files, f"{_times(pixels.shape)} images", f"{_times(expected)} images")
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise _not_published(
                files, f"labels {labels.min()} to {labels.max()}", f"labels 0 to {len(self.classes) - 1}"
            )
        return pixels, labels


def read_files(form: Form, path: Path, part: Part, limit: int) -> list[NamedBytes]:
    """The files of one part, in order, as (name, bytes); no other part's file is opened.

    Raises:
        SourceError: a file is missing, damaged, larger than `limit` bytes, or an archive's checksum is wrong.
    """
    names = form.files[part]
    if form.archive and path.is_file():
        return _from_archive(form.archive, path, [f"{form.folders[0]}/{name}" for name in names], limit)
    return [_from_folder(path, name, limit) for name in names]


def paths(form: Form, path: Path, part: Part) -> list[Path]:
    """The archive, or those of the part's files that are there, in order."""
    if form.archive and path.is_file():
        return [path]
    return [found for name in form.files[part] if (found := file_at(path, name))]


def file_at(folder: Path, name: str) -> Path | None:
    """The file in the folder, as it is or with ".gz"; None when it is not there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _changed(pixels: Pixels, indices: Indices, form: ImageForm, what: str, progress: Progress) -> Fill:
    """Writes the images at `indices` in another form, a few at a time."""

    def fill(file: Path, start: int) -> None:
        with file.open("r+b") as opened:
            opened.seek(start)
            for done in range(0, len(indices), _CHUNK):
                opened.write(in_form(pixels[indices[done : done + _CHUNK]], form).tobytes())
                progress(what, min(done + _CHUNK, len(indices)), len(indices), "images")

    return fill


def _from_folder(folder: Path, name: str, limit: int) -> NamedBytes:
    path = file_at(folder, name)
    if path is None:
        raise SourceError(
            "a file of the data set is missing",
            where=str(folder),
            received="no " + name,
            next_step="fetch the data set again",
        )
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            return str(path), _up_to(opened, limit, str(path))
    except (OSError, EOFError, zlib.error) as broken:
        raise _unreadable(path, broken) from broken


def _from_archive(archive: RemoteFile, path: Path, members: Sequence[str], limit: int) -> list[NamedBytes]:
    _require_published(archive, path)
    try:
        found = dict(_stream(path, set(members), limit))
    except (OSError, EOFError, zlib.error, tarfile.TarError) as broken:
        raise _unreadable(path, broken) from broken
    missing = [name for name in members if name not in found]
    if missing:
        raise SourceError(
            "the archive lacks a file", where=str(path), received=f"no {', '.join(missing)}", next_step="fetch it again"
        )
    return [(f"{path}: {name}", found[name]) for name in members]


def _require_published(file: RemoteFile, path: Path) -> None:
    if not is_verified(path, file.checksum):
        raise SourceError(
            f"this isn't the published {'archive' if file.name.endswith(TAR_ENDINGS) else 'file'}, or it is cut short",
            where=str(path),
            received=f"{path.stat().st_size:,} bytes with another checksum",
            allowed=f"{file.size:,} bytes with {file.checksum}",
            next_step="delete it and fetch it again",
        )


def _stream(path: Path, members: set[str], limit: int) -> Iterator[NamedBytes]:
    """The wanted members, each once, as the stream comes to them; it ends with the last of them."""
    left = set(members)
    with tarfile.open(path, "r|gz", bufsize=2**20) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name in left and member.isreg() and (content := tar.extractfile(member)):
                left.remove(name)
                yield name, _up_to(content, limit, f"{path}: {name}")
            if not left:
                return


def _up_to(opened: IO[bytes] | gzip.GzipFile, limit: int, where: str) -> bytes:
    content = opened.read(limit + 1)
    if len(content) > limit:
        raise SourceError(
            "the file is far larger than the data set's",
            where=where,
            received=f"more than {limit:,} bytes",
            allowed=f"up to {limit:,} bytes",
            next_step="fetch the published file",
        )
    return content


def _not_published(files: Sequence[NamedBytes], received: str, allowed: str) -> SourceError:
    return SourceError(
        "the files don't hold the published data set",
        where=", ".join(name for name, _ in files),
        received=received,
        allowed=allowed,
        next_step="fetch the data set again, or name the folder differently if it is another one",
    )


def _unreadable(path: Path, broken: Exception) -> SourceError:
    return SourceError(
        "the file can't be read",
        where=str(path),
        received=f"{type(broken).__name__}: {broken}",
        next_step="check that you may read it, or fetch it again",
    )


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
