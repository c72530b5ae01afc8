"""Files of the cache: each is made by one process, and removed when room is needed and no process uses it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cnnlab.data.decoding import cache
from cnnlab.data.decoding.cache import CachedArray, evict, features_dir, get_or_create

ARRAY = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "cache"))


def kept(key: str, calls: list[str] | None = None) -> CachedArray:
    def fill(file: Path, start: int) -> None:
        if calls is not None:
            calls.append(key)
        np.memmap(file, np.float32, "r+", start, ARRAY.shape)[:] = ARRAY

    return get_or_create(features_dir() / f"{key}.npy", ARRAY.shape, np.float32, fill)


def names() -> list[str]:
    return sorted(path.stem for path in features_dir().glob("*.npy"))


def used_at(key: str, seconds: int) -> None:
    os.utime(features_dir() / f"{key}.npy", (seconds, seconds))


def test_an_array_is_made_once_and_found_again() -> None:
    calls: list[str] = []
    first, second = kept("a", calls), kept("a", calls)
    assert (first.created, second.created, calls) == (True, False, ["a"])
    assert second.name == "a.npy"
    np.testing.assert_array_equal(second.array, ARRAY)
    assert not second.array.flags.writeable


def test_what_was_not_used_for_longest_goes_first() -> None:
    for number, key in enumerate("abc"):
        kept(key)
        used_at(key, number)
    kept("a")  # it is used again
    size = (features_dir() / "a.npy").stat().st_size
    evict(features_dir(), 2 * size)
    assert names() == ["a", "c"]
    evict(features_dir(), 2 * size)
    assert names() == ["a", "c"]
    evict(features_dir(), 0)
    assert names() == []


def test_what_is_in_use_stays() -> None:
    held = kept("a")
    kept("b")
    used_at("a", 0)
    evict(features_dir(), 0)
    assert names() == ["a"]
    np.testing.assert_array_equal(held.array, ARRAY)
    del held
    evict(features_dir(), 0)
    assert names() == []


def left(name: str, age: float = 0) -> Path:
    path = features_dir() / name
    path.write_bytes(b"x")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_half_written_files_and_old_locks_are_removed() -> None:
    kept("a")
    left(".killed.new", 100)
    left(".just-begun.new")
    left("old.lock", 100_000)
    left("new.lock", 100)
    with left(".being-written.new", 100).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        evict(features_dir(), 10**9)
    assert {path.name for path in features_dir().iterdir()} == {
        ".just-begun.new", ".being-written.new", "a.lock", "a.npy", "new.lock"
    }  # fmt: skip


def test_what_is_being_written_is_locked_and_counts() -> None:
    kept("a")
    seen = []

    def fill(file: Path, start: int) -> None:
        with file.open("rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        np.memmap(file, np.float32, "r+", start, ARRAY.shape)[:] = ARRAY
        size = (features_dir() / "a.npy").stat().st_size
        evict(features_dir(), size + 1)
        seen.extend(names())

    found = get_or_create(features_dir() / "b.npy", ARRAY.shape, np.float32, fill)
    assert seen == []
    np.testing.assert_array_equal(found.array, ARRAY)


def test_room_on_the_disk_is_made_before_a_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    kept("a")
    monkeypatch.setattr(cache, "free_disk_bytes", lambda: 10)
    kept("b")
    assert names() == ["b"]


def test_of_two_processes_one_makes_it() -> None:
    script = (
        "import sys, time, numpy as np\n"
        "from cnnlab.data.decoding.cache import features_dir, get_or_create\n"
        "def fill(file, start):\n"
        "    time.sleep(0.5)\n"
        "    np.memmap(file, np.float32, 'r+', start, (4, 3))[:] = 1\n"
        "print(get_or_create(features_dir() / 'a.npy', (4, 3), np.float32, fill).created)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate()[0].strip() for process in running) == ["False", "True"]
