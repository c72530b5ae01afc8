"""`cnnlab theory translate`: what a small shift of the image does to every layer."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cnnlab.cli.options import (
    AN_IMAGE,
    IMAGE_FORM,
    DataFolder,
    Debug,
    Device,
    Json,
    WeightSeed,
    What,
    guarded,
    read_name,
)
from cnnlab.cli.output.documents import Form, Latex, Markdown, Svg, show_answer

ImageFile = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar=IMAGE_FORM,
        help=f"{AN_IMAGE}; by default one that the program draws.",
        show_default=False,
    ),
]
Shifts = Annotated[int, typer.Option(help="The largest shift, in pixels.")]


class Towards(StrEnum):
    """Where the image is moved."""

    RIGHT = "right"
    DOWN = "down"
    DIAGONAL = "diagonal"


class Filling(StrEnum):
    """What the freed border gets."""

    EDGE = "edge"
    ZERO = "zero"


def register(group: typer.Typer) -> None:
    group.command()(guarded(translate))


def translate(
    what: What,
    image: ImageFile = None,
    shifts: Shifts = 4,
    direction: Annotated[Towards, typer.Option(help="Where the image is moved.")] = Towards.RIGHT,
    fill: Annotated[
        Filling, typer.Option(help="The freed border: the pixels at the edge again, or zero as padding is.")
    ] = Filling.EDGE,
    seed: WeightSeed = None,
    device: Device = "auto",
    data: DataFolder = None,
    json: Json = False,
    markdown: Markdown = False,
    latex: Latex = False,
    svg: Svg = False,
    debug: Debug = False,
) -> None:
    """Move an image by a few pixels, and see how far each layer's activations move: before and after pooling.

    Also which shifts each map follows exactly: those that its strides divide.
    """
    form = Form(json, markdown, latex, svg)
    named = read_name(what)
    from cnnlab.cli.output.console import say
    from cnnlab.interpret.loaded_model import subject_of
    from cnnlab.interpret.translation.compute import check_shifts, translation

    subject = subject_of(named, seed=seed, device=device, data=data, say=say)
    # When all else is known to be right: a look at the test part is written down for good.
    check_shifts((subject.form.height, subject.form.width), shifts, direction.value, fill.value)
    picture = subject.picture(image, "theory translate")
    found = translation(
        subject.network,
        picture.values,
        subject.layers,
        shifts=shifts,
        direction=direction.value,
        fill=fill.value,
        name=subject.name,
        shown=picture.name,
    )
    stages = [
        {"name": stage.name, "shift": 1, "before": stage.before[1], "after": stage.after[1]} for stage in found.stages
    ]
    kept = {layer.name: {"period": layer.period, "kept": layer.kept} for layer in found.layers if layer.period}
    extra = {"answer": found.answer(), "stages": stages, "exact": kept}
    show_answer(found, form, spare=("row", "at others"), extra=extra)
