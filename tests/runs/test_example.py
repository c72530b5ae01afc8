"""The image that a run keeps: which one it is, bit by bit, also in grey; never one of the test part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.data.dataset import open_dataset
from cnnlab.errors import RunError
from cnnlab.records import ExampleRecord
from cnnlab.runs.run import run
from cnnlab.storage.run_folder import RunFolder


@pytest.mark.parametrize(
    ("fields", "part", "channels"),
    [({}, "validation", 3), ({"validation": 0.0}, "train", 3), ({"channels": 1, "size": 6}, "validation", 1)],
)
def test_the_first_image_of_the_validation_part_is_kept_as_the_network_has_it(
    recipe: Callable[..., Recipe], tmp_path: Path, fields: dict[str, object], part: str, channels: int
) -> None:
    made = recipe(epochs=1, **fields)
    folder = run(made, RunContext(runs=tmp_path, device="cpu"))
    dataset = open_dataset(made.data, seed=made.train.seed)
    example = folder.example()
    assert example is not None
    about, pixels = example
    assert about == ExampleRecord(split=part, place=0, label=int(dataset.labels(part)[0]))
    assert np.array_equal(pixels, dataset.pixels(part)[0])
    assert pixels.shape == (channels, *dataset.image_spec.shape[1:])
    with Image.open(folder.path / "example.png") as opened:
        assert opened.mode == ("L" if channels == 1 else "RGB")


def test_a_damaged_one_is_told_and_a_run_without_one_has_none(finished: RunFolder, own: RunFolder) -> None:
    assert finished.example() is not None
    (own.path / "example.png").write_bytes(b"no picture")
    with pytest.raises(RunError, match=r"example\.png: the example image can't be used"):
        own.example()
    (own.path / "example.png").unlink()
    assert own.example() is None


@pytest.mark.parametrize("mode", ["P", "I;16", "L", "RGBA"])
def test_an_image_of_another_mode_is_refused(own: RunFolder, mode: str) -> None:
    path = own.path / "example.png"
    with Image.open(path) as opened:
        size = opened.size
        assert opened.mode == "RGB"
    Image.new(mode, size).save(path)
    with pytest.raises(RunError, match=f"it has {mode} pixels.*the run's images have RGB pixels"):
        own.example()
