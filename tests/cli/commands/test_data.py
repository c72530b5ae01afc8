from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app
from cnnlab.data.sources.releases import CATALOGUE


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    monkeypatch.delenv("CNNLAB_DATA", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(4):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file, "PNG")
            (tmp_path / "pets" / name / f"{index}.png").write_bytes(file.getvalue())
    return tmp_path / "pets"


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_list_names_every_data_set_and_what_is_at_hand():
    done = call("data", "list")
    assert done.exit_code == 0
    for words in ("cifar10", "50,000 train, 10,000 test", "no: cnnlab data fetch cifar10", "generated here"):
        assert words in done.stdout
    rows = {row["name"]: row for row in json.loads(call("data", "list", "--json").stdout)}
    assert rows["cifar10"]["image"] == [3, 32, 32]
    assert (rows["cifar10"]["at_hand"], rows["shapes"]["at_hand"]) == (False, True)


def test_fetch_of_what_is_generated_and_of_what_can_not_be_had(tmp_path):
    done = call("data", "fetch", "shapes")
    assert done.exit_code == 0
    assert "nothing to fetch" in done.stderr
    assert json.loads(call("data", "fetch", "shapes", "--json").stdout)["path"] is None
    failed = call("data", "fetch", "cifar10", "--data", tmp_path)
    assert failed.exit_code == 1
    assert "cifar10 is not on disk, and downloads are off" in failed.stderr


def test_fetch_says_what_it_compared(tmp_path, monkeypatch):
    form = CATALOGUE["svhn"].releases[0]
    for file in form.downloads:
        (tmp_path / file.name).write_bytes(b"mat")
    wrong = call("data", "fetch", "svhn", "--data", tmp_path)
    assert wrong.exit_code == 2
    assert "this isn't the published file" in wrong.stderr
    files = tuple(replace(file, checksum="md5:" + hashlib.md5(b"mat").hexdigest()) for file in form.downloads)
    known = replace(CATALOGUE["svhn"], releases=(replace(form, downloads=files),))
    monkeypatch.setitem(CATALOGUE, "svhn", known)
    done = call("data", "fetch", "svhn", "--data", tmp_path)
    assert done.exit_code == 0
    assert "checksums are right: train_32x32.mat, test_32x32.mat" in " ".join(done.stderr.split())
    found = json.loads(call("data", "fetch", "svhn", "--data", tmp_path, "--json").stdout)
    assert found["verified"] == ["train_32x32.mat", "test_32x32.mat"]
    assert found["path"] == str(tmp_path)


def test_fetch_says_where_nothing_can_be_compared(tmp_path):
    (tmp_path / "mnist").mkdir()
    for names in CATALOGUE["mnist"].releases[0].files.values():
        for name in names:
            (tmp_path / "mnist" / name).write_bytes(b"")
    done = call("data", "fetch", "mnist", "--data", tmp_path)
    assert done.exit_code == 0
    assert "unpacked files have no published checksum to compare" in " ".join(done.stderr.split())


def test_a_data_folder_that_is_not_there_is_wrong_input(tmp_path):
    for words in (("list",), ("fetch", "cifar10"), ("check", "cifar10"), ("show", "cifar10")):
        done = call("data", *words, "--data", tmp_path / "dta")
        assert done.exit_code == 2
        assert "--data: the data folder is not there" in done.stderr


def test_check_of_a_sound_folder(folder):
    done = call("data", "check", folder)
    assert done.exit_code == 0
    assert "8 images, 2 classes" in done.stdout
    assert "no problems found" in done.stdout


def test_check_of_a_folder_with_problems(folder):
    (folder / "cat" / "bad.png").write_bytes(b"")
    (folder / "notes [x].txt").write_bytes(b"x")
    done = call("data", "check", folder)
    assert done.exit_code == 1
    assert "1 × empty, 1 × not an image\n" in done.stdout
    assert "✗ empty: cat/bad.png: 0 bytes" in done.stdout
    assert "! not an image: notes [x].txt" in done.stdout
    found = json.loads(call("data", "check", folder, "--json").stdout)
    assert (found["images"], found["classes"]) == (9, ["cat", "dog"])
    assert found["splits"]["train"]["images"] == 9
    assert found["problems"][0] == {"kind": "empty", "file": "cat/bad.png", "message": "0 bytes", "fatal": True}


def test_check_shows_the_first_problems_and_says_how_many_more(folder):
    for index in range(25):
        (folder / f"{index}.txt").write_bytes(b"x")
    done = call("data", "check", folder)
    assert done.exit_code == 0
    assert "25 × not an image\n" in done.stdout
    assert "and 5 more; --json lists all" in done.stdout


def test_show_writes_a_picture(folder, tmp_path):
    done = call("data", "show", folder, "--output", tmp_path / "sheet.png", "--per-class", "3")
    assert done.exit_code == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["sheet.png"]
    failed = call("data", "show", folder, "--output", tmp_path / "none" / "sheet.png")
    assert failed.exit_code == 1
    assert "this file can't be written" in failed.stderr
    assert "choose another file with --output" in failed.stderr


@pytest.mark.parametrize(
    ("name", "better"), [("sheet.jpg", "sheet.png"), ("sheet", "sheet.png"), ("a.b.gif", "a.b.png")]
)
def test_show_writes_no_png_under_another_name(folder, tmp_path, name, better):
    failed = call("data", "show", folder, "--output", tmp_path / name)
    assert failed.exit_code == 2
    for words in ("--output: the picture is a PNG file", "a name that ends in .png", better):
        assert words in failed.stderr
    assert not (tmp_path / name).exists()


def test_show_writes_what_augmentations_make_of_images(folder, tmp_path):
    done = call("data", "show", folder, "-o", tmp_path / "a.png", "--augment", "crop(2)", "--augment", "flip", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["augment"] == ["crop(padding=2, fill='zero')", "flip(p=0.5)"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_show_takes_augmentations_seed_and_size_from_a_recipe(folder, tmp_path):
    recipe = tmp_path / "recipe.toml"
    text = (
        '[data]\nsource = "elsewhere"\nsize = 32\nchannels = 1\naugment = ["noise(0.2)"]\n'
        '[model]\nlayers = ["flatten", "dense(classes)"]\n[train]\nseed = SEED\n'
    )
    pictures = []
    for seed in (0, 0, 1):
        recipe.write_text(text.replace("SEED", str(seed)))
        assert call("data", "show", folder, "-o", tmp_path / "a.png", "--recipe", recipe).exit_code == 0
        with Image.open(tmp_path / "a.png") as sheet:
            pictures.append(np.asarray(sheet))
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_show_tells_what_is_wrong_with_augmentations(folder, tmp_path):
    failed = call("data", "show", folder, "--augment", "flop", "--augment", "flip(2)")
    assert failed.exit_code == 2
    for words in (
        "--augment[0]: unknown augmentation 'flop'",
        "did you mean 'flip'?",
        "--augment[1].p: 'p' can't be 2",
    ):
        assert words in failed.stderr
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[data]\nsource = "x"\n[model]\nlayers = ["flatten", "dense(classes)"]\n')
    for words, said in (
        ([], "this recipe has no augmentation"),
        (["--augment", "flip"], "the augmentations come from --augment or from --recipe"),
    ):
        failed = call("data", "show", folder, "--recipe", recipe, *words)
        assert failed.exit_code == 2
        assert said in failed.stderr
    assert not (Path.cwd() / "examples.png").exists()


@pytest.mark.parametrize("words", [["data", "check"], ["data", "show"], ["new", "x.toml", "--source"]])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_folder_that_is_called_like_an_order_to_the_terminal(folder, words, form, monkeypatch):
    monkeypatch.chdir(folder.parent)
    red = "\x1b[31m\x9b31m\u202e"
    folder = folder.rename(folder.with_name(f"pets{red}"))
    (folder / "cat" / f"notes{red}").write_bytes(b"")
    done = call(*words, folder.name, *form)
    assert done.exit_code == 0, done.stderr
    (folder / f"bird{red}").mkdir()
    (folder / "cat" / f"a{red}.png").write_bytes(b"")
    failed = call(*words, folder.name, *form)
    assert failed.exit_code in (1, 2)
    assert call(*words, f"no {red}", *form).exit_code == 2
    for result in (done, failed):
        assert not {"\x1b", "\x9b", "\u202e"} & set(result.stdout + result.stderr)
    if form and words != ["data", "show"]:
        assert json.loads(done.stdout)["source"] == folder.name
