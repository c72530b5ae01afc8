"""Files that are there whole or not at all, and journals that lose no line."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.atomic_io import append_line, atomic_write
from cnnlab.errors import RunError


@given(content=st.binary(max_size=200), older=st.none() | st.binary(max_size=200))
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, older: bytes | None
) -> None:
    path = tmp_path_factory.mktemp("file") / "x.json"
    if older is not None:
        path.write_bytes(older)
    atomic_write(path, content)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_older_file_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), full)
    with pytest.raises(RunError) as caught:
        atomic_write(path, b"new")
    monkeypatch.undo()
    assert str(caught.value) == (
        f"{path}: this file can't be written: No space left on device\n"
        "  next:     free some space, or choose another folder with --runs"
    )
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_caller_advises(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        atomic_write(tmp_path / "missing" / "x.html", b"new", next_step="choose another place with --page")
    assert str(caught.value).endswith(
        "can't be written: No such file or directory\n  next:     choose another place with --page"
    )


def test_an_interruption_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "x.json", b"new")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [lambda path: atomic_write(path, b"new"), lambda path: append_line(path, "new")])
def test_a_folder_that_is_none_is_a_run_error(tmp_path: Path, write: object) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="this file can't be written: Not a directory"):
        write(tmp_path / "file" / "x.json")


@given(lines=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)))
def test_appended_lines_are_read_back(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("journal") / "x.jsonl"
    for line in lines:
        append_line(path, line)
    assert (path.read_bytes() if lines else b"") == "".join(f"{line}\n" for line in lines).encode()


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": ')
    append_line(path, '{"a": 3}')
    assert path.read_bytes() == b'{"a": 1}\n{"a": \n{"a": 3}\n'


@pytest.mark.parametrize(("call", "number"), [("fsync", errno.EINVAL), ("open", errno.EACCES)])
def test_a_folder_that_can_not_be_synced_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """The file itself is synced, and in its place."""
    real, synced = getattr(os, call), []

    def refusing(what: Any, *rest: Any) -> Any:
        is_folder = os.path.isdir(what) if call == "open" else stat.S_ISDIR(os.fstat(what).st_mode)  # noqa: PTH112
        synced.append(is_folder)
        if is_folder:
            raise OSError(number, os.strerror(number))
        return real(what, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refusing)
        atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert synced == ([True] if call == "open" else [False, True])
