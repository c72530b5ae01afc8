"""One process writes to a run folder at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnnlab.errors import RunError
from cnnlab.runs.locking import locked


def test_a_held_folder_is_refused_with_the_holders_process(tmp_path: Path) -> None:
    refusal = f"{tmp_path}: process {os.getpid()} is working in this run\n  next:     wait for it to end"
    with locked(tmp_path):
        for _ in range(2):
            with pytest.raises(RunError) as caught, locked(tmp_path):
                pass
            assert str(caught.value) == refusal


def test_the_lock_goes_with_an_error_and_names_the_next_holder(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("123456789")
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_folder_that_cannot_be_written_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(RunError) as caught, locked(tmp_path):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: this run can't be written to: Is a directory\n"
        "  next:     make its folder writable, or copy it to one that is"
    )
