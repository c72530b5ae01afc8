"""Ctrl-C and a termination, sent to the command at moments that are known.

Here the command runs in the tests' process, which sends itself the signal. This file is also a program: `python
test_signals.py PLACE NUMBER SIGNAL WORD…` is the command with these words, in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.storage.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("_heard")
CODES = {"SIGINT": 130, "SIGTERM": 143}
USUAL = ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL))


@contextmanager
def sending(place: str, number: int, sent: str, again: bool = False) -> Iterator[None]:
    """Within it this process sends itself a signal at a certain batch.

    Args:
        place: "train_batches" or "eval_batches": the signal comes at the batch of this number, counted from 1;
            "start": before the data is prepared.
        again: a second signal follows with the first word that is said afterwards.
    """
    from cnnlab.data.loader import ImageLoader
    from cnnlab.runs.setup import TrainingSetup

    with pytest.MonkeyPatch.context() as patch:

        def send() -> None:
            if again:
                write = sys.stderr.write

                def write_and_send(text: str) -> int:
                    patch.setattr(sys.stderr, "write", write)
                    signal.raise_signal(signal.Signals[sent])
                    return write(text)

                patch.setattr(sys.stderr, "write", write_and_send)
            signal.raise_signal(signal.Signals[sent])

        if place == "start":
            patch.setattr(TrainingSetup, "prepare", lambda *_, **__: send())
        else:
            batches, calls = getattr(ImageLoader, place), count(1)

            def told(*given: Any, **named: Any) -> Iterator[Any]:
                for batch in batches(*given, **named):
                    if next(calls) == number:
                        send()
                    yield batch

            patch.setattr(ImageLoader, place, told)
        yield


@pytest.fixture
def _heard() -> Iterator[None]:
    """Both signals do what they do by default: a shell's background and nohup let their processes ignore SIGINT."""
    before = [(one, signal.signal(one, usual)) for one, usual in USUAL]
    yield
    for one, handler in before:
        signal.signal(one, handler)


def ask(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--device", "cpu"])


def way_on(said: str, epoch: int) -> list[str]:
    """The words after `cnnlab` of the command that the person is told to go on with."""
    start = f"from the end of epoch {epoch}" if epoch else "from the start"
    told = re.search(rf"^{start}, go on with: cnnlab (.+?)(?: --device cpu)?$", said, re.MULTILINE)
    assert told is not None, said
    return shlex.split(told[1])


@pytest.fixture
def made(recipe: Callable[..., Recipe]) -> Recipe:
    return recipe(epochs=3, augment=["crop(padding=1)", "flip(0.5)"], validations_per_epoch=2)


@pytest.fixture
def written(made: Recipe, tmp_path: Path) -> Path:
    made.write(tmp_path / "tiny.toml")
    return tmp_path / "tiny.toml"


def found(runs: Path) -> list[object]:
    """What the one run in a folder found, without times."""
    [folder] = [RunFolder.open(path.parent) for path in runs.glob("*/recipe.toml")]
    curve = [record.model_copy(update={"seconds": 0, "images_per_second": 0}) for record in folder.epochs()]
    result = folder.result().model_copy(update={"run": "", "seconds": 0, "images_per_second": 0})
    weights = {path.name: path.read_bytes() for path in folder.path.glob("*.safetensors")}
    return [curve, result, weights, [folder.predictions(part).logits.tobytes() for part in ("test",)]]


@pytest.mark.parametrize(
    ("first", "second"), [("SIGINT", "SIGTERM"), pytest.param("SIGTERM", "SIGINT", marks=pytest.mark.full)]
)
def test_the_command_that_is_told_goes_on_until_the_run_ends_like_a_straight_one(
    made: Recipe, written: Path, trained: Callable[..., RunFolder], tmp_path: Path, first: str, second: str
) -> None:
    """Cut in the middle of an epoch; in a validation within an epoch, and in the final scoring, by two signals each."""
    runs = tmp_path / "my runs"
    words: list[str] = ["train", str(written), "--runs", str(runs)]
    for place, number, sent, epoch, again in [
        ("train_batches", 10, first, 1, False),  # the first four are looked at for the first loss
        ("eval_batches", 1, second, 1, True),
        ("eval_batches", 6, first, 3, True),
    ]:
        with sending(place, number, sent, again):
            done = ask(*words, "--json")
        assert (done.exit_code, done.stdout) == (CODES[sent], "")
        assert "Traceback" not in done.stderr
        assert ("Interrupted." in done.stderr) == (sent == "SIGINT")
        words = way_on(done.stderr, epoch)
    assert json.loads(ask(*words, "--json").stdout)["status"] == "finished"
    assert found(runs) == found(trained(made).path.parent)


@pytest.mark.parametrize("sent", CODES)
def test_before_there_is_a_run_nothing_is_left(written: Path, tmp_path: Path, sent: str) -> None:
    with sending("start", 0, sent):
        done = ask("train", written, "--runs", tmp_path / "runs")
    assert (done.exit_code, done.stdout) == (CODES[sent], "")
    assert done.stderr == ("Interrupted.\n" if sent == "SIGINT" else "")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "sent",
    [pytest.param("SIGINT", marks=pytest.mark.full), pytest.param("SIGTERM", marks=pytest.mark.slow)],
)
def test_a_process_ends_with_the_code_of_its_signal_and_its_run_can_go_on(
    made: Recipe, written: Path, trained: Callable[..., RunFolder], tmp_path: Path, sent: str
) -> None:
    runs = tmp_path / "my runs"
    words = [
        __file__,
        "train_batches",
        "10",
        sent,
        "train",
        str(written),
        "--runs",
        str(runs),
        "--json",
        "--device=cpu",
    ]
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stdout) == (CODES[sent], "")
    assert "Traceback" not in done.stderr
    assert ask(*way_on(done.stderr, 1)).exit_code == 0
    assert found(runs) == found(trained(made).path.parent)


if __name__ == "__main__":
    for one, usual in USUAL:
        signal.signal(one, usual)
    where, batch, name, *sys.argv[1:] = sys.argv[1:]
    with sending(where, int(batch), name):
        runpy.run_module("cnnlab", run_name="__main__")
