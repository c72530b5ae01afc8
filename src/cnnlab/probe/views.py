"""Receptive fields of what a person names: rows, a recipe, a run or a backbone. Only a backbone loads torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnlab.data.dataset import facts
from cnnlab.errors import SourceError, SpecError, nearest
from cnnlab.runs.folder import RunFolder
from cnnlab.spec.files import in_file
from cnnlab.spec.layer import Pair
from cnnlab.spec.layers import layers
from cnnlab.spec.recipe import Recipe
from cnnlab.spec.table import read_table
from cnnlab.spec.trace import Trace, trace
from cnnlab.spec.view_answer import ReceptiveFields
from cnnlab.spec.views import CLASSES, fields_of, is_table, receptive_field

Image = tuple[int, int, int]


def named_fields(
    what: Sequence[str],
    *,
    size: Pair | None = None,
    channels: int | None = None,
    data: Path | None = None,
    layer: str = "",
    node: Pair | None = None,
) -> ReceptiveFields:
    """What every layer sees of the image; a recipe, a run and a backbone have images of their own.

    Args:
        what: the rows of a table, or one path of a recipe or a run, or one name of a backbone.
        size: (height, width) of the image, instead of their own; needed for a recipe whose data is not at hand.
        channels: C of the image, instead of their own; 3 for rows.
        data: where catalogue data lives.
        layer: as in `receptive_field`; so is `node`.

    Raises:
        SpecError, SourceError, RunError: it can't be used, or nothing of this name is known.
        UsageError: a layer or a node that is not there.
    """
    if rows_meant(what):
        return receptive_field(*what, size=size, channels=channels or 3, layer=layer, node=node)
    path = Path(what[0])
    if path.is_dir():
        folder = RunFolder.open(path)
        kept = folder.data()
        form = kept.preprocessing
        own = (form.channels, form.height, form.width)
        table = _traced(folder.recipe(), folder.path / "recipe.toml", _shape(own, size, channels), len(kept.classes))
        return fields_of(table.records(), table.input, layer=layer, node=node, title=folder.name)
    if recipe_meant(path):
        _, table = traced_recipe(path, size, channels, data)
        return fields_of(table.records(), table.input, layer=layer, node=node, title=path.stem)
    return _of_backbone(what[0], size, channels, layer, node)


def rows_meant(what: Sequence[str]) -> bool:
    """Whether these are rows of a table, rather than one name."""
    return len(what) != 1 or is_table(what[0])


def recipe_meant(path: Path) -> bool:
    """Whether a path is that of a recipe."""
    return path.suffix == ".toml" or path.is_file()


def traced_recipe(
    path: Path, size: Pair | None = None, channels: int | None = None, data: Path | None = None
) -> tuple[Recipe, Trace]:
    """A recipe and its table over its own images, or over those of `size` and `channels`; errors as `named_fields`."""
    recipe = Recipe.read(path)
    own, classes = _facts(recipe, data, size)
    return recipe, _traced(recipe, path, _shape(own, size, channels), classes)


def _shape(own: Image, size: Pair | None, channels: int | None) -> Image:
    high, wide = size or own[1:]
    return channels or own[0], high, wide


def _traced(recipe: Recipe, path: Path, shape: Image, classes: int) -> Trace:
    try:
        return trace(read_table(recipe.model.layers, recipe.model.values, classes), shape)
    except SpecError as error:
        raise in_file(SpecError.together(problem.within("model") for problem in error.problems), path) from None


def _facts(recipe: Recipe, data: Path | None, size: Pair | None) -> tuple[Image, int]:
    """The shape of a recipe's images, and its classes; where a size is given, its data need not be at hand."""
    try:
        known = facts(recipe.data, data)
    except SourceError:
        if size is None:
            raise
        return (recipe.data.channels or 3, *size), len(recipe.data.classes or range(CLASSES))
    return (known.channels, known.height, known.width), len(known.classes)


def _of_backbone(name: str, size: Pair | None, channels: int | None, layer: str, node: Pair | None) -> ReceptiveFields:
    from cnnlab.model.backbones import natural_shape
    from cnnlab.probe.backbones import backbone_table

    try:
        own = natural_shape(name)
    except SpecError as error:
        raise SpecError(
            "this is no layer, no recipe, no run folder and no backbone",
            received=name,
            allowed="rows such as 'conv(32, 5)', a .toml file, a folder in runs/, or a name such as resnet18",
            next_step=nearest(name, layers.kinds) or error.problems[0].next_step,
        ) from None
    shape = _shape(own, size, channels)
    return fields_of(backbone_table(name, shape).layers, shape, layer=layer, node=node, title=name)
