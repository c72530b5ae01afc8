"""What the images say: imbalance, numbers of another data set, and images that are in two parts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.config.recipe import Data
from cnnlab.data.checks import IMBALANCE_RATIO, check_source
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.data.warnings import data_warnings, find_leak, leakage_warnings
from cnnlab.records import WarningRecord

IMAGENET = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]


def write(folder: Path, count: int, level: float = 120, spread: float = 60, seed: int = 0) -> None:
    """Images of noise, no two of which are the same."""
    folder.mkdir(parents=True)
    noise = np.random.Generator(np.random.PCG64([seed, *folder.name.encode()]))
    for index in range(count):
        pixels = noise.normal(level, spread, (6, 6, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def opened(folder: Path, **fields: Any) -> Dataset:
    return open_dataset(Data(source=str(folder), **fields), seed=0)


def found(folder: Path, off: tuple[str, ...] = (), **fields: Any) -> dict[str, WarningRecord]:
    return {warning.name: warning for warning in data_warnings(opened(folder, **fields), off)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three parts, two classes, nothing odd."""
    for seed, (split, count) in enumerate((("train", 20), ("validation", 6), ("test", 6))):
        for name in ("cat", "dog"):
            write(tmp_path / "images" / split / name, count, seed=seed)
    return tmp_path / "images"


def test_sound_data_gives_none(folder: Path) -> None:
    assert found(folder) == {}
    assert leakage_warnings(opened(folder)) == ()


@pytest.mark.parametrize(("few", "speaks"), [(2, True), (3, False)])
def test_imbalance_speaks_from_the_ratio_on_that_the_data_check_has(tmp_path: Path, few: int, speaks: bool) -> None:
    write(tmp_path / "images" / "train" / "many", IMBALANCE_RATIO * 2)
    write(tmp_path / "images" / "train" / "few", few)
    warning = found(tmp_path / "images", validation=0.0, test=0.0).get("class-imbalance")
    assert (warning is not None) == speaks
    kinds = {problem.kind for problem in check_source(str(tmp_path / "images")).problems}
    assert ("imbalance" in kinds) == speaks
    assert found(tmp_path / "images", validation=0.0, test=0.0, per_class=2) == {}  # which evens it out
    if warning is not None:
        assert warning.where == "few"
        assert warning.message.startswith("40 training images of 'many', 2 of 'few': ")
        assert "balanced_accuracy" in warning.fix


def test_numbers_of_other_images_speak(folder: Path) -> None:
    warning = found(folder, normalize=[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])["normalization-mismatch"]
    pixels = opened(folder).pixels("train") / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    assert warning.where == "data.normalize"
    worst = int(std.argmin())  # these numbers leave the deviations as they are, far below 1
    for told in (f"channel {worst}", f"{mean[worst]:.2f} instead of 0", f"{std[worst]:.2f} instead of 1"):
        assert told in warning.message
    assert f"{mean[worst]:.4f} and {std[worst]:.4f}" in warning.message
    assert found(folder, normalize=IMAGENET) == {}
    assert found(folder, normalize="data") == {}


def test_a_channel_that_is_the_same_everywhere_has_no_scale_to_match(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write(tmp_path / "images" / "train" / name, 4)
        for path in (tmp_path / "images" / "train" / name).iterdir():
            pixels = np.asarray(Image.open(path)).copy()
            pixels[:, :, 1] = 128
            Image.fromarray(pixels).save(path)
    numbers = [[0.47, 0.5, 0.47], [0.24, 0.24, 0.24]]
    assert "normalization-mismatch" not in found(tmp_path / "images", validation=0.0, test=0.0, normalize=numbers)
    numbers[0][1] = 0.9
    warning = found(tmp_path / "images", validation=0.0, test=0.0, normalize=numbers)["normalization-mismatch"]
    assert "channel 1 of the training images has mean -1.66 instead of 0: their own" in warning.message


def test_an_image_in_two_parts_is_a_leak_whatever_its_name_and_format(folder: Path) -> None:
    Image.open(folder / "train" / "cat" / "3.png").save(folder / "validation" / "dog" / "copy.bmp")
    warning = found(folder)["leak"]
    assert warning.where == "train, validation"
    assert warning.message.startswith("1 of 13 validation images")
    assert "validation/dog/copy.bmp is train/cat/3.png" in warning.message
    assert leakage_warnings(opened(folder)) == ()
    assert "same image in two splits" in {problem.kind for problem in check_source(str(folder)).problems}


def test_leaks_into_the_test_part_are_told_by_part(folder: Path) -> None:
    for split, row in (("train", 0), ("train", 1), ("validation", 2)):
        shutil.copy(folder / split / "cat" / f"{row}.png", folder / "test" / "cat" / f"{split}{row}.png")
    assert found(folder) == {}  # the test part is not looked at
    first, second = leakage_warnings(opened(folder))
    assert (first.where, first.message[:19]) == ("train, test", "2 of 15 test images")
    assert (second.where, second.message[:19]) == ("validation, test", "1 of 15 test images")
    assert leakage_warnings(opened(folder), ("leak",)) == ()
    (folder / "test" / "cat" / "0.png").write_bytes(b"no image")
    assert found(folder) == {}


def test_a_part_that_is_not_there_shares_nothing(tmp_path: Path) -> None:
    write(tmp_path / "images" / "train" / "cat", 4)
    write(tmp_path / "images" / "train" / "dog", 4)
    dataset = opened(tmp_path / "images", validation=0.0, test=0.0)
    assert find_leak(dataset, ("train", "validation")) is None
    assert leakage_warnings(dataset) == ()


def test_what_is_off_is_not_looked_at(folder: Path) -> None:
    shutil.copy(folder / "train" / "cat" / "3.png", folder / "validation" / "cat" / "copy.png")
    wrong = {"normalize": [[0.0] * 3, [1.0] * 3]}
    assert set(found(folder, **wrong)) == {"leak", "normalization-mismatch"}
    assert set(found(folder, ("leak",), **wrong)) == {"normalization-mismatch"}
    assert found(folder, ("leak", "normalization-mismatch"), **wrong) == {}
