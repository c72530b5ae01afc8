"""`cnnlab compare`: its forms and its errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnlab.api.compare import compare
from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def pair(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Two runs of two recipes, in one folder."""
    made = [trained(recipe(("flatten", "dense(classes)")), "net1"), trained(recipe(), "net2")]
    runs = tmp_path_factory.mktemp("pair")
    return [str(shutil.copytree(run.path, runs / run.name)) for run in made]


def ask(*words: str) -> str:
    answer = CliRunner().invoke(app, ["compare", *words])
    assert answer.exit_code == 0, answer.stderr
    return answer.stdout


def test_every_form(pair: list[str], tmp_path: Path) -> None:
    found = compare(pair)
    told = json.loads(ask(*pair, "--json"))
    assert {name: told[name] for name in ("verdict", "difference", "low", "high", "level")} == found.key_fields()
    assert sum(told["mcnemar"][name] for name in ("both_right", "only_a", "only_b", "both_wrong")) == 9
    assert ask(*pair, "--format=markdown") == found.document().to_markdown()
    assert ask(*pair, "--format=latex") == found.document().to_latex()
    told = ask(*pair, "--svg", str(tmp_path / "x.svg"))
    assert "a verdict needs 5 runs a side" in " ".join(told.split())
    assert (tmp_path / "x.svg").read_text() == found.svg()


@pytest.mark.full
def test_a_run_may_be_told_by_its_name(pair: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_RUNS", str(Path(pair[0]).parent))
    names = [Path(path).name for path in pair]
    assert ask(*names, "--baseline", names[0], "--format=markdown").startswith("**net2 against net1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--svg", "picture.png"], "this is no name for an SVG picture"),
        (["--svg", "nowhere/picture.svg"], "the folder of this file does not exist"),
        (["--json", "--format=latex"], "the output has one format"),
        (["--metric", "test"], "there is no such figure"),
    ],
)
def test_what_is_refused(pair: list[str], options: list[str], said: str) -> None:
    answer = CliRunner().invoke(app, ["compare", *pair, *options])
    assert answer.exit_code == 2
    assert said in answer.stderr
