"""`cnnlab inspect attribution`: which pixels support a class, by several methods with checks of each."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cnnlab.cli.options import (
    IMAGE_HELP,
    IMAGE_METAVAR,
    DataFolder,
    Debug,
    Device,
    Json,
    NetworkArgument,
    Set,
    WeightSeed,
    given_options,
    handle_errors,
    read_network_name,
    refuse_option,
)
from cnnlab.cli.output.documents import Format, choose_format
from cnnlab.cli.output.figure_files import NoPictures, PictureFile, check_figure_path, show_with_figures

# The method of each setting.
METHOD_OF = {"window": "occlusion", "stride": "occlusion", "steps": "integrated-gradients", "layer": "grad-cam"}


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(attribution))


def attribution(
    context: typer.Context,
    what: NetworkArgument,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar=IMAGE_METAVAR, help=f"{IMAGE_HELP} (up to 8 times); by default a generated one."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="NAME|NUMBER", help="The class, by name or number from 0; by default the predicted one."
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="saliency, integrated-gradients, occlusion or grad-cam (repeatable); by default all.",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(metavar="ROW", help="The layer whose maps Grad-CAM weighs; by default the last."),
    ] = None,
    steps: Annotated[int, typer.Option(help="The steps of integrated gradients; doubled until they add up.")] = 64,
    window: Annotated[
        int | None, typer.Option(help="The side of occlusion's square; by default a quarter of the image.")
    ] = None,
    stride: Annotated[int | None, typer.Option(help="The step of that square; by default half its side.")] = None,
    baseline: Annotated[
        Literal["mean", "black", "blur"], typer.Option(help="The input that stands for the absence of an image.")
    ] = "mean",
    output: PictureFile = None,
    no_pictures: NoPictures = False,
    set_: Set = None,
    seed: WeightSeed = None,
    device: Device = "auto",
    data: DataFolder = None,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Show which pixels support a class by saliency, integrated gradients, occlusion and Grad-CAM, with checks.

    The checks: deletion and insertion against random orders of the pixels, the sum of integrated gradients, and the
    correlation with the maps of randomized weights.
    """
    output_format = choose_format(json, format_)
    path = None if no_pictures else check_figure_path(output, "attribution.png")
    for name in given_options(context, *METHOD_OF):
        if method and METHOD_OF[name] not in method:
            refuse_option(
                name, f"it is a setting of {METHOD_OF[name]}, which is not used", f"add --method {METHOD_OF[name]}"
            )
    named = read_network_name(what, set_)
    from cnnlab.cli.output.console import progress_reporter
    from cnnlab.context import RunContext
    from cnnlab.interpret.attribution.compute import inspect_attribution
    from cnnlab.interpret.loaded_model import load_target

    with progress_reporter() as reporter:
        model = load_target(named, seed, RunContext.of(data, device, reporter.callbacks()))
        result = inspect_attribution(
            model,
            image or (None,),
            target=target,
            methods=method or (),
            layer=layer,
            steps=steps,
            window=window,
            stride=stride,
            baseline=baseline,
            log=reporter.log,
            progress=reporter,
        )
    show_with_figures(result, output_format, path)
