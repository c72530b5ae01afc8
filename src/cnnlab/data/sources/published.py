"""A published data set that lies at hand, unpacked or as its archive, read as it is.

An archive is checked against its checksum and read as a stream, and of its members only those with the expected names
and sizes. The decoded images and labels of a split are kept in the cache until one of its files changes.
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
from cnnlab.data.decoding.cache import FillFunction, cached_pixels, load_array, pixels_key, save_array
from cnnlab.data.sources.archives import TAR_EXTENSIONS
from cnnlab.data.sources.base import ImageSpec, Indices, Labels, Pixels, Split
from cnnlab.data.sources.class_folders import file_stamp
from cnnlab.data.sources.download import is_verified
from cnnlab.data.sources.formats import Decoded, NamedBytes, convert_pixels, decode
from cnnlab.data.sources.releases import DatasetInfo, Release, RemoteFile
from cnnlab.errors import CnnlabError, SourceError, comma_separated
from cnnlab.settings import cache_dir

# So many images at a time are brought to another size.
_CHUNK = 256


@dataclass(frozen=True)
class PublishedSource:
    """A catalogue data set as a `cnnlab.data.sources.base.DataSource`; a split is read when it is first asked for.

    Attributes:
        info: what the files must hold.
        release: which of the published releases lies at `path`.
        path: the folder of the files, or the archive.
    """

    info: DatasetInfo
    release: Release
    path: Path
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

    @property
    def is_fixed(self) -> bool:
        return True

    def native_spec(self) -> ImageSpec:
        return ImageSpec(self.info.channels, self.info.height, self.info.width)

    def num_images(self, split: Split) -> int:
        if split not in self.info.split_sizes:
            raise SourceError(
                f"{self.name} has no such split",
                where=self.name,
                received=split,
                allowed=comma_separated(self.info.split_sizes),
                next_step="split it off from train",
            )
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
        """The names of the files at hand that have a published checksum; all of them are read and compared.

        Raises:
            SourceError: one has another checksum.
        """
        if self.release.archive and self.path.is_file():
            _require_checksum(self.release.archive, self.path)
            return (self.release.archive.name,)
        there = [file for file in self.release.downloads if (self.path / file.name).is_file()]
        for file in there:
            _require_checksum(file, self.path / file.name)
        return tuple(file.name for file in there)

    def pixels(
        self, split: Split, indices: Indices, image_spec: ImageSpec, progress: ProgressCallback = no_op
    ) -> Pixels:
        pixels = self._load_split(split, progress)[0]
        if image_spec.shape != self.native_spec().shape:
            chosen = hashlib.sha256(self._files_digest(split).encode() + indices.tobytes()).hexdigest()
            fill = _convert_fill(pixels, indices, image_spec, f"resizing {self.name} {split}", progress)
            try:
                return cached_pixels(pixels_key(chosen, image_spec), len(indices), image_spec, fill)
            except CnnlabError:
                return convert_pixels(pixels[indices], image_spec)
        whole = len(indices) == len(pixels) and bool((indices == np.arange(len(pixels))).all())
        return pixels if whole else pixels[indices]

    def _load_split(self, split: Split, progress: ProgressCallback = no_op) -> Decoded:
        """Images and labels, read-only; decoded where the cache has not both of them whole."""
        if split not in self._decoded:
            count, what = self.num_images(split), f"reading {self.name} {split}"
            progress(what, 0, count, "images")
            key = pixels_key(self._files_digest(split), self.native_spec())
            images_file, labels_file = (cache_dir() / "images" / f"{key}{end}.npy" for end in ("", "-labels"))
            pixels = load_array(images_file, (count, *self.native_spec().shape))
            labels = load_array(labels_file, (count,), np.int64)
            if pixels is None or labels is None:
                files = read_files(self.release, self.path, split, 4 * count * prod(self.native_spec().shape) + 2**20)
                decoded = self._decode_checked(split, files)
                del files
                pixels, labels = decoded
                pixels.flags.writeable = labels.flags.writeable = False
                with suppress(CnnlabError):  # a cache that can't be written to only costs time and memory
                    pixels, labels = save_array(images_file, decoded[0]), save_array(labels_file, decoded[1])
            self._decoded[split] = pixels, labels
            progress(what, count, count, "images")
        return self._decoded[split]

    def _files_digest(self, split: Split) -> str:
        """SHA-256 in hex by which a split is found in the cache: of what its files must hold, and when they changed."""
        about = [path.stat() for path in release_paths(self.release, self.path, split)]
        stamps = [f"{found.st_size}:{file_stamp(found)}" for found in about]
        return hashlib.sha256(f"{self.release.file_format} {self.info} {split} {stamps}".encode()).hexdigest()

    def _decode_checked(self, split: Split, files: Sequence[NamedBytes]) -> Decoded:
        """The decoded files, read-only, when they hold what `info` says."""
        pixels, labels = decode(self.release.file_format, files)
        expected = (self.num_images(split), *self.native_spec().shape)
        if pixels.shape != expected:
            raise _unexpected_content_error(
                files, f"{_format_shape(pixels.shape)} images", f"{_format_shape(expected)} images"
            )
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise _unexpected_content_error(
                files, f"labels {labels.min()} to {labels.max()}", f"labels 0 to {len(self.classes) - 1}"
            )
        return pixels, labels


def read_files(release: Release, path: Path, split: Split, limit: int) -> list[NamedBytes]:
    """The files of one split, in order, as (name, bytes); no other split's file is opened.

    Raises:
        SourceError: a file is missing, damaged, larger than `limit` bytes, or an archive's checksum is wrong.
    """
    names = release.files[split]
    if release.archive and path.is_file():
        return _read_from_archive(release.archive, path, [f"{release.folders[0]}/{name}" for name in names], limit)
    return [_read_from_folder(path, name, limit) for name in names]


def release_paths(release: Release, path: Path, split: Split) -> list[Path]:
    """The archive, or those of the split's files that are there, in order."""
    if release.archive and path.is_file():
        return [path]
    return [found for name in release.files[split] if (found := find_file(path, name))]


def find_file(folder: Path, name: str) -> Path | None:
    """The file in the folder, as it is or with ".gz"; None when it is not there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _convert_fill(
    pixels: Pixels, indices: Indices, image_spec: ImageSpec, description: str, progress: ProgressCallback
) -> FillFunction:
    """Writes the images at `indices` as another image spec, a few at a time."""

    def fill(file: Path, start: int) -> None:
        with file.open("r+b") as opened:
            opened.seek(start)
            for done in range(0, len(indices), _CHUNK):
                opened.write(convert_pixels(pixels[indices[done : done + _CHUNK]], image_spec).tobytes())
                progress(description, min(done + _CHUNK, len(indices)), len(indices), "images")

    return fill


def _read_from_folder(folder: Path, name: str, limit: int) -> NamedBytes:
    path = find_file(folder, name)
    if path is None:
        raise SourceError(
            "a file of the data set is missing",
            where=str(folder),
            received="no " + name,
            next_step="fetch the data set again",
        )
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            return str(path), _read_up_to(opened, limit, str(path))
    except (OSError, EOFError, zlib.error) as broken:
        raise _unreadable_error(path, broken) from broken


def _read_from_archive(archive: RemoteFile, path: Path, members: Sequence[str], limit: int) -> list[NamedBytes]:
    _require_checksum(archive, path)
    try:
        found = dict(_stream_members(path, set(members), limit))
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


def _stream_members(path: Path, members: set[str], limit: int) -> Iterator[NamedBytes]:
    """The wanted members, each once, as the stream comes to them; it ends with the last of them."""
    left = set(members)
    with tarfile.open(path, "r|gz", bufsize=2**20) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name in left and member.isreg() and (content := tar.extractfile(member)):
                left.remove(name)
                yield name, _read_up_to(content, limit, f"{path}: {name}")
            if not left:
                return


def _read_up_to(file: IO[bytes] | gzip.GzipFile, limit: int, where: str) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise SourceError(
            "the file is far larger than the data set's",
            where=where,
            received=f"more than {limit:,} bytes",
            allowed=f"up to {limit:,} bytes",
            next_step="fetch the published file",
        )
    return content


def _unexpected_content_error(files: Sequence[NamedBytes], received: str, allowed: str) -> SourceError:
    return SourceError(
        "the files don't hold the published data set",
        where=", ".join(name for name, _ in files),
        received=received,
        allowed=allowed,
        next_step="fetch the data set again, or name the folder differently if it is another one",
    )


def _unreadable_error(path: Path, error: Exception) -> SourceError:
    return SourceError(
        "the file can't be read",
        where=str(path),
        received=f"{type(error).__name__}: {error}",
        next_step="check that you may read it, or fetch it again",
    )


def _format_shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
