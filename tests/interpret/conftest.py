"""What tests of looks into a network share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from torch import nn

from cnnlab.config.recipe import Recipe
from cnnlab.interpret.loaded_model import LoadedModel, load_model
from cnnlab.storage.run_folder import RunFolder


@pytest.fixture(scope="session")
def untouched() -> Callable[[nn.Module], AbstractContextManager[None]]:
    """`with untouched(network):` fails where a look leaves weights, modes, gradients or hooks changed."""
    return _untouched


@contextmanager
def _untouched(network: nn.Module) -> Iterator[None]:
    before = _state(network)
    yield
    after = _state(network)
    for what, value in before.items():
        assert after[what] == value, what


def _state(network: nn.Module) -> dict[str, object]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    gradients = [parameter.grad for parameter in network.parameters()]
    return {
        "weights": {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()},
        "modes": [module.training for module in network.modules()],
        "requires_grad": [parameter.requires_grad for parameter in network.parameters()],
        "gradients": [None if gradient is None else gradient.numpy().tobytes() for gradient in gradients],
        "hooks": [len(getattr(module, hook)) for module in network.modules() for hook in hooks],
    }


@pytest.fixture
def subject_of(tmp_path: Path) -> Callable[[Recipe], LoadedModel]:
    """Opens a recipe as a person does, by its file."""

    def write(recipe: Recipe) -> LoadedModel:
        path = tmp_path / "tiny.toml"
        path.write_text(recipe.to_toml(), encoding="utf-8")
        return load_model(str(path), device="cpu")

    return write


@pytest.fixture
def own(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], tmp_path: Path) -> RunFolder:
    """A finished run in a runs folder of its own, to be changed. Its test part was opened at its end."""
    kept = trained(recipe(predictions="all"))
    shutil.copytree(kept.path.parent, tmp_path / "runs")
    return RunFolder(tmp_path / "runs" / kept.path.name)
