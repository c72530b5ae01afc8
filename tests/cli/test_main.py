"""The table of commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer
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


def _commands(group: typer.core.TyperGroup, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from _commands(command, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(_commands(typer.main.get_command(app))), ids=" ".join)
def test_the_help_of_each_command_breaks_no_sentence(monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    text = CliRunner().invoke(app, [*path, "--help"]).output
    paragraphs = re.split("\n *\n", text.partition("╭")[0].strip())
    assert len(paragraphs) > 1
    for paragraph in paragraphs:
        assert "\n" not in paragraph.strip()


def test_the_help_of_shift_has_its_example_with_brackets() -> None:
    assert "drawn([brightness(0.5)])" in "".join(CliRunner().invoke(app, ["shift", "--help"]).output.split())
