"""`cnnlab shift`: trained networks under shifts of their images"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnlab.cli.options import DataFolder, Debug, Device, Json, find_run, handle_errors
from cnnlab.cli.output.documents import Format, choose_format
from cnnlab.cli.output.figure_files import NoPictures, PictureFile, check_figure_path, show_with_figures
from cnnlab.stats.defaults import ALPHA, SMALLEST_DIFFERENCE

# Columns that a narrow terminal leaves out, in this order.
OPTIONAL_COLUMNS = ("interval", "95 % interval", "difference")

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN", help="Run folders; those that differ in their seeds only are one group."),
]
Shifts = Annotated[
    list[str] | None,
    typer.Option(
        "--shift",
        metavar="NAME|CALL",
        help="A kind at its default strengths, or one strength: rotation, 'rotation(30)', 'drawn(\\[brightness(0.5)])'"
        " (repeatable); by default all kinds.",
        show_default=False,
    ),
]
SplitName = Annotated[
    str | None,
    typer.Option(
        "--split",
        "--part",
        metavar="SPLIT",
        help="train, validation or test; by default test where it has been opened, else validation.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help="The largest number of images, spread evenly over the split.", show_default=False),
]
Delta = Annotated[float, typer.Option(help="The smallest difference of interest: 0.01 is 1 point of accuracy.")]
Alpha = Annotated[float, typer.Option(help="The rate of wrong verdicts.")]
DrawSeed = Annotated[int, typer.Option(min=0, help="The seed of the random numbers of each image.")]
Apart = Annotated[bool, typer.Option("--apart", help="Treat each run as a group of its own, judged by its images.")]
Corrupted = Annotated[
    Path | None,
    typer.Option(
        "--cifar10c",
        metavar="DIR",
        help="Use CIFAR-10-C instead: the folder of its arrays (labels.npy, fog.npy, …).",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(handle_errors(shift))


def shift(
    runs: Runs,
    shifts: Shifts = None,
    split: SplitName = None,
    limit: Limit = None,
    delta: Delta = SMALLEST_DIFFERENCE,
    alpha: Alpha = ALPHA,
    seed: DrawSeed = 0,
    apart: Apart = False,
    cifar10c: Corrupted = None,
    output: PictureFile = None,
    no_pictures: NoPictures = False,
    device: Device = "auto",
    data: DataFolder = None,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Test trained networks under shifts of the images: 14 kinds, strengths in pixels, degrees and factors.

    Every network gets the same images and random numbers. A sealed test set stays sealed, unless --split test opens it.
    """
    output_format = choose_format(json, format_)
    path = None if no_pictures else check_figure_path(output, "shift.png")
    from cnnlab.api.shift import shift as test_under_shifts
    from cnnlab.cli.output.console import progress_reporter

    with progress_reporter() as progress:
        result = test_under_shifts(
            [find_run(run) for run in runs],
            shifts or (),
            split=split,
            limit=limit,
            smallest_difference=delta,
            alpha=alpha,
            seed=seed,
            per_run=apart,
            cifar10c=cifar10c,
            device=device,
            data=data,
            callbacks=progress.callbacks(),
        )
    show_with_figures(result, output_format, path, OPTIONAL_COLUMNS)
