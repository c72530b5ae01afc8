"""Images and folders of images to test with; every cache is the test's own."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own cache folder; no data folder of the person who runs the tests is used."""
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CNNLAB_DATA", raising=False)
    return tmp_path / "cache"


def encoded(array: np.ndarray, format: str = "PNG", **options: object) -> bytes:
    """An array H×W or H×W×C as a file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, format, **options)
    return file.getvalue()


def picture(number: int, height: int = 6, width: int = 8, channels: int = 3) -> np.ndarray:
    """A picture of its own for each number."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def encode() -> Callable[..., bytes]:
    return encoded


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    return picture


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[Mapping[str, int]], Path]:
    """Makes a folder of PNG files: {"train/cat": 3} puts three pictures, all different, into train/cat."""

    def make(counts: Mapping[str, int], name: str = "pictures") -> Path:
        root = tmp_path / name
        number = 0
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True)
            for index in range(count):
                number += 1
                (root / folder / f"{index}.png").write_bytes(encoded(picture(number)))
        return root

    return make
