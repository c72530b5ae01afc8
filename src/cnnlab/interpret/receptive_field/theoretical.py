"""Receptive fields by the layers of rows, a recipe, a run or a backbone. Only backbones load torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnlab.architecture.layer import Pair
from cnnlab.architecture.receptive_field.compute import fields_from_records, receptive_field
from cnnlab.architecture.receptive_field.result import ReceptiveFields
from cnnlab.interpret.targets import LayerRows, NamedBackbone, input_shape, resolve_target, trace_recipe, trace_run
from cnnlab.storage.run_folder import RunFolder


def target_receptive_fields(
    target: Sequence[str],
    *,
    size: Pair | None = None,
    channels: int | None = None,
    data: Path | None = None,
    layer: str = "",
    node: Pair | None = None,
) -> ReceptiveFields:
    """Compute the receptive field of every layer.

    Args:
        target: the rows of a table, or one path of a recipe or a run, or one name of a backbone.
        size: (height, width) of the image, instead of the network's own; needed where a recipe's data is missing.
        channels: C of the image, instead of the network's own; 3 for rows.
        data: folder of the catalogue's data.
        layer: as in `receptive_field`; so is `node`.

    Raises:
        SpecError, SourceError, RunError: it can't be used, or nothing of this name is known.
        UsageError: a layer or a node that is not there.
    """
    resolved = resolve_target(target)
    if isinstance(resolved, LayerRows):
        return receptive_field(*resolved.texts, size=size, channels=channels or 3, layer=layer, node=node)
    if isinstance(resolved, NamedBackbone):
        from cnnlab.models.tracing.trace import backbone_table

        shape = input_shape(resolved.shape, size, channels)
        return fields_from_records(
            backbone_table(resolved.name, shape).layers, shape, layer=layer, node=node, title=resolved.name
        )
    if isinstance(resolved, RunFolder):
        table, title = trace_run(resolved, size, channels), resolved.name
    else:
        table, title = trace_recipe(resolved, size, channels, data), resolved.path.stem
    return fields_from_records(table.rows, table.input, layer=layer, node=node, title=title)
