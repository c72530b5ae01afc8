"""Settings from environment variables."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """Return the folder of decoded images and downloads: CNNLAB_CACHE, or the user's cache folder."""
    return Path(os.environ.get("CNNLAB_CACHE") or platformdirs.user_cache_dir("cnnlab"))


def is_offline() -> bool:
    """Return whether CNNLAB_OFFLINE forbids downloads."""
    return os.environ.get("CNNLAB_OFFLINE", "").lower() not in ("", "0", "false", "no")
