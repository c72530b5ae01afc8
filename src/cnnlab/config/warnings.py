"""Warnings about a recipe's choices, and a network's table with all of its warnings; no image is needed."""

from __future__ import annotations

from collections.abc import Sequence

from cnnlab.architecture.table_warnings import table_warnings
from cnnlab.architecture.warnings import Finding, WarningChecks
from cnnlab.config.image_changes import horizontal_flips
from cnnlab.config.recipe import Recipe
from cnnlab.records import LayerRecord, LayerTable, WarningRecord

# A rate is warned about where it is this many times above or below the typical ones.
LR_TOLERANCE = 10

checks = WarningChecks()


def recipe_warnings(
    recipe: Recipe, records: Sequence[LayerRecord] = (), classes: Sequence[str] = ()
) -> list[WarningRecord]:
    """The warnings about a recipe's choices but those that it switches off.

    Args:
        records: the rows of its network.
        classes: the names of the classes, by which digits, letters and left and right are known.
    """
    return checks.find(recipe, records, classes, disabled=recipe.warnings.off)


@checks.register("batchnorm-single-image")
def _single_image(recipe: Recipe, records: Sequence[LayerRecord], _classes: Sequence[str]) -> Finding | None:
    rows = [record.name for record in records if record.kind == "batchnorm" and not record.frozen]
    if recipe.train.batch_size > 1 or not rows:
        return None
    return Finding(
        where="train.batch_size",
        message=f"with batches of 1 image {rows[0]} normalises each image by itself while training, and by the mean "
        "of many in evaluation",
        fix="take larger batches, or groupnorm in place of batchnorm",
    )


@checks.register("frozen-at-random")
def _frozen_at_random(recipe: Recipe, records: Sequence[LayerRecord], _classes: Sequence[str]) -> Finding | None:
    frozen = [record for record in records if record.frozen]
    backbone = recipe.model.backbone
    if backbone is None or backbone.weights != "none" or not frozen:
        return None
    return Finding(
        where="model.trainable",
        message=f"the backbone begins at random, and {sum(record.parameters for record in frozen):,} of its parameters "
        f"({frozen[0].name} and {len(frozen) - 1} more rows) keep their random values",
        fix='set trainable = "all", or begin with pretrained weights',
    )


@checks.register("learning-rate")
def _learning_rate(recipe: Recipe, _records: Sequence[LayerRecord], _classes: Sequence[str]) -> Finding | None:
    optimizer = recipe.train.optimizer
    rate, usual = getattr(optimizer, "lr", None), getattr(optimizer, "typical_lr", None)
    if rate is None or usual is None or usual[0] / LR_TOLERANCE <= rate <= usual[1] * LR_TOLERANCE:
        return None
    low, high = usual
    times = rate / high if rate > high else low / rate
    far = f"{_format_factor(times)} times {'above the highest' if rate > high else 'below the lowest'}"
    return Finding(
        where="train.optimizer",
        message=f"a learning rate of {rate:g} is {far} that is usual for {optimizer.kind}",
        fix=f"begin between {low:g} and {high:g}",
    )


def _format_factor(times: float) -> str:
    return f"{times:,.0f}" if times < 1e6 else f"{times:.0e}"


@checks.register("label-changing-augmentation")
def _label_changing(recipe: Recipe, _records: Sequence[LayerRecord], classes: Sequence[str]) -> Finding | None:
    mirrors = horizontal_flips(recipe.data.augment)
    reason = _flip_reason(classes)
    if not mirrors or not reason:
        return None
    return Finding(
        where="data.augment",
        message=f"{mirrors[0].kind} turns left into right, and {reason}",
        fix=f"leave {mirrors[0].kind} out, unless these are only names",
    )


def _flip_reason(classes: Sequence[str]) -> str:
    """Why a mirrored image may be of another class, or of none, by the names of the classes; "" where none says so."""
    signs = [name for name in classes if len(name) == 1 and name.isalnum()]
    if len(signs) > 1:
        what = "digits" if all(name.isdigit() for name in signs) else "letters or digits"
        return (
            f"the names of {len(signs)} classes ({', '.join(signs[:3])}{', …' if len(signs) > 3 else ''}) are {what}: "
            f"if the images show {what}, it changes most of them"
        )
    known = {name.lower(): name for name in classes}
    for name, written in known.items():
        other = name.replace("left", "right")
        if other != name and other in known:
            return f"{written!r} and {known[other]!r} are two classes"
    return ""


def summarize(
    layers: Sequence[LayerRecord],
    recipe: Recipe | None = None,
    classes: Sequence[str] = (),
    *,
    parameters: int | None = None,
    trainable: int | None = None,
) -> LayerTable:
    """A network's table with its sums and its warnings.

    Args:
        recipe: adds the warnings of its choices, and leaves out those that it switches off.
        classes: the names of the classes.
        parameters: where the network has some that no row counts; None: those of the rows.
        trainable: how many of them train; None: all.
    """
    is_backbone = recipe is not None and recipe.model.backbone is not None
    known = "backbone." if is_backbone else ""
    disabled = recipe.warnings.off if recipe is not None else ()
    warnings = table_warnings(
        layers, len(classes) or None, backbone=is_backbone, backbone_prefix=known, disabled=disabled
    )
    if recipe is not None:
        warnings += recipe_warnings(recipe, layers, classes)
    return LayerTable(
        parameters=sum(row.parameters for row in layers) if parameters is None else parameters,
        trainable=trainable,
        macs=sum(row.macs for row in layers),
        layers=tuple(layers),
        warnings=tuple(warnings),
    )
