"""Describe a network before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from cnnlab.architecture.memory import estimate_memory
from cnnlab.architecture.table_warnings import table_warnings
from cnnlab.config.backbones import LibraryBackbone, format_backbone
from cnnlab.config.optimizers import AdamConfig
from cnnlab.config.recipe import Recipe
from cnnlab.config.warnings import summarize
from cnnlab.context import NO_CALLBACKS, Callbacks, RunContext
from cnnlab.errors import SourceError, SpecError, UsageError
from cnnlab.grammar.toml_files import locate_in_file
from cnnlab.records import LayerTable
from cnnlab.reports.architecture.pretraining import BACKBONE, late_unfreeze_warning
from cnnlab.reports.architecture.result import Description, InitialWeights
from cnnlab.storage.run_folder import BACKBONE_FOLDER

if TYPE_CHECKING:
    from cnnlab.data.dataset import InputSpec
    from cnnlab.models.network_plan import NetworkPlan

BATCH_SIZE = 64  # for a backbone; the default of a recipe
RECIPE_FILE = "recipe.toml"


def describe(
    target: Recipe | str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    classes: int | None = None,
    batch_size: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    images: bool = False,
    callbacks: Callbacks = NO_CALLBACKS,
) -> Description:
    """Describe every layer of a network with its cost and memory; loads no torch for a recipe's table.

    Args:
        target: a recipe, the path of its file (it ends with .toml) or of a run, or the name of a torchvision or timm
            network.
        size: one number, or (H, W), of the images in pixels; by default the recipe's, or those that the backbone was
            made for.
        classes: K, 1 or more; by default those of the data, or the backbone's.
        batch_size: images at a time, for the memory; by default the recipe's, or 64.
        overrides: values of the recipe by dotted key, as `--set` gives them.
        data: where catalogue data lives; by default the cache folder.
        images: read the recipe's images, too, for the warnings that need them; this loads torch.
        callbacks: called as images are read.

    Raises:
        SpecError: the recipe has mistakes, or there is no such network.
        SourceError: the recipe's data can't be looked at.
        DownloadError: its images are not on disk and can't be downloaded.
        RunError: the run that the recipe's backbone is from can't be read.
        UsageError: overrides for what is no recipe's file, images of a backbone, or a number below 1.

    >>> from cnnlab.config.model import Model
    >>> from cnnlab.config.recipe import Data
    >>> lenet = Recipe(data=Data(source="cifar10"), model=Model(layers=["conv(6, 5)", "flatten", "dense(classes)"]))
    >>> describe(lenet).parameters
    47506
    """
    sides = (size, size) if isinstance(size, int) else size
    numbers = {"classes": classes, "batch_size": batch_size, "size": min(sides) if sides else None}
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError("there is nothing to describe", where=name, received=str(number), allowed="1 or more")
    recipe, file = _read_recipe(target, overrides)
    if recipe is None:
        if images:
            step = "leave --data out, or describe a recipe"
            raise UsageError("only a recipe has images to look at", where="--data", next_step=step)
        return _describe_backbone(str(target), sides, classes, batch_size or BATCH_SIZE)
    recipe = _with_settings(recipe, sides, batch_size)
    root = Path(data) if data else None
    try:
        description = _describe_recipe(recipe, file, classes, root)
    except (SpecError, SourceError) as error:
        raise error if file is None else locate_in_file(error, file) from None
    if not images:
        return description
    from cnnlab.runs.warnings import image_warnings

    warnings = image_warnings(recipe, RunContext.of(root, callbacks=callbacks))
    return description.model_copy(update={"warnings": (*description.warnings, *warnings)})


def network_repr(
    target: Recipe | str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    classes: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
) -> str:
    """Return torch's own print of a network, the `repr` of its module; no weights are made or read.

    Args and errors as `describe`.
    """
    sides = (size, size) if isinstance(size, int) else size
    recipe, file = _read_recipe(target, overrides)
    if recipe is None:
        from cnnlab.models.pretrained.architectures import create_model

        return repr(create_model(str(target), classes))
    recipe = _with_settings(recipe, sides, None)
    try:
        return repr(_plan(recipe, file, classes, Path(data) if data else None).build(0, "meta"))
    except (SpecError, SourceError) as error:
        raise error if file is None else locate_in_file(error, file) from None


def _plan(recipe: Recipe, file: Path | None, classes: int | None, data: Path | None) -> NetworkPlan:
    """The plan of a recipe's network for the images of its data."""
    from cnnlab.models.network_plan import plan_network

    recipe, spec, saved_backbone = _resolve(recipe, file, data)
    shape = (spec.channels, spec.height, spec.width)
    return plan_network(recipe.model, shape, classes or len(spec.classes), saved_backbone)


def _resolve(recipe: Recipe, file: Path | None, data: Path | None) -> tuple[Recipe, InputSpec, Path | None]:
    """A recipe with the settings of its backbone, the spec of its images, and where a run keeps its backbone's run."""
    from cnnlab.data.dataset import input_spec

    saved_backbone = file.parent / BACKBONE_FOLDER if file is not None else None
    if recipe.model.backbone is not None:
        from cnnlab.runs.resolve_recipe import resolve_recipe  # loads torch

        recipe = resolve_recipe(recipe, data, saved_backbone)
    return recipe, input_spec(recipe.data, data), saved_backbone


def _read_recipe(target: Recipe | str | Path, overrides: Mapping[str, Any] | None) -> tuple[Recipe | None, Path | None]:
    """A recipe and its file; of the name of a network neither.

    Raises:
        UsageError: overrides for what is no recipe's file.
    """
    file = None if isinstance(target, Recipe) else _recipe_file(target)
    if file is not None:
        return Recipe.read(file, overrides), file
    if overrides:
        step = "use --size, --classes and --batch for a backbone"
        raise UsageError("only a recipe's file has values that can be changed", where="--set", next_step=step)
    return (target, None) if isinstance(target, Recipe) else (None, None)


def _recipe_file(target: str | Path) -> Path | None:
    """The file of a recipe or in a run's folder; None for the name of a network."""
    path = Path(target)
    if (path / RECIPE_FILE).is_file():
        return path / RECIPE_FILE
    return path if path.name.endswith(".toml") or path.is_file() else None


def _with_settings(recipe: Recipe, size: tuple[int, int] | None, batch_size: int | None) -> Recipe:
    """The recipe for images of another size, or for larger batches."""
    data = recipe.data if size is None else recipe.data.model_copy(update={"size": size})
    train = recipe.train if batch_size is None else recipe.train.model_copy(update={"batch_size": batch_size})
    return recipe.model_copy(update={"data": data, "train": train})


def _describe_recipe(given: Recipe, file: Path | None, classes: int | None, data: Path | None) -> Description:
    """The description of a recipe, which was read from `file`; only a backbone loads torch."""
    recipe, spec, saved_backbone = _resolve(given, file, data)
    count, shape = classes or len(spec.classes), (spec.channels, spec.height, spec.width)
    names = spec.classes if count == len(spec.classes) else ()
    initial_weights = None
    if recipe.model.backbone is None:
        table = summarize(recipe.model.trace(shape, count).records(), recipe, names)
    else:
        from cnnlab.models.network_plan import plan_network

        plan = plan_network(recipe.model, shape, count, saved_backbone)
        table = summarize(plan.layers, recipe, names, parameters=plan.parameters, trainable=plan.trainable)
        initial_weights = _describe_initial_weights(recipe, table, given, saved_backbone)
    trainable = table.parameters if table.trainable is None else table.trainable
    optimizer, batch_size = recipe.train.optimizer, recipe.train.batch_size
    return Description(
        name=str(file) if file is not None else "recipe",
        source=recipe.data.source,
        input=shape,
        classes=names,
        num_classes=count,
        optimizer=optimizer.kind,
        memory=estimate_memory(table.layers, table.parameters, batch_size, optimizer.state_per_parameter, trainable),
        switched_off=recipe.warnings.off,
        initial_weights=initial_weights,
        too_late=late_unfreeze_warning(table.layers, recipe.train.epochs),
        **{**dict(table), "trainable": trainable},
    )


def _describe_initial_weights(
    recipe: Recipe, table: LayerTable, unresolved: Recipe, saved_backbone: Path | None
) -> InitialWeights:
    """Describe the initial weights of a resolved recipe's backbone; nothing is opened or downloaded. This loads torch.

    Args:
        unresolved: the recipe before it was resolved.
        saved_backbone: what a run kept of the run that its backbone is from.

    Raises:
        SpecError: nothing has the backbone's name, or there are no such weights.
        RunError: the run that it is from can't be read.
    """
    from cnnlab.models.pretrained.source import backbone_pretrained_config
    from cnnlab.models.pretrained.weights import find_weights

    model, backbone = recipe.model, recipe.model.backbone
    assert backbone is not None
    pretrained_config = backbone_pretrained_config(backbone, saved_backbone)
    last = [row for row in table.layers if row.name.startswith(BACKBONE)][-1]
    image = next(row.input for row in table.layers if not row.inputs)
    size = image[1:] if model.resize in (None, "own") else model.resize
    is_theirs = recipe.data.normalize == (pretrained_config.mean, pretrained_config.std)
    weights, located = "", None
    if backbone.weights != "none" and isinstance(backbone, LibraryBackbone):
        located = find_weights(backbone.name, backbone.weights)
        weights = located.label
    elif backbone.weights != "none" and not isinstance(backbone, LibraryBackbone):
        weights = f"the trained weights of run {PurePath(backbone.path).name}"
    return InitialWeights(
        backbone=format_backbone(backbone),
        weights=weights,
        file=str(located.path) if located is not None else "",
        at_hand=located is None or located.is_local,
        megabytes=located.megabytes if located is not None else None,
        features=last.name,
        features_shape=last.output,
        resized=None if size == image[1:] else size,
        interpolation=model.interpolation or "",
        normalized="weights" if is_theirs else "data" if unresolved.data.normalize == "data" else "recipe",
    )


def _describe_backbone(name: str, size: tuple[int, int] | None, classes: int | None, batch_size: int) -> Description:
    from cnnlab.models.pretrained.architectures import default_num_classes
    from cnnlab.models.tracing.trace import backbone_table

    try:
        table = backbone_table(name, None if size is None else (3, *size), classes)
    except SpecError:
        file = Path("recipes", f"{name}.toml")
        if not file.is_file():
            raise
        raise SpecError(f"no network is called '{name}'", next_step=f"write {file}") from None
    first, warnings = table.layers[0], tuple(table_warnings(table.layers, classes, backbone=True))
    return Description(
        name=name,
        input=(first.input[0], first.input[1], first.input[2]),
        classes=(),
        num_classes=default_num_classes(name) if classes is None else classes,
        optimizer=AdamConfig.kind,
        memory=estimate_memory(table.layers, table.parameters, batch_size, AdamConfig.state_per_parameter),
        **{**dict(table), "trainable": table.parameters, "warnings": warnings},
    )
