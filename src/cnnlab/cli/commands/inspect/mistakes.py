"""`cnnlab inspect mistakes`: the classification errors of a trained network."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnlab.cli.options import DataFolder, Debug, Device, Json, RunPath, SplitName, find_run, handle_errors
from cnnlab.cli.output.documents import Format, choose_format
from cnnlab.cli.output.figure_files import NoPictures, PictureFile, check_figure_path, show_with_figures
from cnnlab.interpret.limits import MAX_SHOWN


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(mistakes))


def mistakes(
    run: RunPath,
    split: Annotated[
        SplitName, typer.Option("--split", "--part", help="The split; test only if it has been opened.")
    ] = SplitName.VALIDATION,
    most: Annotated[int, typer.Option(min=1, max=MAX_SHOWN, help="Mistakes in the gallery.")] = 24,
    pair: Annotated[
        str | None,
        typer.Option(metavar="TRUE:PREDICTED", help="Only mistakes of this pair, as cat:dog.", show_default=False),
    ] = None,
    per_pair: Annotated[
        int | None,
        typer.Option(min=1, help="The largest number of mistakes of one pair of classes.", show_default=False),
    ] = None,
    equal_mass: Annotated[
        bool, typer.Option("--equal-mass", help="Reliability diagram with equally many images in each bin.")
    ] = False,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Load the images, for the gallery and the map.")
    ] = True,
    output: PictureFile = None,
    no_pictures: NoPictures = False,
    device: Device = "auto",
    data: DataFolder = None,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Show confused classes, the most confident errors, calibration, and a map of the features.

    The predictions are those stored with the run. Reading images of the test split is recorded in the ledger; with
    --no-images or --no-pictures none are read.
    """
    output_format = choose_format(json, format_)
    path = None if no_pictures else check_figure_path(output, "mistakes.png")
    from cnnlab.cli.output.console import progress_reporter
    from cnnlab.interpret.mistakes.compute import inspect_mistakes

    with progress_reporter() as progress:
        result = inspect_mistakes(
            find_run(run),
            split.value,
            max_mistakes=most,
            pair=pair,
            per_pair=per_pair,
            images=images and path is not None,
            device=device,
            data=data,
            callbacks=progress.callbacks(),
        )
    optional = ("own class", "share of class", "mean probability")
    show_with_figures(result, output_format, path, optional, equal_mass=equal_mass)
