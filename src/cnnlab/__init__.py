"""A laboratory for convolutional image classifiers.

    import cnnlab

    recipe = cnnlab.Recipe.read("recipes/lenet.toml")
    run = cnnlab.train(recipe)
    run.result().test.accuracy

Everything public is here, and is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnlab.api import train, write_report
    from cnnlab.errors import (
        CnnlabError,
        DownloadError,
        RunError,
        SourceError,
        SpecError,
        UsageError,
    )
    from cnnlab.export.prediction import predict
    from cnnlab.model.build import build
    from cnnlab.runs.folder import RunFolder
    from cnnlab.runs.run import open_test, resume_run
    from cnnlab.spec.recipe import Claim, Data, Model, Recipe, Train

__version__ = "0.1.0"

_HOMES = {
    "Claim": "cnnlab.spec.recipe",
    "CnnlabError": "cnnlab.errors",
    "Data": "cnnlab.spec.recipe",
    "DownloadError": "cnnlab.errors",
    "Model": "cnnlab.spec.recipe",
    "Recipe": "cnnlab.spec.recipe",
    "RunError": "cnnlab.errors",
    "RunFolder": "cnnlab.runs.folder",
    "SourceError": "cnnlab.errors",
    "SpecError": "cnnlab.errors",
    "Train": "cnnlab.spec.recipe",
    "UsageError": "cnnlab.errors",
    "build": "cnnlab.model.build",
    "open_test": "cnnlab.runs.run",
    "predict": "cnnlab.export.prediction",
    "resume_run": "cnnlab.runs.run",
    "train": "cnnlab.api",
    "write_report": "cnnlab.api",
}

__all__ = [
    "Claim",
    "CnnlabError",
    "Data",
    "DownloadError",
    "Model",
    "Recipe",
    "RunError",
    "RunFolder",
    "SourceError",
    "SpecError",
    "Train",
    "UsageError",
    "build",
    "open_test",
    "predict",
    "resume_run",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cnnlab' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
