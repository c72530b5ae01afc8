"""`cnnlab inspect weights`: the filters of one layer, before and after training."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from cnnlab.cli.commands.inspect.option_checks import refuse
from cnnlab.cli.options import DataFolder, Debug, Json, WeightSeed, What, guarded, read_name
from cnnlab.cli.output.documents import Form, Latex, Markdown
from cnnlab.cli.output.figure_files import NoPictures, PictureFile, check_place, show_with_plates
from cnnlab.interpret.targets import MOST_SHOWN


class Ordered(StrEnum):
    """What filters are ordered by."""

    NUMBER = "number"
    ORIENTATION = "orientation"
    COLOUR = "colour"
    NORM = "norm"


class Scaled(StrEnum):
    """What a filter's colours are full at: its own largest weight, or the larger of before and after training."""

    OWN = "own"
    COMMON = "common"


def register(group: typer.Typer) -> None:
    group.command()(guarded(weights))


def weights(
    what: What,
    layer: Annotated[
        str,
        typer.Option(metavar="NAME", help="A convolution or a dense layer; by default the first.", show_default=False),
    ] = "",
    most: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_SHOWN, help="How many filters to show, by default 64 pictures.", show_default=False
        ),
    ] = None,
    order: Annotated[
        Ordered | None,
        typer.Option(help="In which order; by default by number, of deep kernels by norm.", show_default=False),
    ] = None,
    scale: Annotated[
        Scaled, typer.Option(help="Before and after training by a scale of its own each, or by one for both.")
    ] = Scaled.OWN,
    seed: WeightSeed = None,
    data: DataFolder = None,
    output: PictureFile = None,
    no_pictures: NoPictures = False,
    json: Json = False,
    markdown: Markdown = False,
    latex: Latex = False,
    debug: Debug = False,
) -> None:
    """Show the filters of a layer as numbered pictures, before and after training, with their spectra and numbers.

    What a run began with is made anew from its seed, and held to the digest that the run wrote down.
    """
    form = Form(json, markdown, latex)
    place = None if no_pictures else check_place(output, "weights.png")
    named = read_name(what)
    from cnnlab.cli.output.console import say
    from cnnlab.interpret.loaded_model import subject_of
    from cnnlab.interpret.weights.compute import inspect_weights

    subject = subject_of(named, seed=seed, device="cpu", data=data, say=say)
    found = inspect_weights(subject, layer, most=most, order=order.value if order else None)
    if scale is Scaled.COMMON and not found.filters.is_paired:
        refuse("scale", "there are no weights before training beside these", "name a trained run")
    show_with_plates(found, form, partial(found.plates, scale=scale.value), place, ("cycles/px", "cosine", "coherence"))
