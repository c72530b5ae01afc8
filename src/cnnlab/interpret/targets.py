"""Targets of an inspection by name: layer rows, a recipe, a run or a backbone. Only backbones load torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cnnlab.architecture.layer import Pair
from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.layers import layers
from cnnlab.architecture.receptive_field.compute import DEFAULT_CLASSES, is_layer_row
from cnnlab.architecture.trace import trace
from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import input_spec
from cnnlab.errors import SourceError, SpecError, UsageError, did_you_mean
from cnnlab.grammar.toml_files import locate_in_file
from cnnlab.interpret.limits import MAX_SHOWN
from cnnlab.records import LayerRecord
from cnnlab.storage.run_folder import BACKBONE_FOLDER, RunFolder, list_runs

Image = tuple[int, int, int]
# Runs of a similar name in an error, the latest first.
MAX_SIMILAR = 3


@dataclass(frozen=True)
class LayerRows:
    """Rows of a layer table."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class RecipeFile:
    """A recipe with its file, for error messages."""

    path: Path
    recipe: Recipe


@dataclass(frozen=True)
class NamedBackbone:
    """A network of torchvision or timm, with its default input shape (C, H, W)."""

    name: str
    shape: Image


@dataclass(frozen=True)
class TracedRecipe:
    """A recipe's layer rows for images of one shape.

    Attributes:
        input: (C, H, W).
        classes: their number.
        backbone_run_dir: the copy of the run that the backbone is from, within a run's folder.
    """

    recipe: Recipe
    input: Image
    classes: int
    rows: tuple[LayerRecord, ...]
    backbone_run_dir: Path | None = None


Target: TypeAlias = RecipeFile | RunFolder | NamedBackbone


def resolve_target(target: Sequence[str]) -> LayerRows | Target:
    """Resolve layer rows, or one name as `resolve_target_name`; errors as there."""
    if len(target) != 1 or is_layer_row(target[0]):
        return LayerRows(tuple(target))
    return resolve_target_name(target[0], allow_rows=True)


def resolve_target_name(target: str, *, allow_rows: bool = False, overrides: Mapping[str, Any] | None = None) -> Target:
    """Resolve the path of a recipe or a run, or the name of a backbone.

    Args:
        allow_rows: whether an error should mention layer rows as well.
        overrides: values of the recipe by dotted key, as `--set` gives them.

    Raises:
        SpecError: a wrong recipe, or an unknown name.
        RunError: a folder that is no run.
        UsageError: overrides for a run or a backbone.
    """
    path = Path(target)
    if not path.is_dir() and (path.suffix == ".toml" or path.is_file()):
        return RecipeFile(path, Recipe.read(path, overrides))
    if overrides:
        raise UsageError(
            "only a recipe's file has values that can be changed",
            where="--set",
            received=f"{target}, {'the folder of a run' if path.is_dir() else 'no .toml file'}",
            allowed="a recipe: a .toml file",
            next_step="leave --set out, or name a recipe",
        )
    if path.is_dir():
        return RunFolder.open(path)
    # torchvision's networks take a second to load, which a recipe does not need.
    from cnnlab.models.pretrained.architectures import default_input_size

    try:
        return NamedBackbone(target, default_input_size(target))
    except SpecError as error:
        layer = did_you_mean(target, layers.kinds) if allow_rows else ""
        raise SpecError(
            f"this is {'no layer, ' if allow_rows else ''}no recipe, no run folder and no backbone",
            received=target,
            allowed="a .toml file, the folder or name of a run, or a network's name, as resnet18",
            next_step=_similar_names_hint(path) or layer or error.problems[0].next_step,
        ) from None


def trace_recipe(
    file: RecipeFile, size: Pair | None = None, channels: int | None = None, data: Path | None = None
) -> TracedRecipe:
    """Trace a recipe's network for its own images, or for those of `size` (height, width) and `channels`.

    With a size, the recipe's data need not be available.

    Args:
        data: the folder of catalogue data.

    Raises:
        SpecError: layers that don't fit together.
        SourceError: the data is not found.
        RunError: the run that the backbone is from can't be read.
    """
    recipe = file.recipe
    if size is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"size": size})})
    if recipe.model.backbone is not None:
        from cnnlab.runs.resolve_recipe import resolve_recipe

        with _errors_in_file(file):
            recipe = resolve_recipe(recipe, data)
    try:
        spec = input_spec(recipe.data, data)
        own, classes = (spec.channels, spec.height, spec.width), len(spec.classes)
    except SourceError as error:
        if size is None:
            raise locate_in_file(error, file.path) from None
        own, classes = (recipe.data.channels or 3, *size), len(recipe.data.classes or range(DEFAULT_CLASSES))
    return _trace(RecipeFile(file.path, recipe), input_shape(own, size, channels), classes)


def trace_run(folder: RunFolder, size: Pair | None = None, channels: int | None = None) -> TracedRecipe:
    """Trace a run's network for the images that it was trained on, or for those of `size` and `channels`.

    Raises:
        SpecError: layers that don't fit together.
        RunError: a file of the run is missing or damaged.
    """
    data = folder.data()
    preprocessing = data.preprocessing
    own = (preprocessing.channels, preprocessing.height, preprocessing.width)
    file = RecipeFile(folder.path / "recipe.toml", folder.recipe())
    return _trace(file, input_shape(own, size, channels), len(data.classes), folder.path / BACKBONE_FOLDER)


def as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    """A tuple of several names, or of one.

    >>> as_tuple("conv1"), as_tuple(["conv1", "conv2"])
    (('conv1',), ('conv1', 'conv2'))
    """
    return (names,) if isinstance(names, str) else tuple(names)


def input_shape(own: Image, size: Pair | None = None, channels: int | None = None) -> Image:
    height, width = size or own[1:]
    return channels or own[0], height, width


def _similar_names_hint(path: Path) -> str:
    """A hint with runs and a recipe of a similar name; "" without any."""
    runs = [run.name for run in list_runs(Path(os.environ.get("CNNLAB_RUNS") or "runs"))]
    similar = [run for run in reversed(runs) if path.name in run or did_you_mean(path.name, [run])][:MAX_SIMILAR]
    recipe = Path("recipes") / f"{path.name}.toml"
    similar += [str(recipe)] if recipe.is_file() else []
    return f"did you mean {' or '.join(similar)}?" if similar else ""


def _trace(file: RecipeFile, shape: Image, classes: int, backbone_run_dir: Path | None = None) -> TracedRecipe:
    model = file.recipe.model
    with _errors_in_file(file):
        if model.backbone is not None:
            from cnnlab.models.network_plan import plan_network

            rows = plan_network(model, shape, classes, backbone_run_dir).layers
            return TracedRecipe(file.recipe, shape, classes, rows, backbone_run_dir)
        try:
            # Not by `Model.trace`, which checks the last row against the classes, whose number may be unknown.
            table = trace(read_table(model.layers, model.values, classes), shape)
        except SpecError as error:
            raise SpecError.from_problems(problem.with_prefix("model") for problem in error.problems) from None
        return TracedRecipe(file.recipe, shape, classes, tuple(table.records()))


@contextmanager
def _errors_in_file(file: RecipeFile) -> Iterator[None]:
    try:
        yield
    except (SpecError, SourceError) as error:
        raise locate_in_file(error, file.path) from None


def validate_count(option: str, value: int | None, maximum: int = MAX_SHOWN) -> None:
    """Check an option's number, from 1 to `maximum`; None is allowed.

    Args:
        option: the name of the command's option.

    Raises:
        UsageError: it is out of range.
    """
    if value is not None and not 1 <= value <= maximum:
        raise UsageError(
            "this number is out of range", where=option, received=f"{value:,}", allowed=f"1 to {maximum:,}"
        )
