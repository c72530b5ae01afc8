"""`cnnlab inspect attribution`: which pixels speak for a class by several methods, with checks of each."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cnnlab.cli.options import (
    IMAGE_HELP,
    IMAGE_METAVAR,
    DataFolder,
    Debug,
    Device,
    Json,
    NetworkArgument,
    WeightSeed,
    given_options,
    handle_errors,
    read_network_name,
    refuse_option,
)
from cnnlab.cli.output.documents import Format, choose_format
from cnnlab.cli.output.figure_files import NoPictures, PictureFile, check_figure_path, show_with_figures

Images = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        metavar=IMAGE_METAVAR,
        help=f"{IMAGE_HELP} (up to 8 times); by default a generated one.",
        show_default=False,
    ),
]
Class = Annotated[
    str | None,
    typer.Option(
        "--class", metavar="NAME|NUMBER", help="The class, by name or number from 0; by default the predicted one."
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="saliency, integrated-gradients, occlusion or grad-cam (repeatable); by default all.",
        show_default=False,
    ),
]
GradCamLayer = Annotated[
    str | None,
    typer.Option(
        metavar="ROW",
        help="The layer whose maps Grad-CAM weighs; by default the last that makes maps.",
        show_default=False,
    ),
]
Window = Annotated[
    int | None,
    typer.Option(help="The side of occlusion's square, in pixels; by default a quarter of the image."),
]
Stride = Annotated[int | None, typer.Option(help="The stride of that square, in pixels; by default half the window.")]


class AttributionBaseline(StrEnum):
    """The input that stands for no image."""

    MEAN = "mean"
    BLACK = "black"
    BLUR = "blur"


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(attribution))


def attribution(
    context: typer.Context,
    what: NetworkArgument,
    image: Images = None,
    target: Class = None,
    method: Methods = None,
    layer: GradCamLayer = None,
    steps: Annotated[int, typer.Option(help="The steps of integrated gradients; doubled until they add up.")] = 64,
    window: Window = None,
    stride: Stride = None,
    baseline: Annotated[
        AttributionBaseline, typer.Option(help="The input that stands for no image.")
    ] = AttributionBaseline.MEAN,
    output: PictureFile = None,
    no_pictures: NoPictures = False,
    seed: WeightSeed = None,
    device: Device = "auto",
    data: DataFolder = None,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Show which pixels speak for a class by saliency, integrated gradients, occlusion and Grad-CAM, with checks.

    The checks: deletion and insertion against random orders of the pixels, the sum of integrated gradients, and the
    correlation with maps of redrawn weights.
    """
    output_format = choose_format(json, format_)
    path = None if no_pictures else check_figure_path(output, "attribution.png")
    _refuse_unused_options(context, method)
    named = read_network_name(what)
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
            baseline=baseline.value,
            log=reporter.log,
            progress=reporter,
        )
    show_with_figures(result, output_format, result.figures, path)


def _refuse_unused_options(context: typer.Context, methods: list[str] | None) -> None:
    """Raise a UsageError for settings of methods that are not used."""
    method_of = {"window": "occlusion", "stride": "occlusion", "steps": "integrated-gradients", "layer": "grad-cam"}
    for name in given_options(context, *method_of):
        if methods and method_of[name] not in methods:
            refuse_option(
                name, f"it is a setting of {method_of[name]}, which is not used", f"add --method {method_of[name]}"
            )
