"""The data sets that are known by name: what they are, whether they are on disk, and how to get them.

`dataset_info` needs no file, no network and no heavy import. A data folder is searched for whatever someone already
has: unpacked folders, archives, torchvision's layout, or what `open_published` downloaded before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlab.data.sources.releases import CATALOGUE, DatasetInfo, Release, RemoteFile, find_file
from cnnlab.errors import DownloadError, Problem, SourceError, comma_separated, did_you_mean
from cnnlab.settings import is_offline

if TYPE_CHECKING:
    from cnnlab.context import ProgressCallback
    from cnnlab.data.sources.base import DataSource

GENERATED = "shapes"


def dataset_info(name: str) -> DatasetInfo:
    """What is known about a data set without any of its files.

    >>> dataset_info("cifar10").split_sizes["train"]
    50000

    Raises:
        SourceError: no data set has this name.
    """
    if name not in CATALOGUE:
        raise SourceError(
            "no data set of the catalogue has this name",
            received=name,
            allowed=comma_separated(CATALOGUE),
            next_step=did_you_mean(name, CATALOGUE) or "give a folder or an archive of class folders",
        )
    return CATALOGUE[name]


def open_published(
    info: DatasetInfo,
    roots: Sequence[Path],
    *,
    download: bool = True,
    progress: ProgressCallback | None = None,
    timeout_s: float | None = None,
) -> DataSource:
    """Open a data set from the data folders `roots`, or downloaded into the first of them.

    Args:
        download: whether it may be downloaded; with CNNLAB_OFFLINE=1 in the environment it never is.
        progress: reports the download.
        timeout_s: seconds without a byte after which a mirror is left; None: ten.

    Raises:
        DownloadError: it is not on disk and can't or may not be downloaded; names the files, their
            addresses, and where to put them.
    """
    from cnnlab.data.sources.published import PublishedSource
    from cnnlab.data.sources.shapes import ShapesSource

    if info.name == GENERATED:
        return ShapesSource()
    if next(_local_copies(info, roots), None) is None:
        if not download or is_offline():
            raise _offline_error(info, roots)
        _download(info, roots[0], progress, timeout_s)
    return PublishedSource(info, *next(_local_copies(info, roots)))


def find_local(name: str, roots: Sequence[Path]) -> Path | None:
    """The folder or archive from which the data set would be read, or None; nothing is opened.

    `shapes` is generated, never read: None.
    """
    copy = next(_local_copies(dataset_info(name), roots), None)
    return copy[1] if copy else None


def _local_copies(info: DatasetInfo, roots: Sequence[Path]) -> Iterator[tuple[Release, Path]]:
    """Where the data set is, best first: unpacked before packed, since it reads faster."""
    for root in roots:
        own = root / info.name
        for release in info.releases:
            names = [name for split_names in release.files.values() for name in split_names]
            for folder in (*(base / folder for base in (root, own) for folder in release.folders), own):
                if all(find_file(folder, name) for name in names):
                    yield release, folder
        for release in info.releases:
            if release.archive:
                archives = (base / release.archive.name for base in (root, own))
                yield from ((release, archive) for archive in archives if archive.is_file())


def _required_files(release: Release) -> tuple[RemoteFile, ...]:
    return (release.archive,) if release.archive else release.downloads


def _download(info: DatasetInfo, root: Path, progress: ProgressCallback | None, timeout_s: float | None) -> None:
    """Download the first release that can be downloaded into the data set's own folder."""
    from cnnlab.context import no_op
    from cnnlab.data.sources.download import fetch

    problems: list[Problem] = []
    for release in info.releases:
        try:
            for file in _required_files(release):
                fetch(file, root / info.name, progress or no_op, timeout_s)
            return
        except DownloadError as failed:
            problems += failed.problems
    raise DownloadError.from_problems(problems)


def _offline_error(info: DatasetInfo, roots: Sequence[Path]) -> DownloadError:
    from cnnlab.data.sources.download import manual_download_text

    folder = roots[0] / info.name
    names = [file.name for release in info.releases for file in _required_files(release)]
    names += [release.folders[0] for release in info.releases]
    return DownloadError(
        f"{info.name} is not on disk, and downloads are off",
        where=", ".join(map(str, roots)),
        received="CNNLAB_OFFLINE is set" if is_offline() else "a call without download",
        allowed=f"{', '.join(names)}, in one of these folders",
        next_step="\n  ".join(manual_download_text(file, folder) for file in _required_files(info.releases[0])),
    )
