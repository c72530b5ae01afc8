"""`cnnlab data`: list, download, check and show data sets. Only augmented images load torch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.options import DataFolder, Debug, Json, handle_errors

if TYPE_CHECKING:
    from cnnlab.config.recipe import Recipe
    from cnnlab.data.checks import SourceReport
    from cnnlab.data.sources.base import ImageSpec

SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="A catalogue name, or a folder or archive of class folders.", show_default=False
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name that `data list` shows.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="The picture to write: a .png file.")]
PerClass = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Images per class: 8, or with augmentations 1 or more.", show_default=False),
]
Augment = Annotated[
    list[str] | None,
    typer.Option("--augment", metavar="CALL", help="Show images with this augmentation: 'crop(4)' (repeatable)."),
]
AugmentRecipe = Annotated[
    Path | None,
    typer.Option("--recipe", metavar="RECIPE", help="Show images with this recipe's augmentations."),
]
Epochs = Annotated[int, typer.Option(min=1, max=30, help="With augmentations: the number of epochs.")]

SHOWN_PROBLEMS = 20


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Data sets: list, fetch, check, show.")
    group.command("list")(handle_errors(list_))
    group.command()(handle_errors(fetch))
    group.command()(handle_errors(check))
    group.command()(handle_errors(show))
    app.add_typer(group, name="data")


def list_(data: DataFolder = None, json: Json = False, debug: Debug = False) -> None:
    """List the data sets of the catalogue, and which are on disk."""
    from rich.table import Table

    from cnnlab.cli.output.console import show as print_
    from cnnlab.cli.output.console import show_json
    from cnnlab.data.dataset import data_roots
    from cnnlab.data.sources.catalogue import GENERATED, find_local
    from cnnlab.data.sources.releases import CATALOGUE

    paths = {name: find_local(name, data_roots(data)) for name in CATALOGUE}
    if json:
        show_json(
            [
                {
                    "name": name,
                    "image": [info.channels, info.height, info.width],
                    "classes": info.classes,
                    "splits": dict(info.split_sizes),
                    "at_hand": name == GENERATED or paths[name] is not None,
                    "path": str(paths[name]) if paths[name] else None,
                }
                for name, info in CATALOGUE.items()
            ]
        )
        return
    table = Table("name", "image", "classes", "images", "on disk", box=None, header_style="bold")
    for name, info in CATALOGUE.items():
        at_hand = "generated here" if name == GENERATED else str(paths[name] or f"no: cnnlab data fetch {name}")
        images = ", ".join(f"{count:,} {split}" for split, count in info.split_sizes.items())
        table.add_row(name, f"{info.channels}×{info.height}×{info.width}", str(len(info.classes)), images, at_hand)
    print_(table)


def fetch(name: Name, data: DataFolder = None, json: Json = False, debug: Debug = False) -> None:
    """Download a data set of the catalogue, unless it is on disk, and verify its checksums."""
    from cnnlab.cli.output.console import log, progress_reporter, show_json
    from cnnlab.data.dataset import data_roots
    from cnnlab.data.sources.catalogue import dataset_info, open_published
    from cnnlab.data.sources.published import PublishedSource

    roots = data_roots(data)
    with progress_reporter() as progress:
        source = open_published(dataset_info(name), roots, progress=progress)
    path, verified = (source.path, source.verify_checksums()) if isinstance(source, PublishedSource) else (None, ())
    if json:
        show_json({"name": name, "path": path and str(path), "classes": source.classes, "verified": verified})
    elif path is None:
        log(f"{name} is generated here; there is nothing to fetch")
    elif verified:
        log(f"{name} is in {path}; checksums are right: {', '.join(verified)}")
    else:
        log(f"{name} is in {path}; unpacked files have no published checksum to compare")


def check(source: SourceName, data: DataFolder = None, json: Json = False, debug: Debug = False) -> None:
    """Decode every image and report problems; exit 1 if it can't be trained on."""
    from cnnlab.cli.output.console import progress_reporter, show_json
    from cnnlab.context import RunContext
    from cnnlab.data.checks import check_source

    with progress_reporter() as progress:
        report = check_source(source, RunContext.of(data, callbacks=progress.callbacks()))
    if json:
        show_json(report.model_dump(mode="json"))
    else:
        _print_report(report)
    if any(problem.fatal for problem in report.problems):
        raise SystemExit(1)


def show(
    source: SourceName,
    output: Output = Path("examples.png"),
    per_class: PerClass = None,
    augment: Augment = None,
    recipe: AugmentRecipe = None,
    epochs: Epochs = 8,
    data: DataFolder = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a picture of training images of each class, or of augmented ones."""
    from cnnlab.atomic_io import atomic_write
    from cnnlab.cli.output.console import log, progress_reporter, show_json
    from cnnlab.config.arms import error_prefix
    from cnnlab.config.image_changes import augmentations, read_augmentations
    from cnnlab.context import RunContext
    from cnnlab.data.contact_sheet import contact_sheet
    from cnnlab.data.dataset import open_source, preview_spec
    from cnnlab.errors import UsageError
    from cnnlab.render.plots import to_png

    if output.suffix.lower() != ".png":
        raise UsageError(
            "the picture is a PNG file",
            where="--output",
            received=str(output),
            allowed="a name that ends in .png",
            next_step=f"--output {output.with_suffix('.png')}",
        )
    chosen = _recipe(augment, recipe)
    with error_prefix("--augment"):
        choices = chosen.data.augment if chosen else read_augmentations(augment) if augment else ()
    with progress_reporter() as progress:
        opened = open_source(source, RunContext.of(data, callbacks=progress.callbacks()))
    image_spec = _image_spec(preview_spec(opened), chosen)
    if choices:
        from cnnlab.data.contact_sheet import augmented_sheet

        seed = chosen.train.seed if chosen else 0
        sheet = augmented_sheet(opened, image_spec, choices, seed=seed, epochs=epochs, per_class=per_class)
    else:
        sheet = contact_sheet(opened, image_spec, per_class or 8)
    atomic_write(output, to_png(sheet), next_step="choose another file with --output")
    if json:
        calls = [str(augmentations.to_call(choice, defaults=True)) for choice in choices]
        show_json({"file": str(output), "classes": opened.classes, "augment": calls})
    else:
        log(f"Written to {output}.")


def _recipe(augment: list[str] | None, path: Path | None) -> Recipe | None:
    from cnnlab.config.recipe import Recipe
    from cnnlab.errors import UsageError

    if path is None:
        return None
    if augment:
        raise UsageError("the augmentations come from --augment or from --recipe", next_step="leave one of them out")
    recipe = Recipe.read(path)
    if not recipe.data.augment:
        raise UsageError(
            "this recipe has no augmentation",
            where=str(path),
            allowed="data.augment in the recipe, or --augment CALL",
            next_step="leave --recipe out to see the images as they are",
        )
    return recipe


def _image_spec(shown: ImageSpec, recipe: Recipe | None) -> ImageSpec:
    """The image spec of a recipe; where it names no size or channels, those in which the source is shown."""
    from cnnlab.data.sources.base import ImageSpec

    if recipe is None:
        return shown
    height, width = recipe.data.size or (shown.height, shown.width)
    return ImageSpec(recipe.data.channels or shown.channels, height, width, recipe.data.interpolation, recipe.data.fit)


def _print_report(report: SourceReport) -> None:
    from rich.table import Table
    from rich.text import Text

    from cnnlab.cli.output.console import show as print_

    print_(f"{report.source}: {report.images:,} images, {len(report.classes)} classes")
    table = Table("class", *report.splits, box=None, header_style="bold")
    for name in report.classes:
        table.add_row(Text(name), *(f"{split.per_class[name]:,}" for split in report.splits.values()))
    print_(table)
    if not report.problems:
        print_("no problems found")
        return
    counts = Counter(problem.kind for problem in report.problems)
    print_(", ".join(f"{count:,} × {kind}" for kind, count in counts.items()))
    for problem in report.problems[:SHOWN_PROBLEMS]:
        where = f"{problem.file}: " if problem.file else ""
        print_(f"{'✗' if problem.fatal else '!'} {problem.kind}: {where}{problem.message}")
    more = len(report.problems) - SHOWN_PROBLEMS
    if more > 0:
        print_(f"and {more:,} more; --json lists all")
