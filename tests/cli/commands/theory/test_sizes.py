"""`cnnlab theory output|padding|kernel|stride`: what goes in, what comes out, and on which stream."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app


def _call(words: str) -> Result:
    return CliRunner().invoke(app, ["theory", *words.split()])


def _json(words: str) -> dict[str, Any]:
    result = _call(f"{words} --json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("output --size 32 --kernel 5 --padding 2 --stride 2", {"size": 16, "exact": "33/2", "fits": False}),
        ("output --size 5 --kernel 3 --stride 2 --padding 1 --transposed --output-padding 1", {"size": 10}),
        ("output --size 32,30 --kernel 3×5 --dilation 2", {"size": [28, 22]}),
        ("padding --size 32 --kernel 7x4 --stride 1", {"padding": [3, None], "exact": ["3", "3/2"], "fits": False}),
        ("padding --size 16 --kernel 4 --stride 2 --output 32 --transposed", {"padding": 1}),
        ("kernel --size 508 --output 254 --pool", {"kernel": 2, "stride": 2}),
        ("stride --size 32x64 --output 16,16 --kernel 4 --padding 1x0", {"stride": [2, 4]}),
    ],
)
def test_json(words: str, expected: dict[str, Any]) -> None:
    found = _json(words)
    assert {name: found[name] for name in expected} == expected


def test_a_person_reads_formula_table_and_notes() -> None:
    shown = _call("output --size 32 --kernel 5 --padding 2 --stride 2").stdout
    for words in ("Output of a convolution: 16", "O = (32 − 5 + 2·2) / 2 + 1 = 33/2 = 16.5", "The nearest that fit"):
        assert words in shown


@pytest.mark.parametrize("command", ["output --size 32", "padding --size 32", "kernel --size 32 --output 9"])
def test_markdown_and_latex(command: str) -> None:
    kernel = "" if command.startswith("kernel") else "--kernel 5"
    assert "$$" in _call(f"{command} {kernel} --format=markdown").stdout
    latex = _call(f"{command} {kernel} --stride 2 --format=latex").stdout
    assert r"\[ " in latex
    assert latex.count("{") == latex.count("}")


def test_svg() -> None:
    result = _call("output --size 32x16 --kernel 5 --padding 2 --stride 2 --format=svg")
    assert ElementTree.fromstring(result.stdout).tag.endswith("svg")
    assert "prefers-color-scheme: dark" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "output --size 3x --kernel 5",
            "--size: this takes one whole number, or two\n  received: 3x\n  allowed:  1 to 65,536: one",
        ),
        ("output --size 3 --kernel 5", "kernel: a window of 5 pixels does not fit on 3"),
        (
            "output --size 9 --kernel 3 --json --format=svg",
            "the output has one format\n  received: --json --format svg",
        ),
    ],
)
def test_errors_go_to_stderr(words: str, said: str) -> None:
    result = _call(words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
