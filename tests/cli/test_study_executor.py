"""Who carries the runs of `cnnlab study` out, as its options say it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnlab.cli.main import app
from cnnlab.spec.recipe import Recipe


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--executor", "slurm"], ["--executor: there is no such executor", "slurm", "processes, ray"]),
        (["--address", "auto"], ["--address: only a Ray cluster has an address", "give --executor ray"]),
        (["--executor", "ray"], ["--executor ray: Ray is not installed", "pip install 'cnnlab[ray]'"]),
    ],
    ids=["unknown", "an address for nothing", "no Ray"],
)
def test_an_executor_that_can_not_be_had_is_told_before_anything_is_run(
    recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], said: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    recipe().write(tmp_path / "tiny.toml")
    file = tmp_path / "study.toml"
    file.write_text('base = "tiny.toml"\n[arms]\nplain = {}\nslow = { "train.optimizer" = "sgd(0.001)" }\n')
    wrong = CliRunner().invoke(app, ["study", str(file), "--runs", str(tmp_path / "runs"), *words])
    assert wrong.exit_code == 2
    assert all(text in wrong.stderr for text in said), wrong.stderr
    assert not (tmp_path / "runs").exists()
