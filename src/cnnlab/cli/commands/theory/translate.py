"""`cnnlab theory translate`: sensitivity of every layer to small translations of the image."""

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
    WeightSeed,
    handle_errors,
    read_network_name,
)
from cnnlab.cli.output.documents import FormatOrSvg, choose_format
from cnnlab.cli.output.figure_files import PictureFile, check_figure_path, show_with_figures

ImageFile = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar=IMAGE_METAVAR,
        help=f"{IMAGE_HELP}; by default one that the program draws.",
        show_default=False,
    ),
]
Shifts = Annotated[int, typer.Option(help="The largest shift, in pixels.")]


Direction = Annotated[
    Literal["right", "down", "diagonal"], typer.Option(help="The direction in which the image is moved.")
]
Fill = Annotated[
    Literal["edge", "zero"],
    typer.Option(help="The freed border: the edge pixels repeated, or zero as padding is."),
]


Images = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1000,
        help="Average the change of the output over images of the validation split; by default the image alone.",
        show_default=False,
    ),
]


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(translate))


def translate(
    what: NetworkArgument,
    image: ImageFile = None,
    shifts: Shifts = 4,
    direction: Direction = "right",
    fill: Fill = "edge",
    images: Images = None,
    seed: WeightSeed = None,
    device: Device = "auto",
    data: DataFolder = None,
    output: PictureFile = None,
    json: Json = False,
    format_: FormatOrSvg = "text",
    debug: Debug = False,
) -> None:
    """Measure how the activations of every layer change when the image is moved by a few pixels.

    For pools also how much more the network's output would change without them; and which shifts each map follows
    exactly: the multiples of its strides.
    """
    output_format = choose_format(json, format_)
    path = check_figure_path(output, "translation.png") if output else None
    named = read_network_name(what)
    import torch

    from cnnlab.cli.output.console import log
    from cnnlab.context import Callbacks, RunContext
    from cnnlab.interpret.loaded_model import load_target
    from cnnlab.interpret.translation.compute import translation_sensitivity, validate_shifts
    from cnnlab.interpret.translation.view import headline

    model = load_target(named, seed, RunContext.of(data, device, Callbacks(log=log)))
    # Before the image is loaded: an image of the test split is an opening of it, which the ledger records.
    validate_shifts((model.image_spec.height, model.image_spec.width), shifts, direction, fill)
    input_image = model.load_image(image, "theory translate")
    several = None
    if images is not None:
        loader = model.open_split("validation", "theory translate", images, log)
        several = torch.cat([batch for batch, _ in loader.eval_batches()])
    result = translation_sensitivity(
        model.network,
        input_image.values,
        model.layers,
        shifts=shifts,
        direction=direction,
        fill=fill,
        name=model.name,
        image_name=input_image.name,
        images=several,
    )
    stages = [
        {
            "name": stage.name,
            "shift": 1,
            "before": stage.before[1],
            "after": stage.after[1],
            "output_without": result.output_ratio(stage.output_change_without),
        }
        for stage in result.stages
    ]
    exact = {
        layer.name: {"period": layer.period, "kept": layer.equivariant_shifts}
        for layer in result.layers
        if layer.period
    }
    summary = headline(result)
    # `answer` is the name of earlier versions.
    extra = {"summary": summary, "answer": summary, "stages": stages, "exact": exact}
    show_with_figures(result, output_format, path, ("row", "at others"), extra)
