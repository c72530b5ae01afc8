"""Rows named by a pattern."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

T = TypeVar("T")


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern names a row, or one around it; `*` stands for any text, dots included.

    >>> matches("residual1", "residual1.body.conv1"), matches("*.conv1", "residual1.body.conv1")
    (True, True)
    """
    pieces = name.split(".")
    return any(fnmatchcase(".".join(pieces[:size]), pattern) for size in range(1, len(pieces) + 1))


def last_match(patterns: Mapping[str, T], name: str, default: T) -> T:
    """What the last of the patterns that name a row says; `default` where none does."""
    found = [value for pattern, value in patterns.items() if matches(pattern, name)]
    return found[-1] if found else default
