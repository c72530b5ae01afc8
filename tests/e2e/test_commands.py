"""Whole commands, as a person gives them: in a process of their own, from words to files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TINY = """
[data]
source = "shapes"
limit = 400
augment = ["crop(padding=4)", "flip(0.5)"]

[model]
layers = ["conv(8, 5, stride=2)", "batchnorm", "relu", "maxpool(2)", "flatten", "dropout(0.1)", "dense(classes)"]

[train]
epochs = 2
precision = "fp32"

[claims]
test_accuracy = { published = 0.2, source = "nobody", data = "shapes", images = 2000 }
"""


def cnnlab(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cnnlab", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What `train --json` printed of one tiny run."""
    done = cnnlab("train", recipe, "--runs", tmp_path_factory.mktemp("runs"), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_train_prints_what_programs_rely_on(trained: dict[str, object]) -> None:
    assert {"run", "parameters", "epochs", "selected_epoch", "seconds", "images_per_second"} <= trained.keys()
    assert trained["epochs"] == 2.0
    for part in ("train", "validation", "test"):
        score = trained[part]
        assert isinstance(score, dict)
        assert 0 < score["accuracy"] < 1
        assert score["loss"] > 0
    assert Path(str(trained["report"])).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_run_repeats_itself(trained: dict[str, object], tmp_path: Path) -> None:
    resolved = Path(str(trained["run"])) / "recipe.toml"
    again = json.loads(cnnlab("train", resolved, "--runs", tmp_path, "--json").stdout)
    assert again["test"] == trained["test"]


def test_progress_goes_to_stderr_and_results_to_stdout(recipe: Path, tmp_path: Path) -> None:
    done = cnnlab("train", recipe, "--set", "train.epochs=1", "--runs", tmp_path)
    assert done.returncode == 0
    assert re.search(r"epoch 1, train .* images/s", done.stderr)
    assert "training: 400 of 400 images" in done.stderr
    assert re.search(r"test +2,000 ", done.stdout)
    assert "report: " in done.stdout
    assert "epoch 1," not in done.stdout


def test_predict_report_runs_and_test_on_a_run(trained: dict[str, object], tmp_path: Path) -> None:
    run = Path(str(trained["run"]))
    picture, broken = tmp_path / "a.png", tmp_path / "b.png"
    made = cnnlab("data", "show", "shapes", "--output", picture)
    assert made.returncode == 0, made.stderr
    broken.write_bytes(b"<html>not an image</html>")
    answer = cnnlab("predict", run, picture, broken, "--json")
    assert answer.returncode == 1
    good, bad = json.loads(answer.stdout)
    assert good["class"] == good["top"][0]["name"]
    assert good["probability"] == pytest.approx(good["top"][0]["probability"])
    assert bad["error"]

    (run / "report.html").unlink()
    assert cnnlab("report", run).returncode == 0
    assert (run / "report.html").exists()

    listed = json.loads(cnnlab("runs", "--runs", run.parent, "--sort", "test", "--json").stdout)
    assert [one["run"] for one in listed] == [run.name]

    ledger = run.parent / "test-ledger.jsonl"
    before = len(ledger.read_text(encoding="utf-8").splitlines())
    assert cnnlab("test", run).returncode == 0
    assert len(ledger.read_text(encoding="utf-8").splitlines()) == before + 1


def test_three_mistakes_are_told_at_once(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(
        TINY.replace("conv(8, 5, stride=2)", "con(8, 5)").replace("epochs = 2", "epochs = 0\noptimiser = 'adam'"),
        encoding="utf-8",
    )
    done = cnnlab("describe", wrong)
    assert done.returncode == 2
    assert "3 problems" in done.stderr
    for words in ("unknown layer 'con'", "did you mean 'conv'?", "'epochs' can't be 0", "did you mean 'optimizer'?"):
        assert words in done.stderr
    assert str(wrong) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("describe", "nowhere.toml"), 2, "No such file"),
        (("train",), 2, "train takes a recipe, or --resume and a run"),
        (("train", "--resume", "nowhere"), 1, "there is no run here"),
        (("report", "nowhere"), 1, "there is no run here"),
        (("runs", "--sort", "colour"), 2, "unknown column 'colour'"),
        (("tarin",), 2, "Did you mean 'train'"),
    ],
)
def test_wrong_words_are_refused(words: tuple[str, ...], code: int, message: str, tmp_path: Path) -> None:
    done = cnnlab(*words, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_set_takes_toml_values_and_bare_words(recipe: Path) -> None:
    changed = cnnlab("describe", recipe, "--set", "model.init=xavier", "--set", "data.size=[16, 16]", "--json")
    assert json.loads(changed.stdout)["input"] == [3, 16, 16]
    refused = cnnlab("describe", recipe, "--set", "train.epochs=many")
    assert refused.returncode == 2
    assert "'epochs' can't be 'many'" in refused.stderr


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on(recipe: Path, tmp_path: Path, sent: signal.Signals, code: int) -> None:
    command = [
        sys.executable,
        "-m",
        "cnnlab",
        "train",
        str(recipe),
        "--set",
        "train.epochs=500",
        "--runs",
        str(tmp_path),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*/last.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(sent)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    [run] = [path.parent for path in tmp_path.glob("*/recipe.toml")]
    told = re.search(r"^from the end of epoch (\d+), go on with: cnnlab train --resume (.+)$", stderr, re.MULTILINE)
    assert told is not None, stderr
    assert int(told[1]) == json.loads((run / "last.json").read_text(encoding="utf-8"))["newest"]["epoch"]
    assert told[2] == str(run)
    assert "Traceback" not in stderr


def test_describe_shows_the_published_numbers() -> None:
    shown = json.loads(cnnlab("describe", REPOSITORY / "recipes" / "lenet.toml", "--json").stdout)
    assert shown["parameters"] == 390_410
    before_flatten = next(
        row for row, after in zip(shown["layers"], shown["layers"][1:], strict=False) if after["kind"] == "flatten"
    )
    assert before_flatten["output"] == [128, 4, 4]


@pytest.mark.parametrize("words", [("--help",), ("describe", "recipes/lenet.toml"), ("data", "list"), ("runs",)])
def test_what_needs_no_torch_loads_none(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "cnnlab", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "cnnlab.cli.main" in loaded
    assert not {"torch", "torchvision"} & loaded
    if words == ("--help",):
        assert not {"numpy", "pydantic", "scipy", "matplotlib"} & loaded


def test_doctor_finds_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    sick = cnnlab("doctor", "--runs", tmp_path / "file", "--json")
    assert sick.returncode == 1
    [finding] = [found for found in json.loads(sick.stdout)["findings"] if not found["ok"]]
    assert finding["name"] == "runs folder"
    assert "--runs" in finding["next_step"]
    assert cnnlab("doctor", "--runs", tmp_path / "runs").returncode == 0
