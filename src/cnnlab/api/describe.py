"""Describe a network before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

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

BATCH_SIZE = 64  # where no recipe says: what a recipe's own default is


SUFFIX = ".toml"


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
        progress: called as images are read.

    Raises:
        SpecError: the recipe has mistakes, or there is no such network.
        SourceError: the recipe's data can't be looked at.
        DownloadError: its images are not at hand and can't be had.
        RunError: the run that the recipe's backbone is from can't be read.
        UsageError: overrides for what is no recipe's file, images of what is no recipe, or a number below 1.

    >>> from cnnlab.config.model import Model
    >>> from cnnlab.config.recipe import Data
    >>> lenet = Recipe(data=Data(source="cifar10"), model=Model(layers=["conv(6, 5)", "flatten", "dense(classes)"]))
    >>> describe(lenet).parameters
    47506
    """
    target, sides = _resolve_target(target), (size, size) if isinstance(size, int) else size
    numbers = {"classes": classes, "batch_size": batch_size, "size": min(sides) if sides else None}
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError("there is nothing to describe", where=name, received=str(number), allowed="1 or more")
    if overrides and not is_recipe(target):
        raise UsageError(
            "only a recipe has values that can be changed",
            where="--set",
            received=str(target),
            allowed="a recipe, a .toml file",
            next_step="use --size, --classes and --batch for a backbone",
        )
    if isinstance(target, Recipe) or is_recipe(target):
        root = Path(data) if data else None
        found, recipe = _describe_recipe(target, sides, classes, batch_size, dict(overrides or {}), root)
        return _with_images(found, recipe, root, callbacks) if images else found
    if images:
        step = "leave --data out, or describe a recipe"
        raise UsageError("only a recipe has images to look at", where="--data", received=str(target), next_step=step)
    return _describe_backbone(str(target), sides, classes, batch_size or BATCH_SIZE)


def is_recipe(target: Recipe | str | Path) -> bool:
    """Whether an argument is a recipe's file: it ends with .toml, or there is a file of that name."""
    return not isinstance(target, Recipe) and (str(target).endswith(SUFFIX) or Path(target).is_file())


def _resolve_target(target: Any) -> Recipe | str | Path:
    """The target, or the recipe of a run; refuses a recipe's name without .toml, unless a network has that name."""
    if isinstance(target, Recipe):
        return target
    if not isinstance(target, str | Path):
        raise UsageError(
            "this can't be described",
            received=repr(target),
            allowed="a recipe, the path of a recipe or a run, or the name of a network",
        )
    path = Path(target)
    if (path / "recipe.toml").is_file():
        return path / "recipe.toml"
    for file in (path.with_suffix(SUFFIX), Path("recipes", path.name).with_suffix(SUFFIX)) if path.name else ():
        if path.suffix != SUFFIX and not path.is_file() and file.is_file() and not _is_network(str(target)):
            raise UsageError(
                f"'{target}' is no recipe's file", allowed="a path that ends with .toml", next_step=f"write {file}"
            )
    return target


def _is_network(name: str) -> bool:
    """Whether a network has this name; called only if a recipe has it, too, since that takes a second."""
    from cnnlab.models.pretrained.architectures import list_models

    return name in list_models()


def _describe_recipe(
    target: Recipe | str | Path,
    size: tuple[int, int] | None,
    classes: int | None,
    batch_size: int | None,
    overrides: dict[str, Any],
    data: Path | None,
) -> tuple[Description, Recipe]:
    """The description, and the recipe with the changes."""
    from cnnlab.data.dataset import input_spec

    if isinstance(target, Recipe):
        recipe, name = target, "recipe"
    else:
        recipe, name = Recipe.read(target, overrides), str(target)
    if size is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"size": size})})
    if batch_size is not None:
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch_size": batch_size})})
    given, kept, begins = recipe, None if isinstance(target, Recipe) else Path(target).parent / BACKBONE_FOLDER, None
    try:
        recipe = _resolve_recipe(given, data, kept)
        known = input_spec(recipe.data, data)
        count = classes or len(known.classes)
        table = _table(recipe, (known.channels, known.height, known.width), count, known.classes, kept)
        if recipe.model.backbone is not None:
            begins = _describe_initial_weights(recipe, table, given, kept)
    except (SpecError, SourceError) as error:
        raise error if isinstance(target, Recipe) else locate_in_file(error, target) from None
    choice = recipe.train.optimizer
    trainable = table.parameters if table.trainable is None else table.trainable
    found = Description(
        name=name,
        source=recipe.data.source,
        input=(known.channels, known.height, known.width),
        classes=known.classes if classes in (None, len(known.classes)) else (),
        num_classes=count,
        optimizer=choice.kind,
        parameters=table.parameters,
        trainable=trainable,
        macs=table.macs,
        layers=table.layers,
        warnings=table.warnings,
        memory=estimate_memory(
            table.layers, table.parameters, recipe.train.batch_size, choice.state_per_parameter, trainable
        ),
        switched_off=recipe.warnings.off,
        initial_weights=begins,
        too_late=late_unfreeze_warning(table.layers, recipe.train.epochs),
    )
    return found, recipe


def _resolve_recipe(recipe: Recipe, data: Path | None, backbone_run_dir: Path | None) -> Recipe:
    if recipe.model.backbone is None:
        return recipe
    from cnnlab.runs.resolve_recipe import resolve_recipe

    return resolve_recipe(recipe, data, backbone_run_dir)


def _table(
    recipe: Recipe, shape: tuple[int, int, int], count: int, classes: tuple[str, ...], backbone_run_dir: Path | None
) -> LayerTable:
    """The table of a recipe's network; only a backbone loads torch."""
    named = classes if count == len(classes) else ()
    if recipe.model.backbone is None:
        return summarize(recipe.model.trace(shape, count).records(), recipe, named)
    from cnnlab.models.network_plan import plan_network

    plan = plan_network(recipe.model, shape, count, backbone_run_dir)
    return summarize(plan.layers, recipe, named, parameters=plan.parameters, trainable=plan.trainable)


def _describe_initial_weights(
    recipe: Recipe, table: LayerTable, unresolved: Recipe, backbone_run_dir: Path | None = None
) -> InitialWeights:
    """Describe the initial weights of a resolved recipe's backbone; nothing is opened or downloaded. This loads torch.

    Args:
        unresolved: the recipe before it was resolved.
        backbone_run_dir: what a run kept of the run that its backbone is from.

    Raises:
        SpecError: nothing has the backbone's name, or there are no such weights.
        RunError: the run that it is from can't be read.
    """
    from cnnlab.models.pretrained.source import backbone_pretrained_config
    from cnnlab.models.pretrained.weights import locate_weights

    model, backbone = recipe.model, recipe.model.backbone
    assert backbone is not None
    pretrained_config = backbone_pretrained_config(backbone, backbone_run_dir)
    last = [row for row in table.layers if row.name.startswith(BACKBONE)][-1]
    image = next(row.input for row in table.layers if not row.inputs)
    size = image[1:] if model.resize in (None, "own") else model.resize
    is_theirs = recipe.data.normalize == (pretrained_config.mean, pretrained_config.std)
    named = "weights" if is_theirs else "data" if unresolved.data.normalize == "data" else "recipe"
    facts: dict[str, object] = {"weights": ""}
    if not isinstance(backbone, LibraryBackbone):
        run = PurePath(backbone.path).name
        facts["weights"] = f"the trained weights of run {run}" if backbone.weights != "none" else ""
    elif backbone.weights != "none":
        found = locate_weights(backbone.name, backbone.weights)
        facts = {
            "weights": found.label,
            "file": found.path,
            "at_hand": found.is_local,
            "megabytes": found.megabytes,
        }
    return InitialWeights.model_validate(
        {
            "backbone": format_backbone(backbone),
            "features": last.name,
            "features_shape": last.output,
            "resized": None if size == image[1:] else size,
            "interpolation": model.interpolation or "",
            "normalized": named,
            **facts,
        }
    )


def _with_images(description: Description, recipe: Recipe, data: Path | None, callbacks: Callbacks) -> Description:
    """The description with the warnings that only the images can give."""
    from cnnlab.runs.warnings import image_warnings

    warnings = image_warnings(recipe, RunContext.of(data, callbacks=callbacks))
    return description.model_copy(update={"warnings": (*description.warnings, *warnings)})


def _describe_backbone(name: str, size: tuple[int, int] | None, classes: int | None, batch_size: int) -> Description:
    from cnnlab.models.pretrained.architectures import default_num_classes
    from cnnlab.models.tracing.trace import backbone_table

    table = backbone_table(name, None if size is None else (3, *size), classes)
    warned = table_warnings(table.layers, classes, backbone=True)
    table = table.model_copy(update={"warnings": (*table.warnings, *warned)})
    first = table.layers[0]
    return Description(
        name=name,
        input=(first.input[0], first.input[1], first.input[2]),
        classes=(),
        num_classes=default_num_classes(name) if classes is None else classes,
        optimizer=AdamConfig.kind,
        **{field: getattr(table, field) for field in LayerTable.model_fields if field != "trainable"},
        trainable=table.parameters,
        memory=estimate_memory(table.layers, table.parameters, batch_size, AdamConfig.state_per_parameter),
    )
