"""Ctrl-C and a termination, sent to the command in a process of its own, at moments that are known."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnlab.runs.folder import RunFolder
from cnnlab.runs.run import run
from cnnlab.spec.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")
CODES = {"SIGINT": 130, "SIGTERM": 143}
# `python -m cnnlab`, and a signal to itself at a certain batch: "training 5" is the fifth one that is trained on.
# With "again" a second signal follows with the first word that is said afterwards.
PROGRAM = """
import os, runpy, signal, sys
from itertools import count
place, number, sent, again = sys.argv[1:5]
sys.argv = ["cnnlab", *sys.argv[5:]]
number, sent = int(number), getattr(signal, sent)

def send():
    if again:
        def write(text, write=sys.stderr.write):
            sys.stderr.write = write
            os.kill(os.getpid(), sent)
            return write(text)
        sys.stderr.write = write
    os.kill(os.getpid(), sent)

if place == "start":
    import cnnlab.runs.run as module
    opened = module.Bench.prepare
    module.Bench.prepare = lambda *given, **named: (send(), opened(*given, **named))[1]
else:
    from cnnlab.data.feed import Feed
    batches, calls = getattr(Feed, place), count(1)
    def told(*given, **named):
        for batch in batches(*given, **named):
            if next(calls) == number:
                send()
            yield batch
    setattr(Feed, place, told)
runpy.run_module("cnnlab", run_name="__main__")
"""


def signalled(place: str, number: int, sent: str, *words: object, again: bool = False) -> subprocess.CompletedProcess:
    """The command, and what it says, that is sent a signal at a place."""
    return ended(["-c", PROGRAM, place, str(number), sent, "again" * again, *map(str, words)])


def ended(arguments: list[str]) -> subprocess.CompletedProcess:
    """Python, and what it says; with one thread, as here."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


def way_on(done: subprocess.CompletedProcess, epoch: int) -> list[str]:
    """The words after `cnnlab` of the command that the person is told to go on with."""
    start = f"from the end of epoch {epoch}" if epoch else "from the start"
    told = re.search(rf"^{start}, go on with: cnnlab (.+)$", done.stderr, re.MULTILINE)
    assert told is not None, done.stderr
    return shlex.split(told[1])


@pytest.fixture(scope="module")
def made(recipe: Callable[..., Recipe]) -> Recipe:
    return recipe(epochs=3, augment=["crop(padding=1)", "flip(0.5)"], validations_per_epoch=2)


@pytest.fixture(scope="module")
def written(made: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes of mine") / "tiny.toml"
    path.write_text(made.to_toml(), encoding="utf-8")
    return path


def found(folder: RunFolder) -> list[object]:
    """What a run found, without times."""
    curve = [record.model_copy(update={"seconds": 0, "images_per_second": 0}) for record in folder.epochs()]
    result = folder.result().model_copy(update={"run": "", "seconds": 0, "images_per_second": 0})
    weights = {path.name: path.read_bytes() for path in folder.path.glob("*.safetensors")}
    return [curve, result, weights, [folder.predictions(part).logits.tobytes() for part in ("train", "test")]]


@pytest.mark.parametrize(
    ("first", "second"),
    [("SIGINT", "SIGTERM"), pytest.param("SIGTERM", "SIGINT", marks=pytest.mark.slow)],
)
def test_the_command_that_is_told_goes_on_until_the_run_ends_like_a_straight_one(
    made: Recipe, written: Path, tmp_path: Path, first: str, second: str
) -> None:
    """Cut in the middle of an epoch; in a validation within an epoch, and in the final scoring, by two signals each."""
    runs = tmp_path / "my runs"
    words: list[str] = ["train", str(written), "--runs", str(runs), "--json"]
    for place, number, sent, epoch, again in [
        ("training", 10, first, 1, False),  # the first four are looked at for the first loss
        ("evaluation", 1, second, 1, True),
        ("evaluation", 6, first, 3, True),
    ]:
        done = signalled(place, number, sent, *words, again=again)
        assert (done.returncode, done.stdout) == (CODES[sent], "")
        assert "Traceback" not in done.stderr
        assert ("Interrupted." in done.stderr) == (sent == "SIGINT")
        words = way_on(done, epoch)
    done = ended(["-m", "cnnlab", *words, "--json"])
    assert json.loads(done.stdout)["status"] == "finished"
    [folder] = [RunFolder.open(path.parent) for path in runs.glob("*/recipe.toml")]
    assert found(folder) == found(run(made, runs=tmp_path / "straight", device="cpu"))


@pytest.mark.parametrize("sent", CODES)
def test_before_there_is_a_run_nothing_is_left(written: Path, tmp_path: Path, sent: str) -> None:
    done = signalled("start", 0, sent, "train", written, "--runs", tmp_path / "runs")
    assert (done.returncode, done.stdout) == (CODES[sent], "")
    assert done.stderr == ("Interrupted.\n" if sent == "SIGINT" else "")
    assert not (tmp_path / "runs").exists()
