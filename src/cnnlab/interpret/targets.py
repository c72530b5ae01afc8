"""What a person names to be looked at: rows of a table, a recipe, a run or a backbone. Only backbones load torch."""

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
from cnnlab.architecture.receptive_field.compute import CLASSES, is_table
from cnnlab.architecture.trace import Trace, trace
from cnnlab.config.model import Model
from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import facts
from cnnlab.errors import SourceError, SpecError, UsageError, nearest
from cnnlab.grammar.toml_files import in_file
from cnnlab.records import LayerRecord
from cnnlab.storage.run_folder import KEPT, RunFolder, list_runs

Image = tuple[int, int, int]
# Of several runs of a similar name so many are named, the latest first.
MOST_ALIKE = 3


@dataclass(frozen=True)
class Rows:
    """Rows of a table."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class RecipeFile:
    """A recipe, with the file that its mistakes are told with."""

    path: Path
    recipe: Recipe


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision or timm, with the shape (C, H, W) of the images that it was made for."""

    name: str
    shape: Image


@dataclass(frozen=True)
class Traced:
    """A recipe's network for images of one shape (C, H, W): its rows, and what it is made of.

    `kept` is what a run kept of the run that its backbone is from.
    """

    recipe: Recipe
    input: Image
    classes: int
    rows: tuple[LayerRecord, ...]
    kept: Path | None = None


Named: TypeAlias = RecipeFile | RunFolder | Backbone


def resolve(what: Sequence[str]) -> Rows | Named:
    """What is meant: rows of a table, or one name as in `resolve_name`; errors as there."""
    if len(what) != 1 or is_table(what[0]):
        return Rows(tuple(what))
    return resolve_name(what[0], or_rows=True)


def resolve_name(what: str, *, or_rows: bool = False) -> Named:
    """What is meant by the path of a recipe or a run, or by the name of a backbone.

    Args:
        or_rows: whether rows of a table would be taken as well, which an error then tells.

    Raises:
        SpecError: the recipe is wrong, or nothing of this name is known.
        RunError: the folder is no run.
    """
    path = Path(what)
    if path.is_dir():
        return RunFolder.open(path)
    if path.suffix == ".toml" or path.is_file():
        return RecipeFile(path, Recipe.read(path))
    # torchvision's networks take a second to load, which a recipe does not need.
    from cnnlab.models.pretrained.architectures import natural_shape

    try:
        return Backbone(what, natural_shape(what))
    except SpecError as error:
        # It could have been meant for something else; the nearest backbone is told all the same.
        near = error.problems[0].next_step
        rows, example = ("no layer, ", "rows such as 'conv(32, 5)', ") if or_rows else ("", "")
        raise SpecError(
            f"this is {rows}no recipe, no run folder and no backbone",
            received=what,
            allowed=f"{example}a .toml file, the folder or name of a run, or a network's name, as resnet18",
            next_step=_alike(path) or (nearest(what, layers.kinds) if or_rows else "") or near,
        ) from None


def traced_recipe(
    file: RecipeFile, size: Pair | None = None, channels: int | None = None, data: Path | None = None
) -> Traced:
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
    with _told_of(file):
        recipe = _resolved(recipe, data)
    about = recipe.data
    try:
        known = facts(about, data)
        own, classes = (known.channels, known.height, known.width), len(known.classes)
    except SourceError as error:
        if size is None:
            raise in_file(error, file.path) from None
        own, classes = (about.channels or 3, *size), len(about.classes or range(CLASSES))
    return _traced(RecipeFile(file.path, recipe), shaped(own, size, channels), classes)


def traced_run(folder: RunFolder, size: Pair | None = None, channels: int | None = None) -> Traced:
    """A run's network over the images that it was trained on, or over those of `size` and `channels`.

    Raises:
        SpecError: layers that don't fit together.
        RunError: a piece of the run is missing or damaged.
    """
    kept = folder.data()
    form = kept.preprocessing
    own = (form.channels, form.height, form.width)
    file = RecipeFile(folder.path / "recipe.toml", folder.recipe())
    return _traced(file, shaped(own, size, channels), len(kept.classes), folder.path / KEPT)


def one_or_more(names: str | Sequence[str]) -> tuple[str, ...]:
    """Several names, or one alone: a text is not taken apart into its letters.

    >>> one_or_more("conv1"), one_or_more(["conv1", "conv2"])
    (('conv1',), ('conv1', 'conv2'))
    """
    return (names,) if isinstance(names, str) else tuple(names)


def shaped(own: Image, size: Pair | None = None, channels: int | None = None) -> Image:
    high, wide = size or own[1:]
    return channels or own[0], high, wide


def _alike(path: Path) -> str:
    """A hint that names runs in the runs folder and a recipe in `recipes` of a similar name; "" without any."""
    name = path.name.lower()
    runs = reversed(list_runs(Path(os.environ.get("CNNLAB_RUNS") or "runs")))
    # A run is called after its time and its recipe: 20260101-120000-lenet.
    named = {run.name: run.name.lower().split("-", 2)[-1] for run in runs}
    found = [full for full, short in named.items() if name in full.lower() or nearest(name, [full, short])][:MOST_ALIKE]
    recipe = Path("recipes") / f"{path.name}.toml"
    found += [str(recipe)] if recipe.is_file() else []
    return f"did you mean {' or '.join(found)}?" if found else ""


def _resolved(recipe: Recipe, data: Path | None) -> Recipe:
    if recipe.model.backbone is None:
        return recipe
    from cnnlab.runs.resolve_recipe import resolve as resolve_recipe

    return resolve_recipe(recipe, data)


def _traced(file: RecipeFile, shape: Image, classes: int, kept: Path | None = None) -> Traced:
    model = file.recipe.model
    with _told_of(file):
        if model.backbone is None:
            # The classes may be unknown, which is not to hide what each row sees.
            return Traced(file.recipe, shape, classes, tuple(_followed(model, shape, classes).records()))
        from cnnlab.models.network_plan import plan_network

        return Traced(file.recipe, shape, classes, plan_network(model, shape, classes, kept).layers, kept)


def _followed(model: Model, shape: Image, classes: int) -> Trace:
    try:
        return trace(read_table(model.layers, model.values, classes), shape)
    except SpecError as error:
        raise SpecError.together(problem.within("model") for problem in error.problems) from None


@contextmanager
def _told_of(file: RecipeFile) -> Iterator[None]:
    try:
        yield
    except (SpecError, SourceError) as error:
        raise in_file(error, file.path) from None


# More are minutes of drawing, and a picture of tens of MB in which nothing is to be seen.
MOST_SHOWN = 256
# Of each filter: several of them stand below each other.
MOST_PATCHES = 64


def require_number(option: str, given: int | None, most: int = MOST_SHOWN) -> None:
    """Refuse a number of pictures below 1 or above `most`; None is no number, and fine.

    Args:
        option: as the command writes it.

    Raises:
        UsageError: it is out of this range.
    """
    if given is not None and not 1 <= given <= most:
        what = "nothing would be shown" if given < 1 else "these are too many to be shown"
        raise UsageError(what, where=option, received=f"{given:,}", allowed=f"1 to {most:,}")
