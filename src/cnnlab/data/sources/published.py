"""A published data set on disk, read from its unpacked files or from its archive.

An archive is checked against its checksum and read as a stream, and of its members only those with the expected names
and sizes. The decoded images and labels of a split are cached until one of its files changes.
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

from cnnlab.context import ProgressCallback, no_op
from cnnlab.data.decoding.cache import cached_pixels, images_dir, load_array, pixels_key, save_array
from cnnlab.data.sources.base import ImageSpec, Indices, Labels, Pixels, Split
from cnnlab.data.sources.class_folders import file_stamp
from cnnlab.data.sources.download import is_verified
from cnnlab.data.sources.file_readers import TAR_EXTENSIONS
from cnnlab.data.sources.formats import Decoded, NamedBytes, convert_pixels, decode
from cnnlab.data.sources.releases import DatasetInfo, Release, RemoteFile, find_file
from cnnlab.errors import CnnlabError, SourceError

# So many images at a time are resized.
_CHUNK = 256


@dataclass(frozen=True)
class PublishedSource:
    """A catalogue data set as a `cnnlab.data.sources.base.DataSource`; a split is read when it is first asked for.

    Attributes:
        info: what the files must hold.
        release: which of the published releases is at `path`.
        path: the folder of the files, or the archive.
    """

    info: DatasetInfo
    release: Release
    path: Path
    is_fixed: bool = True
    _decoded: dict[Split, Decoded] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.info.classes

    @property
    def splits(self) -> tuple[Split, ...]:
        return tuple(self.info.split_sizes)

    def native_spec(self) -> ImageSpec:
        return ImageSpec(self.info.channels, self.info.height, self.info.width)

    def num_images(self, split: Split) -> int:
        return self.info.split_sizes[split]

    def image_ids(self, split: Split, indices: Indices) -> list[str]:
        return [f"{self.name}/{split}/{index}" for index in indices]

    def content_digest(self) -> str:
        return hashlib.sha256(f"{self.name} {sorted(self.info.split_sizes.items())}".encode()).hexdigest()

    def labels(self, split: Split) -> Labels:
        return self._load_split(split)[1]

    def image_names(self, split: Split) -> list[str]:
        return [f"{split}[{index}]" for index in range(self.num_images(split))]

    def verify_checksums(self) -> tuple[str, ...]:
        """The names of the files on disk that have a published checksum; all are read and compared.

        Raises:
            SourceError: one has another checksum.
        """
        if self.release.archive and self.path.is_file():
            published = {self.path: self.release.archive}
        else:
            paths = {self.path / file.name: file for file in self.release.downloads}
            published = {path: file for path, file in paths.items() if path.is_file()}
        for path, file in published.items():
            _require_checksum(file, path)
        return tuple(file.name for file in published.values())

    def pixels(
        self, split: Split, indices: Indices, image_spec: ImageSpec, progress: ProgressCallback = no_op
    ) -> Pixels:
        pixels = self._load_split(split, progress)[0]
        if image_spec.shape == self.native_spec().shape:
            is_whole = np.array_equal(indices, np.arange(len(pixels)))
            return pixels if is_whole else pixels[indices]

        def fill(file: Path, start: int) -> None:
            with file.open("r+b") as opened:
                opened.seek(start)
                for done in range(0, len(indices), _CHUNK):
                    opened.write(convert_pixels(pixels[indices[done : done + _CHUNK]], image_spec).tobytes())
                    count = min(done + _CHUNK, len(indices))
                    progress(f"resizing {self.name} {split}", count, len(indices), "images")

        chosen = hashlib.sha256(self._files_digest(split).encode() + indices.tobytes()).hexdigest()
        try:
            return cached_pixels(pixels_key(chosen, image_spec), len(indices), image_spec, fill)
        except CnnlabError:  # a cache that can't be written to only costs time and memory
            return convert_pixels(pixels[indices], image_spec)

    def _load_split(self, split: Split, progress: ProgressCallback = no_op) -> Decoded:
        """Images and labels, read-only; decoded where the cache has not both of them whole."""
        if split not in self._decoded:
            count, what = self.num_images(split), f"reading {self.name} {split}"
            progress(what, 0, count, "images")
            key = pixels_key(self._files_digest(split), self.native_spec())
            images_file, labels_file = (images_dir() / f"{key}{end}.npy" for end in ("", "-labels"))
            pixels = load_array(images_file, (count, *self.native_spec().shape))
            labels = load_array(labels_file, (count,), np.int64)
            if pixels is None or labels is None:
                pixels, labels = self._decode(split)
                pixels.flags.writeable = labels.flags.writeable = False
                with suppress(CnnlabError):
                    pixels, labels = save_array(images_file, pixels), save_array(labels_file, labels)
            self._decoded[split] = pixels, labels
            progress(what, count, count, "images")
        return self._decoded[split]

    def _files_digest(self, split: Split) -> str:
        """SHA-256 in hex that names a split in the cache: of what its files must hold, and when they changed."""
        if self.release.archive and self.path.is_file():
            paths = [self.path]
        else:
            paths = [path for name in self.release.files[split] if (path := find_file(self.path, name))]
        stamps = [f"{found.st_size}:{file_stamp(found)}" for found in (path.stat() for path in paths)]
        return hashlib.sha256(f"{self.release.file_format} {self.info} {split} {stamps}".encode()).hexdigest()

    def _decode(self, split: Split) -> Decoded:
        expected = (self.num_images(split), *self.native_spec().shape)
        files = read_files(self.release, self.path, split, max_bytes=4 * prod(expected) + 2**20)
        pixels, labels = decode(self.release.file_format, files)
        lowest, highest = int(labels.min()), int(labels.max())
        if pixels.shape != expected or lowest < 0 or highest >= len(self.classes):
            raise SourceError(
                "the files don't hold the published data set",
                where=", ".join(name for name, _ in files),
                received=f"{_format_shape(pixels.shape)} images, labels {lowest} to {highest}",
                allowed=f"{_format_shape(expected)} images, labels 0 to {len(self.classes) - 1}",
                next_step="fetch the data set again, or name the folder differently if it is another one",
            )
        return pixels, labels


def read_files(release: Release, path: Path, split: Split, max_bytes: int) -> list[NamedBytes]:
    """The files of one split, in order, as (name, bytes); no other split's file is opened.

    Raises:
        SourceError: a file is missing, damaged, larger than `max_bytes`, or an archive's checksum is wrong.
    """
    names = release.files[split]
    if release.archive and path.is_file():
        return _read_from_archive(release.archive, path, [f"{release.folders[0]}/{name}" for name in names], max_bytes)
    return [_read_from_folder(path, name, max_bytes) for name in names]


def _read_from_folder(folder: Path, name: str, max_bytes: int) -> NamedBytes:
    path = find_file(folder, name) or folder / name
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            return str(path), _read_up_to(opened, max_bytes, str(path))
    except (OSError, EOFError, zlib.error) as broken:
        raise _unreadable_error(path, broken) from broken


def _read_from_archive(archive: RemoteFile, path: Path, members: Sequence[str], max_bytes: int) -> list[NamedBytes]:
    _require_checksum(archive, path)
    try:
        found = dict(_stream_members(path, set(members), max_bytes))
    except (OSError, EOFError, zlib.error, tarfile.TarError) as broken:
        raise _unreadable_error(path, broken) from broken
    missing = [name for name in members if name not in found]
    if missing:
        raise SourceError(
            "the archive lacks a file", where=str(path), received=f"no {', '.join(missing)}", next_step="fetch it again"
        )
    return [(f"{path}: {name}", found[name]) for name in members]


def _require_checksum(file: RemoteFile, path: Path) -> None:
    if not is_verified(path, file.checksum):
        kind = "archive" if file.name.endswith(TAR_EXTENSIONS) else "file"
        raise SourceError(
            f"this isn't the published {kind}, or it is cut short",
            where=str(path),
            received=f"{path.stat().st_size:,} bytes with another checksum",
            allowed=f"{file.size:,} bytes with {file.checksum}",
            next_step="delete it and fetch it again",
        )


def _stream_members(path: Path, members: set[str], max_bytes: int) -> Iterator[NamedBytes]:
    """The members of these names, in the archive's order; nothing is read after the last of them."""
    left = set(members)
    with tarfile.open(path, "r|gz", bufsize=2**20) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name in left and member.isreg() and (content := tar.extractfile(member)):
                left.remove(name)
                yield name, _read_up_to(content, max_bytes, f"{path}: {name}")
            if not left:
                return


def _read_up_to(file: IO[bytes] | gzip.GzipFile, max_bytes: int, where: str) -> bytes:
    content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise SourceError(
            "the file is far larger than the data set's",
            where=where,
            received=f"more than {max_bytes:,} bytes",
            allowed=f"up to {max_bytes:,} bytes",
            next_step="fetch the published file",
        )
    return content


def _unreadable_error(path: Path, error: Exception) -> SourceError:
    return SourceError(
        "the file can't be read",
        where=str(path),
        received=f"{type(error).__name__}: {error}",
        next_step="check that you may read it, or fetch it again",
    )


def _format_shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
