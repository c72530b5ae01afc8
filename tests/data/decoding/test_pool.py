from __future__ import annotations

import importlib
import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnlab.data.decoding import pool
from cnnlab.data.decoding.images import ImageFault
from cnnlab.data.decoding.pool import DecodeTask, ImageItem, InspectedImage, InspectTask, run_image_task
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.image_folder import open_folder
from cnnlab.errors import CnnlabError

SPEC = ImageSpec(3, 6, 8)
SIZE = 3 * 6 * 8


@pytest.fixture
def two_workers(monkeypatch):
    """Two processes, however little the work; each gets one file at a time."""
    monkeypatch.setattr(pool, "MIN_FILES_FOR_WORKERS", 0)
    monkeypatch.setattr(pool, "CHUNK_FILES", 1)
    monkeypatch.setattr(pool, "available_cpus", lambda: 2)


def task_to(path: Path, count: int, start: int = 7) -> DecodeTask:
    path.write_bytes(b"\0" * (start + count * SIZE))
    return DecodeTask(SPEC, path, start)


def results(task, items):
    """The number of files that were done, and all replies by row."""
    items = list(items)
    found = list(run_image_task(task, iter(items), len(items), 0))
    return sum(count for count, _ in found), dict(reply for _, replies in found for reply in replies)


@pytest.mark.usefixtures("two_workers")
def test_workers_do_what_one_process_does(encode, draw, tmp_path, monkeypatch):
    items = [ImageItem(row, "", b"bad" if row % 50 == 3 else encode(draw(row))) for row in range(200)]
    there = results(task_to(tmp_path / "apart", 200), items)
    monkeypatch.setattr(pool, "available_cpus", lambda: 1)
    here = results(task_to(tmp_path / "here", 200), items)
    assert (tmp_path / "apart").read_bytes() == (tmp_path / "here").read_bytes()
    found = np.frombuffer((tmp_path / "apart").read_bytes()[7:], dtype=np.uint8).reshape(200, 3, 6, 8)
    np.testing.assert_array_equal(found[123], draw(123).transpose(2, 0, 1))
    assert there == here
    assert there[0] == 200
    assert sorted(there[1]) == [3, 53, 103, 153]
    assert there[1][3].kind == "not an image"


def test_inspecting_gives_size_format_and_a_hash_of_the_pixels(encode, draw, tmp_path):
    (tmp_path / "file").write_bytes(encode(draw(2)))
    files = [encode(draw(1)), encode(draw(1), "BMP"), tmp_path / "file", tmp_path / "none"]
    _, found = results(InspectTask(), [ImageItem(row, "", file) for row, file in enumerate(files)])
    inspected = [found[row] for row in range(3)]
    assert all(isinstance(one, InspectedImage) for one in inspected)
    assert [(one.header.height, one.header.width) for one in inspected] == [(6, 8)] * 3
    assert [one.header.format for one in inspected] == ["PNG", "BMP", "PNG"]
    assert inspected[0].pixel_hash == inspected[1].pixel_hash != inspected[2].pixel_hash
    assert found[3] == ImageFault("unreadable", "No such file or directory")


@pytest.mark.usefixtures("two_workers")
@pytest.mark.parametrize(("path", "words"), [("gone", "No such file"), ("/dev/full", "No space left on device")])
def test_a_worker_that_can_not_write_is_an_os_error(encode, draw, tmp_path, path, words):
    items = (ImageItem(row, "", encode(draw(row))) for row in range(50_000))
    with pytest.raises(OSError, match=words):
        list(run_image_task(DecodeTask(SPEC, tmp_path / path, 0), items, 50_000, 0))
    assert multiprocessing.active_children() == []


TASK = """
import os

def task(chunk):
    if chunk[0].file == b"crash":
        os._exit(3)
    return []
"""


@pytest.mark.usefixtures("two_workers")
def test_a_worker_that_dies_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "bad_task.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    task = importlib.import_module("bad_task").task
    items = [ImageItem(row, f"cat/{row}.png", b"crash" if row == 2 else b"") for row in range(4)]
    try:
        with pytest.raises(CnnlabError, match=r"at cat/.*: a process that decodes images died(.|\n)*memory"):
            list(run_image_task(task, iter(items), 4, 0))
    finally:
        del sys.modules["bad_task"]
    assert multiprocessing.active_children() == []


def test_progress_is_reported_up_to_the_end(make_folder, monkeypatch):
    monkeypatch.setattr(pool, "available_cpus", lambda: 1)
    message = []
    source = open_folder(make_folder({"cat": 80, "dog": 70}))
    source.pixels("train", np.arange(150), SPEC, lambda *report: message.append(report))
    assert {(text, total, unit) for text, _, total, unit in message} == {("decoding images", 150, "images")}
    assert [done for _, done, _, _ in message] == [*range(18, 150, 18), 150]


def test_large_files_make_small_chunks():
    items = [ImageItem(row, "", bytes(pool.CHUNK_BYTES // 2)) for row in range(5)]
    assert [len(chunk) for chunk in pool._chunks(items, 99)] == [2, 2, 1]


SCRIPT = """
import sys
from cnnlab.data.decoding import pool
from cnnlab.data.decoding.pool import ImageItem, InspectTask, run_image_task

print("script")
pool.MIN_FILES_FOR_WORKERS = 0
pool.available_cpus = lambda: 2
print(sum(count for count, _ in run_image_task(InspectTask(), [ImageItem(0, "", b"")] * 100, 100, 0)))
"""


def test_a_script_without_a_main_guard_is_not_run_again_and_nothing_of_the_current_folder(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "runpy.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w')\n")
    done = subprocess.run(
        [sys.executable, "-P", str(tmp_path / "script.py")],
        cwd=tmp_path / "here", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["script", "100"]
    assert not (tmp_path / "was run").exists()
