"""A finished run, made once, and what it takes to cut others off."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cnnlab.runs.folder import RunFolder
from cnnlab.runs.run import run
from cnnlab.spec.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _quick(one_thread: None) -> None:
    """Every run here computes with one thread."""


@pytest.fixture(scope="session")
def finished(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run, to be read only."""
    made = recipe(epochs=4, augment=["crop(padding=1)", "flip(0.5)"], validations_per_epoch=2)
    return run(made, name="finished", runs=tmp_path_factory.mktemp("finished"), device="cpu")


@pytest.fixture
def own(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished.path.parent, tmp_path / "runs")
    return RunFolder(tmp_path / "runs" / finished.name)


@pytest.fixture
def picture_folder(colours: Path, tmp_path: Path) -> Iterator[Path]:
    """The pictures again, to be changed."""
    return shutil.copytree(colours, tmp_path / "pictures")


class Cut(Exception):  # noqa: N818
    """The process ends here."""


@pytest.fixture
def cut() -> Callable[[int], Callable[..., None]]:
    """Makes a listener's function that ends the process at its n-th call."""

    def make(calls: int) -> Callable[..., None]:
        left = [calls]

        def count(*_: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Cut

        return count

    make.error = Cut
    return make
