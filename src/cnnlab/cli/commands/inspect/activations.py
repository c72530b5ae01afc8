"""`cnnlab inspect activations`: feature maps of an image, dead units, and the patches that excite filters."""

from __future__ import annotations

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
    Set,
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
from cnnlab.interpret.filter_numbers import parse_numbers
from cnnlab.interpret.limits import MAX_PATCHES, MAX_SHOWN

if TYPE_CHECKING:
    from cnnlab.render.result import Result

# What each of the three uses.
OPTIONS_OF = {
    "activations": ("layer", "image", "maps", "filters"),
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
    filters: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Show these maps, by their numbers from 1: 3,7.", show_default=False),
    ] = None,
    units: Annotated[bool, typer.Option("--units", help="Instead: dead and saturated units over a split.")] = False,
    patches: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER[:N,N,…]",
            help="Instead: the patches that excite filters most, by their numbers from 1 (conv2:3,7), or some of them.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=MAX_PATCHES, help="With --patches: how many of each filter.")] = 8,
    split: Annotated[
        SplitName, typer.Option("--split", "--part", help="With --units and --patches: which images.")
    ] = SplitName.VALIDATION,
    limit: Annotated[int | None, typer.Option(min=1, help=f"With --units and --patches: {LIMIT_HELP}")] = None,
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
    """Show the feature maps of layers for an image, numbered, with the image and statistics of each map.

    With --units the dead and saturated units over a split; with --patches the parts of images that excite filters most.
    """
    output_format = choose_format(json, format_)
    mode = _requested_mode(context, units, patches)
    path = None if no_pictures else check_figure_path(output, f"{mode}.png")
    numbers = None if filters is None else parse_numbers(filters, "--filters")
    if numbers and given_options(context, "maps"):
        refuse_option("maps", "--filters names the maps", "leave --filters out")
    named = read_network_name(what, set_)
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

            result = inspect_activations(model, image, layers=layer or (), maps=maps, filters=numbers)
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


def _parse_filters(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Parse `conv1`, `conv1:3` or `conv1:3,7` into a layer and its filters; errors as `parse_numbers`."""
    layer, colon, numbers = text.partition(":")
    return layer, parse_numbers(numbers, "--patches", text) if colon else None
