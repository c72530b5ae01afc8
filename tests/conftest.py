"""What every test is held to: it leaves the environment, the files and the global random state as they were."""

from __future__ import annotations

import os

# One thread is the quickest for tiny networks, whatever the number of cores. Read when torch is loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rich.console  # noqa: F401  (draws from random's global state when it is first imported)
from filelock import FileLock
from hypothesis import settings
from PIL import Image

from cnnlab.config.recipe import Data, Recipe
from cnnlab.context import RunContext

if TYPE_CHECKING:
    from torch import Tensor

    from cnnlab.storage.run_folder import RunFolder

# How long an example takes says nothing of the code; `make test-full` asks for many more of them. Both draw the same
# examples each time, so that a failure comes from the change at hand; "search" looks for new ones.
settings.register_profile("fast", deadline=None, print_blob=True, derandomize=True, max_examples=15)
settings.register_profile("full", deadline=None, print_blob=True, derandomize=True, max_examples=100)
settings.register_profile("search", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("fast")

REPOSITORY = Path(__file__).parents[1]
REAL_DATA = Path(os.environ.get("CNNLAB_TEST_DATA") or REPOSITORY.parent / "shared" / "data")

# A network with everything that must survive an interruption: batch norm's statistics and dropout's draws.
SMALL = ("conv(4, 3, padding=1)", "batchnorm", "relu", "dropout(0.2)", "maxpool(2)", "flatten", "dense(classes)")


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the person's own cache, runs or data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CNNLAB_OFFLINE", "1")
        # torch sets this variable itself when an optimiser first steps.
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        patch.delenv("CNNLAB_DATA", raising=False)
        patch.delenv("CNNLAB_RUNS", raising=False)
        yield


@pytest.fixture(autouse=True)
def _nothing_leaks(_own_folders: None) -> Iterator[None]:
    """Fail a test that leaves something behind."""
    before = _surroundings()
    yield
    after = _surroundings()
    for what, value in before.items():
        assert after[what] == value, f"the test leaked: {what} changed"


def _surroundings() -> dict[str, object]:
    found: dict[str, object] = {
        "environment variables": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "the working directory": Path.cwd(),
        "files in the repository": _files(REPOSITORY),
        "random's state": random.getstate(),
        "numpy's random state": np.random.get_state()[1].tobytes(),
    }
    torch = _torch()
    if torch is not None:
        found["torch's random state"] = torch.get_rng_state().numpy().tobytes()
    return found


def _torch() -> object:
    """torch, if the session has it loaded: the tests of what needs no torch are not to load it."""
    import sys

    return sys.modules.get("torch")


def _files(folder: Path) -> set[str]:
    """Names in the places where a careless test would write; hidden and compiled ones are the tools' own."""
    places = (folder, folder / "recipes", folder / "studies", folder / "tests")
    return {f"{place}/{name}" for place in places for name in os.listdir(place) if name[0] not in "._"}  # noqa: PTH208


@pytest.fixture
def cifar_jpeg() -> Path:
    """The JPEG copy of CIFAR-10."""
    return _real("cifar10-jpeg.zip")


@pytest.fixture
def orl_faces() -> Path:
    """The ORL faces: 40 people, 10 grey images each."""
    return _real("orl-faces.zip")


def _real(name: str) -> Path:
    path = REAL_DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in {REAL_DATA}; set CNNLAB_TEST_DATA to the folder that holds it")
    return path


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of a test session."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def colours(shared_folder: Path) -> Path:
    """A folder of 48 noisy 8×8 pictures in three classes by colour, which a small table learns at once."""
    root = shared_folder / "colours"
    with FileLock(shared_folder / "colours.lock"):
        if not root.exists():
            _draw_colours(root)
    return root


def _draw_colours(root: Path) -> None:
    noise = np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (root / name).mkdir(parents=True)
        for index in range(16):
            pixels = noise.integers(0, 160, (8, 8, 3), dtype=np.uint8)
            pixels[:, :, 2 - label] += 60
            Image.fromarray(pixels).save(root / name / f"{index}.png")


@pytest.fixture(scope="session")
def recipe(colours: Path) -> Callable[..., Recipe]:
    """Makes a recipe on `colours` that trains in a moment.

    Arguments are fields of [data] and [train]; `opened` is [train]'s `test`, whose name both have.
    """

    def make(layers: Sequence[str] = SMALL, opened: str = "end", claims: object = None, **fields: object) -> Recipe:
        data = {"source": str(colours), "validation": 0.25, "test": 0.25}
        train = {"epochs": 2, "batch_size": 8, "optimizer": "sgd(0.05, momentum=0.9)", "precision": "fp32"}
        for name, value in fields.items():
            (data if name in Data.model_fields else train)[name] = value
        tables = {"data": data, "model": {"layers": list(layers)}, "train": {**train, "test": opened}}
        return Recipe.from_tables({**tables, "claims": claims or {}})

    return make


@pytest.fixture(scope="session")
def trained(shared_folder: Path) -> Callable[..., RunFolder]:
    """Gives the finished run of a recipe, to be read only.

    Each recipe is trained once in a test session, whichever tests and processes ask for it: ask for one that is trained
    already, and copy the run (`shutil.copytree(run.path.parent, …)`) to change it. It is alone in its runs folder.
    """

    def find(recipe: Recipe, name: str = "run") -> RunFolder:
        from cnnlab.runs.run import run
        from cnnlab.storage.run_folder import RunFolder

        digest = hashlib.sha256(f"{name}\n{recipe.to_toml()}".encode()).hexdigest()[:16]
        runs = shared_folder / "trained" / digest
        with FileLock(shared_folder / f"{digest}.lock"):
            finished = [path.parent for path in runs.glob("*/result.json")]
            return RunFolder(finished[0]) if finished else run(recipe, RunContext(runs=runs, device="cpu"), name=name)

    return find


@pytest.fixture(scope="session")
def finished(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> RunFolder:
    """A finished run, to be read only."""
    fields = {
        "epochs": 4,
        "augment": ["crop(padding=1)", "flip(0.5)"],
        "validations_per_epoch": 2,
        "predictions": "all",
    }
    return trained(recipe(**fields), name="finished")


class Cut(Exception):  # noqa: N818
    """The process ends here."""


@pytest.fixture
def cut() -> Callable[[int], Callable[..., None]]:
    """Makes a callback that ends the process at its n-th call."""

    def make(calls: int) -> Callable[..., None]:
        left = [calls]

        def count(*_: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Cut

        return count

    make.error = Cut
    return make


@pytest.fixture
def own(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the finished run, to be changed."""
    from cnnlab.storage.run_folder import RunFolder

    shutil.copytree(finished.path.parent, tmp_path / "runs")
    return RunFolder(tmp_path / "runs" / finished.name)


# Rows with weights: conv1, batchnorm1, conv2, batchnorm2, dense1, dense2; as a backbone it is cut in front of dense2.
TRUNK = (
    "conv(4, 3, padding=1)", "batchnorm", "relu", "dropout(0.3)", "conv(6, 3, padding=1)", "batchnorm", "relu",
    "maxpool(2)", "flatten", "dense(8)", "relu", "dense(classes)",
)  # fmt: skip


class Transferring:
    """A tiny finished run, recipes whose backbone it is, and the tensors of runs, read without the runs' code.

    Attributes:
        source: the run, to be read only.
        rows: the modules with weights that such a backbone has.
    """

    rows = ("conv1", "batchnorm1", "conv2", "batchnorm2", "dense1")

    def __init__(self, source: RunFolder, recipe: Callable[..., Recipe]) -> None:
        self.source = source
        self._recipe = recipe

    def recipe(self, trainable: str = "all", model: Mapping[str, Any] | None = None, **fields: Any) -> Recipe:
        """A recipe on `colours` that keeps no features, so that the whole network runs in each step.

        Args:
            model: keys of [model] beside the backbone, or another one.
            fields: those of [data] and [train].
        """
        tables = self._recipe(**{"cache": "never", **fields}).to_tables()
        tables["model"] = {"backbone": f"run('{self.source.path}')", "trainable": trainable, **(model or {})}
        return Recipe.from_tables(tables)

    def trained(self, found: Mapping[str, Tensor]) -> set[str]:
        """The rows of the backbone whose numbers are no longer those of the run that it is from."""
        return self.changed(self.tensors(self.source, "best"), self.within("backbone.", found))

    @staticmethod
    def tensors(folder: RunFolder, kind: str = "last", prefix: str = "network/") -> dict[str, Tensor]:
        """The newest tensors of a run."""
        from safetensors.torch import load_file

        newest = max(folder.path.glob(f"{kind}-*.safetensors"), key=lambda path: int(path.stem.partition("-")[2]))
        return Transferring.within(prefix, load_file(newest))

    @staticmethod
    def within(prefix: str, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors whose names begin so, without that."""
        return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}

    @staticmethod
    def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
        """The modules of which a tensor has another bit; `after` has none that `before` lacks."""
        return {name.rpartition(".")[0] for name, tensor in after.items() if _bytes(tensor) != _bytes(before[name])}


def _bytes(tensor: Tensor) -> bytes:
    import torch

    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture(scope="session")
def transferring(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> Transferring:
    """A run to begin with, and what it takes to look at what becomes of it."""
    return Transferring(trained(recipe(layers=TRUNK, epochs=1), name="source"), recipe)
