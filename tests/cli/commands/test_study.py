"""`cnnlab study` from its file to its page; the study itself is tested where it is built."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.storage.run_folder import list_runs
from cnnlab.studies.folder import read_result, study_folder
from cnnlab.studies.result import UNTESTED

STUDY = """
base = "base.toml"
question = "Does a rate of nothing learn?"
seeds = 2
baseline_seeds = 2
smallest_difference = 0.05
baseline = "plain"

[arms]
plain = {}
still = { "train.optimizer" = "sgd(1e-12)" }
again = { "train.optimizer" = "sgd(0.000000000001)" }

[[claims]]
arm = "still"
published = { validation_accuracy = 0.25 }

[[claims]]
arm = "still"
published = "worse"
"""


def ask(folder: Path, *words: str) -> Result:
    command = ["study", str(folder / "rates.toml"), "--runs", str(folder / "runs"), "--device", "cpu", *words]
    return CliRunner().invoke(app, command)


@pytest.fixture(scope="module")
def folder(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study")
    recipe().write(path / "base.toml")
    (path / "rates.toml").write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def carried(folder: Path) -> dict[str, Any]:
    """What the command prints as JSON, once the study has been carried out, in this process."""
    done = ask(folder, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_plan_is_told_and_nothing_is_run(folder: Path) -> None:
    done = ask(folder, "--plan", "--runs", str(folder / "nowhere"))
    assert done.exit_code == 0, done.output
    assert "3 arms, 4 runs; 4 to do" in done.stdout
    assert "the same experiment as still" in done.stdout
    assert not (folder / "nowhere").exists()


def test_the_json_has_what_programs_rely_on(carried: dict[str, Any], folder: Path) -> None:
    assert carried["study"] == "rates"
    assert [arm["name"] for arm in carried["arms"]] == ["plain", "still", "again"]
    for arm in carried["arms"]:
        assert arm["n"] == 2
        assert arm["low"] <= arm["mean"] <= arm["high"]
    plain, still, again = carried["arms"]
    assert plain["difference"] is None
    assert still["difference"] == pytest.approx(still["mean"] - plain["mean"])
    assert (still["verdict"], again["same_as"]) == ("no verdict", "still")
    assert again["difference"] == still["difference"]
    assert Path(carried["report"]).is_file()
    assert len(list_runs(folder / "runs")) == 4


@pytest.mark.usefixtures("carried")
def test_given_again_it_reads_its_runs(folder: Path) -> None:
    done = ask(folder)
    assert done.exit_code == 0, done.output
    assert "4 of 4 runs are finished already" in done.stderr
    assert "Does a rate of nothing learn?" in done.stdout
    assert "it was run and counted once" in done.stdout
    assert len(list_runs(folder / "runs")) == 4


@pytest.mark.usefixtures("carried")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "3"], "5 runs, 4 of them made already"),  # the file gives the baseline two
        (["--set", "train.epochs=1"], "4 runs; 4 to do"),
    ],
)
def test_a_plan_counts_the_runs_that_are_there(folder: Path, words: list[str], said: str) -> None:
    done = ask(folder, "--plan", *words)
    assert done.exit_code == 0, done.output
    assert said in done.stdout


@pytest.mark.usefixtures("carried")
def test_a_file_of_the_same_name_elsewhere_does_not_overwrite_it(folder: Path) -> None:
    """A copy is the same study; one that declares something else is another, and needs another name."""
    kept = folder / "runs" / "studies" / "rates"
    before = {path.name: path.read_bytes() for path in kept.iterdir() if path.is_file()}
    other = folder / "b"
    other.mkdir()
    (other / "base.toml").write_text((folder / "base.toml").read_text(encoding="utf-8"), encoding="utf-8")
    (other / "rates.toml").write_text(STUDY.replace("0.05", "0.2"), encoding="utf-8")
    for words in (["--plan"], []):
        done = ask(other, "--runs", str(folder / "runs"), *words)
        assert done.exit_code == 2, done.output
        assert "another study is called rates" in done.stderr
        assert str(folder / "rates.toml") in done.stderr.replace("\n", "")
    assert {path.name: path.read_bytes() for path in kept.iterdir() if path.is_file()} == before
    named = ask(other, "--runs", str(folder / "runs"), "--name", "rates-b")
    assert named.exit_code == 0, named.output
    assert "study 'rates' had begun to run 3 of 3 arms before this one was declared" in named.stderr


@pytest.mark.usefixtures("carried")
def test_the_page_is_written_anew_by_report(folder: Path) -> None:
    page = folder / "runs" / "studies" / "rates" / "report.html"
    before = page.read_text(encoding="utf-8")
    page.unlink()
    done = CliRunner().invoke(app, ["report", str(page.parent)])
    assert done.exit_code == 0, done.output
    assert page.read_text(encoding="utf-8") == before
    assert "Does a rate of nothing learn?" in before


@pytest.mark.full
def test_a_study_is_found_by_its_name(tmp_path: Path) -> None:
    """Those that come with cnnlab are; a name of none is told as the file that is not there."""
    words = ["study", "flip-small", "--plan", "--runs", str(tmp_path), "--set", "data.source=nowhere.zip"]
    assert "no data is found by this name" in CliRunner().invoke(app, words).stderr
    done = CliRunner().invoke(app, ["study", "flop-small.toml", "--plan", "--runs", str(tmp_path)])
    assert done.exit_code == 2
    assert "flop-small.toml" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "train.epochs=0"], ["'epochs' can't be 0"]),
        (["--set", "data.source=nowhere"], ["no data is found"]),
        (["--executor", "slurm"], ["--executor", "slurm", "'processes', 'ray'"]),
        (["--address", "auto"], ["--address: only a Ray cluster has an address", "give --executor ray"]),
        (["--executor", "ray"], ["--executor ray: Ray is not installed", "pip install 'cnnlab[ray]'"]),
    ],
)
def test_mistakes_are_told_before_anything_is_run(
    folder: Path, words: list[str], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = ask(folder, *words, "--runs", str(folder / "nowhere"))
    assert done.exit_code == 2
    assert all(text in done.stderr for text in said), done.stderr
    assert "go on with" not in done.stderr
    assert not (folder / "nowhere").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "rates.toml"), "this is a study, and a recipe is needed"),
        (("study", "base.toml"), "this is a recipe, and a study is needed"),
        (("tune", "rates.toml"), "this is a study, and a search is needed"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(folder: Path, words: tuple[str, str], said: str) -> None:
    done = CliRunner().invoke(app, [words[0], str(folder / words[1])])
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_study_whose_test_could_not_be_made_exits_with_1(
    folder: Path, carried: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = read_result(study_folder(folder / "runs", carried["study"]))
    untested = result.model_copy(update={"notes": (f"{UNTESTED}: a broken image",)})
    monkeypatch.setattr("cnnlab.api.study.run_study", lambda *_, **__: untested)
    done = ask(folder)
    assert done.exit_code == 1
    assert "a broken image" in done.stdout
    assert "report.html" in done.stderr


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "..", "a\\\\b"])
def test_a_result_that_names_a_run_elsewhere_is_refused(
    folder: Path, carried: dict[str, Any], name: str, tmp_path: Path
) -> None:
    """A study's folder may come from other people: what it names is joined to the path of its runs."""
    made = study_folder(folder / "runs", carried["study"])
    copy = shutil.copytree(made, tmp_path / "runs" / "studies" / made.name)
    run = read_result(made).arms[0].seeds[0].run
    text = (copy / "result.json").read_text(encoding="utf-8")
    (copy / "result.json").write_text(text.replace(f'"{run}"', f'"{name}"'), encoding="utf-8")
    done = CliRunner().invoke(app, ["verify", "--recompute", str(copy), "--device", "cpu"])
    assert done.exit_code == 1
    assert "result.json is damaged: arms.0.seeds.0.run: Value error, " in done.stderr
    assert "leads out of its folder: a plain name is wanted" in done.stderr
