"""`cnnlab inspect activations`: feature maps of an image, dead units, and the patches that excite filters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.options import (
    IMAGE_HELP,
    IMAGE_METAVAR,
    LIMIT_HELP,
    DataFolder,
    Debug,
    Device,
    Json,
    NetworkArgument,
    SplitName,
    WeightSeed,
    given_options,
    handle_errors,
    read_network_name,
    refuse_option,
)
from cnnlab.cli.output.documents import Format, choose_format
from cnnlab.cli.output.figure_files import NoPictures, PictureFile, check_figure_path, show_with_figures
from cnnlab.errors import UsageError
from cnnlab.interpret.limits import MAX_PATCHES, MAX_SHOWN

if TYPE_CHECKING:
    from cnnlab.render.result import Result

# What each of the three uses.
OPTIONS_OF = {
    "activations": ("layer", "image", "maps"),
    "units": ("layer", "split", "limit"),
    "patches": ("top", "split", "limit"),
}
# Columns that a narrow terminal leaves out.
OPTIONAL_COLUMNS = ("std", "like edges", "highest", "lowest")


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(activations))


def activations(
    context: typer.Context,
    what: NetworkArgument,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A layer (repeatable); by default the first and the last convolution."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(metavar=IMAGE_METAVAR, help=f"{IMAGE_HELP}; by default the run's own, or a generated one."),
    ] = None,
    maps: Annotated[int, typer.Option(min=1, max=MAX_SHOWN, help="How many maps of a layer are shown.")] = 16,
    units: Annotated[bool, typer.Option("--units", help="Instead: dead and saturated units over a split.")] = False,
    patches: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER[:FILTER]",
            help="Instead: the patches that excite a filter most, or, without a number, some of the layer's filters.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=MAX_PATCHES, help="With --patches: how many of each filter.")] = 8,
    split: Annotated[
        SplitName, typer.Option("--split", "--part", help="With --units and --patches: which images.")
    ] = SplitName.VALIDATION,
    limit: Annotated[int | None, typer.Option(min=1, help=f"With --units and --patches: {LIMIT_HELP}")] = None,
    output: PictureFile = None,
    no_pictures: NoPictures = False,
    seed: WeightSeed = None,
    device: Device = "auto",
    data: DataFolder = None,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Show the feature maps of layers for an image, numbered, with the image and statistics of each map.

    With --units the dead and saturated units over a split; with --patches the parts of images that excite filters most.
    """
    output_format = choose_format(json, format_)
    mode = _requested_mode(context, units, patches)
    path = None if no_pictures else check_figure_path(output, f"{mode}.png")
    named = read_network_name(what)
    from cnnlab.cli.output.console import log, progress_reporter
    from cnnlab.context import RunContext
    from cnnlab.interpret.loaded_model import load_target

    with progress_reporter() as reporter:
        model = load_target(named, seed, RunContext.of(data, device, reporter.callbacks()))
        result: Result
        if units:
            from cnnlab.interpret.activations.units import inspect_units

            result = inspect_units(model, split.value, layers=layer or (), limit=limit, log=log)
        elif patches is not None:
            from cnnlab.interpret.activations.patches import inspect_patches

            result = inspect_patches(model, *_parse_filters(patches), split.value, count=top, limit=limit, log=log)
        else:
            from cnnlab.interpret.activations.feature_maps import inspect_activations

            result = inspect_activations(model, image, layers=layer or (), maps=maps)
    show_with_figures(result, output_format, path, OPTIONAL_COLUMNS)


def _requested_mode(context: typer.Context, units: bool, patches: str | None) -> str:
    """activations, units or patches; also the name of the figure file.

    Raises:
        UsageError: options that do not go together.
    """
    if units and patches is not None:
        raise UsageError("--units and --patches do not go together", where="--units", next_step="give one of them")
    mode = "units" if units else "patches" if patches is not None else "activations"
    for name in given_options(context, *(name for names in OPTIONS_OF.values() for name in names)):
        if name not in OPTIONS_OF[mode]:
            others = [other for other, names in OPTIONS_OF.items() if name in names]
            step = "leave --units and --patches out" if "activations" in others else f"add --{' or --'.join(others)}"
            refuse_option(name, f"it is an option of {' and '.join(others)}", step)
    return mode


def _parse_filters(text: str) -> tuple[str, list[int] | None]:
    """Parse `conv1`, `conv1:3` or `conv1:3,7` into a layer and its filters.

    Raises:
        UsageError: something other than numbers after the colon.
    """
    layer, colon, numbers = text.partition(":")
    if colon and not re.fullmatch(r"\d{1,9}(,\d{1,9})*", numbers, re.ASCII):
        allowed = "LAYER, LAYER:FILTER or LAYER:FILTER,FILTER, such as conv1:3; numbers count from 0"
        raise UsageError("these are no numbers of filters", where="--patches", received=text, allowed=allowed)
    return layer, [int(number) for number in numbers.split(",")] if colon else None
