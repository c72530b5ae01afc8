"""The command `describe`: its forms on stdout and its options."""

from __future__ import annotations

import json
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
import torchvision
from torch import nn
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app

ROOT = Path(__file__).parents[3]
LENET = str(ROOT / "recipes" / "lenet.toml")


def cnnlab(*words: str) -> Result:
    return CliRunner().invoke(app, ["describe", *words])


def test_json_keeps_what_other_programs_rely_on() -> None:
    told = json.loads(cnnlab(LENET, "--json").stdout)
    assert (told["parameters"], told["trainable"], told["macs"]) == (390_410, 390_410, 28_803_712)
    assert (told["input"], len(told["classes"])) == ([3, 32, 32], 10)
    first = told["layers"][0]
    assert {key: first[key] for key in ("name", "kind", "output", "parameters", "macs", "receptive_field")} == {
        "name": "conv1", "kind": "conv", "output": [32, 32, 32], "parameters": 2432, "macs": 2_457_600,
        "receptive_field": [5, 5],
    }  # fmt: skip
    before_flatten = next(row for row, after in pairwise(told["layers"]) if after["kind"] == "flatten")
    assert before_flatten["output"] == [128, 4, 4]
    assert told["memory"]["batch_size"] == 64
    assert isinstance(told["warnings"], list)


def test_the_terminal_shows_the_table_and_the_sums() -> None:
    shown = cnnlab(LENET).stdout
    for word in (
        "conv(32, 5, padding=2)",
        "5·5·3·32 + 32",
        "390,410",
        "45.5 %",
        "whole image",
        "Memory with 64 images at a time",
    ):
        assert word in shown


def test_a_narrow_terminal_keeps_every_column_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("cnnlab.cli.output.console.WIDTH_WITHOUT_TERMINAL", 80)
    shown = cnnlab(LENET).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "parameters" in shown
    assert "Left out, since the terminal is narrow:" in shown
    assert "jump" not in shown.partition("Left out")[0]


def test_the_other_forms() -> None:
    assert "| conv1 | `conv(32, 5, padding=2)` | 32×32×32 | 2,432 |" in cnnlab(LENET, "--format=markdown").stdout
    assert r"\toprule" in cnnlab(LENET, "--format=latex").stdout
    assert ElementTree.fromstring(cnnlab(LENET, "--format=svg").stdout).tag.endswith("svg")


def test_options_change_the_images_the_classes_and_the_batch() -> None:
    words = ("--size", "28x20", "--classes", "3", "--batch", "2", "--set", "data.channels=1", "--json")
    told = json.loads(cnnlab(LENET, *words).stdout)
    assert told["input"] == [1, 28, 20]
    assert told["layers"][-1]["output"] == [3]
    assert told["memory"]["batch_size"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((LENET, "--json", "--format=svg"), "the output has one format"),
        ((LENET, "--batch", "0"), "--batch"),
        ((LENET, "--size", "0"), "--size: this takes one whole number, or two"),
        (("no-such-network",), "no-such-network"),
    ],
)
def test_wrong_usage_is_told(words: tuple[str, ...], said: str) -> None:
    done = cnnlab(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_torchs_own_print_is_that_of_the_built_network(tmp_path: Path) -> None:
    table = 'model.layers=["conv(6, 5)", "relu", "flatten", "dense(classes)"]'
    with torch.device("meta"):
        convolution, dense = nn.Conv2d(3, 6, (5, 5)), nn.Linear(4704, 10)
        resnet = torchvision.models.resnet18(num_classes=7)
    by_hand = nn.Sequential(OrderedDict(conv1=convolution, relu1=nn.ReLU(), flatten1=nn.Flatten(), dense1=dense))
    done = cnnlab(LENET, "--torch", "--set", table)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{by_hand!r}\n"
    backbone = cnnlab("resnet18", "--torch", "--classes", "7", "--json")
    assert json.loads(backbone.stdout) == {
        "name": "resnet18",
        "torch": repr(resnet),
    }
    transfer = cnnlab(str(ROOT / "recipes" / "resnet18.toml"), "--torch").stdout
    assert transfer.startswith("TransferModel(\n  (resize): Resize(")
    assert "(dense1): Linear(in_features=512, out_features=10, bias=True)" in transfer
    for wrong in (("--batch", "3"), ("--format", "svg"), ("--data", str(tmp_path))):
        refused = cnnlab(LENET, "--torch", *wrong)
        assert (refused.exit_code, f"{wrong[0]} would do nothing here" in refused.stderr) == (2, True)
