"""A traced table as `describe` and the report show it, with what deserves a look before training."""

from __future__ import annotations

from collections.abc import Sequence

from cnnlab.records import Table
from cnnlab.spec.recipe import Recipe
from cnnlab.spec.recipe_warnings import recipe_warnings
from cnnlab.spec.table_warnings import table_warnings
from cnnlab.spec.trace import Trace
from cnnlab.spec.warnings import without


def overview(found: Trace, recipe: Recipe | None = None, classes: Sequence[str] = ()) -> Table:
    """Every layer, the sums, and what deserves a look.

    Args:
        recipe: adds the warnings of its choices, and leaves out those that it switches off.
        classes: the names of the classes.
    """
    records = found.records()
    warnings = table_warnings(records, len(classes) or None)
    if recipe is not None:
        warnings += recipe_warnings(recipe, records, classes)
    return Table(
        parameters=found.parameters,
        macs=found.macs,
        layers=tuple(records),
        warnings=without(warnings, recipe.warnings.off if recipe is not None else ()),
    )
