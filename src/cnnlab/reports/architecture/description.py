"""What a network is before anything is trained: every row, its cost, its memory, its drawing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnlab.architecture.memory import MemoryRecord, memory
from cnnlab.architecture.warnings import in_words, table_warnings
from cnnlab.config.optimization import Adam
from cnnlab.config.recipe import Recipe
from cnnlab.config.warnings import overview
from cnnlab.data.sources.base import Progress, silent
from cnnlab.errors import SourceError, SpecError, UsageError
from cnnlab.grammar.toml_files import in_file
from cnnlab.records import LayerRecord, Record, Table, WarningRecord
from cnnlab.render import formatting
from cnnlab.render.document import Sheet
from cnnlab.reports.architecture.pretraining import Beginning, beginning, too_late, trained
from cnnlab.reports.run.tables import layer_table
from cnnlab.storage.run_folder import KEPT

BATCH_SIZE = 64  # where no recipe says: what a recipe's own default is
SUFFIX = ".toml"


class Description(Record):
    """A recipe's network or a backbone. `classes` holds their names, where they are known; `num_classes` counts them.

    `input` is (channels, height, width); `source` is what the images are of, empty for a backbone. `beginning` is what
    a recipe's backbone begins with, None where it has a table. `too_late` tells of weights that would begin to train
    after the last epoch.
    """

    name: str
    source: str = ""
    input: tuple[int, int, int]
    classes: tuple[str, ...]
    num_classes: int
    optimizer: str
    parameters: int
    trainable: int
    macs: int
    layers: tuple[LayerRecord, ...]
    warnings: tuple[WarningRecord, ...]
    memory: MemoryRecord
    switched_off: tuple[str, ...] = ()
    beginning: Beginning | None = None
    too_late: str = ""

    @property
    def table(self) -> Table:
        """The rows and their sums."""
        trainable = None if self.trainable == self.parameters else self.trainable
        return Table(
            parameters=self.parameters,
            trainable=trainable,
            macs=self.macs,
            layers=self.layers,
            warnings=self.warnings,
        )

    @property
    def title(self) -> str:
        """What this is, for which images."""
        images = f"{formatting.sizes(self.input)} images" + (f" of {self.source}" if self.source else "")
        end = (
            formatting.plural(self.num_classes, "class", "classes")
            if self.num_classes
            else "features instead of classes"
        )
        return f"{self.name}: {images}, {end}"

    def sheet(self) -> Sheet:
        """The table, with the sums and the warnings under it."""
        rows = layer_table(self.table, self.memory)
        warned = [f"! {in_words(warning)}" for warning in self.warnings]
        off = [f"Warnings switched off: {', '.join(self.switched_off)}."] if self.switched_off else []
        begins = self.beginning.lines() if self.beginning is not None else []
        if self.too_late:
            begins.append(f"! {self.too_late}")
        notes = (_sums(self), *begins, *_memory_lines(self), *warned, *off)
        return Sheet(self.title, tables=(("", rows),), notes=notes)

    def svg(self) -> str:
        """The drawing of the network, standing alone."""
        from cnnlab.reports.architecture.drawing import architecture

        return architecture(self.table, self.title).to_svg(alone=True)

    def _repr_html_(self) -> str:
        return self.sheet().to_html(self.svg())


def describe(
    what: Recipe | str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    classes: int | None = None,
    batch_size: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    images: bool = False,
    progress: Progress = silent,
) -> Description:
    """Every row of a network with its cost, and the memory that it takes; loads no torch for a recipe's table.

    Args:
        what: a recipe, the path of its file (it ends with .toml) or of a run, or the name of a torchvision or timm
            network.
        size: one number, or (H, W), of the images in pixels; by default the recipe's, or those that the backbone was
            made for.
        classes: K, 1 or more; by default those of the data, or the backbone's.
        batch_size: images at a time, for the memory; by default the recipe's, or 64.
        overrides: values of the recipe by dotted key, as `--set` gives them.
        data: where catalogue data lives; by default the cache folder.
        images: look at the recipe's images, too, for the warnings that need them; this loads torch.
        progress: told of the images that are read.

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
    what, sides = _meant(what), (size, size) if isinstance(size, int) else size
    numbers = {"classes": classes, "batch_size": batch_size, "size": min(sides) if sides else None}
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError("there is nothing to describe", where=name, received=str(number), allowed="1 or more")
    if overrides and not is_recipe(what):
        raise UsageError(
            "only a recipe has values that can be changed",
            where="--set",
            received=str(what),
            allowed="a recipe, a .toml file",
            next_step="use --size, --classes and --batch for a backbone",
        )
    if isinstance(what, Recipe) or is_recipe(what):
        root = Path(data) if data else None
        found, recipe = _of_recipe(what, sides, classes, batch_size, dict(overrides or {}), root)
        return _with_images(found, recipe, root, progress) if images else found
    if images:
        step = "leave --data out, or describe a recipe"
        raise UsageError("only a recipe has images to look at", where="--data", received=str(what), next_step=step)
    return _of_backbone(str(what), sides, classes, batch_size or BATCH_SIZE)


def is_recipe(what: Recipe | str | Path) -> bool:
    """Whether a word of the command line is a recipe's file: it ends with .toml, or there is a file of that name."""
    return not isinstance(what, Recipe) and (str(what).endswith(SUFFIX) or Path(what).is_file())


def _meant(what: Any) -> Recipe | str | Path:
    """What a person means: of a run its recipe; a recipe's name without its ending is none, unless a network has it."""
    if isinstance(what, Recipe):
        return what
    if not isinstance(what, str | Path):
        raise UsageError(
            "this can't be described",
            received=repr(what),
            allowed="a recipe, the path of a recipe or a run, or the name of a network",
        )
    path = Path(what)
    if (path / "recipe.toml").is_file():
        return path / "recipe.toml"
    for file in (path.with_suffix(SUFFIX), Path("recipes", path.name).with_suffix(SUFFIX)) if path.name else ():
        if path.suffix != SUFFIX and not path.is_file() and file.is_file() and not _is_network(str(what)):
            raise UsageError(
                f"'{what}' is no recipe's file", allowed="a path that ends with .toml", next_step=f"write {file}"
            )
    return what


def _is_network(name: str) -> bool:
    """Whether a network has this name; asked only where a recipe has it too, since that takes a second."""
    from cnnlab.models.pretrained.architectures import names

    return name in names()


def _of_recipe(
    what: Recipe | str | Path,
    size: tuple[int, int] | None,
    classes: int | None,
    batch_size: int | None,
    overrides: dict[str, Any],
    data: Path | None,
) -> tuple[Description, Recipe]:
    """The description, and the recipe as it was changed."""
    from cnnlab.data.dataset import facts

    if isinstance(what, Recipe):
        recipe, name = what, "recipe"
    else:
        recipe, name = Recipe.read(what, overrides), str(what)
    if size is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"size": size})})
    if batch_size is not None:
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch_size": batch_size})})
    given, kept, begins = recipe, None if isinstance(what, Recipe) else Path(what).parent / KEPT, None
    try:
        recipe = _resolved(given, data, kept)
        known = facts(recipe.data, data)
        count = classes or len(known.classes)
        table = _table(recipe, (known.channels, known.height, known.width), count, known.classes, kept)
        if recipe.model.backbone is not None:
            begins = beginning(recipe, table, given, kept)
    except (SpecError, SourceError) as error:
        raise error if isinstance(what, Recipe) else in_file(error, what) from None
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
        memory=memory(table.layers, table.parameters, recipe.train.batch_size, choice.state, trainable),
        switched_off=recipe.warnings.off,
        beginning=begins,
        too_late=too_late(table.layers, recipe.train.epochs),
    )
    return found, recipe


def _resolved(recipe: Recipe, data: Path | None, kept: Path | None) -> Recipe:
    if recipe.model.backbone is None:
        return recipe
    from cnnlab.runs.resolve_recipe import resolve

    return resolve(recipe, data, kept)


def _table(
    recipe: Recipe, shape: tuple[int, int, int], count: int, classes: tuple[str, ...], kept: Path | None
) -> Table:
    """The rows of a recipe's network; only a backbone loads torch."""
    named = classes if count == len(classes) else ()
    if recipe.model.backbone is None:
        return overview(recipe.model.trace(shape, count).records(), recipe, named)
    from cnnlab.models.network_plan import plan_network

    plan = plan_network(recipe.model, shape, count, kept)
    return overview(plan.layers, recipe, named, parameters=plan.parameters, trainable=plan.trainable)


def _with_images(found: Description, recipe: Recipe, data: Path | None, progress: Progress) -> Description:
    """The description with the warnings that only the images can give."""
    from cnnlab.runs.warnings import warnings_of_images

    warnings = warnings_of_images(recipe, data, progress=progress)
    return found.model_copy(update={"warnings": (*found.warnings, *warnings)})


def _of_backbone(name: str, size: tuple[int, int] | None, classes: int | None, batch_size: int) -> Description:
    from cnnlab.models.pretrained.architectures import natural_classes
    from cnnlab.models.tracing.trace import backbone_table

    table = backbone_table(name, None if size is None else (3, *size), classes)
    warned = table_warnings(table.layers, classes, backbone=True)
    table = table.model_copy(update={"warnings": (*table.warnings, *warned)})
    first = table.layers[0]
    return Description(
        name=name,
        input=(first.input[0], first.input[1], first.input[2]),
        classes=(),
        num_classes=natural_classes(name) if classes is None else classes,
        optimizer=Adam.kind,
        **{field: getattr(table, field) for field in Table.model_fields if field != "trainable"},
        trainable=table.parameters,
        memory=memory(table.layers, table.parameters, batch_size, Adam.state),
    )


def _sums(found: Description) -> str:
    is_whole = found.trainable == found.parameters
    named = trained(found.layers)
    which = ("all trained" if is_whole else f"{formatting.count(found.trainable)} of them trained") + (
        f": {named}" if named else ""
    )
    return f"{formatting.count(found.parameters)} parameters, {which}; {formatting.count(found.macs)} multiply-adds an image."


def _memory_lines(found: Description) -> tuple[str, str]:
    taken = found.memory
    parts = {
        "weights": taken.weights,
        "gradients": taken.gradients,
        f"{found.optimizer}'s state": taken.optimizer,
        "activations": taken.activations,
        "what passes through": taken.passing,
    }
    batch = f"with {formatting.plural(taken.batch_size, 'image')} at a time, in 32-bit floats"
    summed = " + ".join(f"{formatting.memory(size)} of {what}" for what, size in parts.items() if size)
    return (
        f"Memory to train {batch}: {formatting.memory(taken.total)} = {summed}.",
        f"Memory to predict {batch}: {formatting.memory(taken.prediction)}.",
    )
