"""The table of commands."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cnnlab.cli.main import app


@pytest.mark.parametrize(("arguments", "code"), [(["runs"], 2), (["train"], 2), (["--version"], 0)])
def test_torchrun_may_start_train_alone(monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    assert ("only 'train' works in several processes" in done.output) == (arguments == ["runs"])
