from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnlab.data.decoding import cache as decoding_cache
from cnnlab.data.decoding.cache import cached_json, cached_pixels, pixels_key
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.image_folder import open_folder
from cnnlab.errors import CnnlabError, SourceError
from cnnlab.settings import cache_dir

SPEC = ImageSpec(3, 2, 2)


class Filler:
    """Writes known pixels, and counts how often it is asked to."""

    def __init__(self, count: int = 5) -> None:
        self.array = np.arange(count * 12, dtype=np.uint8).reshape(count, 3, 2, 2)
        self.calls = 0

    def __call__(self, file: Path, start: int) -> None:
        self.calls += 1
        with file.open("r+b") as opened:
            opened.seek(start)
            opened.write(self.array.tobytes())


def kept(folder: Path) -> list[Path]:
    """The files of the cache but its locks."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_pixels_are_made_once(cache):
    fill = Filler()
    for _ in range(3):
        found = cached_pixels("a", 5, SPEC, fill)
        np.testing.assert_array_equal(found, fill.array)
    assert fill.calls == 1
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    assert [path.name for path in kept(cache)] == ["a.npy"]
    np.testing.assert_array_equal(np.load(cache / "images" / "a.npy"), fill.array)
    assert cached_pixels("none", 0, SPEC, Filler(0)).shape == (0, 3, 2, 2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_or_cut_file_is_made_again(cache, data):
    fill = Filler()
    (cache / "images" / "a.npy").unlink(missing_ok=True)
    cached_pixels("a", 5, SPEC, fill)
    (path,) = kept(cache)
    content = bytearray(path.read_bytes())
    whole = bytes(content)
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[place:]
    path.write_bytes(content)
    np.testing.assert_array_equal(cached_pixels("a", 5, SPEC, fill), fill.array)
    assert path.read_bytes() == whole
    assert fill.calls == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SourceError("bad"), OSError(28, "No space left on device")])
def test_when_filling_fails_nothing_is_left_behind(cache, error):
    def fail(_file: Path, _start: int) -> None:
        raise error

    with pytest.raises((KeyboardInterrupt, CnnlabError), match=r"bad|received: No space left on device|^$"):
        cached_pixels("a", 5, SPEC, fail)
    assert kept(cache) == []


def test_a_cache_that_can_not_be_written_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(CnnlabError) as caught:
        cached_pixels("a", 5, SPEC, Filler())
    (problem,) = caught.value.problems
    assert (problem.where, problem.received) == (str(tmp_path / "file" / "images"), "Not a directory")
    assert "can't be kept" in problem.what
    assert "CNNLAB_CACHE" in problem.next_step


def test_what_reads_back_differently_is_an_error(monkeypatch):
    numbers = iter(range(9))
    monkeypatch.setattr(decoding_cache, "_checksum", lambda *_: next(numbers))
    with pytest.raises(CnnlabError, match="reads back differently"):
        cached_pixels("a", 5, SPEC, Filler())


def test_the_cache_folder_is_the_environments_or_the_users(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("CNNLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir().is_relative_to(tmp_path)
    assert cache_dir().name == "cnnlab"


SPECS = [SPEC, ImageSpec(1, 2, 2), ImageSpec(3, 2, 4), ImageSpec(3, 4, 2), ImageSpec(3, 2, 2, "nearest")]


def test_every_form_and_content_has_its_own_key():
    keys = {pixels_key(content * 64, spec) for content in "ab" for spec in SPECS}
    assert len(keys) == 2 * len(SPECS)


def test_facts_are_found_once_and_again_when_the_file_is_damaged(cache):
    calls = []

    def make() -> dict[str, int]:
        calls.append(1)
        return {"channels": 3}

    for _ in range(2):
        assert cached_json("a", make) == {"channels": 3}
    assert len(calls) == 1
    (path,) = kept(cache)
    for damage in (b'{"channels": ', b"\xff", b""):
        path.write_bytes(damage)
        assert cached_json("a", make) == {"channels": 3}
    assert len(calls) == 4


def test_a_changed_file_is_decoded_again(make_folder, encode, draw):
    root = make_folder({"cat": 2, "dog": 1})
    spec = ImageSpec(3, 6, 8)
    before = np.array(open_folder(root).pixels("train", np.arange(3), spec))
    path = root / "cat" / "0.png"
    about = path.stat()
    path.write_bytes(encode(255 - draw(1)))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    after = open_folder(root).pixels("train", np.arange(3), spec)
    np.testing.assert_array_equal(after[0], 255 - before[0])
    np.testing.assert_array_equal(after[1:], before[1:])


@pytest.mark.parametrize("has_fallocate", [True, False])
def test_the_disk_has_room_for_a_file_before_it_is_filled(monkeypatch, has_fallocate):
    """A memory map of a file with holes would end the process on a full disk."""
    if not has_fallocate:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(decoding_cache, "_BLOCK", 1000)
    fill, taken = Filler(1001), []

    def filled(file, start):
        taken.append((file.stat().st_size, file.stat().st_blocks * 512))
        fill(file, start)

    np.testing.assert_array_equal(cached_pixels("a", 1001, SPEC, filled), fill.array)
    assert taken[0][0] >= fill.array.nbytes
    assert taken[0][1] >= fill.array.nbytes


def test_decoded_images_have_a_limit_too(cache, monkeypatch):
    monkeypatch.setattr(decoding_cache, "MAX_CACHE_BYTES", 600)
    for number, key in enumerate("abc"):
        cached_pixels(key, 5, SPEC, Filler())
        os.utime(cache / "images" / f"{key}.npy", (number, number))
    assert [path.name for path in kept(cache)] == ["b.npy", "c.npy"]
