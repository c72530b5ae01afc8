"""`cnnlab inspect activations`: the maps that layers make of an image, idle units, and what excites a filter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.answers import Form, Latex, Markdown, show_answer
from cnnlab.cli.options import DataFolder, Debug, Device, Json, find_run, guarded
from cnnlab.cli.pictures import NoPictures, PictureFile, check_place, write_plates

if TYPE_CHECKING:
    from cnnlab.paper.plots import Plate
    from cnnlab.paper.sheet import Sheet
    from cnnlab.probe.subjects import Subject

What = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|RUN|BACKBONE",
        help="A recipe (.toml; random weights), a run folder (its trained ones), or a name such as resnet18 (random).",
        show_default=False,
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer", metavar="NAME", help="A layer to look at (repeatable); else the first and the last convolution."
    ),
]
Shown = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="FILE|validation:12",
        help="An image file, or an image of the data by part and number, from 0; else the run's own, or a drawn one.",
        show_default=False,
    ),
]
WeightSeed = Annotated[
    int | None,
    typer.Option(min=0, help="The seed of random weights; by default the recipe's, or 0.", show_default=False),
]


def register(group: typer.Typer) -> None:
    group.command()(guarded(activations))


def activations(
    what: What,
    layer: Layers = None,
    image: Shown = None,
    maps: Annotated[int, typer.Option(min=1, help="How many maps of a layer are shown.")] = 16,
    output: PictureFile = None,
    no_pictures: NoPictures = False,
    seed: WeightSeed = None,
    device: Device = "auto",
    data: DataFolder = None,
    json: Json = False,
    markdown: Markdown = False,
    latex: Latex = False,
    debug: Debug = False,
) -> None:
    """Show what layers make of an image: their maps, numbered, with the image and statistics of each map."""
    form = Form(json, markdown, latex)
    path = None if no_pictures else check_place(output, "activations.png")
    from cnnlab.cli.console import progressing, say
    from cnnlab.probe.feature_maps import inspect_activations
    from cnnlab.probe.subjects import open_subject

    with progressing() as shown:
        where = str(find_run(Path(what)))
        subject = open_subject(where, seed=seed, device=device, data=data, say=say, progress=shown)
        found = inspect_activations(subject, image, layers=layer or (), maps=maps)
    show_answer(found, form, spare=("std", "like edges"))
    for written in write_plates(found.plates(), path) if path is not None else ():
        say(f"Written to {written}")
