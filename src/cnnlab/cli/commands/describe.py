"""`cnnlab describe`: a network before training. Loads no torch for a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cnnlab.cli.options import Debug, Json, Set, given_options, handle_errors, overrides, read_image_size, refuse_option
from cnnlab.cli.output.documents import FormatOrSvg, choose_format, show_output

# Columns that a narrow terminal leaves out, in this order.
OPTIONAL_COLUMNS = ("jump", "memory", "their share", "share", "multiply-adds", "receptive field")

NetworkArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|BACKBONE",
        help="A recipe (a .toml file), or a network of torchvision or timm: resnet18, timm/convnext_tiny.",
        show_default=False,
    ),
]
Size = Annotated[str, typer.Option(metavar="SIDE|HxW", help="Size of the images in pixels: 32 or 56x46.")]
Classes = Annotated[int | None, typer.Option(min=1, help="Number of classes.", show_default=False)]
Batch = Annotated[int | None, typer.Option(min=1, help="Images at a time, for the memory.", show_default=False)]


Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="CNNLAB_DATA",
        metavar="[DIR]",
        help="Read the images, too, for the warnings that need them; DIR is the folder of catalogue data.",
        show_default=False,
    ),
]
Torch = Annotated[bool, typer.Option("--torch", help="Print the network as torch prints it, instead.")]
Images = Annotated[bool, typer.Option("--images", hidden=True)]


class DataFlagCommand(TyperCommand):
    """A command whose `--data` may be given without a folder; if it is given, the images are checked.

    CNNLAB_DATA alone only says where they are.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `--data` as a flag, and as an option if a folder follows."""
        return super().parse_args(ctx, list(_mark_data_flags(args)))


def register(app: typer.Typer) -> None:
    app.command(cls=DataFlagCommand)(handle_errors(describe))


def describe(
    context: typer.Context,
    what: NetworkArgument,
    size: Size = "",
    classes: Classes = None,
    batch: Batch = None,
    set_: Set = None,
    data: Data = None,
    images: Images = False,
    torch: Torch = False,
    json: Json = False,
    format_: FormatOrSvg = "text",
    debug: Debug = False,
) -> None:
    """Show each layer's shape, parameters, cost, memory and receptive field before training."""
    output_format = choose_format(json, format_)
    from cnnlab.api import describe as api_describe
    from cnnlab.cli.output.console import progress_reporter, show_json, write

    changed, sides = overrides(set_), read_image_size(size)
    if torch:
        for name, option in (("batch", "batch"), ("images", "data"), ("format_", "format")):
            if given_options(context, name) and not (name == "format_" and output_format in ("text", "json")):
                refuse_option(option, "--torch prints the network's modules as text, or in JSON", "leave --torch out")
        text = api_describe.network_repr(what, size=sides, classes=classes, overrides=changed, data=data)
        if output_format == "json":
            show_json({"name": what, "torch": text})
        else:
            write(f"{text}\n")
        return
    with progress_reporter() as shown:
        found = api_describe.describe(
            what,
            size=sides,
            classes=classes,
            batch_size=batch,
            overrides=changed,
            data=data,
            images=images,
            callbacks=shown.callbacks(),
        )
    show_output(found, output_format, OPTIONAL_COLUMNS)


def _mark_data_flags(words: Sequence[str]) -> Iterator[str]:
    """Yield the words of the command line with `--images` for each `--data`, which stays if a folder follows."""
    for place, word in enumerate(words):
        if word != "--data":
            yield from ("--images", word) if word.startswith("--data=") else (word,)
            continue
        yield "--images"
        following = words[place + 1] if place + 1 < len(words) else "-"
        if not following.startswith("-") and not following.endswith(".toml"):
            yield word
