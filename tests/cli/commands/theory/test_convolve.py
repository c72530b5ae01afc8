from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app

IMAGE = "[[2,1,2,3,1],[3,9,1,1,4],[4,5,0,7,0]]"
KERNEL = "[[-1,0,1],[-2,0,2],[-1,0,1]]"
ANSWER = [[-11, 2, 4, -1, 7], [-24, 8, 12, -5, 12], [-19, 10, 4, -3, 15]]


def call(*words: str | Path, image: str = IMAGE, kernel: str = KERNEL) -> Result:
    return CliRunner().invoke(
        app, ["theory", "convolve", "--image", image, "--kernel", kernel, *(str(word) for word in words)]
    )


def test_the_answer_as_json():
    told = json.loads(call("--padding", "1", "--stride", "1", "--json").stdout)
    assert told["output"] == ANSWER
    assert [step["sum"] for step in told["steps"]] == [value for row in ANSWER for value in row]


def test_the_answer_in_the_terminal():
    done = call("--padding", "1")
    assert done.exit_code == 0
    for words in (
        "The kernel is flipped",
        "torch's conv2d",
        "image, padding in parentheses",
        "y[0, 1]  1·0 + 0·0 + (-1)·0 + 2·2 + 0·1 + (-2)·2 + 1·3 + 0·9 + (-1)·1 = 2",
    ):
        assert words in done.stdout


def test_one_element():
    done = call("--padding", "1", "--at", "0,1")
    assert "y[0, 1] = 1·0 + 0·0 + (-1)·0 + 2·2" in done.stdout
    assert "9 products, 3 of them with padding." in done.stdout
    assert "y[0, 0]" not in done.stdout
    told = json.loads(call("--padding", "1", "--at", "0,1", "--json").stdout)
    assert (told["output"], [step["sum"] for step in told["steps"]]) == (ANSWER, [2])


def test_every_option_reaches_the_sum():
    kernels = f"[[{KERNEL}],[[[1,0],[0,0]]]]".replace(KERNEL, "[[0,1],[0,2]]")
    options = ("--stride", "2,1", "--padding", "1", "--dilation", "1,2", "--bias", "[1,2]", "--padding-mode")
    done = call(*options, "replicate", "--cross-correlation", "--at", "1,0", "--of", "1", "--json", kernel=kernels)
    told = json.loads(done.stdout)
    assert (told["stride"], told["padding"], told["dilation"], told["bias"]) == ([2, 1], [1, 1], [1, 2], [1, 2])
    assert (told["flip"], told["padding_mode"]) == (False, "replicate")
    # The upper left pixel of the window of row 1, column 0 stands in row 1, column -1: a copy of the 3.
    assert told["steps"][0]["text"] == "1·3 + 0·9 + 0·4 + 0·5 + 2 (bias) = 5"


def test_files_are_read(tmp_path):
    path = tmp_path / "image.json"
    path.write_text(IMAGE, encoding="utf-8")
    assert json.loads(call("--padding", "same", "--json", image=str(path)).stdout)["output"] == ANSWER


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("--format=markdown", "$$\\begin{aligned} y[0, 1]"),
        ("--format=latex", "\\begin{tabular}{lrlrr}"),
        ("--format=svg", "<svg "),
    ],
)
def test_the_forms(form, words):
    done = call("--padding", "1", "--at", "0,1", form)
    assert done.exit_code == 0
    assert words in done.stdout


def test_the_page_is_written_beside_the_answer(tmp_path):
    path = tmp_path / "page.html"
    done = call("--padding", "1", "--at", "0,1", "--json", "--page", path)
    assert json.loads(done.stdout)["output"] == ANSWER
    assert f"Written to {path}" in " ".join(done.stderr.split())
    assert "#step=2" in done.stderr
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


WRONG = [
    (["--at", "3,0"], ["at: the output has no such element", "rows 0 to 2, columns 0 to 4"]),
    (["--at", "one"], ["--at: this takes a row and a column", "write it as in --at 3,4"]),
    (["--of", "2"], ["--of: --of chooses a kernel for --at", "add --at 0,0 --of 2"]),
    (["--padding", "valid"], ["--padding: this takes one whole number", "0 to 65,536:", "HEIGHTxWIDTH; or same"]),
    (
        ["--image", "[[1,2],[3,4]"],
        ["--image: this is not JSON: Expecting ',' delimiter: line 1 column 13", "[[1, 2], [3, 4]]"],
    ),
    (["--image", "[" * 100_000], ["--image: this is not JSON"]),
    (["--image", f"[[{'9' * 5000}]]"], ["--image: this is not JSON"]),
    (["--image", "missing.json"], ["missing.json: this is not JSON", "No such file or directory"]),
    (["--bias", "[1,"], ["--bias: this is not JSON"]),
    (["--json", "--format=svg"], ["the output has one format"]),
    (["--page", "page.txt"], ["--page: a page is an .html file", "--page page.html"]),
]


@pytest.mark.parametrize(("options", "told"), WRONG, ids=lambda value: " ".join(value)[:30])
def test_what_is_wrong_is_told(options, told):
    done = call("--padding", "1", *options)
    assert done.exit_code == 2
    assert not done.stdout
    for words in told:
        assert words in done.stderr


def test_a_page_that_cannot_be_written_is_told(tmp_path):
    path = tmp_path / "missing" / "page.html"
    done = call("--padding", "1", "--page", path)
    assert (done.exit_code, done.stdout) == (1, "")
    told = " ".join(done.stderr.split())
    assert "this file can't be written: No such file or directory" in told
    assert "next: choose another file with --page" in told
