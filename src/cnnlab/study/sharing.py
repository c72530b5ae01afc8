"""Whether several machines see one runs folder: each looks for a file of the other."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnlab.errors import RunError
from cnnlab.study.work import CLAIMS

# A network file system shows other machines' files after some seconds.
SEEN_WITHIN_S = 10.0
PATIENCE_S = 0.2


@contextmanager
def shared(runs: Path) -> Iterator[Path]:
    """A file in the runs folder by which a node can tell that it sees the same folder."""
    folder = runs / CLAIMS
    token = folder / f"shared-{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        token.write_text("this study's nodes look for this file")
    except OSError as error:
        step = "choose another with --runs"
        what = f"the runs folder can't be written to: {error.strerror}"
        raise RunError(what, where=str(runs), next_step=step) from None
    try:
        yield token
    finally:
        for path in folder.glob(f"{token.name}*"):
            path.unlink(missing_ok=True)


def answer(token: Path, node: str) -> str:
    """On a node: a file beside the token, by its name; none where the token is not seen, or nothing can be written."""
    found = token.with_name(f"{token.name}-{node}")
    try:
        if not is_seen(token):
            return ""
        found.write_text(node)
        return found.name
    except OSError:
        return ""


def is_seen(path: Path) -> bool:
    """Whether a file is there, or comes within some seconds."""
    ends = time.monotonic() + SEEN_WITHIN_S
    while not path.exists():
        if time.monotonic() > ends:
            return False
        time.sleep(PATIENCE_S)
    return True
