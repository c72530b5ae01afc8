"""Files of weights from their addresses, kept where torch keeps them, so that every program has them once."""

from __future__ import annotations

import hashlib
import http.client
import re
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import torch

from cnnlab.errors import DownloadError

LogFn = Callable[[str], None]
LOCAL_FILE_HINT = "or give the weights as a file: weights='FILE'"


@dataclass(frozen=True)
class PublishedWeights:
    """A file of weights that a library publishes.

    Attributes:
        label: what it is, in words: "IMAGENET1K_V1 of torchvision's resnet18".
        megabytes: its size in 10⁶ bytes, None where the library doesn't say.
    """

    label: str
    url: str
    megabytes: float | None = None

    @property
    def path(self) -> Path:
        """Where it is kept: in TORCH_HOME's hub/checkpoints."""
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(self.url).path).name

    @property
    def sha256_prefix(self) -> str:
        """The first digits of the file's SHA-256, which torch's files have in their names; "" where it has none."""
        found = re.search(r"-([0-9a-f]{8,})\.", self.path.name)
        return found[1] if found else ""

    def manual_instructions(self) -> str:
        """What a person does where the program can't."""
        size = "" if self.megabytes is None else f" ({self.megabytes:.1f} MB)"
        return f"where there is a network, download {self.url}{size}, and put it at {self.path}; {LOCAL_FILE_HINT}"


def fetch_weights(published: PublishedWeights, *, download: bool, log: LogFn) -> Path:
    """The path of the file, downloaded unless it is there. What is there is not checked.

    Raises:
        DownloadError: it is not at hand, and can't or mustn't be downloaded; or what came is another file.
    """
    path = published.path
    if path.is_file():
        return path
    if not download:
        raise missing_weights_error(
            published.label, str(path), "downloads are switched off", published.manual_instructions()
        )
    size = "" if published.megabytes is None else f" ({published.megabytes:.1f} MB)"
    log(f"downloading {path.name}{size} to {path.parent}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What torchvision itself calls; its other half would read the file as a pickle that may run programs.
        torch.hub.download_url_to_file(
            published.url, str(path), published.sha256_prefix or None, progress=sys.stderr.isatty()
        )
    except RuntimeError as error:  # torch's word for a wrong checksum
        what = f"what came is not {path.name}"
        raise DownloadError(
            what,
            where=published.url,
            received=str(error),
            next_step=f"try again, or, {published.manual_instructions()}",
        ) from None
    except (URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
        raise missing_weights_error(
            published.label, str(path), _describe_error(error, published.url), published.manual_instructions()
        ) from None
    except OSError as error:
        raise DownloadError(
            f"this file can't be written: {error.strerror or error}",
            where=str(path),
            next_step="make room, or set TORCH_HOME to another folder",
        ) from None
    return path


def missing_weights_error(label: str, where: str, received: str, next_step: str) -> DownloadError:
    """The error about weights that are not on this machine."""
    return DownloadError(f"the weights {label} are not at hand", where=where, received=received, next_step=next_step)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_error(error: Exception, url: str) -> str:
    host = urlsplit(url).netloc or url
    if isinstance(error, HTTPError):
        error.close()
        return f"{host} answered {error.code} {error.reason}"
    reason = error.reason if isinstance(error, URLError) else error
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return f"{host} can't be reached: {text}"
