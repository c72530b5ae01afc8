"""Where a network with a backbone begins, and what of it trains: in words, for the terminal and for pages. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from cnnlab.config.backbones import Known, write_backbone
from cnnlab.config.recipe import Recipe
from cnnlab.records import FeaturesRecord, LayerRecord, LoadedRecord, Record, Table
from cnnlab.render import formatting

MOST_NAMES = 6
MOST_STEPS = 5  # of a gradual training
BACKBONE = "backbone."
RESIZE = "resize"
FROZEN, TRAINS = "frozen", "trains"


class Beginning(Record):
    """What a recipe's backbone begins with.

    Attributes:
        weights: which they are, in words; empty where all begin at random.
        file: where they are, or will be when training has downloaded them; empty for a run's.
        at_hand: whether they are there.
        megabytes: the file's size in 10⁶ bytes, None where it is not known.
        features: the row whose output are the features, and `features_shape` that output's.
        resized: (H, W) in front of the backbone; None where images stay as they are.
        normalized: whose mean and standard deviation images are normalised with: weights, data or recipe.
    """

    backbone: str
    weights: str
    file: str = ""
    at_hand: bool = True
    megabytes: float | None = None
    features: str
    features_shape: tuple[int, ...]
    resized: tuple[int, int] | None = None
    interpolation: str = ""
    normalized: str

    def lines(self) -> list[str]:
        """What a person is told, a sentence each."""
        shape = self.features_shape
        what = f"{formatting.count(shape[0])} numbers" if len(shape) == 1 else f"maps of {formatting.sizes(shape)}"
        resized = ""
        if self.resized:
            resized = f"resized to {formatting.sizes(self.resized)} ({self.interpolation}) on the device and "
        moments = {
            "weights": "of the weights" if self.weights else "that the backbone was made for",
            "data": "of the training images",
            "recipe": "that the recipe gives",
        }
        return [
            self._begins(),
            f"The head's input, {what}, comes from {self.features}.",
            f"Images are {resized}normalised with the mean and standard deviation {moments[self.normalized]}.",
        ]

    def _begins(self) -> str:
        if not self.weights:
            return "The backbone begins at random."
        told = f"The backbone begins with {self.weights}"
        if not self.file:
            return f"{told}."
        size = f" ({self.megabytes:.1f} MB)" if self.megabytes is not None else ""
        path = PurePath(self.file)
        if path.name == self.weights:  # a person's own file
            return f"{told}{size}." if self.at_hand else f"! {told}, and there is no such file: {self.file}."
        folder = _at_home(path.parent if path.suffix else path)
        named = f"{path.name}{size}" if path.suffix else f"a file{size}"
        where = f"which is in {folder}" if self.at_hand else f"which training will download to {folder}"
        return f"{told}: {named}, {where}."


def trained(layers: Sequence[LayerRecord]) -> str:
    """What trains, by the shortest names that hold nothing frozen, and after how many epochs what begins later does.

    Empty where everything trains from the start.

    >>> row = LayerRecord(name="head.dense1", kind="dense", text="dense(2)", input=(3,), output=(2,), parameters=8,
    ...     formula="", macs=6, receptive_field=None, jump=None)
    >>> trained([row.model_copy(update={"name": "backbone.conv1", "frozen": True}), row])
    'head.dense1'
    """
    weighted = [row for row in layers if row.parameters]
    if not any(row.frozen or row.begins for row in weighted):
        return ""
    told = []
    for begin in sorted({row.begins for row in weighted if not row.frozen}):
        names = _names(weighted, [row for row in weighted if not row.frozen and row.begins == begin])
        told.append(names + (f" after {formatting.plural(begin, 'epoch')}" if begin else ""))
    if len(told) > MOST_STEPS:
        between = formatting.plural(len(told) - 3, "other step")
        told = [*told[:2], f"then, after {between}, {told[-1]}"]
    return "; ".join(told)


def too_late(layers: Sequence[LayerRecord], epochs: int) -> str:
    """A warning of weights that training would end before; empty where there are none."""
    late = sum(row.parameters for row in layers if row.begins >= epochs and not row.frozen)
    if not late:
        return ""
    ends = f"training ends after {formatting.plural(epochs, 'epoch')}"
    return f"{ends}, before {formatting.plural(late, 'parameter')} would begin to train: they stay as they are"


def frozen(layers: Sequence[LayerRecord]) -> str:
    """What never trains, as `trained` names it; empty for nothing."""
    weighted = [row for row in layers if row.parameters]
    return _names(weighted, [row for row in weighted if row.frozen])


def state_of(layer: LayerRecord) -> str:
    """What a row's weights do, in a word or three; empty for a row without weights."""
    if not layer.parameters:
        return ""
    return FROZEN if layer.frozen else f"after epoch {layer.begins}" if layer.begins else TRAINS


def has_states(table: Table) -> bool:
    """Whether anything is frozen, or begins later."""
    return any(row.frozen or row.begins for row in table.layers)


def beginning(recipe: Recipe, table: Table, given: Recipe, kept: Path | None = None) -> Beginning:
    """What a resolved recipe's backbone begins with; nothing is opened or downloaded. This loads torch.

    Args:
        given: the recipe before it was resolved.
        kept: what a run kept of the run that its backbone is from.

    Raises:
        SpecError: nothing has the backbone's name, or there are no such weights.
        RunError: the run that it is from can't be read.
    """
    from cnnlab.models.pretrained.source import images_of
    from cnnlab.models.pretrained.weights import whereabouts

    model, backbone = recipe.model, recipe.model.backbone
    assert backbone is not None
    made_for = images_of(backbone, kept)
    last = [row for row in table.layers if row.name.startswith(BACKBONE)][-1]
    image = next(row.input for row in table.layers if not row.inputs)
    size = image[1:] if model.resize in (None, "own") else model.resize
    is_theirs = recipe.data.normalize == (made_for.mean, made_for.std)
    named = "weights" if is_theirs else "data" if given.data.normalize == "data" else "recipe"
    facts: dict[str, object] = {"weights": ""}
    if not isinstance(backbone, Known):
        run = PurePath(backbone.path).name
        facts["weights"] = f"the trained weights of run {run}" if backbone.weights != "none" else ""
    elif backbone.weights != "none":
        found = whereabouts(backbone.name, backbone.weights)
        facts = {
            "weights": found.label,
            "file": found.path,
            "at_hand": found.at_hand,
            "megabytes": found.megabytes,
        }
    return Beginning.model_validate(
        {
            "backbone": write_backbone(backbone),
            "features": last.name,
            "features_shape": last.output,
            "resized": None if size == image[1:] else size,
            "interpolation": model.interpolation or "",
            "normalized": named,
            **facts,
        }
    )


def loaded_facts(
    recipe: Recipe, table: Table, loaded: LoadedRecord | None, features: FeaturesRecord | None = None
) -> list[tuple[str, str]]:
    """What a run's page says of where its network began: what, and in words."""
    backbone = recipe.model.backbone
    assert backbone is not None
    last = next((row for row in reversed(table.layers) if row.name.startswith(BACKBONE)), None)
    facts = [("backbone", write_backbone(backbone))]
    if loaded is None:
        facts.append(("weights", "none: all began at random"))
    else:
        facts += [("weights", loaded.source), ("file", _file(loaded)), ("tensors", _tensors(loaded))]
    first = table.layers[0]
    if first.name == RESIZE:
        facts.append(
            ("resized", f"to {formatting.sizes(first.output[1:])} ({recipe.model.interpolation}), on the device")
        )
    if last is not None:
        facts.append(("features", f"{formatting.sizes(last.output)}, from {last.name}"))
    trains = table.parameters if table.trainable is None else table.trainable
    still = table.parameters - trains
    count = f"{formatting.count(trains)} of {formatting.count(table.parameters)} parameters"
    late = too_late(table.layers, recipe.train.epochs)
    which = trained(table.layers) or "everything, from the start"
    facts.append(("trained", f"{count}: {which}" + (f"; {late}" if late else "")))
    if still:
        facts.append(("frozen", f"{formatting.plural(still, 'parameter')}: {frozen(table.layers)}"))
    if features is not None:
        facts.append(("kept", _kept(features)))
    return facts


def _kept(features: FeaturesRecord) -> str:
    if not features.kept:
        return f"nothing: the frozen part was computed for every batch, since {features.reason}"
    equal = "bit for bit as without keeping them" if features.bitwise else "as without keeping them, up to rounding"
    how = equal if features.exact else f"not quite as without keeping them: {features.reason}"
    what = f"{formatting.sizes(features.shape)} features of {formatting.plural(features.views, 'view')} of each image"
    return f"{what}, {formatting.memory(features.bytes)} in {features.dtype}, computed once; training is {how}"


def _file(loaded: LoadedRecord) -> str:
    told = {True: ", the published file", False: ", not the published file", None: ""}[loaded.published]
    return f"{formatting.shown(PurePath(loaded.file).name, 80)}, SHA-256 {loaded.sha256}{told}"


def _tensors(loaded: LoadedRecord) -> str:
    parts = [f"{formatting.count(loaded.loaded)} loaded"]
    for names, what in (
        (loaded.missing, "missing in the file, which began at random"),
        (loaded.ignored, "ignored, since they belong to nothing here"),
    ):
        if names:
            parts.append(f"{formatting.count(len(names))} {what} ({_few(names)})")
    if loaded.behind:
        parts.append(f"{formatting.count(len(loaded.behind))} behind the cut left out")
    return "; ".join(parts)


def _names(weighted: Sequence[LayerRecord], chosen: Sequence[LayerRecord]) -> str:
    """The shortest names that hold the chosen rows and no others with weights."""
    wanted = {row.name for row in chosen}
    found: dict[str, None] = {}
    for row in chosen:
        pieces = row.name.split(".")
        prefixes = (".".join(pieces[:size]) for size in range(1, len(pieces)))
        found[next((prefix for prefix in prefixes if _holds_only(prefix, weighted, wanted)), row.name)] = None
    return _few([name.partition("#")[0] if name not in wanted else name for name in found])


def _holds_only(prefix: str, weighted: Sequence[LayerRecord], wanted: set[str]) -> bool:
    within = [row.name for row in weighted if row.name.startswith(f"{prefix}.")]
    return len(within) > 1 and wanted.issuperset(within)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _at_home(path: PurePath) -> str:
    """A path as a person writes it."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
