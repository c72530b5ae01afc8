"""Files of weights: a person's own, and those that libraries publish, which are downloaded.

Published files are kept where the libraries keep them, in TORCH_HOME or in HF_HOME.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from cnnlab.context import LogFn
from cnnlab.errors import DownloadError

_LOCAL_FILE_HINT = "or give the weights as a file: weights='FILE'"


@dataclass(frozen=True)
class LocalFile:
    """A person's own file, of which nothing is published."""

    path: Path
    next_step: str = ""
    sha256_prefix: str = ""

    @property
    def label(self) -> str:
        return self.path.name

    @property
    def is_local(self) -> bool:
        return self.path.is_file()

    @property
    def megabytes(self) -> float | None:
        return _megabytes(self.path)

    def fetch(self, *, download: bool, log: LogFn) -> Path:  # noqa: ARG002
        """The path of the file; whoever reads it finds out whether it is there."""
        return self.path


@dataclass(frozen=True)
class UrlFile:
    """A file with an address, kept in TORCH_HOME.

    Attributes:
        label: what it is, in words: "IMAGENET1K_V1 of torchvision's resnet18".
        published_megabytes: its size in 10⁶ bytes, None where the library doesn't say.
    """

    label: str
    url: str
    published_megabytes: float | None = None

    @property
    def path(self) -> Path:
        """Where it is kept, or will be."""
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(self.url).path).name

    @property
    def is_local(self) -> bool:
        return self.path.is_file()

    @property
    def megabytes(self) -> float | None:
        """Its size in 10⁶ bytes, None where it is not known before a download."""
        return self.published_megabytes or _megabytes(self.path)

    @property
    def next_step(self) -> str:
        """What to do where it is damaged."""
        return f"delete it: it will be downloaded again; or, {self._manual_step()}"

    @property
    def sha256_prefix(self) -> str:
        """The first digits of its SHA-256, which torch's files have in their names; "" where it has none."""
        found = re.search(r"-([0-9a-f]{8,})\.", self.path.name)
        return found[1] if found else ""

    def fetch(self, *, download: bool, log: LogFn) -> Path:
        """The path of the file, downloaded unless it is kept. What is kept is not checked.

        Raises:
            DownloadError: it is not at hand and can't or mustn't be downloaded; or what came is another file.
        """
        path = self.path
        if path.is_file():
            return path
        if not download:
            raise self._missing_error("downloads are switched off")
        log(f"downloading {path.name}{self._size_text()} to {path.parent}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # What torchvision itself calls; its other half would read the file as a pickle that may run programs.
            torch.hub.download_url_to_file(
                self.url, str(path), self.sha256_prefix or None, progress=sys.stderr.isatty()
            )
        # RuntimeError is torch's for a wrong checksum; a store that can't be written is an OSError, too.
        except (RuntimeError, OSError, http.client.HTTPException) as error:
            raise self._missing_error(f"{urlsplit(self.url).netloc or self.url}: {error}") from None
        return path

    def _missing_error(self, received: str) -> DownloadError:
        return _missing_error(self.label, str(self.path), received, self._manual_step())

    def _manual_step(self) -> str:
        step = f"where there is a network, download {self.url}{self._size_text()}, and put it at {self.path}"
        return f"{step}; {_LOCAL_FILE_HINT}"

    def _size_text(self) -> str:
        return "" if self.published_megabytes is None else f" ({self.published_megabytes:.1f} MB)"


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hugging Face hub, kept in HF_HOME; used as `UrlFile` is.

    Attributes:
        filenames: in order of preference.
    """

    label: str
    repository: str
    revision: str | None
    filenames: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where it is kept, or the folder that it will be kept in."""
        return self._cached() or self._store()

    @property
    def is_local(self) -> bool:
        return self._cached() is not None

    @property
    def megabytes(self) -> float | None:
        return _megabytes(self.path)

    @property
    def next_step(self) -> str:
        return "delete it: it will be downloaded again"

    @property
    def sha256_prefix(self) -> str:
        """The SHA-256 by which the hub's store names a large file."""
        stored = self.path.resolve().name
        return stored if re.fullmatch("[0-9a-f]{64}", stored) else ""

    def fetch(self, *, download: bool, log: LogFn) -> Path:
        cached = self._cached()
        if cached is not None:
            return cached
        if not download:
            raise self._missing_error("downloads are switched off")
        log(f"downloading {self.repository} from the Hugging Face hub to {self._store()}")
        errors = importlib.import_module("huggingface_hub.utils")
        for filename in self.filenames:
            try:
                return Path(_hub().hf_hub_download(self.repository, filename, revision=self.revision))
            except (OSError, ValueError) as error:
                is_absent = isinstance(error, errors.EntryNotFoundError)
                if not is_absent or isinstance(error, errors.LocalEntryNotFoundError):
                    # The hub's own text is advice; what happened is the cause.
                    cause = error.__cause__ or error
                    raise self._missing_error(str(cause).strip().partition("\n")[0]) from None
        raise self._missing_error(f"there is no {' and no '.join(self.filenames)}")

    def _cached(self) -> Path | None:
        for filename in self.filenames:
            found = _hub().try_to_load_from_cache(self.repository, filename, revision=self.revision)
            if isinstance(found, str):
                return Path(found)
        return None

    def _store(self) -> Path:
        return Path(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE)

    def _missing_error(self, received: str) -> DownloadError:
        download = f"where there is a network, `hf download {self.repository} {self.filenames[0]}`"
        step = f"{download}, and copy what it leaves in HF_HOME to {self._store()}; {_LOCAL_FILE_HINT}"
        return _missing_error(self.label, self.repository, received, step)


WeightsFile = LocalFile | UrlFile | HubFile


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in 64 hexadecimal digits; it is read again only when it changes."""
    about = path.stat()
    return _read_sha256(path.resolve(), about.st_size, about.st_mtime_ns, about.st_ino)


@lru_cache(maxsize=64)
def _read_sha256(path: Path, *_changes_with: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _megabytes(path: Path) -> float | None:
    return path.stat().st_size / 1e6 if path.is_file() else None


def _missing_error(label: str, where: str, received: str, next_step: str) -> DownloadError:
    return DownloadError(f"the weights {label} are not at hand", where=where, received=received, next_step=next_step)


def _hub() -> Any:
    return importlib.import_module("huggingface_hub")
