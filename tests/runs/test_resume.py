"""Going on with a run whose folder is damaged, held, moved or finished; what a cut changes stands in `test_cuts.py`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.config.recipe import Recipe
from cnnlab.context import Callbacks, RunContext
from cnnlab.errors import RunError, SourceError
from cnnlab.records import PrecisionConfig
from cnnlab.runs.final_evaluation import open_test
from cnnlab.runs.run import resume_run, run
from cnnlab.storage.lock import locked
from cnnlab.storage.run_folder import RunFolder

RICH: dict[str, Any] = {
    "epochs": 3,
    "augment": ["crop(padding=1)", "flip(0.5)"],
    "stop": "early(patience=6)",
    "validations_per_epoch": 2,
}
Cutter = Callable[[int], Callable[..., None]]


@pytest.fixture
def cut_run(recipe: Callable[..., Recipe], tmp_path: Path, cut: Cutter) -> Callable[..., RunFolder]:
    """Starts a run and ends it at the n-th call of one of the callbacks."""

    def make(calls: int, function: str = "on_step", **fields: object) -> RunFolder:
        folders: list[RunFolder] = []
        callbacks = Callbacks(**{function: cut(calls)})
        with pytest.raises(cut.error):
            run(
                recipe(**{**RICH, **fields}),
                RunContext(runs=tmp_path / "runs", callbacks=replace(callbacks, on_run_start=folders.append)),
            )
        return folders[0]

    return make


def test_a_damaged_last_checkpoint_is_told_and_the_one_before_used(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], cut_run: Callable[..., RunFolder], cutting: Any
) -> None:
    straight = trained(recipe(**RICH))
    folder = cut_run(10)
    (folder.path / "last-8.safetensors").write_bytes(b"")
    said: list[str] = []
    resume_run(folder.path, RunContext(callbacks=Callbacks(log=said.append)))
    assert said[0].endswith("the checkpoint before it (last-4.safetensors) is used")
    cutting.assert_same(folder, straight)


def test_a_resumed_run_keeps_its_way(cut_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    """A second trial could choose otherwise."""
    way = PrecisionConfig(precision="bf16", memory_format="channels_last", reason="a trial")
    with monkeypatch.context() as patch:
        patch.setattr("cnnlab.runs.setup.autotune_precision", lambda *_: way)
        folder = cut_run(5, precision="auto")
    monkeypatch.setattr("cnnlab.runs.setup.autotune_precision", lambda *_: pytest.fail("a trial was made"))
    resume_run(folder.path)
    assert folder.precision_config() == way


def test_where_no_run_is_the_nearest_is_named(own: RunFolder) -> None:
    wrong = own.path.with_name(own.name + "x")
    with pytest.raises(RunError, match=f"{wrong}: there is no run here\n  next:     did you mean '{own.path}'"):
        resume_run(wrong)


def recolour(root: Path) -> None:
    for path in (root / "red").iterdir():
        Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (recolour, r"mean was \(.*\), and is \(.*\)"),
        (
            lambda root: shutil.copy(root / "red" / "0.png", root / "red" / "more.png"),
            "split_hash was [0-9a-f]{64}, and is [0-9a-f]{64}",
        ),
        (
            lambda root: (root / "red").rename(root / "rosy"),
            r"classes was \('blue', 'green', 'red'\), and is \('blue', 'green', 'rosy'\)",
        ),
    ],
)
def test_a_run_whose_data_has_changed_is_refused(
    cut_run: Callable[..., RunFolder], picture_folder: Path, change: Callable[[Path], None], difference: str
) -> None:
    folder = cut_run(5, source=str(picture_folder))
    before = (folder.path / "metrics.jsonl").read_bytes()
    change(picture_folder)
    text = f"the data has changed since this run began: {difference}\n  next:     bring the old data back, or train"
    with pytest.raises(RunError, match=text):
        resume_run(folder.path)
    assert (folder.path / "metrics.jsonl").read_bytes() == before


def test_a_run_that_is_held_is_refused(cut_run: Callable[..., RunFolder]) -> None:
    folder = cut_run(5)
    said = f"{folder.path}: process {os.getpid()} is working in this run"
    with locked(folder.path, pytest.fail), pytest.raises(RunError, match=said):
        resume_run(folder.path)
    assert resume_run(folder.path).result().status == "finished"


def test_a_run_whose_learning_curve_is_gone_is_scored(
    cut_run: Callable[..., RunFolder], recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]
) -> None:
    straight = trained(recipe(**RICH)).result()
    folder = cut_run(4, "log")  # folder, way and a warning, and then the scoring of the first part
    (folder.path / "metrics.jsonl").unlink()
    result = resume_run(folder.path).result()
    assert (result.epochs, result.images_per_second) == (3, 0)
    assert result.test == straight.test


@pytest.mark.parametrize("command", [resume_run, open_test])
def test_a_relative_source_is_found_from_elsewhere(
    recipe: Callable[..., Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cut: Cutter,
    picture_folder: Path,
    command: Callable[[Path], object],
) -> None:
    monkeypatch.chdir(tmp_path)
    folders: list[RunFolder] = []
    made = recipe(source=picture_folder.name, epochs=1, opened="sealed")
    if command is resume_run:
        with pytest.raises(cut.error):
            run(made, RunContext(runs=Path("runs"), callbacks=Callbacks(on_step=cut(2), on_run_start=folders.append)))
    else:
        run(made, RunContext(runs=Path("runs"), callbacks=Callbacks(on_run_start=folders.append)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    command(folders[0].path)
    assert folders[0].result() is not None
    assert folders[0].recipe().data.source == picture_folder.name
    picture_folder.rename(tmp_path / "gone")
    with pytest.raises(SourceError, match="no data is found by this name"):
        open_test(folders[0].path)


def test_a_run_that_goes_on_is_told_of_and_one_that_has_finished_is_not(
    cut_run: Callable[..., RunFolder], own: RunFolder
) -> None:
    folders: list[RunFolder] = []
    with pytest.raises(RunError, match=r"this run has finished\n  next:     train the recipe again"):
        resume_run(own.path, RunContext(callbacks=Callbacks(on_run_start=folders.append)))
    assert folders == []
    folder = cut_run(5)
    resume_run(folder.path, RunContext(callbacks=Callbacks(on_run_start=folders.append)))
    assert folders == [folder]
