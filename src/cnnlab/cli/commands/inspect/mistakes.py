"""`cnnlab inspect mistakes`: what a trained network gets wrong, how surely, and where its images lie."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from cnnlab.cli.options import DataFolder, Debug, Device, Json, RunPath, SplitName, find_run, handle_errors
from cnnlab.cli.output.documents import Format, choose_format
from cnnlab.cli.output.figure_files import NoPictures, PictureFile, check_figure_path, show_with_figures
from cnnlab.interpret.limits import MAX_SHOWN

PICTURE = "mistakes.png"


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(mistakes))


def mistakes(
    run: RunPath,
    part: Annotated[SplitName, typer.Option(help="Which images. Test: only once it has been opened.")] = (
        SplitName.VALIDATION
    ),
    most: Annotated[int, typer.Option(min=1, max=MAX_SHOWN, help="How many mistakes the gallery shows.")] = 24,
    pair: Annotated[
        str | None,
        typer.Option(metavar="TRUE:PREDICTED", help="Only mistakes of this pair, as cat:dog.", show_default=False),
    ] = None,
    per_pair: Annotated[
        int | None, typer.Option(min=1, help="At most so many mistakes of one pair of classes.", show_default=False)
    ] = None,
    equal_mass: Annotated[
        bool, typer.Option("--equal-mass", help="A reliability diagram whose bins hold as many images each.")
    ] = False,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Look at the images: for the gallery and the map.")
    ] = True,
    output: PictureFile = None,
    no_pictures: NoPictures = False,
    device: Device = "auto",
    data: DataFolder = None,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """What a trained network gets wrong: confused classes, the surest mistakes, calibration, and a map of its features.

    The predictions are those that the run has kept. The images of the test split are a look, which the ledger tells of;
    with --no-images or --no-pictures there is none.
    """
    output_format = choose_format(json, format_)
    place = None if no_pictures else check_figure_path(output, PICTURE)
    from cnnlab.cli.output.console import progress_reporter
    from cnnlab.interpret.mistakes.compute import inspect_mistakes

    with progress_reporter() as shown:
        found = inspect_mistakes(
            find_run(run),
            part.value,
            max_mistakes=most,
            pair=pair,
            per_pair=per_pair,
            images=images and place is not None,
            device=device,
            data=data,
            log=shown.log,
            progress=shown,
        )
    spare = ("of its own class", "share of the class", "mean probability")
    show_with_figures(found, output_format, partial(found.figures, equal_mass=equal_mass), place, spare)
