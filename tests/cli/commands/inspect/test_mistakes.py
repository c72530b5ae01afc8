"""`cnnlab inspect mistakes`, from words to answers and files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def kept(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run with a ledger of its own."""
    run = trained(recipe())
    return shutil.copytree(run.path.parent, tmp_path_factory.mktemp("mistakes") / "runs") / run.name


def mistakes(*words: object) -> Result:
    return CliRunner().invoke(app, ["inspect", "mistakes", *map(str, words), "--device", "cpu"])


def lines(kept: Path) -> int:
    return len((kept.parent / "test-ledger.jsonl").read_text(encoding="utf-8").splitlines())


def test_the_answer_is_printed_and_every_picture_written(kept: Path, tmp_path: Path) -> None:
    done = mistakes(kept, "--output", tmp_path / "seen.png")
    assert done.exit_code == 0, done.stderr
    assert f"Mistakes of {kept.name} on the validation split" in done.stdout
    for words in (
        "9 validation images correct",
        "Precision, recall and F1 with 95 % intervals",
        "Calibration of 9 images",
    ):
        assert words in " ".join(done.stdout.split())
    written = sorted(file.name for file in tmp_path.iterdir())
    assert written == ["seen-gallery.png", "seen-map.png", "seen-reliability.png", "seen.png"]
    for name in written:
        assert f"Written to {tmp_path / name}\n" in done.stderr
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 400


def test_json_has_everything_and_no_picture_is_written(kept: Path, tmp_path: Path) -> None:
    done = mistakes(kept, "--json", "--no-pictures", "--most", 2)
    found = json.loads(done.stdout)
    assert (found["split"], found["images"], len(found["per_class"])) == ("validation", 9, 3)
    assert len(found["mistakes"]) == min(2, found["images"] - found["right"])
    assert found["calibration"]["before"]["width"]["limit"] > 0
    assert found["without_images"] == "they were not requested"
    assert "Written" not in done.stderr
    both = json.loads(mistakes(kept, "--json", "-o", tmp_path / "a.svg").stdout)
    assert both["map"]["images"] == 9
    assert both["calibration"] == found["calibration"]


def test_only_looking_at_test_images_is_written_down(kept: Path, tmp_path: Path) -> None:
    before = lines(kept)
    for words in (("--no-pictures",), ("--no-images", "-o", tmp_path / "a.svg")):
        assert mistakes(kept, "--split", "test", *words).exit_code == 0
        assert lines(kept) == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a-reliability.svg", "a.svg"]
    assert mistakes(kept, "--split", "test", "-o", tmp_path / "b.svg").exit_code == 0
    assert lines(kept) == before + 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pair", "cat"), "as in --pair cat:dog"),
        (("--pair", "blue:grean"), "did you mean 'green'?"),
        (("--output", "seen.pdf"), "this is no name for a picture"),
    ],
)
def test_wrong_words_are_told(kept: Path, words: tuple[str, ...], message: str) -> None:
    done = mistakes(kept, *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
