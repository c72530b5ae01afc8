"""A network's rows as `describe` and the report show them, with what deserves a look before training."""

from __future__ import annotations

from collections.abc import Sequence

from cnnlab.records import LayerRecord, Table
from cnnlab.spec.recipe import Recipe
from cnnlab.spec.recipe_warnings import recipe_warnings
from cnnlab.spec.table_warnings import table_warnings
from cnnlab.spec.warnings import without


def overview(
    layers: Sequence[LayerRecord],
    recipe: Recipe | None = None,
    classes: Sequence[str] = (),
    *,
    parameters: int | None = None,
    trainable: int | None = None,
) -> Table:
    """Every layer, the sums, and what deserves a look.

    Args:
        recipe: adds the warnings of its choices, and leaves out those that it switches off.
        classes: the names of the classes.
        parameters: where the network has some that no row counts; None: those of the rows.
        trainable: how many of them train; None: all.
    """
    is_backbone = recipe is not None and recipe.model.backbone is not None
    known = "backbone." if is_backbone else ""
    warnings = table_warnings(layers, len(classes) or None, backbone=is_backbone, known=known)
    if recipe is not None:
        warnings += recipe_warnings(recipe, layers, classes)
    return Table(
        parameters=sum(row.parameters for row in layers) if parameters is None else parameters,
        trainable=trainable,
        macs=sum(row.macs for row in layers),
        layers=tuple(layers),
        warnings=without(warnings, recipe.warnings.off if recipe is not None else ()),
    )
