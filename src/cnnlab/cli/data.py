"""`cnnlab data`: what data there is, getting it, checking it, looking at it. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.options import DataFolder, Debug, Json, guarded

if TYPE_CHECKING:
    from cnnlab.data.check import SourceReport

SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="A catalogue name, or a folder or archive of class folders.", show_default=False
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name that `data list` shows.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="The picture to write: a .png file.")]
PerClass = Annotated[int, typer.Option(min=1, max=100, help="Images per class.")]

SHOWN_PROBLEMS = 20


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Data sets: list, fetch, check, show.")
    group.command("list")(guarded(list_))
    group.command()(guarded(fetch))
    group.command()(guarded(check))
    group.command()(guarded(show))
    app.add_typer(group, name="data")


def list_(data: DataFolder = None, json: Json = False, debug: Debug = False) -> None:
    """The data sets that are known by name, and which are at hand."""
    from rich.table import Table

    from cnnlab.cli.console import show as print_
    from cnnlab.cli.console import show_json
    from cnnlab.data.catalogue import GENERATED, find_at_hand
    from cnnlab.data.catalogue_table import CATALOGUE
    from cnnlab.data.dataset import data_roots

    found = {name: find_at_hand(name, data_roots(data)) for name in CATALOGUE}
    if json:
        show_json(
            [
                {
                    "name": name,
                    "image": [known.channels, known.height, known.width],
                    "classes": known.classes,
                    "splits": dict(known.counts),
                    "at_hand": name == GENERATED or found[name] is not None,
                    "path": str(found[name]) if found[name] else None,
                }
                for name, known in CATALOGUE.items()
            ]
        )
        return
    table = Table("name", "image", "classes", "images", "at hand", box=None, header_style="bold")
    for name, known in CATALOGUE.items():
        at_hand = "generated here" if name == GENERATED else str(found[name] or f"no: cnnlab data fetch {name}")
        images = ", ".join(f"{count:,} {part}" for part, count in known.counts.items())
        table.add_row(name, f"{known.channels}×{known.height}×{known.width}", str(len(known.classes)), images, at_hand)
    print_(table)


def fetch(name: Name, data: DataFolder = None, json: Json = False, debug: Debug = False) -> None:
    """Download a data set of the catalogue, unless it is at hand, and compare its files with their checksums."""
    from cnnlab.cli.console import progressing, say, show_json
    from cnnlab.data.catalogue import open_catalogue
    from cnnlab.data.dataset import data_roots
    from cnnlab.data.published import PublishedSource

    roots = data_roots(data)
    with progressing() as progress:
        source = open_catalogue(name, roots, progress=progress)
    path, verified = (source.path, source.verified()) if isinstance(source, PublishedSource) else (None, ())
    if json:
        show_json({"name": name, "path": path and str(path), "classes": source.classes, "verified": verified})
    elif path is None:
        say(f"{name} is generated here; there is nothing to fetch")
    elif verified:
        say(f"{name} is at hand: {path}; checksums are right: {', '.join(verified)}")
    else:
        say(f"{name} is at hand: {path}; unpacked files have no published checksum to compare")


def check(source: SourceName, data: DataFolder = None, json: Json = False, debug: Debug = False) -> None:
    """Decode every image and say what is wrong; exit 1 where it can't be trained on before that is mended."""
    from cnnlab.cli.console import progressing, show_json
    from cnnlab.data.check import check as check_source

    with progressing() as progress:
        report = check_source(source, data, progress=progress)
    if json:
        show_json(report.model_dump(mode="json"))
    else:
        _print_report(report)
    if any(problem.fatal for problem in report.problems):
        raise SystemExit(1)


def show(
    source: SourceName,
    output: Output = Path("examples.png"),
    per_class: PerClass = 8,
    data: DataFolder = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a picture with some training images of each class."""
    from io import BytesIO

    from cnnlab.cli.console import progressing, say, show_json
    from cnnlab.data.dataset import open_source, shown_form
    from cnnlab.data.sheet import contact_sheet
    from cnnlab.errors import RunError, UsageError
    from cnnlab.files import write_whole

    if output.suffix.lower() != ".png":
        raise UsageError(
            "the picture is a PNG file",
            where="--output",
            received=str(output),
            allowed="a name that ends in .png",
            next_step=f"--output {output}.png" if not output.suffix else f"--output {output.with_suffix('.png')}",
        )
    with progressing() as progress:
        opened = open_source(source, data, progress=progress)
    picture = BytesIO()
    contact_sheet(opened, shown_form(opened), per_class).save(picture, format="PNG")
    try:
        write_whole(output, picture.getvalue())
    except RunError as error:
        raise UsageError(
            "the picture can't be written",
            where=str(output),
            received=error.problems[0].what,
            allowed="a file in a folder that can be written",
            next_step="choose another place with --output",
        ) from None
    if json:
        show_json({"file": str(output), "classes": opened.classes})
    else:
        say(f"Written to {output}.")


def _print_report(report: SourceReport) -> None:
    from rich.table import Table
    from rich.text import Text

    from cnnlab.cli.console import show as print_

    print_(f"{report.source}: {report.images:,} images, {len(report.classes)} classes")
    table = Table("class", *report.splits, box=None, header_style="bold")
    for name in report.classes:
        table.add_row(Text(name), *(f"{split.per_class[name]:,}" for split in report.splits.values()))
    print_(table)
    for problem in report.problems[:SHOWN_PROBLEMS]:
        where = f"{problem.file}: " if problem.file else ""
        print_(f"{'✗' if problem.fatal else '!'} {problem.kind}: {where}{problem.message}")
    more = len(report.problems) - SHOWN_PROBLEMS
    print_(f"and {more:,} more; --json lists all" if more > 0 else "" if report.problems else "no problems found")
