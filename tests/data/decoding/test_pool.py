from __future__ import annotations

import io
import json
import os
import signal
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from cnnlab.data.decoding import pool
from cnnlab.data.decoding.worker import FRAME_FORMAT, ImageTask, serve
from cnnlab.data.sources.base import ImageSpec
from cnnlab.data.sources.image_folder import open_folder
from cnnlab.errors import CnnlabError

FORM = ImageSpec(3, 6, 8)
SIZE = 3 * 6 * 8


@pytest.fixture
def apart(monkeypatch):
    """However little the work, two processes do it."""
    monkeypatch.setattr(pool, "MIN_FILES_FOR_WORKERS", 0)
    monkeypatch.setattr(pool, "available_cpus", lambda: 2)


def task_to(path: Path, count: int, start: int = 7) -> ImageTask:
    path.write_bytes(b"\0" * (start + count * SIZE))
    return ImageTask("decode", FORM, str(path), start)


def test_a_task_survives_its_way_to_a_worker():
    for task in (ImageTask("decode", FORM, "a file", 12), ImageTask("inspect")):
        assert ImageTask.from_json(task.to_json()) == task


@pytest.mark.usefixtures("apart")
def test_workers_do_what_one_process_does(encode, draw, tmp_path, monkeypatch):
    items = [(row, b"bad" if row % 50 == 3 else encode(draw(row))) for row in range(200)]
    there = list(pool.run_image_task(task_to(tmp_path / "apart", 200), iter(items), 200, 0))
    monkeypatch.setattr(pool, "available_cpus", lambda: 1)
    here = list(pool.run_image_task(task_to(tmp_path / "here", 200), iter(items), 200, 0))
    assert (tmp_path / "apart").read_bytes() == (tmp_path / "here").read_bytes()
    found = np.frombuffer((tmp_path / "apart").read_bytes()[7:], dtype=np.uint8).reshape(200, 3, 6, 8)
    np.testing.assert_array_equal(found[123], draw(123).transpose(2, 0, 1))
    for answers in (there, here):
        assert answers.count(None) == 200
        faults = dict(answer for answer in answers if answer)
        assert sorted(faults) == [3, 53, 103, 153]
        assert faults[3]["fault"][0] == "not an image"


def test_inspecting_tells_size_format_and_a_hash_of_the_pixels(encode, draw):
    items = [(0, encode(draw(1))), (1, encode(draw(1), "BMP")), (2, encode(draw(2)))]
    found = dict(answer for answer in pool.run_image_task(ImageTask("inspect"), iter(items), 3, 0) if answer)
    assert [(found[row]["height"], found[row]["width"]) for row in range(3)] == [(6, 8)] * 3
    assert [found[row]["format"] for row in range(3)] == ["PNG", "BMP", "PNG"]
    assert found[0]["hash"] == found[1]["hash"] != found[2]["hash"]


@pytest.mark.usefixtures("apart")
def test_a_worker_that_can_not_write_is_an_error(encode, draw, tmp_path):
    task = ImageTask("decode", FORM, str(tmp_path / "gone"), 0)
    with pytest.raises(CnnlabError) as caught:
        list(pool.run_image_task(task, ((row, encode(draw(row))) for row in range(50_000)), 50_000, 0))
    (problem,) = caught.value.problems
    assert "ended early" in problem.what
    assert "FileNotFoundError" in problem.received
    assert "memory and disk" in problem.next_step


@pytest.mark.full
@pytest.mark.usefixtures("apart")
def test_a_full_disk_ends_a_worker_with_its_message(encode, draw):
    task = ImageTask("decode", FORM, "/dev/full", 0)
    with pytest.raises(CnnlabError, match="No space left on device"):
        list(pool.run_image_task(task, ((row, encode(draw(row))) for row in range(5)), 5, 0))


@pytest.mark.usefixtures("apart")
def test_when_reading_fails_no_worker_stays(encode, draw, tmp_path):
    started = []
    start = pool._start_worker

    def watched(task: ImageTask) -> object:
        started.append(start(task))
        return started[-1]

    def items():
        yield 0, encode(draw(0))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_start_worker", watched)
        with pytest.raises(KeyboardInterrupt):
            list(pool.run_image_task(task_to(tmp_path / "a", 1), items(), 1, 0))
    assert len(started) == 2
    assert all(worker.process.poll() is not None for worker in started)


@pytest.mark.usefixtures("apart")
def test_a_worker_that_is_held_up_leaves_the_files_to_the_others(encode, draw, monkeypatch):
    """Files that are larger than a pipe's 64 KiB; the first worker stands still until all are handed out."""
    large = encode(draw(0, 200, 200))
    assert len(large) > 2 * 65536 - 20_000
    workers, answered = [], []
    start, answers = pool._start_worker, pool._read_replies

    def stopped(task: ImageTask) -> object:
        workers.append(start(task))
        os.kill(workers[0].process.pid, signal.SIGSTOP)
        return workers[-1]

    def counted(worker):
        found = answers(worker)
        answered.append(len(found))
        return found

    def go_on() -> None:
        os.kill(workers[0].process.pid, signal.SIGCONT)

    def items():
        yield from ((row, large) for row in range(20))
        go_on()

    monkeypatch.setattr(pool, "_start_worker", stopped)
    monkeypatch.setattr(pool, "_read_replies", counted)
    otherwise = threading.Timer(20, go_on)
    otherwise.start()
    try:
        assert len([answer for answer in pool.run_image_task(ImageTask("inspect"), items(), 20, 0) if answer]) == 20
    finally:
        otherwise.cancel()
        otherwise.join()
    assert answered == [1, 19]


def test_a_worker_answers_after_its_input_has_ended(encode, draw, tmp_path):
    task = task_to(tmp_path / "a", 2)
    frames = b"".join(
        struct.pack(FRAME_FORMAT, row, len(content)) + content for row, content in [(1, encode(draw(5))), (0, b"x")]
    )
    answers = io.BytesIO()
    serve(task, io.BytesIO(frames), answers)
    assert [json.loads(line)[0] for line in answers.getvalue().splitlines()] == [0]
    pixels = (tmp_path / "a").read_bytes()[7 + SIZE :]
    assert pixels == draw(5).transpose(2, 0, 1).tobytes()


def test_progress_is_told_in_images_up_to_the_end(make_folder):
    told = []
    source = open_folder(make_folder({"cat": 80, "dog": 70}))
    source.pixels("train", np.arange(150), FORM, lambda *report: told.append(report))
    assert told == [("decoding images", done, 150, "images") for done in (64, 128, 150)]


def test_processors_are_counted():
    assert pool.available_cpus() >= 1


@pytest.mark.usefixtures("apart")
def test_workers_run_nothing_of_the_current_folder_and_may_complain_at_length(encode, draw, tmp_path, monkeypatch):
    """Past 64 KiB a pipe that nobody reads would hold them up for ever."""
    here, site = tmp_path / "here", tmp_path / "site"
    for folder in (here, site):
        folder.mkdir()
    (here / "json.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w')\nraise SystemExit(3)\n")
    (site / "sitecustomize.py").write_text("import sys\nsys.stderr.write('complaint ' * 50_000)\n")
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(site)
    items = [(row, encode(draw(row))) for row in range(20)]
    assert list(pool.run_image_task(task_to(tmp_path / "a", 20), iter(items), 20, 0)) == [None] * 20
    assert not (tmp_path / "was run").exists()
