"""Files of weights: a person's own, and those that libraries publish, which are downloaded.

Published files are kept where the libraries keep them, in TORCH_HOME or in HF_HOME.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import torch

from cnnlab.context import LogFn
from cnnlab.errors import DownloadError


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights, here or to be downloaded.

    Attributes:
        label: what it is, in words: "IMAGENET1K_V1 of torchvision's resnet18".
        path: where it is kept, or will be; before a download from the hub, the hub's folder.
        where: what an error names: the path, or the repository of the hub.
        what: what is downloaded, with its size, and to where.
        manual_step: how to get it by hand.
        download: downloads it, and gives its path; an OSError says why it failed. None: it is a person's own file.
        published_megabytes: its size in 10⁶ bytes, None where the library doesn't say.
    """

    label: str
    path: Path
    where: str = ""
    what: str = ""
    manual_step: str = ""
    download: Callable[[], Path] | None = None
    published_megabytes: float | None = None

    @property
    def is_local(self) -> bool:
        return self.path.is_file()

    @property
    def is_own(self) -> bool:
        """Whether it is a person's own file, of which nothing is published."""
        return self.download is None

    @property
    def megabytes(self) -> float | None:
        """Its size in 10⁶ bytes, None where it is not known before a download."""
        return self.published_megabytes or (self.path.stat().st_size / 1e6 if self.is_local else None)

    def sha256_prefix(self, path: Path) -> str:
        """The published first digits of its SHA-256: torch has them in a file's name, the hub names its files by all.

        "" where none are published.
        """
        found = re.search(r"-([0-9a-f]{8,})\.", path.name) or re.fullmatch("([0-9a-f]{64})", path.resolve().name)
        return found[1] if found and not self.is_own else ""

    def fetch(self, *, download: bool, log: LogFn) -> Path:
        """The path of the file, downloaded unless it is kept. What is kept, or is a person's own, is not checked.

        Raises:
            DownloadError: it is not on disk and can't or may not be downloaded; or another file came.
        """
        if self.is_local or self.download is None:
            return self.path
        received = "downloads are switched off"
        if download:
            log(f"downloading {self.what}")
            try:
                return self.download()
            except OSError as error:
                received = str(error)
        raise DownloadError(
            f"the weights {self.label} are not on disk",
            where=self.where,
            received=received,
            next_step=f"{self.manual_step}; or give the weights as a file: weights='FILE'",
        )


def own_file(path: Path) -> WeightsFile:
    """A person's own file of weights."""
    return WeightsFile(path.name, path)


def url_file(label: str, url: str, megabytes: float | None = None) -> WeightsFile:
    """A file with an address, kept in TORCH_HOME."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    size = "" if megabytes is None else f" ({megabytes:.1f} MB)"

    def download() -> Path:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # What torchvision itself calls; its other half would read the file as a pickle that may run programs.
            digits = file.sha256_prefix(path) or None
            torch.hub.download_url_to_file(url, str(path), digits, progress=sys.stderr.isatty())
        # RuntimeError is torch's for a wrong checksum; a store that can't be written is an OSError, too.
        except (RuntimeError, OSError, http.client.HTTPException) as error:
            raise OSError(f"{urlsplit(url).netloc or url}: {error}") from None
        return path

    step = f"where there is a network, download {url}{size}, and put it at {path}"
    file = WeightsFile(label, path, str(path), f"{path.name}{size} to {path.parent}", step, download, megabytes)
    return file


def hub_file(label: str, repository: str, revision: str | None, filenames: Sequence[str]) -> WeightsFile:
    """A file in a repository of the Hugging Face hub, kept in HF_HOME.

    Args:
        filenames: in order of preference.
    """
    hub, errors = importlib.import_module("huggingface_hub"), importlib.import_module("huggingface_hub.utils")
    store = Path(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE)
    cached = (hub.try_to_load_from_cache(repository, filename, revision=revision) for filename in filenames)
    path = next((Path(found) for found in cached if isinstance(found, str)), store)

    def download() -> Path:
        for filename in filenames:
            try:
                return Path(hub.hf_hub_download(repository, filename, revision=revision))
            except (OSError, ValueError) as error:
                is_absent = isinstance(error, errors.EntryNotFoundError)
                if not is_absent or isinstance(error, errors.LocalEntryNotFoundError):
                    # The hub's own text is advice; what happened is the cause.
                    cause = error.__cause__ or error
                    raise OSError(str(cause).strip().partition("\n")[0]) from None
        raise OSError(f"there is no {' and no '.join(filenames)}")

    step = f"where there is a network, `hf download {repository} {filenames[0]}`"
    step = f"{step}, and copy what it leaves in HF_HOME to {store}"
    return WeightsFile(label, path, repository, f"{repository} from the Hugging Face hub to {store}", step, download)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in 64 hexadecimal digits; it is read again only when it changes."""
    about = path.stat()
    return _read_sha256(path.resolve(), about.st_size, about.st_mtime_ns, about.st_ino)


@lru_cache(maxsize=64)
def _read_sha256(path: Path, *_changes_with: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
