"""Fill in the settings of a recipe that follow from its backbone's weights."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cnnlab.config.arms import error_prefix
from cnnlab.config.backbones import Backbone, LibraryBackbone, RunBackbone, change_backbone
from cnnlab.config.recipe import Data, Recipe
from cnnlab.data.dataset import find_files
from cnnlab.data.sources.image_folder import open_folder
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.models.pretrained.source import backbone_pretrained_config, newest_run_path, require_channels
from cnnlab.models.pretrained.weights import weights_label


def resolve_recipe(recipe: Recipe, root: Path | None = None, saved_backbone: Path | None = None) -> Recipe:
    """Fill in what the backbone's weights decide: normalisation, channels, sizes, and the name of the weights.

    Images of different sizes, or larger than the backbone's, are decoded at its size; smaller ones are enlarged in
    front of it, on the device. A recipe without a backbone, or one that is resolved, is returned as it is.

    Args:
        root: the folder of catalogue data.
        saved_backbone: for the recipe of a run, the run's own records of the run that its backbone is from.

    Raises:
        SpecError: there is no such backbone, or there are no such weights.
        RunError: the run that the backbone is from can't be read.
        SourceError: the data is not found.
    """
    return _resolve(recipe, lambda size: _is_larger(recipe.data, size, root), saved_backbone)


def resolve_recipe_like(recipe: Recipe, run_recipe: Recipe, saved_backbone: Path | None = None) -> Recipe:
    """Resolve a recipe as it was when a run was made of it; without its data.

    Args:
        run_recipe: the run's recipe, which has the size that images were decoded at.
        saved_backbone: as for `resolve_recipe`; errors too.
    """
    ours, theirs = recipe.model.backbone, run_recipe.model.backbone
    if isinstance(ours, RunBackbone) and isinstance(theirs, RunBackbone) and fnmatchcase(theirs.path, ours.path):
        # A pattern may name several runs; the run's recipe has the one that was taken.
        named = recipe.model.model_copy(update={"backbone": change_backbone(ours, path=theirs.path)})
        recipe = recipe.model_copy(update={"model": named})
    return _resolve(recipe, lambda size: run_recipe.data.size == size, saved_backbone)


def with_named_run(recipe: Recipe) -> Recipe:
    """Replace a pattern for the run that a backbone is from by the newest run that it names.

    Raises:
        RunError: the pattern names no run.
    """
    backbone = recipe.model.backbone
    if not isinstance(backbone, RunBackbone):
        return recipe
    model = recipe.model.model_copy(update={"backbone": _with_weights_name(backbone)})
    return recipe.model_copy(update={"model": model})


def _resolve(recipe: Recipe, is_larger: Callable[[tuple[int, int]], bool], saved_backbone: Path | None) -> Recipe:
    if recipe.model.backbone is None:
        return recipe
    config = backbone_pretrained_config(recipe.model.backbone, saved_backbone)
    backbone = _with_weights_name(recipe.model.backbone)
    require_channels(recipe.data.channels or config.shape[0], config)
    # A stem for small images takes them at their own size.
    small = isinstance(backbone, LibraryBackbone) and backbone.stem == "small"
    size = recipe.model.resize or ("own" if small else config.shape[1:])
    model = {
        "backbone": backbone,
        "resize": size,
        "interpolation": recipe.model.interpolation or config.interpolation,
    }
    data: dict[str, Any] = {"channels": recipe.data.channels or config.shape[0]}
    if recipe.data.normalize in (None, "weights"):
        data["normalize"] = (config.mean, config.std)
    if recipe.data.size is None and size != "own" and is_larger((size[0], size[1])):
        data["size"] = size
    return recipe.model_copy(
        update={"data": recipe.data.model_copy(update=data), "model": recipe.model.model_copy(update=model)}
    )


def _with_weights_name(backbone: Backbone) -> Backbone:
    """The backbone with the full name of its weights, or the path of its run."""
    if isinstance(backbone, RunBackbone):
        return change_backbone(backbone, path=newest_run_path(backbone.path))
    if backbone.weights == "none":
        return backbone
    with error_prefix("model.backbone"):
        return change_backbone(backbone, weights=weights_label(backbone.name, backbone.weights))


def _is_larger(data: Data, size: tuple[int, int], root: Path | None) -> bool:
    """Whether the images of a folder or an archive have several sizes, or are larger than this one."""
    if data.source in CATALOGUE:
        return False
    sizes = open_folder(find_files(data.source, root)).sample_headers().sizes
    return len(sizes) > 1 or any(high > size[0] or wide > size[1] for high, wide in sizes)
