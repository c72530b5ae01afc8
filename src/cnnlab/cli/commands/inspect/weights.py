"""`cnnlab inspect weights`: the filters of one layer, before and after training."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from cnnlab.cli.options import (
    DataFolder,
    Debug,
    Json,
    NetworkArgument,
    WeightSeed,
    handle_errors,
    read_network_name,
    refuse_option,
)
from cnnlab.cli.output.documents import Format, choose_format
from cnnlab.cli.output.figure_files import NoPictures, PictureFile, check_figure_path, show_with_figures
from cnnlab.interpret.limits import MAX_SHOWN


class FilterOrder(StrEnum):
    """What filters are ordered by."""

    NUMBER = "number"
    ORIENTATION = "orientation"
    COLOUR = "colour"
    NORM = "norm"


class FilterScale(StrEnum):
    """What a filter's colours are full at: its own largest weight, or the larger of before and after training."""

    OWN = "own"
    COMMON = "common"


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(weights))


def weights(
    what: NetworkArgument,
    layer: Annotated[
        str,
        typer.Option(metavar="NAME", help="A convolution or a dense layer; by default the first.", show_default=False),
    ] = "",
    most: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_SHOWN, help="How many filters to show, by default 64 pictures.", show_default=False
        ),
    ] = None,
    order: Annotated[
        FilterOrder | None,
        typer.Option(help="In which order; by default by number, of deep kernels by norm.", show_default=False),
    ] = None,
    scale: Annotated[
        FilterScale, typer.Option(help="Before and after training by a scale of its own each, or by one for both.")
    ] = FilterScale.OWN,
    seed: WeightSeed = None,
    data: DataFolder = None,
    output: PictureFile = None,
    no_pictures: NoPictures = False,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Show the filters of a layer as numbered pictures, before and after training, with their spectra and numbers.

    What a run began with is made anew from its seed, and held to the digest that the run wrote down.
    """
    output_format = choose_format(json, format_)
    place = None if no_pictures else check_figure_path(output, "weights.png")
    named = read_network_name(what)
    from cnnlab.cli.output.console import log
    from cnnlab.interpret.loaded_model import load_target
    from cnnlab.interpret.weights.compute import inspect_weights

    model = load_target(named, seed=seed, device="cpu", data=data, log=log)
    found = inspect_weights(model, layer, max_filters=most, order=order.value if order else None)
    if scale is FilterScale.COMMON and not found.filters.shows_before_and_after:
        refuse_option("scale", "there are no weights before training beside these", "name a trained run")
    show_with_figures(
        found, output_format, partial(found.figures, scale=scale.value), place, ("cycles/px", "cosine", "coherence")
    )
