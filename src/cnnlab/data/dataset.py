"""The data of a recipe: a source, split and limited, with its statistics. No torch.

Nothing is decoded before it is used, and a test split that is not used is never read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from cnnlab.config.recipe import Data
from cnnlab.context import LOCAL, ProgressCallback, RunContext, no_op
from cnnlab.data.sources import catalogue
from cnnlab.data.sources.base import DataSource, ImageSpec, Indices, Labels, Pixels, Split
from cnnlab.data.sources.file_readers import expand_home
from cnnlab.data.sources.image_folder import ImageFolder, open_folder
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.data.splits import SplitSource, assign_splits, needs_test_labels, remap_labels, split_hash
from cnnlab.errors import SourceError, comma_separated, did_you_mean
from cnnlab.settings import cache_dir

# Up to this size a source split is decoded as a whole and each split takes its images out of it; above, each split is
# cached by itself, so that it can stay on disk.
MAX_SHARED_BYTES = 2**30

PREVIEW_SIZE = 64

# So many images at a time are summed up.
_CHUNK = 4096


@dataclass(frozen=True)
class InputSpec:
    """The shape of the images, channels×height×width, and the classes: what a network is built for."""

    channels: int
    height: int
    width: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A source with the splits that a recipe asks for.

    Attributes:
        name: the source's.
        classes: the class names; a label is an index into them.
        image_spec: how images are decoded.
        indices: for each split that holds images, the source's split and the images' indices in it, sorted. None for
            the test images of a catalogue's data set that is narrowed to some classes, until they are asked for.
        given_stats: mean and std as the recipe gives them; None where the training images decide.
    """

    name: str
    classes: tuple[str, ...]
    image_spec: ImageSpec
    indices: dict[Split, SplitSource | None]
    given_stats: tuple[tuple[float, ...], tuple[float, ...]] | None
    source: DataSource = field(repr=False)
    progress: ProgressCallback = field(default=no_op, repr=False)
    _pixel_cache: dict[Split, Pixels] = field(default_factory=dict, repr=False, compare=False)
    # A source's split that was decoded for one split and is kept until the other one that it holds is used.
    _source_pixel_cache: dict[Split, Pixels] = field(default_factory=dict, repr=False, compare=False)

    @property
    def splits(self) -> tuple[Split, ...]:
        return tuple(self.indices)

    @property
    def split_hash(self) -> str:
        """SHA-256 in hex over all splits' indices; the same before and after the test images are asked for.

        A fixed source's own test split that is narrowed to some classes counts by what decides it instead: its size
        and the names of the classes, sorted.
        """
        entries = {}
        for split in self.splits:
            if split == "test" and needs_test_labels(self.source, self.classes):
                entries[f"test of {sorted(self.classes)}"] = np.array([self.source.num_images("test")])
            else:
                entries[str(split)] = self.source_indices(split)[1]
        return split_hash(entries)

    def source_indices(self, split: Split) -> SplitSource:
        """The source's split that holds a split's images, and their sorted indices there; may open a test file."""
        chosen = self.indices[split]
        if chosen is None:
            labels = remap_labels(self.source, self.classes, split)
            chosen = self.indices[split] = (split, np.flatnonzero(labels >= 0))
        return chosen

    @property
    def mean(self) -> tuple[float, ...]:
        """Each channel's mean over the training images, of pixels from 0 to 1; or as the recipe gives it."""
        return (self.given_stats or self._computed_stats)[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Each channel's standard deviation, in the same units; 1 for a constant channel."""
        return (self.given_stats or self._computed_stats)[1]

    def num_images(self, split: Split) -> int:
        """The number of images of a split; 0 for one that does not exist."""
        return len(self.source_indices(split)[1]) if split in self.indices else 0

    def labels(self, split: Split) -> Labels:
        """A label for each image of a split; shape N."""
        source_split, indices = self.source_indices(split)
        return remap_labels(self.source, self.classes, source_split)[indices]

    def image_names(self, split: Split) -> list[str]:
        """A name for each image of a split."""
        source_split, indices = self.source_indices(split)
        names = self.source.image_names(source_split)
        return [names[index] for index in indices]

    def pixels(self, split: Split) -> Pixels:
        """The images of a split, uint8, N×C×H×W; decoded at the first call, a read-only memory map where they are many.

        Raises:
            SourceError: some can't be decoded.
        """
        if split not in self._pixel_cache:
            self._pixel_cache[split] = self._decode(split)
            if {"train", "validation"} & set(self.splits) <= self._pixel_cache.keys():
                self._source_pixel_cache.clear()
        return self._pixel_cache[split]

    def test_set_id(self) -> str:
        """A name of the test set that does not depend on the path, the seed and the order of the classes.

        24 hex digits of a SHA-256 over the sorted class names and, for a catalogue's own test split, its name; else
        over each test image's class, path below its class folder and size in bytes. A folder, a copy of it under
        another name and an archive of it have one id. Nothing is opened.

        Raises:
            KeyError: there is no test split.
        """
        if self._has_fixed_test:
            images = [f"{self.source.name}/test"]
        else:
            images = sorted(self.source.image_ids(*self.source_indices("test")))
        return hashlib.sha256(json.dumps([sorted(self.classes), images]).encode()).hexdigest()[:24]

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 in hex that changes with the source, whatever the recipe chooses of it. Nothing is opened.

        Of a folder or archive: each image's split, class, path below the class folder, size, and time of last change
        (in a zip its CRC). It is kept by moving, renaming and copying with times (`cp -a`, `rsync -a`); an image that
        is added, removed, renamed, relabelled or rewritten changes it, and so do a copy without times and packing.
        Of a catalogue's data set: its name and sizes.
        """
        return self.source.content_digest()

    @property
    def _has_fixed_test(self) -> bool:
        return self.source.is_fixed and "test" in self.source.splits

    def _decode(self, split: Split) -> Pixels:
        source_split, indices = self.source_indices(split)
        whole = None if split == "test" else self._non_test_indices(source_split)
        if whole is None or len(whole) * math.prod(self.image_spec.shape) > MAX_SHARED_BYTES:
            return self.source.pixels(source_split, indices, self.image_spec, self.progress)
        if source_split not in self._source_pixel_cache:
            self._source_pixel_cache[source_split] = self.source.pixels(
                source_split, whole, self.image_spec, self.progress
            )
        pixels = self._source_pixel_cache[source_split]
        return pixels if len(indices) == len(whole) else pixels[np.searchsorted(whole, indices)]

    def _non_test_indices(self, source_split: Split) -> Indices:
        """All images of a source split that are no test images: the same for every seed, so cached once."""
        everything = np.arange(self.source.num_images(source_split))
        if "test" not in self.indices or "test" in self.source.splits:
            return everything
        return np.setdiff1d(everything, self.source_indices("test")[1], assume_unique=True)

    @cached_property
    def _computed_stats(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return mean_and_std(self.pixels("train"))


def mean_and_std(pixels: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and (population) standard deviation of each channel, of pixels scaled to 0–1, from exact sums.

    A constant channel gets 1 as its standard deviation, so that it can be divided by.
    """
    channels = pixels.shape[1]
    total, squares = [0] * channels, [0] * channels
    for start in range(0, len(pixels), _CHUNK):
        for channel in range(channels):
            values = pixels[start : start + _CHUNK, channel]
            total[channel] += int(values.sum(dtype=np.uint64))
            squares[channel] += int(np.square(values, dtype=np.uint16).sum(dtype=np.uint64))
    count = pixels.size // channels
    mean = tuple(value / count / 255 for value in total)
    variance = [square * count - value**2 for square, value in zip(squares, total, strict=True)]
    return mean, tuple(value**0.5 / count / 255 if value else 1.0 for value in variance)


def open_dataset(data: Data, seed: int, context: RunContext = LOCAL) -> Dataset:
    """Open the data that a recipe's section describes.

    Args:
        seed: of the validation split and of `per_class` and `limit`, unless the section has a `split_seed` of its own;
            a test split is the same for every seed.
        context: names the data folder, and says whether a catalogue's data set may be downloaded.

    Raises:
        SourceError: the source does not exist, or does not fit the section.
        DownloadError: a catalogue's data set is not on disk and can't be downloaded.
    """
    source = open_source(data.source, context)
    classes = _selected_classes(data, source.classes)
    spec = _image_spec(data, source)
    splits = assign_splits(data, source, classes, seed if data.split_seed is None else data.split_seed)
    return Dataset(
        source.name, classes, spec, splits, _given_stats(data, spec.channels), source, context.callbacks.progress
    )


def open_source(name: str, context: RunContext = LOCAL) -> DataSource:
    """Open a catalogue's data set by its name, or a folder or archive by its path, relative to here or the data folder.

    Raises:
        SourceError: it is neither; suggests the nearest catalogue name.
        DownloadError: a catalogue's data set is not on disk and can't be downloaded.
    """
    if name in CATALOGUE:
        roots, progress = data_roots(context.data_root), context.callbacks.progress
        return catalogue.open_published(CATALOGUE[name], roots, download=context.download, progress=progress)
    return open_folder(find_files(name, context.data_root))


def data_roots(root: Path | None = None) -> tuple[Path, ...]:
    """The folders searched for data: the given one or CNNLAB_DATA, then the cache; downloads go to the first.

    Raises:
        SourceError: the first is no folder.
    """
    named = root or os.environ.get("CNNLAB_DATA")
    cached = cache_dir() / "data"
    if not named:
        return (cached,)
    first = expand_home(named)
    if not first.is_dir():
        raise SourceError(
            "the data folder is not there" if not first.exists() else "the data folder is a file",
            where="--data" if root else "CNNLAB_DATA",
            received=str(named),
            allowed="a folder that holds data, or an empty one for downloads",
            next_step="check the path" if first.exists() else f"check the path, or make it: mkdir -p {first}",
        )
    return first, cached


def find_files(name: str, root: Path | None = None) -> Path:
    """The folder or file of this path, relative to here, then to the data folders; "~" is the home folder.

    Raises:
        SourceError: there is none; suggests the nearest catalogue name.
    """
    relative = expand_home(name)
    for path in (relative, *(base / relative for base in data_roots(root))):
        if path.exists():
            return path
    raise SourceError(
        "no data is found by this name",
        where="data.source",
        received=name,
        allowed=f"{comma_separated(CATALOGUE)}, or the path of a folder or an archive of class folders",
        next_step=did_you_mean(name, CATALOGUE) or "check the path",
    )


def input_spec(data: Data, root: Path | None = None) -> InputSpec:
    """The input of a network for this data, from the catalogue's table, or a folder's listing and a few headers.

    Raises:
        SourceError: as `open_dataset`.
    """
    if data.source in CATALOGUE:
        info = catalogue.dataset_info(data.source)
        channels, (height, width) = data.channels or info.channels, data.size or (info.height, info.width)
        return InputSpec(channels, height, width, _selected_classes(data, info.classes))
    source = open_folder(find_files(data.source, root))
    stats = source.sample_headers()
    height, width = data.size or source.spec_from_headers(stats).shape[1:]
    return InputSpec(data.channels or stats.channels, height, width, _selected_classes(data, source.classes))


def preview_spec(source: DataSource) -> ImageSpec:
    """The image spec in which a source's images are shown: their own, or a square for different sizes."""
    if isinstance(source, ImageFolder):
        stats = source.sample_headers()
        return (
            source.spec_from_headers(stats)
            if len(stats.sizes) == 1
            else ImageSpec(stats.channels, PREVIEW_SIZE, PREVIEW_SIZE)
        )
    return source.native_spec()


def _selected_classes(data: Data, source_classes: tuple[str, ...]) -> tuple[str, ...]:
    for name in data.classes or ():
        if name not in source_classes:
            raise SourceError(
                "the data has no such class",
                where="data.classes",
                received=name,
                allowed=comma_separated(source_classes),
                next_step=did_you_mean(name, source_classes) or "take a name from the list",
            )
    return data.classes or source_classes


def _image_spec(data: Data, source: DataSource) -> ImageSpec:
    if data.size is not None and isinstance(source, ImageFolder):
        # With a size from the recipe, images may have different sizes.
        return ImageSpec(data.channels or source.scan_headers().channels, *data.size, data.interpolation, data.fit)
    own = source.native_spec()
    return ImageSpec(data.channels or own.channels, *(data.size or own.shape[1:]), data.interpolation, data.fit)


def _given_stats(data: Data, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if data.normalize in (None, "data"):
        return None
    mean, std = data.normalize
    if len(mean) != channels:
        raise SourceError(
            "the means and standard deviations are not one for each channel",
            where="data.normalize",
            received=f"{len(mean)} for images of {channels} channels",
            allowed=f"two lists of {channels}, or 'data'",
            next_step="give one number a channel, or set data.channels",
        )
    return mean, std
