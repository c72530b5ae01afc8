"""A backbone's initial weights, and what of it trains, as text for the terminal and pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from cnnlab.architecture.layer_table import name_prefixes
from cnnlab.config.backbones import format_backbone
from cnnlab.config.recipe import Recipe
from cnnlab.records import FeatureCacheRecord, LayerRecord, LayerTable, WeightLoadReport
from cnnlab.render.formatting import format_bytes, format_count, format_names, format_shape, pluralize, shorten
from cnnlab.reports.architecture.result import InitialWeights

MAX_NAMES = 6
BACKBONE = "backbone."
RESIZE = "resize"
FROZEN, TRAINS = "frozen", "trains"


def trainable_text(layers: Sequence[LayerRecord]) -> str:
    """What trains, by the shortest names that hold nothing frozen, and after how many epochs later layers unfreeze.

    Empty where everything trains from the start.

    >>> row = LayerRecord(name="head.dense1", kind="dense", text="dense(2)", input=(3,), output=(2,), parameters=8,
    ...     formula="", macs=6, receptive_field=None, jump=None)
    >>> trainable_text([row.model_copy(update={"name": "backbone.conv1", "frozen": True}), row])
    'head.dense1'
    """
    weighted = [row for row in layers if row.parameters]
    if not any(row.frozen or row.unfreeze_at for row in weighted):
        return ""
    texts = []
    for epoch in sorted({row.unfreeze_at for row in weighted if not row.frozen}):
        names = _names(weighted, [row for row in weighted if not row.frozen and row.unfreeze_at == epoch])
        texts.append(names + (f" after {pluralize(epoch, 'epoch')}" if epoch else ""))
    return "; ".join(texts)


def late_unfreeze_warning(layers: Sequence[LayerRecord], epochs: int) -> str:
    """A warning of weights that training would end before; empty where there are none."""
    late = sum(row.parameters for row in layers if row.unfreeze_at >= epochs and not row.frozen)
    if not late:
        return ""
    ends = f"training ends after {pluralize(epochs, 'epoch')}"
    return f"{ends}, before {pluralize(late, 'parameter')} would begin to train: they stay as they are"


def frozen_text(layers: Sequence[LayerRecord]) -> str:
    """What never trains, named as in `trainable_text`; empty if everything trains."""
    weighted = [row for row in layers if row.parameters]
    return _names(weighted, [row for row in weighted if row.frozen])


def freeze_state(layer: LayerRecord) -> str:
    """Whether and when a row's weights train; empty for a row without weights."""
    if not layer.parameters:
        return ""
    return FROZEN if layer.frozen else f"after epoch {layer.unfreeze_at}" if layer.unfreeze_at else TRAINS


def has_frozen_layers(table: LayerTable) -> bool:
    """Whether anything is frozen, or unfreezes later."""
    return any(row.frozen or row.unfreeze_at for row in table.layers)


def initial_weights_facts(initial: InitialWeights) -> list[tuple[str, str]]:
    """The facts of a description about its backbone: label and text."""
    facts = [("backbone", initial.backbone), ("weights", initial.weights or "none: all begin at random")]
    if initial.file:
        size = f" ({initial.megabytes:.1f} MB)" if initial.megabytes is not None else ""
        facts.append(("file", f"{initial.file}{size}" + ("" if initial.at_hand else ", not here yet")))
    if initial.resized:
        facts.append(("resized", f"to {format_shape(initial.resized)} ({initial.interpolation}), on the device"))
    moments = {
        "weights": "that of the weights" if initial.weights else "that the backbone was made for",
        "data": "that of the training images",
        "recipe": "given in the recipe",
    }
    facts.append(("normalization", moments[initial.normalized]))
    facts.append(("features", f"{format_shape(initial.features_shape)}, from {initial.features}"))
    return facts


def loaded_weights_facts(
    recipe: Recipe, table: LayerTable, loaded: WeightLoadReport | None, features: FeatureCacheRecord | None = None
) -> list[tuple[str, str]]:
    """The facts on a run's page about its backbone: label and text."""
    backbone = recipe.model.backbone
    assert backbone is not None
    last = next((row for row in reversed(table.layers) if row.name.startswith(BACKBONE)), None)
    facts = [("backbone", format_backbone(backbone))]
    if loaded is None:
        facts.append(("weights", "none: all began at random"))
    else:
        facts += [("weights", loaded.source), ("file", _file(loaded)), ("tensors", _tensors(loaded))]
    first = table.layers[0]
    if first.name == RESIZE:
        facts.append(("resized", f"to {format_shape(first.output[1:])} ({recipe.model.interpolation}), on the device"))
    if last is not None:
        facts.append(("features", f"{format_shape(last.output)}, from {last.name}"))
    trains = table.parameters if table.trainable is None else table.trainable
    still = table.parameters - trains
    count = f"{format_count(trains)} of {format_count(table.parameters)} parameters"
    late = late_unfreeze_warning(table.layers, recipe.train.epochs)
    which = trainable_text(table.layers) or "everything, from the start"
    facts.append(("trained", f"{count}: {which}" + (f"; {late}" if late else "")))
    if still:
        facts.append(("frozen", f"{pluralize(still, 'parameter')}: {frozen_text(table.layers)}"))
    if features is not None:
        facts.append(("kept", _feature_cache_text(features)))
    return facts


def _feature_cache_text(features: FeatureCacheRecord) -> str:
    if not features.cached:
        return f"nothing: the frozen part was computed for every batch, since {features.reason}"
    how = "as without a cache, up to rounding" if features.exact else f"not as without a cache: {features.reason}"
    what = f"{format_shape(features.shape)} features of {pluralize(features.views, 'view')} of each image"
    return f"{what}, {format_bytes(features.bytes)} in {features.dtype}, computed once; training is {how}"


def _file(loaded: WeightLoadReport) -> str:
    published_text = {True: ", the published file", False: ", not the published file", None: ""}[loaded.published]
    return f"{shorten(PurePath(loaded.file).name, 80)}, SHA-256 {loaded.sha256}{published_text}"


def _tensors(loaded: WeightLoadReport) -> str:
    kinds = {"missing in the file, random at first": loaded.missing, "of the file not used": loaded.ignored}
    listed = [
        f"{len(names):,} {what} ({format_names(names, max_names=MAX_NAMES)})" for what, names in kinds.items() if names
    ]
    behind = [f"{len(loaded.behind):,} after the cut left out"] if loaded.behind else []
    return "; ".join([f"{format_count(loaded.loaded)} loaded", *listed, *behind])


def _names(weighted: Sequence[LayerRecord], selected: Sequence[LayerRecord]) -> str:
    """The shortest names that contain the selected rows and no others with weights."""
    wanted = {row.name for row in selected}
    found: dict[str, None] = {}
    for row in selected:
        outer = name_prefixes(row.name)[:-1]
        found[next((prefix for prefix in outer if _holds_only(prefix, weighted, wanted)), row.name)] = None
    shown = (name.partition("#")[0] if name not in wanted else name for name in found)
    return format_names(shown, max_names=MAX_NAMES)


def _holds_only(prefix: str, weighted: Sequence[LayerRecord], wanted: set[str]) -> bool:
    within = [row.name for row in weighted if row.name.startswith(f"{prefix}.")]
    return len(within) > 1 and wanted.issuperset(within)
