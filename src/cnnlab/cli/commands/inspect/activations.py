"""`cnnlab inspect activations`: the maps that layers make of an image, idle units, and what excites a filter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from cnnlab.cli.commands.inspect.option_checks import given, refuse
from cnnlab.cli.options import (
    AN_IMAGE,
    IMAGE_FORM,
    SOME_IMAGES,
    DataFolder,
    Debug,
    Device,
    Json,
    PartName,
    WeightSeed,
    What,
    guarded,
    read_name,
)
from cnnlab.cli.output.documents import Form, Latex, Markdown
from cnnlab.cli.output.figure_files import NoPictures, PictureFile, check_place, show_with_plates
from cnnlab.errors import UsageError
from cnnlab.interpret.targets import MOST_PATCHES, MOST_SHOWN

if TYPE_CHECKING:
    from cnnlab.render.document import Sheet
    from cnnlab.render.plots import Plate

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
        metavar=IMAGE_FORM,
        help=f"{AN_IMAGE}; by default the run's own, or one that the program draws.",
        show_default=False,
    ),
]
PatchesOf = Annotated[
    str | None,
    typer.Option(
        metavar="LAYER[:FILTER]",
        help="Instead: the parts of images that excite a filter most, or, without a number, some of the layer's.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help=f"With --units and --patches: {SOME_IMAGES}", show_default=False),
]

# Columns that a narrow terminal goes without.
SPARE = ("std", "like edges", "highest", "lowest")


class Plated(Protocol):
    """What each of the three answers can do."""

    def sheet(self) -> Sheet: ...

    def to_json(self, indent: int | None = None) -> str: ...

    def plates(self) -> dict[str, Plate]: ...


def register(group: typer.Typer) -> None:
    group.command()(guarded(activations))


def activations(
    context: typer.Context,
    what: What,
    layer: Layers = None,
    image: Shown = None,
    maps: Annotated[int, typer.Option(min=1, max=MOST_SHOWN, help="How many maps of a layer are shown.")] = 16,
    units: Annotated[
        bool, typer.Option("--units", help="Instead: dead and saturated units over a part of the data.")
    ] = False,
    patches: PatchesOf = None,
    top: Annotated[int, typer.Option(min=1, max=MOST_PATCHES, help="With --patches: how many of each filter.")] = 8,
    part: Annotated[PartName, typer.Option(help="With --units and --patches: which images.")] = PartName.VALIDATION,
    limit: Limit = None,
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
    """Show what layers make of an image: their maps, numbered, with the image and statistics of each map.

    With --units which units never do anything over a part of the data; with --patches what excites filters most.
    """
    form = Form(json, markdown, latex)
    wanted = _asked(units, patches, image, layer)
    _require_use(context, wanted)
    path = None if no_pictures else check_place(output, f"{wanted}.png")
    named = read_name(what)
    from cnnlab.cli.output.console import progressing, say
    from cnnlab.interpret.loaded_model import subject_of

    with progressing() as shown:
        subject = subject_of(named, seed=seed, device=device, data=data, say=say, progress=shown)
        found: Plated
        if units:
            from cnnlab.interpret.activations.units import inspect_units

            found = inspect_units(subject, part.value, layers=layer or (), limit=limit, say=say)
        elif patches is not None:
            from cnnlab.interpret.activations.patches import inspect_patches

            found = inspect_patches(subject, *_filters(patches), part.value, count=top, limit=limit, say=say)
        else:
            from cnnlab.interpret.activations.feature_maps import inspect_activations

            found = inspect_activations(subject, image, layers=layer or (), maps=maps)
    show_with_plates(found, form, found.plates, path, SPARE)


def _asked(units: bool, patches: str | None, image: str | None, layer: list[str] | None) -> str:
    """What is wanted; its name is that of the picture.

    Raises:
        UsageError: options that do not go together.
    """
    wrong = [
        *(["--units"] if units and patches is not None else []),
        *(["--image"] if image is not None and (units or patches is not None) else []),
        *(["--layer"] if layer and patches is not None else []),
    ]
    if wrong:
        raise UsageError(
            "these options do not go together",
            where=wrong[0],
            received=f"{' and '.join(wrong)} with {'--units' if patches is None else '--patches'}",
            allowed="--layer, --image and --maps; or --units with --layer; or --patches LAYER:FILTER",
            next_step="give the command once for each",
        )
    return "units" if units else "patches" if patches is not None else "activations"


def _require_use(context: typer.Context, wanted: str) -> None:
    """Refuse options of what was not asked for.

    Raises:
        UsageError: there is one.
    """
    counted = ("--units or --patches", "without them one image is looked at", ("units", "patches"))
    uses = {
        "top": ("--patches LAYER", "it counts patches", ("patches",)),
        "part": counted,
        "limit": counted,
    }
    for name in given(context, *uses):
        step, reason, needed = uses[name]
        if wanted not in needed:
            refuse(name, reason, f"add {step}")
    if wanted != "activations" and given(context, "maps"):
        refuse("maps", f"it counts the maps of one image, not {wanted}", f"leave --{wanted} out")


def _filters(text: str) -> tuple[str, list[int] | None]:
    """A layer and its filters, of `conv1` or `conv1:3` or `conv1:3,7`.

    Raises:
        UsageError: what stands behind the colon is no number.
    """
    layer, colon, numbers = text.partition(":")
    if not colon:
        return layer, None
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", numbers, re.ASCII):
        raise UsageError(
            "this names no filters",
            where="--patches",
            received=text,
            allowed="LAYER, LAYER:FILTER or LAYER:FILTER,FILTER: whole numbers from 0",
            next_step="write it as in --patches conv1:3",
        )
    return layer, [int(number) for number in numbers.split(",")]
