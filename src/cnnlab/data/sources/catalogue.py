"""The data sets that are known by name: what they are, whether they are at hand, and how to get them.

`facts` needs no file, no network and no heavy import. A data folder is searched for whatever someone already has:
unpacked folders, archives, torchvision's layout, or what `open_catalogue` downloaded before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlab.data.sources.releases import CATALOGUE, Facts, Form, RemoteFile
from cnnlab.errors import CnnlabError, DownloadError, SourceError, listed, nearest

if TYPE_CHECKING:
    from cnnlab.data.sources.base import Progress, Source
    from cnnlab.data.sources.download import Patience

GENERATED = "shapes"


def facts(name: str) -> Facts:
    """What is known about a data set without any of its files.

    >>> facts("cifar10").counts["train"]
    50000

    Raises:
        SourceError: no data set has this name.
    """
    if name not in CATALOGUE:
        raise SourceError(
            "no data set of the catalogue has this name",
            received=name,
            allowed=listed(CATALOGUE),
            next_step=nearest(name, CATALOGUE) or "give a folder or an archive of class folders",
        )
    return CATALOGUE[name]


def open_catalogue(
    name: str,
    root: Path | Sequence[Path],
    *,
    download: bool = True,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Source:
    """The data set as a Source: from what lies under `root`, else downloaded into the first of its folders.

    Args:
        root: the data folder, or several that are searched in order.
        download: whether it may be downloaded; with the environment's CNNLAB_OFFLINE=1 it never is.
        progress: is told about the download.
        patience: how long to wait for mirrors.

    Raises:
        SourceError: no data set has this name.
        DownloadError: it is not at hand and can't or mustn't be downloaded; it says which file to get from where,
            and where to put it.
    """
    return open_facts(facts(name), root, download=download, progress=progress, patience=patience)


def open_facts(
    known: Facts,
    root: Path | Sequence[Path],
    *,
    download: bool = True,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Source:
    """The same as `open_catalogue` for a data set whose facts are given."""
    from cnnlab.data.sources.published import PublishedSource
    from cnnlab.data.sources.shapes import ShapesSource

    if known.name == GENERATED:
        return ShapesSource()
    roots = _roots(root)
    found = next(_places(known, roots), None)
    if found is None:
        if not download or is_offline():
            raise _offline_error(known, roots)
        _download(known, roots[0], progress, patience)
        found = next(_places(known, roots))
    return PublishedSource(known, *found)


def find_at_hand(name: str, roots: Path | Sequence[Path]) -> Path | None:
    """The folder or archive from which the data set would be read, or None; nothing is opened.

    `shapes` is made, never read: None.
    """
    found = next(_places(facts(name), _roots(roots)), None)
    return found[1] if found else None


def download_seconds(name: str, seconds: float = 3.0) -> float | None:
    """How long the download would take, in seconds, as its mirrors answer now; None offline or where none answers.

    Args:
        seconds: how long this question itself may take.
    """
    from cnnlab.data.sources.download import reachable

    known = facts(name)
    if is_offline():
        return None
    for form in known.forms:
        files = _needed(form)
        rate = reachable(max(files, key=lambda file: file.size), seconds / len(known.forms))
        if rate:
            return sum(file.size for file in files) / rate
    return None


def is_offline() -> bool:
    """Whether the environment's CNNLAB_OFFLINE forbids downloads."""
    return os.environ.get("CNNLAB_OFFLINE", "").lower() not in ("", "0", "false", "no")


def _roots(root: Path | Sequence[Path]) -> list[Path]:
    return [root] if isinstance(root, Path) else list(root)


def _places(known: Facts, roots: Sequence[Path]) -> Iterator[tuple[Form, Path]]:
    """Where the data set lies, best first: unpacked before packed, since it reads faster."""
    for root in roots:
        own = root / known.name
        for form in known.forms:
            folders = [*(base / folder for base in (root, own) for folder in form.folders), own]
            yield from ((form, folder) for folder in folders if _holds_all(folder, form))
        for form in known.forms:
            if form.archive:
                archives = (base / form.archive.name for base in (root, own))
                yield from ((form, archive) for archive in archives if archive.is_file())


def _holds_all(folder: Path, form: Form) -> bool:
    names = [name for part_names in form.files.values() for name in part_names]
    return all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in names)


def _needed(form: Form) -> tuple[RemoteFile, ...]:
    return (form.archive,) if form.archive else form.downloads


def _download(known: Facts, root: Path, progress: Progress | None, patience: Patience | None) -> None:
    """The first form that can be had, into the data set's own folder."""
    from cnnlab.data.sources.base import silent
    from cnnlab.data.sources.download import Patience, fetch

    failures: list[CnnlabError] = []
    for form in known.forms:
        try:
            for file in _needed(form):
                fetch(file, root / known.name, progress or silent, patience or Patience())
            return
        except DownloadError as failed:
            failures.append(failed)
    raise DownloadError.together(problem for failed in failures for problem in failed.problems)


def _offline_error(known: Facts, roots: Sequence[Path]) -> DownloadError:
    from cnnlab.data.sources.download import by_hand

    form = known.forms[0]
    folder = roots[0] / known.name
    names = [file.name for form in known.forms for file in _needed(form)] + [form.folders[0] for form in known.forms]
    return DownloadError(
        f"{known.name} is not at hand, and downloads are off",
        where=", ".join(map(str, roots)),
        received="CNNLAB_OFFLINE is set" if is_offline() else "a call without download",
        allowed=f"{', '.join(names)}, in one of these folders",
        next_step="\n  ".join(by_hand(file, folder) for file in _needed(form)),
    )
