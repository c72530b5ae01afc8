"""Oracles that are as quick as they can be."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _no_garbage_is_collected_by_oracles() -> Iterator[None]:
    """`multipletests` of statsmodels collects all garbage in each call, a quarter of a second with torch loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda *_: 0)
        yield
