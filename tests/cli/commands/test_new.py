from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        file = io.BytesIO()
        Image.new("L", (20, 16), 9).save(file, "PNG")
        (tmp_path / "pets" / name / "0.png").write_bytes(file.getvalue())
    return tmp_path / "pets"


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_new_writes_a_recipe_and_prints_it(folder, tmp_path):
    done = call("new", tmp_path / "pets.toml", "--source", folder)
    assert done.exit_code == 0
    assert done.stdout == (tmp_path / "pets.toml").read_text(encoding="utf-8")
    assert f"cnnlab train {tmp_path / 'pets.toml'}" in done.stderr
    recipe = Recipe.read(tmp_path / "pets.toml")
    assert (recipe.data.source, recipe.data.size, recipe.data.channels) == (str(folder), (16, 20), 1)
    told = call("new", tmp_path / "pets.toml", "--source", folder, "--force", "--json")
    assert json.loads(told.stdout) == {"file": str(tmp_path / "pets.toml"), "source": str(folder)}


def test_new_never_replaces_a_file_unless_forced(folder, tmp_path):
    path = tmp_path / "pets.toml"
    path.write_text("mine")
    done = call("new", path, "--source", folder)
    assert done.exit_code == 2
    for words in ("this file is there already", "a new file, or --force to replace it", "choose another name"):
        assert words in done.stderr
    assert path.read_text() == "mine"
    assert call("new", path, "--source", folder, "--force").exit_code == 0
    assert "[data]" in path.read_text()


def test_new_where_nothing_can_be_written_or_read(folder, tmp_path):
    failed = call("new", tmp_path / "none" / "pets.toml", "--source", folder)
    assert failed.exit_code == 1
    assert "this file can't be written" in failed.stderr
    failed = call("new", tmp_path / "pets.toml", "--source", tmp_path / "nothing")
    assert failed.exit_code == 2
    assert "no data is found here" in failed.stderr
    assert not (tmp_path / "pets.toml").exists()


def test_new_leaves_the_old_file_whole_when_the_new_can_not_be_written(folder, tmp_path, monkeypatch):
    path = tmp_path / "pets.toml"
    path.write_text("mine")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    failed = call("new", path, "--source", folder, "--force")
    assert failed.exit_code == 1
    assert "No space left on device" in failed.stderr
    assert path.read_text() == "mine"
    assert [found.name for found in tmp_path.iterdir() if found.is_file()] == ["pets.toml"]


def test_new_into_a_folder_asks_for_another_name(folder, tmp_path):
    for words in ([], ["--force"]):
        failed = call("new", tmp_path, "--source", folder, *words)
        assert failed.exit_code in (1, 2)
        assert "choose another" in failed.stderr
