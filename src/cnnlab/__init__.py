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

from cnnlab.version import __version__ as __version__

if TYPE_CHECKING:
    from cnnlab.api.compare import compare as compare
    from cnnlab.api.compare import compare_studies as compare_studies
    from cnnlab.api.describe import describe as describe
    from cnnlab.api.lr_finder import lr_range as lr_range
    from cnnlab.api.recompute import recompute as recompute
    from cnnlab.api.report import write_report as write_report
    from cnnlab.api.shift import shift as shift
    from cnnlab.api.study import plan_study as plan_study
    from cnnlab.api.study import run_study as run_study
    from cnnlab.api.train import open_test as open_test
    from cnnlab.api.train import resume as resume
    from cnnlab.api.train import train as train
    from cnnlab.api.tune import tune as tune
    from cnnlab.api.verify import verify as verify
    from cnnlab.architecture.receptive_field.compute import receptive_field as receptive_field
    from cnnlab.config.claims import Claim as Claim
    from cnnlab.config.model import Model as Model
    from cnnlab.config.recipe import Data as Data
    from cnnlab.config.recipe import Recipe as Recipe
    from cnnlab.config.recipe import Train as Train
    from cnnlab.config.recipe import Warnings as Warnings
    from cnnlab.config.search import Search as Search
    from cnnlab.config.study import Study as Study
    from cnnlab.context import Callbacks as Callbacks
    from cnnlab.errors import CnnlabError as CnnlabError
    from cnnlab.errors import DownloadError as DownloadError
    from cnnlab.errors import RunError as RunError
    from cnnlab.errors import SourceError as SourceError
    from cnnlab.errors import SpecError as SpecError
    from cnnlab.errors import UsageError as UsageError
    from cnnlab.export.predict import predict as predict
    from cnnlab.interpret.activations.feature_maps import inspect_activations as inspect_activations
    from cnnlab.interpret.activations.patches import inspect_patches as inspect_patches
    from cnnlab.interpret.activations.units import inspect_units as inspect_units
    from cnnlab.interpret.attribution.compute import inspect_attribution as inspect_attribution
    from cnnlab.interpret.hooks import activations as activations
    from cnnlab.interpret.loaded_model import load_model as load_model
    from cnnlab.interpret.mistakes.compute import inspect_mistakes as inspect_mistakes
    from cnnlab.interpret.receptive_field.effective import effective_field as effective_field
    from cnnlab.interpret.translation.compute import translation_sensitivity as translation_sensitivity
    from cnnlab.interpret.weights.compute import inspect_weights as inspect_weights
    from cnnlab.models.build import build as build
    from cnnlab.models.tracing.trace import network_table as network_table
    from cnnlab.reports.architecture.result import Description as Description
    from cnnlab.storage.run_folder import RunFolder as RunFolder
    from cnnlab.theory.convolution_by_hand.compute import convolve as convolve
    from cnnlab.theory.size_arithmetic.compute import solve_kernel as solve_kernel
    from cnnlab.theory.size_arithmetic.compute import solve_output as solve_output
    from cnnlab.theory.size_arithmetic.compute import solve_padding as solve_padding
    from cnnlab.theory.size_arithmetic.compute import solve_stride as solve_stride

# Each public name and the module that it is in.
_HOMES = {
    "Callbacks": "cnnlab.context",
    "Claim": "cnnlab.config.claims",
    "CnnlabError": "cnnlab.errors",
    "Data": "cnnlab.config.recipe",
    "Description": "cnnlab.reports.architecture.result",
    "DownloadError": "cnnlab.errors",
    "Model": "cnnlab.config.recipe",
    "Recipe": "cnnlab.config.recipe",
    "RunError": "cnnlab.errors",
    "RunFolder": "cnnlab.storage.run_folder",
    "Search": "cnnlab.config.search",
    "SourceError": "cnnlab.errors",
    "SpecError": "cnnlab.errors",
    "Study": "cnnlab.config.study",
    "Train": "cnnlab.config.recipe",
    "UsageError": "cnnlab.errors",
    "Warnings": "cnnlab.config.recipe",
    "activations": "cnnlab.interpret.hooks",
    "build": "cnnlab.models.build",
    "compare": "cnnlab.api.compare",
    "compare_studies": "cnnlab.api.compare",
    "convolve": "cnnlab.theory.convolution_by_hand.compute",
    "describe": "cnnlab.api.describe",
    "effective_field": "cnnlab.interpret.receptive_field.effective",
    "inspect_activations": "cnnlab.interpret.activations.feature_maps",
    "inspect_attribution": "cnnlab.interpret.attribution.compute",
    "inspect_mistakes": "cnnlab.interpret.mistakes.compute",
    "inspect_patches": "cnnlab.interpret.activations.patches",
    "inspect_units": "cnnlab.interpret.activations.units",
    "inspect_weights": "cnnlab.interpret.weights.compute",
    "load_model": "cnnlab.interpret.loaded_model",
    "lr_range": "cnnlab.api.lr_finder",
    "network_table": "cnnlab.models.tracing.trace",
    "open_test": "cnnlab.api.train",
    "plan_study": "cnnlab.api.study",
    "predict": "cnnlab.export.predict",
    "receptive_field": "cnnlab.architecture.receptive_field.compute",
    "recompute": "cnnlab.api.recompute",
    "resume": "cnnlab.api.train",
    "run_study": "cnnlab.api.study",
    "shift": "cnnlab.api.shift",
    "solve_kernel": "cnnlab.theory.size_arithmetic.compute",
    "solve_output": "cnnlab.theory.size_arithmetic.compute",
    "solve_padding": "cnnlab.theory.size_arithmetic.compute",
    "solve_stride": "cnnlab.theory.size_arithmetic.compute",
    "train": "cnnlab.api.train",
    "translation_sensitivity": "cnnlab.interpret.translation.compute",
    "tune": "cnnlab.api.tune",
    "verify": "cnnlab.api.verify",
    "write_report": "cnnlab.api.report",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cnnlab' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
