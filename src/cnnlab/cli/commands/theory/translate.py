"""`cnnlab theory translate`: what a small shift of the image does to every layer."""

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
    handle_errors,
    read_network_name,
)
from cnnlab.cli.output.documents import FormatOrSvg, choose_format, show_output

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


class ShiftDirection(StrEnum):
    """Where the image is moved."""

    RIGHT = "right"
    DOWN = "down"
    DIAGONAL = "diagonal"


class BorderFill(StrEnum):
    """What the freed border gets."""

    EDGE = "edge"
    ZERO = "zero"


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(translate))


def translate(
    what: NetworkArgument,
    image: ImageFile = None,
    shifts: Shifts = 4,
    direction: Annotated[ShiftDirection, typer.Option(help="Where the image is moved.")] = ShiftDirection.RIGHT,
    fill: Annotated[
        BorderFill, typer.Option(help="The freed border: the pixels at the edge again, or zero as padding is.")
    ] = BorderFill.EDGE,
    seed: WeightSeed = None,
    device: Device = "auto",
    data: DataFolder = None,
    json: Json = False,
    format_: FormatOrSvg = "text",
    debug: Debug = False,
) -> None:
    """Move an image by a few pixels, and see how far each layer's activations move: before and after pooling.

    Also which shifts each map follows exactly: those that its strides divide.
    """
    output_format = choose_format(json, format_)
    named = read_network_name(what)
    from cnnlab.cli.output.console import log
    from cnnlab.interpret.loaded_model import load_target
    from cnnlab.interpret.translation.compute import translation_sensitivity, validate_shifts

    model = load_target(named, seed=seed, device=device, data=data, log=log)
    # When all else is known to be right: a look at the test split is written down for good.
    validate_shifts((model.image_spec.height, model.image_spec.width), shifts, direction.value, fill.value)
    picture = model.load_image(image, "theory translate")
    found = translation_sensitivity(
        model.network,
        picture.values,
        model.layers,
        shifts=shifts,
        direction=direction.value,
        fill=fill.value,
        name=model.name,
        image_name=picture.name,
    )
    stages = [
        {"name": stage.name, "shift": 1, "before": stage.before[1], "after": stage.after[1]} for stage in found.stages
    ]
    kept = {
        layer.name: {"period": layer.period, "kept": layer.equivariant_shifts} for layer in found.layers if layer.period
    }
    extra = {"answer": found.summary(), "stages": stages, "exact": kept}
    show_output(found, output_format, optional_columns=("row", "at others"), extra=extra)
