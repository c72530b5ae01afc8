"""The data of a recipe: a source, split and limited, with its statistics. No torch.

Nothing is decoded before it is asked for, and a test part that nobody asks for is never read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from cnnlab.data import catalogue
from cnnlab.data.cache import cache_dir
from cnnlab.data.catalogue_table import CATALOGUE
from cnnlab.data.folders import open_folder
from cnnlab.data.imagefiles import ImageFiles
from cnnlab.data.source import ImageForm, Indices, Labels, Part, Pixels, Progress, Source, silent
from cnnlab.data.splits import at_most, at_most_per_class, split, split_hash
from cnnlab.errors import SourceError, listed, nearest
from cnnlab.spec.recipe import Data

TEST_SHARE = 0.2
# One test set for every seed: what one run of a study tests on, no other run may have trained on.
TEST_SEED = 0
# Up to this size a source part is decoded and kept whole and each split takes its images out of it; above, each
# split is kept by itself, so that it can stay on disk.
WHOLE_BYTES = 2**30

SHOWN_SIDE = 64

_ORDER: tuple[Part, ...] = ("train", "validation", "test")
_CHUNK = 4096


@dataclass(frozen=True)
class Facts:
    """What a network needs to know of its data: images are channels×height×width."""

    channels: int
    height: int
    width: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A source with its parts as the recipe wants them.

    Attributes:
        name: the source's.
        classes: the class names; a label is an index into them.
        form: how images are decoded.
        indices: for each part that holds images, the source's part and the images' indices in it, sorted.
        given: mean and std as the recipe gives them; None where the training images decide.
    """

    name: str
    classes: tuple[str, ...]
    form: ImageForm
    indices: Mapping[Part, tuple[Part, Indices]]
    given: tuple[tuple[float, ...], tuple[float, ...]] | None
    source: Source = field(repr=False)
    progress: Progress = field(default=silent, repr=False)
    _kept: dict[str, Pixels] = field(default_factory=dict, repr=False, compare=False)

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for part in _ORDER if part in self.indices)

    @property
    def split_hash(self) -> str:
        """SHA-256 in hex over all parts' indices."""
        return split_hash({part: indices for part, (_, indices) in self.indices.items()})

    @property
    def mean(self) -> tuple[float, ...]:
        """Each channel's mean over the training images, of pixels from 0 to 1; or as the recipe gives it."""
        return (self.given or self._computed)[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Each channel's standard deviation, in the same units; 1 for a channel that is the same everywhere."""
        return (self.given or self._computed)[1]

    def size(self, part: Part) -> int:
        """How many images a part has; 0 for one that is not there."""
        return len(self.indices[part][1]) if part in self.indices else 0

    def labels(self, part: Part) -> Labels:
        """A label for each image of a part; shape N."""
        source_part, indices = self.indices[part]
        return _renumbered(self.source, self.classes, source_part)[indices]

    def image_names(self, part: Part) -> list[str]:
        """A name for each image of a part."""
        source_part, indices = self.indices[part]
        names = self.source.image_names(source_part)
        return [names[index] for index in indices]

    def pixels(self, part: Part) -> Pixels:
        """A part's images, uint8, N×C×H×W; decoded when first asked for, a read-only memory map where they are many.

        Raises:
            SourceError: some can't be decoded.
        """
        if part not in self._kept:
            self._kept[part] = self._decoded(part)
        return self._kept[part]

    def _decoded(self, part: Part) -> Pixels:
        source_part, indices = self.indices[part]
        whole = self._seen_together(source_part)
        if part == "test" or len(whole) * int(np.prod(self.form.shape)) > WHOLE_BYTES:
            return self.source.pixels(source_part, indices, self.form, self.progress)
        pixels = self.source.pixels(source_part, whole, self.form, self.progress)
        return pixels if len(indices) == len(whole) else pixels[np.searchsorted(whole, indices)]

    def _seen_together(self, source_part: Part) -> Indices:
        """All images of a source part that are no test images: the same for every seed, so kept once."""
        count = len(self.source.labels(source_part))
        test_part, test = self.indices.get("test", (None, np.arange(0)))
        everything = np.arange(count)
        return np.setdiff1d(everything, test, assume_unique=True) if test_part == source_part else everything

    @cached_property
    def _computed(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return mean_and_std(self.pixels("train"))


def open_dataset(
    data: Data, *, seed: int, root: Path | None = None, download: bool = True, progress: Progress = silent
) -> Dataset:
    """The data that a recipe's section describes.

    Args:
        seed: of the validation split and of `per_class` and `limit`; a test split is the same for every seed.
        root: the data folder; without it CNNLAB_DATA, then the cache folder.
        download: whether a catalogue's data set may be downloaded.

    Raises:
        SourceError: nothing is found, or it does not fit the section.
        DownloadError: a catalogue's data set is not at hand and can't be had.
    """
    source = open_source(data.source, root, download=download, progress=progress)
    classes = _chosen(data, source.classes)
    form = _form(data, source)
    indices = {part: found for part, found in _parts(data, source, classes, seed).items() if len(found[1])}
    return Dataset(source.name, classes, form, indices, _given(data, form.channels), source, progress)


def open_source(name: str, root: Path | None = None, *, download: bool = True, progress: Progress = silent) -> Source:
    """A catalogue's data set by its name, or a folder or archive by its path, seen from here or from the data folder.

    Raises:
        SourceError: it is neither; says the nearest catalogue name.
        DownloadError: a catalogue's data set is not at hand and can't be had.
    """
    if name in CATALOGUE:
        return catalogue.open_catalogue(name, data_roots(root), download=download, progress=progress)
    return open_folder(find_files(name, root))


def data_roots(root: Path | None = None) -> tuple[Path, ...]:
    """Where data is looked for: the given folder or CNNLAB_DATA, then the cache; downloads go to the first."""
    first = root or (Path(os.environ["CNNLAB_DATA"]) if os.environ.get("CNNLAB_DATA") else None)
    kept = cache_dir() / "data"
    return (first, kept) if first else (kept,)


def find_files(name: str, root: Path | None = None) -> Path:
    """The folder or file of this path, seen from here, then from the data folders.

    Raises:
        SourceError: there is none; says the nearest catalogue name.
    """
    for path in (Path(name), *(base / name for base in data_roots(root))):
        if path.exists():
            return path
    raise SourceError(
        "no data is found by this name",
        where="data.source",
        received=name,
        allowed=f"{listed(CATALOGUE)}, or the path of a folder or an archive of class folders",
        next_step=nearest(name, CATALOGUE) or "check the path",
    )


def facts(data: Data, root: Path | None = None) -> Facts:
    """What `describe` needs, cheaply: a catalogue's table, or a folder's listing and a few headers.

    Raises:
        SourceError: as `open_dataset`.
    """
    if data.source in CATALOGUE:
        known = catalogue.facts(data.source)
        channels, (height, width) = data.channels or known.channels, data.size or (known.height, known.width)
        return Facts(channels, height, width, _chosen(data, known.classes))
    source = open_folder(find_files(data.source, root))
    looked = source.glance()
    height, width = data.size or _size(source.form_of(looked))
    return Facts(data.channels or looked.channels, height, width, _chosen(data, source.classes))


def shown_form(source: Source) -> ImageForm:
    """The form in which a source's images can be shown side by side: their own, or a square for different sizes."""
    if isinstance(source, ImageFiles):
        looked = source.glance()
        return source.form_of(looked) if len(looked.sizes) == 1 else ImageForm(looked.channels, SHOWN_SIDE, SHOWN_SIDE)
    return source.natural_form()


def mean_and_std(pixels: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Each channel's mean and standard deviation (of the whole population), of pixels from 0 to 1, from exact sums.

    A channel that is the same everywhere gets 1 as its standard deviation, so that it can be divided by.
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


def _chosen(data: Data, known: tuple[str, ...]) -> tuple[str, ...]:
    for name in data.classes or ():
        if name not in known:
            raise SourceError(
                "the data has no such class",
                where="data.classes",
                received=name,
                allowed=listed(known),
                next_step=nearest(name, known) or "take a name from the list",
            )
    return data.classes or known


def _form(data: Data, source: Source) -> ImageForm:
    if data.size is not None and isinstance(source, ImageFiles):
        # With a size from the recipe, images of different sizes are no fault.
        return ImageForm(data.channels or source.look().channels, *data.size, data.interpolation)
    own = source.natural_form()
    return ImageForm(data.channels or own.channels, *(data.size or _size(own)), data.interpolation)


def _size(form: ImageForm) -> tuple[int, int]:
    return form.height, form.width


def _parts(data: Data, source: Source, classes: tuple[str, ...], seed: int) -> dict[Part, tuple[Part, Indices]]:
    """Each part's images: the source's own parts, or shares of its train part."""
    of = {part: _renumbered(source, classes, part) for part in source.parts}
    found: dict[Part, tuple[Part, Indices]] = {part: (part, np.flatnonzero(of[part] >= 0)) for part in source.parts}
    train, labels = found["train"][1], of["train"]
    if "test" not in found:
        share = TEST_SHARE if data.test is None else data.test
        kept, held_out = split(labels[train], share, TEST_SEED, "test part")
        found["test"], train = ("train", train[held_out]), train[kept]
    if "validation" not in found:
        kept, held_out = split(labels[train], data.validation, seed, "validation part")
        found["validation"], train = ("train", train[held_out]), train[kept]
    if data.per_class is not None:
        train = train[at_most_per_class(labels[train], data.per_class, seed, "per class")]
    if data.limit is not None:
        train = train[at_most(labels[train], data.limit, seed, "limit")]
    return {**found, "train": ("train", train)}


def _renumbered(source: Source, classes: tuple[str, ...], part: Part) -> Labels:
    """The labels of a source's part as indices into `classes`; -1 for an image of no chosen class."""
    number = {name: index for index, name in enumerate(classes)}
    table = np.array([number.get(name, -1) for name in source.classes], dtype=np.int64)
    return table[source.labels(part)]


def _given(data: Data, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if data.normalize == "data":
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
