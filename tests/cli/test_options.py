"""What options take: sizes and places in every form in which people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cnnlab.cli.main import app
from cnnlab.cli.options import LARGEST_SIDE, read_image_size, read_position, read_sizes
from cnnlab.errors import UsageError

SIDE = st.integers(1, LARGEST_SIDE)
BLANK = st.sampled_from(["", " "])


@given(SIDE, SIDE, st.sampled_from("xX×,"), BLANK)
def test_two_numbers_are_read_whatever_is_between_them(high: int, wide: int, between: str, blank: str) -> None:
    text = f"{blank}{high}{blank}{between}{blank}{wide}"
    assert read_sizes(text, "--size") == read_image_size(text) == (high, wide)


@given(SIDE, st.integers(0, 9))
def test_one_number_stands_for_both(side: int, zeros: int) -> None:
    text = "0" * zeros + str(side)
    assert read_sizes(text, "--kernel") == side
    assert read_image_size(text) == (side, side)


def test_an_empty_text_is_no_size_and_no_place() -> None:
    assert (read_image_size(""), read_position("", "--node")) == (None, None)


@pytest.mark.parametrize(
    "text", ["0", "x", "32x", "3x4x5", "3xx4", "-1", "1e3", "3.5", "100001", "5x0", "²", "٣", "9" * 5000]
)
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="this takes one whole number, or two") as caught:
        read_image_size(text)
    (problem,) = caught.value.problems
    assert (problem.where, problem.received) == ("--size", text)
    assert problem.allowed == "1 to 100,000: one for both dimensions, or HEIGHTxWIDTH"
    assert problem.next_step == "write it as in --size 32, or --size 32x48"


def test_limits_are_the_options_own() -> None:
    assert read_sizes("0x7", "--padding", least=0, most=7) == (0, 7)
    with pytest.raises(UsageError, match="0 to 7: one for both dimensions, or HEIGHTxWIDTH; or same"):
        read_sizes("8", "--padding", least=0, most=7, also="same")
    with pytest.raises(UsageError, match="received: 07x8"):
        read_sizes("07x8", "--padding", least=0, most=7)


@given(st.integers(0, 999_999_999), st.integers(0, 999_999_999), BLANK)
def test_places_are_a_row_and_a_column(row: int, column: int, blank: str) -> None:
    assert read_position(f"{row},{blank}{column}", "--node") == (row, column)


@pytest.mark.parametrize("text", ["3", "3x4", "-1,0", "a,b", "1,2,3", "1,", "9" * 5000 + ",0"])
def test_anything_else_is_no_place(text: str) -> None:
    with pytest.raises(UsageError, match="--at: this takes a row and a column") as caught:
        read_position(text, "--at")
    assert caught.value.problems[0].next_step == "write it as in --at 3,4"


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("train r.toml", "r.toml"),
        ("lr r.toml", "r.toml"),
        ("describe r.toml", "r.toml"),
        ("theory receptive r.toml", "r.toml"),
        ("inspect weights r.toml", "r.toml"),
        ("study s.toml", "s.toml"),
        ("study s.toml --plan", "s.toml"),
        ("tune t.toml --plan", "t.toml"),
    ],
)
def test_data_that_is_not_found_is_told_with_the_file_and_the_key(
    words: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.toml").write_text('[data]\nsource = "cifar11"\n[model]\nlayers = ["flatten", "dense(classes)"]\n')
    Path("s.toml").write_text('base = "r.toml"\nseeds = 2\n[arms]\na = {}\nb = { "train.batch_size" = 32 }\n')
    Path("t.toml").write_text('base = "r.toml"\ntrials = 3\n[search]\n"train.batch_size" = "choice(16, 32)"\n')
    failed = CliRunner().invoke(app, words.split())
    assert failed.exit_code == 2
    assert f"✗ {file}: data.source: no data is found by this name\n  received: cifar11\n" in failed.stderr
    assert "did you mean 'cifar10'?" in failed.stderr
