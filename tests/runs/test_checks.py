"""What can be known to go wrong is told before a folder is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.errors import SourceError, SpecError
from cnnlab.runs.run import run


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"batch_size": 64},
            r"train\.batch_size: a batch of 64 is larger .*27 images\n  allowed:  up to 27",
        ),
        (
            {"batch_size": 1, "layers": ["flatten", "batchnorm", "dense(classes)"]},
            r"train\.batch_size: batch norm needs two images a batch\n  received: 1\n  allowed:  from 2",
        ),
        (
            {"layers": ["globalpool('mean')"]},
            r"model\.layers: nothing is to be trained: no layer has trainable weights\n  next: .* dense\(classes\)",
        ),
        (
            {"rates": {"conv": 0.1, "dense*": 2.0}},
            r"train\.rates: no row with weights is called 'conv'\n.*\n  next:     did you mean 'conv1'\?",
        ),
        (
            {"rates": {"relu1": 0.1}},
            r"train\.rates: no row with weights is called 'relu1'\n.*\n  next: .* cnnlab describe",
        ),
        (
            {"loss": "focal(weights=[1, 2])"},
            r"train\.loss: there are 2 class weights, but 3 classes\n  allowed:  3 numbers, or weights='balanced'",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(
    recipe: Callable[..., Recipe], tmp_path: Path, fields: dict, problem: str
) -> None:
    with pytest.raises(SpecError, match=problem):
        run(recipe(**fields), RunContext(runs=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_network_larger_than_the_memory_is_refused_before_it_is_built(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    layers = ["flatten", "dense(1000000)", "dense(1000000)", "dense(classes)"]
    words = r"2 problems(?s:.*)model\.layers: 1,000,197,000,003 parameters need 14,904\.1 GiB(?s:.*)cnnlab describe"
    with pytest.raises(SpecError, match=words):
        run(recipe(layers=layers, batch_size=64), RunContext(runs=tmp_path / "runs"))


def test_an_unknown_source_makes_no_folder(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        run(recipe(source="cifar11"), RunContext(runs=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
