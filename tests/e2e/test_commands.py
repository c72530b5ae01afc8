"""Whole commands, as a person gives them, from words to files; those that need it in a process of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe

REPOSITORY = Path(__file__).parents[2]
LENET = "recipes/lenet.toml"


def cnnlab(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def python(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, in the repository's folder."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.fixture(scope="module")
def file(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    claims = {"test_accuracy": {"published": 0.2, "source": "nobody"}}
    recipe(augment=["crop(padding=1)", "flip(0.5)"], claims=claims).write(path)
    return path


@pytest.fixture(scope="module")
def told(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `train --json` printed of one tiny run."""
    done = cnnlab("train", file, "--runs", tmp_path_factory.mktemp("runs"), "--device", "cpu", "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_train_prints_what_programs_rely_on(told: dict[str, Any]) -> None:
    assert {"run", "parameters", "epochs", "selected_epoch", "seconds", "images_per_second"} <= told.keys()
    assert told["epochs"] == 2.0
    for part in ("train", "validation", "test"):
        assert 0 < told[part]["accuracy"] <= 1
        assert told[part]["loss"] > 0
    assert Path(told["report"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


LOADED = """
import sys
from cnnlab.cli.main import app
from cnnlab.training import loop

step, unwanted = loop.train_step, ("torch._dynamo", "torch._inductor", "torchvision", "matplotlib", "scipy.optimize")
def train_step(*given):
    if not given[0].step:
        print("before:", [name for name in unwanted if name in sys.modules])
    step(*given)
loop.train_step = train_step

def every_optimizer():
    from torch import nn
    from cnnlab.config.optimizers import optimizers
    from cnnlab.training.optimizers.factory import build_optimizer
    for name in optimizers.kinds:
        network = nn.Sequential(*(nn.Linear(3, 3) for _ in range(3)))
        made = build_optimizer(optimizers.read(name + "(0.1)"), network)
        network(network[0].weight).sum().backward()
        made.step()
        made.load_state_dict(made.state_dict())
        made.zero_grad()
    print("optimizers:", len(optimizers.kinds))

every_optimizer()
app(["train", *sys.argv[1:], "--device", "cpu"], standalone_mode=False)
print("after:", [name for name in unwanted[:3] if name in sys.modules])
"""


@pytest.mark.full
def test_a_training_loads_what_its_steps_need(file: Path, tmp_path: Path) -> None:
    """Neither torch's compiler, where nothing is compiled, nor, before the first step, what draws the report."""
    done = python("-c", LOADED, file, "--set", "train.epochs=1", "--runs", tmp_path)
    assert "before: []" in done.stdout.splitlines(), done.stderr
    assert "after: []" in done.stdout.splitlines()
    assert "optimizers: 11" in done.stdout.splitlines()


def test_a_run_repeats_itself(told: dict[str, Any], tmp_path: Path) -> None:
    resolved = Path(told["run"]) / "recipe.toml"
    again = json.loads(cnnlab("train", resolved, "--runs", tmp_path, "--device", "cpu", "--json").stdout)
    assert again["test"] == told["test"]


def test_progress_goes_to_stderr_and_results_to_stdout(file: Path, tmp_path: Path) -> None:
    done = cnnlab("train", file, "--set", "train.epochs=1", "--runs", tmp_path, "--device", "cpu")
    assert done.exit_code == 0
    assert re.search(r"epoch 1, train .* images/s", done.stderr)
    assert "training: 27 of 27 images" in done.stderr
    assert re.search(r"test +12 ", done.stdout)
    assert "report: " in done.stdout
    assert "epoch 1," not in done.stdout


@pytest.mark.full
def test_a_process_of_its_own_trains(file: Path, told: dict[str, Any], tmp_path: Path) -> None:
    done = python("-m", "cnnlab", "train", file, "--runs", tmp_path, "--device=cpu", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["test"] == told["test"]
    assert found["parameters"] == told["parameters"]
    assert "epoch 2, train " in done.stderr


@pytest.mark.full
def test_a_console_that_speaks_ascii_is_no_obstacle() -> None:
    done = python("-m", "cnnlab", "describe", LENET, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert "32?32" in done.stdout


def test_predict_report_runs_and_test_on_a_run(told: dict[str, Any], colours: Path, tmp_path: Path) -> None:
    run, broken = Path(told["run"]), tmp_path / "b.png"
    broken.write_bytes(b"<html>not an image</html>")
    answer = cnnlab("predict", run, colours / "red" / "0.png", broken, "--json")
    assert answer.exit_code == 1
    good, bad = json.loads(answer.stdout)
    assert good["class"] == good["top"][0]["name"]
    assert good["probability"] == pytest.approx(good["top"][0]["probability"])
    assert bad["error"]
    shown = cnnlab("predict", run, colours / "red" / "0.png", "--top", "2")
    assert shown.exit_code == 0
    assert f"{good['class']}" in shown.stdout
    assert f"{good['probability']:.3f}" in shown.stdout

    (run / "report.html").unlink()
    assert cnnlab("report", run).exit_code == 0
    assert (run / "report.html").exists()

    listed = json.loads(cnnlab("runs", "--runs", run.parent, "--sort", "test", "--json").stdout)
    assert [one["run"] for one in listed] == [run.name]

    ledger = run.parent / "test-ledger.jsonl"
    before = len(ledger.read_text(encoding="utf-8").splitlines())
    opened = cnnlab("test", run)
    assert opened.exit_code == 0
    assert len(ledger.read_text(encoding="utf-8").splitlines()) == before + 1
    assert f"opened {before + 1} times" in opened.stderr


def test_a_quick_start_trains_and_says_what_is_next(
    file: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tiny recipe and data in the places of LeNet and CIFAR-10."""
    monkeypatch.setattr("cnnlab.grammar.toml_files.bundled_recipe", {"lenet": file}.__getitem__)
    monkeypatch.setattr("cnnlab.cli.commands.quickstart.choose_source", lambda *_: (str(colours), "it is small"))
    done = cnnlab("quickstart", "--runs", tmp_path, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    [run] = [path.parent for path in tmp_path.glob("*/report.html")]
    assert f"data: {colours}, because it is small" in done.stderr
    assert f"next: cnnlab describe {run / 'recipe.toml'}" in done.stderr
    assert "report: " in done.stdout


def test_three_mistakes_are_told_at_once(file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    text = file.read_text(encoding="utf-8")
    wrong.write_text(
        text.replace("conv(4, 3", "con(4, 3").replace("epochs = 2", "epochs = 0\noptimiser = 'adam'"), encoding="utf-8"
    )
    done = cnnlab("describe", wrong)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "3 problems" in done.stderr
    for words in ("unknown layer 'con'", "did you mean 'conv'?", "'epochs' can't be 0", "did you mean 'optimizer'?"):
        assert words in done.stderr
    assert str(wrong) in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("describe", "nowhere.toml"), 2, "No such file"),
        (("train",), 2, "train takes a recipe, or --resume and a run"),
        (("train", "--resume", "nowhere"), 1, "there is no run here"),
        (("train", "--resume", "nowhere", "--seed", "1"), 2, "a resumed run keeps its recipe"),
        (("report", "nowhere"), 1, "there is no run here"),
        (("train", "nowhere.toml", "--seed", "lucky"), 2, "'lucky'"),
        (("train", "nowhere.toml", "--set", "train.seed=[1"), 2, "--set: this is not TOML"),
        (("runs", "--sort", "colour"), 2, "unknown column 'colour'"),
        (("tarin",), 2, "Did you mean 'train'"),
    ],
)
def test_wrong_words_are_refused(
    words: tuple[str, ...], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cnnlab(*words)
    assert (done.exit_code, done.stdout) == (code, "")
    assert message in done.stderr


def test_set_takes_toml_values_and_bare_words(file: Path) -> None:
    changed = cnnlab("describe", file, "--set", "model.init=xavier", "--set", "data.size=[16, 16]", "--json")
    assert json.loads(changed.stdout)["input"] == [3, 16, 16]
    refused = cnnlab("describe", file, "--set", "train.epochs=many")
    assert refused.exit_code == 2
    assert "'epochs' can't be 'many'" in refused.stderr


FORMS = ([], ["--json"], ["--format=svg"], ["--format=markdown"])


@pytest.mark.parametrize(
    ("commands", "absent"),
    [
        ([["--help"]], {"torch", "torchvision", "numpy", "pydantic", "scipy", "matplotlib"}),
        (
            [
                *(["describe", LENET, *form] for form in FORMS),
                ["data", "list"],
                ["runs"],
                ["theory", "output", "--size", "32", "--kernel", "5"],
                ["theory", "receptive", "conv(1, 5)"],
            ],
            {"torch", "torchvision", "matplotlib"},
        ),
    ],
    ids=["help", "what is light"],
)
def test_what_needs_no_torch_loads_none(commands: list[list[str]], absent: set[str]) -> None:
    code = f"""
import sys
from cnnlab.cli.main import app
for words in {commands!r}:
    app(words, standalone_mode=False)
    assert not {absent!r} & sys.modules.keys(), words
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.full
def test_a_mistake_in_a_file_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    """In one process: torch takes seconds to load, which a mistake of a letter is not to cost."""
    layers = {"wrong": '"con(1)"', "misfit": '"maxpool(64)"'}
    for name, row in layers.items():
        text = f'[data]\nsource = "shapes"\n[model]\nlayers = [{row}, "flatten", "dense(classes)"]\n'
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    study = 'base = "wrong.toml"\nseeds = 2\n[arms]\nplain = {}\nlong = { "train.epochs" = 20 }\n'
    search = 'base = "wrong.toml"\ntrials = 2\n[search]\n"train.epochs" = "integer(1, 2)"\n'
    (tmp_path / "study.toml").write_text(study, encoding="utf-8")
    (tmp_path / "search.toml").write_text(search, encoding="utf-8")
    recipe_commands = (
        *("describe", "train", "lr", "verify", "inspect weights", "inspect activations", "inspect attribution"),
        *("theory receptive", "theory receptive --effective", "theory translate", "data show shapes --recipe"),
    )
    commands = [[*command.split(), "wrong.toml"] for command in recipe_commands]
    commands += [[command, "misfit.toml"] for command in ("describe", "train", "lr")]
    commands += [[*command.split(), "misfit.toml"] for command in ("inspect weights", "theory translate")]
    commands += [["study", "study.toml"], ["study", "--plan", "study.toml"]]
    commands += [["tune", "search.toml"], ["tune", "--plan", "search.toml"]]
    commands += [["train", "--resume", "no"], ["test", "no"], ["predict", "no", "no.png"], ["report", "no"]]
    code = f"""
import os, sys
from cnnlab.cli.main import app
os.chdir({str(tmp_path)!r})
for words in {commands!r}:
    try:
        app(words, standalone_mode=False)
    except SystemExit as ended:
        code = ended.code
    print(code, "torch" in sys.modules, *words)
    code = None
    if "torch" in sys.modules:
        break
"""
    done = python("-c", code)
    told = [f"{1 if 'no' in words else 2} False {' '.join(words)}" for words in commands]
    assert done.stdout.splitlines() == told, done.stderr


def test_doctor_finds_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    sick = cnnlab("doctor", "--runs", tmp_path / "file", "--json")
    assert sick.exit_code == 1
    [finding] = [found for found in json.loads(sick.stdout)["findings"] if not found["ok"]]
    assert finding["name"] == "runs folder"
    assert "--runs" in finding["next_step"]
    sound = cnnlab("doctor", "--runs", tmp_path / "runs")
    assert sound.exit_code == 0
    assert "✓ runs folder" in sound.stdout
