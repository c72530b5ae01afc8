"""One process writes to a run folder at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnnlab.context import RunContext
from cnnlab.errors import RunError
from cnnlab.runs.run import resume_run
from cnnlab.storage.lock import locked
from cnnlab.storage.run_folder import RunFolder


def never(message: str) -> None:
    raise AssertionError(message)


def test_a_held_folder_is_refused_with_the_holders_process(tmp_path: Path) -> None:
    refusal = f"{tmp_path}: process {os.getpid()} is working in this run\n  next:     wait for it to end"
    with locked(tmp_path, never):
        for _ in range(2):
            with pytest.raises(RunError) as caught, locked(tmp_path, never):
                pass
            assert str(caught.value) == refusal


@pytest.mark.full
def test_a_run_that_another_process_works_on_is_refused_until_it_ends(own: RunFolder) -> None:
    code = (
        "import sys; from pathlib import Path; from cnnlab.storage.lock import locked\n"
        "with locked(Path(sys.argv[1]), print): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(own.path)]
    (own.path / "result.json").unlink()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunError) as caught:
            resume_run(own.path, RunContext(device="cpu"))
        other.stdin.close()
    assert str(caught.value) == (
        f"{own.path}: process {other.pid} is working in this run\n  next:     wait for it to end"
    )
    assert resume_run(own.path, RunContext(device="cpu")).result().status == "finished"


def test_the_lock_goes_with_an_error_and_names_the_next_holder(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("123456789")
    with pytest.raises(ZeroDivisionError), locked(tmp_path, never):
        raise ZeroDivisionError
    with locked(tmp_path, never):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_folder_that_cannot_be_written_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(RunError) as caught, locked(tmp_path, never):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: this run can't be written to: Is a directory\n"
        "  next:     make its folder writable, or copy the run"
    )


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    messages: list[str] = []
    with locked(tmp_path, messages.append):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert messages == [
        f"{tmp_path} can't be locked (No locks available): make sure that no other process writes to this run"
    ]
