"""`cnnlab inspect weights`: the filters of one layer, before and after training."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cnnlab.cli.options import (
    DataFolder,
    Debug,
    Json,
    NetworkArgument,
    Set,
    WeightSeed,
    handle_errors,
    read_network_name,
    refuse_option,
)
from cnnlab.cli.output.documents import Format, choose_format
from cnnlab.cli.output.figure_files import NoPictures, PictureFile, check_figure_path, show_with_figures
from cnnlab.interpret.filter_numbers import parse_numbers
from cnnlab.interpret.limits import MAX_SHOWN


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(weights))


def weights(
    what: NetworkArgument,
    layer: Annotated[
        str,
        typer.Option(metavar="NAME", help="A convolution or a dense layer; by default the first.", show_default=False),
    ] = "",
    filters: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…", help="Show these filters, by their numbers from 1: 25,111,112.", show_default=False
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_SHOWN, help="How many filters to show, by default 64 pictures."),
    ] = None,
    order: Annotated[
        Literal["number", "norm"] | None, typer.Option(help="The order; by default number, of deep kernels norm.")
    ] = None,
    scale: Annotated[
        Literal["own", "common"], typer.Option(help="A scale each for before and after training, or one for both.")
    ] = "own",
    set_: Set = None,
    seed: WeightSeed = None,
    data: DataFolder = None,
    output: PictureFile = None,
    no_pictures: NoPictures = False,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Show the filters of a layer as numbered pictures, before and after training, with their norms and changes.

    The initial weights of a run are restored from its seed, and verified by the digest in the run.
    """
    output_format = choose_format(json, format_)
    path = None if no_pictures else check_figure_path(output, "weights.png")
    numbers = None if filters is None else parse_numbers(filters, "--filters")
    named = read_network_name(what, set_)
    from cnnlab.cli.output.console import log
    from cnnlab.context import Callbacks, RunContext
    from cnnlab.interpret.loaded_model import load_target
    from cnnlab.interpret.weights.compute import inspect_weights

    model = load_target(named, seed, RunContext.of(data, "cpu", Callbacks(log=log)))
    result = inspect_weights(model, layer, filters=numbers, max_filters=most, order=order)
    if scale == "common" and not result.filters.shows_before_and_after:
        refuse_option("scale", "the initial weights are not known", "name a trained run")
    show_with_figures(result, output_format, path, ("cosine",), scale=scale)
