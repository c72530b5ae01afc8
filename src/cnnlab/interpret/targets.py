"""Targets of an inspection, found by name: rows, a recipe, a run or a backbone. Only backbones load torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cnnlab.architecture.layer import Pair
from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.layers import layers
from cnnlab.architecture.receptive_field.compute import DEFAULT_CLASSES, is_layer_row
from cnnlab.architecture.trace import Trace, trace
from cnnlab.config.model import Model
from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import input_spec
from cnnlab.errors import SourceError, SpecError, UsageError, did_you_mean
from cnnlab.grammar.toml_files import locate_in_file
from cnnlab.interpret.limits import MAX_SHOWN
from cnnlab.records import LayerRecord
from cnnlab.storage.run_folder import BACKBONE_FOLDER, RunFolder, list_runs

Image = tuple[int, int, int]
# Of several runs of a similar name so many are named, the latest first.
MAX_SIMILAR = 3


@dataclass(frozen=True)
class LayerRows:
    """Rows of a table."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class RecipeFile:
    """A recipe, with the file that its mistakes are told with."""

    path: Path
    recipe: Recipe


@dataclass(frozen=True)
class NamedBackbone:
    """A network of torchvision or timm, with the shape (C, H, W) of the images that it was made for."""

    name: str
    shape: Image


@dataclass(frozen=True)
class TracedRecipe:
    """A recipe's network for images of one shape (C, H, W): its rows, and what it is made of.

    `backbone_run_dir` is what a run kept of the run that its backbone is from.
    """

    recipe: Recipe
    input: Image
    classes: int
    rows: tuple[LayerRecord, ...]
    backbone_run_dir: Path | None = None


Target: TypeAlias = RecipeFile | RunFolder | NamedBackbone


def resolve_target(target: Sequence[str]) -> LayerRows | Target:
    """What is meant: rows of a table, or one name as in `resolve_target_name`; errors as there."""
    if len(target) != 1 or is_layer_row(target[0]):
        return LayerRows(tuple(target))
    return resolve_target_name(target[0], allow_rows=True)


def resolve_target_name(target: str, *, allow_rows: bool = False) -> Target:
    """What is meant by the path of a recipe or a run, or by the name of a backbone.

    Args:
        allow_rows: whether rows of a table would be taken as well, which an error then tells.

    Raises:
        SpecError: the recipe is wrong, or nothing of this name is known.
        RunError: the folder is no run.
    """
    path = Path(target)
    if path.is_dir():
        return RunFolder.open(path)
    if path.suffix == ".toml" or path.is_file():
        return RecipeFile(path, Recipe.read(path))
    # torchvision's networks take a second to load, which a recipe does not need.
    from cnnlab.models.pretrained.architectures import default_input_size

    try:
        return NamedBackbone(target, default_input_size(target))
    except SpecError as error:
        # It could have been meant for something else; the nearest backbone is told all the same.
        near = error.problems[0].next_step
        rows, example = ("no layer, ", "rows such as 'conv(32, 5)', ") if allow_rows else ("", "")
        raise SpecError(
            f"this is {rows}no recipe, no run folder and no backbone",
            received=target,
            allowed=f"{example}a .toml file, the folder or name of a run, or a network's name, as resnet18",
            next_step=_similar_names_hint(path) or (did_you_mean(target, layers.kinds) if allow_rows else "") or near,
        ) from None


def trace_recipe(
    file: RecipeFile, size: Pair | None = None, channels: int | None = None, data: Path | None = None
) -> TracedRecipe:
    """A recipe's network over its own images, or over those of `size` (height, width) and `channels`.

    Where a size is given, the recipe's data need not be at hand.

    Args:
        data: where catalogue data lives.

    Raises:
        SpecError: layers that don't fit together, told with the file.
        SourceError: the data is not found.
        RunError: the run that its backbone is from can't be read.
    """
    recipe = file.recipe
    if size is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"size": size})})
    with _errors_in_file(file):
        recipe = _resolve(recipe, data)
    about = recipe.data
    try:
        known = input_spec(about, data)
        own, classes = (known.channels, known.height, known.width), len(known.classes)
    except SourceError as error:
        if size is None:
            raise locate_in_file(error, file.path) from None
        own, classes = (about.channels or 3, *size), len(about.classes or range(DEFAULT_CLASSES))
    return _trace(RecipeFile(file.path, recipe), input_shape(own, size, channels), classes)


def trace_run(folder: RunFolder, size: Pair | None = None, channels: int | None = None) -> TracedRecipe:
    """A run's network over the images that it was trained on, or over those of `size` and `channels`.

    Raises:
        SpecError: layers that don't fit together.
        RunError: a piece of the run is missing or damaged.
    """
    kept = folder.data()
    preprocessing = kept.preprocessing
    own = (preprocessing.channels, preprocessing.height, preprocessing.width)
    file = RecipeFile(folder.path / "recipe.toml", folder.recipe())
    return _trace(file, input_shape(own, size, channels), len(kept.classes), folder.path / BACKBONE_FOLDER)


def as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    """Several names, or one alone: a text is not taken apart into its letters.

    >>> as_tuple("conv1"), as_tuple(["conv1", "conv2"])
    (('conv1',), ('conv1', 'conv2'))
    """
    return (names,) if isinstance(names, str) else tuple(names)


def input_shape(own: Image, size: Pair | None = None, channels: int | None = None) -> Image:
    height, width = size or own[1:]
    return channels or own[0], height, width


def _similar_names_hint(path: Path) -> str:
    """A hint that names runs in the runs folder and a recipe in `recipes` of a similar name; "" without any."""
    name = path.name.lower()
    runs = reversed(list_runs(Path(os.environ.get("CNNLAB_RUNS") or "runs")))
    # A run is called after its time and its recipe: 20260101-120000-lenet.
    named = {run.name: run.name.lower().split("-", 2)[-1] for run in runs}
    found = [full for full, short in named.items() if name in full.lower() or did_you_mean(name, [full, short])][
        :MAX_SIMILAR
    ]
    recipe = Path("recipes") / f"{path.name}.toml"
    found += [str(recipe)] if recipe.is_file() else []
    return f"did you mean {' or '.join(found)}?" if found else ""


def _resolve(recipe: Recipe, data: Path | None) -> Recipe:
    if recipe.model.backbone is None:
        return recipe
    from cnnlab.runs.resolve_recipe import resolve_recipe

    return resolve_recipe(recipe, data)


def _trace(file: RecipeFile, shape: Image, classes: int, backbone_run_dir: Path | None = None) -> TracedRecipe:
    model = file.recipe.model
    with _errors_in_file(file):
        if model.backbone is None:
            # The classes may be unknown, which is not to hide what each row sees.
            return TracedRecipe(file.recipe, shape, classes, tuple(_trace_model(model, shape, classes).records()))
        from cnnlab.models.network_plan import plan_network

        return TracedRecipe(
            file.recipe, shape, classes, plan_network(model, shape, classes, backbone_run_dir).layers, backbone_run_dir
        )


def _trace_model(model: Model, shape: Image, classes: int) -> Trace:
    try:
        return trace(read_table(model.layers, model.values, classes), shape)
    except SpecError as error:
        raise SpecError.from_problems(problem.with_prefix("model") for problem in error.problems) from None


@contextmanager
def _errors_in_file(file: RecipeFile) -> Iterator[None]:
    try:
        yield
    except (SpecError, SourceError) as error:
        raise locate_in_file(error, file.path) from None


def validate_count(option: str, value: int | None, maximum: int = MAX_SHOWN) -> None:
    """Refuse a number of pictures below 1 or above `maximum`; None is no number, and fine.

    Args:
        option: as the command writes it.

    Raises:
        UsageError: it is out of this range.
    """
    if value is not None and not 1 <= value <= maximum:
        what = "nothing would be shown" if value < 1 else "these are too many to be shown"
        raise UsageError(what, where=option, received=f"{value:,}", allowed=f"1 to {maximum:,}")
