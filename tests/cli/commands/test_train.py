"""What `cnnlab train` says when it ends before its end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnlab.cli.commands.train import resumable
from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.context import Callbacks, RunContext
from cnnlab.data.dataset import open_dataset
from cnnlab.errors import RunError
from cnnlab.runs.run import run
from cnnlab.storage.run_folder import RunFolder


@pytest.fixture
def cut_at(recipe: Callable[..., Recipe], tmp_path: Path) -> Callable[[str, int], RunFolder]:
    """Makes a run that ended at the n-th call of one of the callbacks."""

    def make(function: str, calls: int) -> RunFolder:
        left = [calls]
        folders: list[RunFolder] = []

        def end(*_: object) -> None:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(
                recipe(),
                RunContext(
                    runs=tmp_path / "my runs", callbacks=Callbacks(**{function: end}, on_run_start=folders.append)
                ),
            )
        return folders[0]

    return make


def said(made: list[RunFolder], error: BaseException, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(type(error)), resumable(made):
        raise error
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.parametrize(
    ("function", "calls", "start"),
    [
        ("on_step", 2, "from the start"),
        ("on_validation", 2, "from the end of epoch 2"),
        ("on_step", 6, "from the end of epoch 1"),
        ("log", 4, "from the end of epoch 2"),  # folder, way and a warning, and then the scoring
    ],
    ids=["first epoch", "after the last", "second epoch", "scoring"],
)
def test_the_way_on_is_told_whatever_ends_a_run(
    cut_at: Callable[[str, int], RunFolder],
    capsys: pytest.CaptureFixture[str],
    function: str,
    calls: int,
    start: str,
) -> None:
    folder = cut_at(function, calls)
    for error in (KeyboardInterrupt(), SystemExit(143), RunError("the disk is full"), ValueError()):
        assert said([folder], error, capsys) == f"\n{start}, go on with: cnnlab train --resume '{folder.path}'\n"


def test_a_finished_run_only_wants_its_report(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(recipe())
    assert said([folder], KeyboardInterrupt(), capsys) == (
        f"\nthe run has finished; write its report with: cnnlab report {folder.path}\n"
    )


def test_without_a_run_that_can_go_on_nothing_is_told(
    cut_at: Callable[[str, int], RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    assert said([], KeyboardInterrupt(), capsys) == ""
    folder = cut_at("on_validation", 1)
    (folder.path / "last.json").write_text("{")
    assert said([folder], KeyboardInterrupt(), capsys) == ""
    shutil.rmtree(folder.path)
    assert said([folder], KeyboardInterrupt(), capsys) == ""


def test_the_way_on_names_the_data_and_the_device_that_were_given(
    cut_at: Callable[[str, int], RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run does not keep them: without them it would look for its data elsewhere."""
    folder = cut_at("on_validation", 1)
    with pytest.raises(KeyboardInterrupt), resumable([folder], tmp_path / "my data", "cpu"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err.endswith(
        f"cnnlab train --resume '{folder.path}' --data '{tmp_path / 'my data'}' --device cpu\n"
    )


def test_a_test_part_that_can_not_be_read_keeps_the_training_and_exits_with_1(
    recipe: Callable[..., Recipe], colours: Path, tmp_path: Path
) -> None:
    pictures = shutil.copytree(colours, tmp_path / "pictures")
    asked = recipe(("flatten", "dense(classes)"), source=str(pictures), epochs=1)
    asked.write(tmp_path / "tiny.toml")
    test = [pictures / name for name in open_dataset(asked.data, seed=0).image_names("test")]
    whole = [path.read_bytes() for path in test]
    for path, content in zip(test, whole, strict=True):
        path.write_bytes(content[:60] + bytes(len(content) - 60))
    command = ["train", tmp_path / "tiny.toml", "--runs", tmp_path / "runs", "--device", "cpu", "--json"]
    done = CliRunner().invoke(app, [str(word) for word in command])
    assert done.exit_code == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["validation"]["accuracy"] >= 0
    assert (told["status"], told["test"]) == ("finished", None)
    assert told["message"].startswith("the test split can't be read: ")
    assert f"cnnlab test {told['run']}" in done.stderr
    for path, content in zip(test, whole, strict=True):
        path.write_bytes(content)
    opened = CliRunner().invoke(app, ["test", told["run"], "--device", "cpu", "--json"])
    assert opened.exit_code == 0, opened.stderr
    assert json.loads(opened.stdout)["message"] == ""
