"""Settings that environment variables give."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """Where decoded images and downloads are kept: CNNLAB_CACHE, or the user's cache folder."""
    return Path(os.environ.get("CNNLAB_CACHE") or platformdirs.user_cache_dir("cnnlab"))


def is_offline() -> bool:
    """Whether CNNLAB_OFFLINE forbids downloads."""
    return os.environ.get("CNNLAB_OFFLINE", "").lower() not in ("", "0", "false", "no")
