"""The test-set ledger: every opening of a test set is a line in `test-ledger.jsonl` in the runs folder. No torch."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from cnnlab.atomic_io import append_line
from cnnlab.records import LedgerEntry

LEDGER = "test-ledger.jsonl"


def record_opening(runs: Path, run: str, test_set: str, purpose: str) -> None:
    """Record that a run opens a test set, before it does."""
    opening = LedgerEntry(time=time.strftime("%Y-%m-%dT%H:%M:%S%z"), run=run, test_set=test_set, purpose=purpose)
    append_line(runs / LEDGER, opening.to_json())


def openings(runs: Path, test_set: str) -> list[LedgerEntry]:
    """The openings of a test set, oldest first, without lines that were cut off."""
    path = runs / LEDGER
    entries = []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        with suppress(ValidationError):
            entries.append(LedgerEntry.from_json(line))
    return [entry for entry in entries if entry.test_set == test_set]
