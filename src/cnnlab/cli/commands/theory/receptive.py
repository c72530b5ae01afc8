"""`cnnlab theory receptive`: receptive fields of every layer, by its windows or by gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnlab.cli.options import DataFolder, Debug, Device, Json, find_run, handle_errors, read_image_size, read_position
from cnnlab.cli.output.documents import FormatOrSvg, choose_format, show_output
from cnnlab.errors import UsageError

What = Annotated[
    list[str],
    typer.Argument(
        metavar="LAYER…|RECIPE|RUN|BACKBONE",
        help="Rows such as 'conv(32, 5)', from the image on; or a recipe (.toml), a run folder, or a name: resnet18.",
        show_default=False,
    ),
]
Size = Annotated[str, typer.Option(metavar="32|32x48", help="The image's side, or height x width.", show_default=False)]
Channels = Annotated[int | None, typer.Option(min=1, help="The image's channels; 3 for rows.", show_default=False)]
Node = Annotated[
    str,
    typer.Option(metavar="ROW,COLUMN", help="The node to trace back; by default in the middle.", show_default=False),
]
LayerName = Annotated[
    str, typer.Option("--layer", metavar="NAME", help="The layer to trace back; by default the last map.")
]
Effective = Annotated[bool, typer.Option("--effective", help="Measure the field of a node by gradients.")]
Images = Annotated[
    int | None,
    typer.Option(
        min=1, max=10_000, help="Number of random images, with --effective.  [default: 32]", show_default=False
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Of random images and weights, with --effective.", show_default=False)
]


def register(group: typer.Typer) -> None:
    group.command()(handle_errors(receptive))


def receptive(
    what: What,
    size: Size = "",
    channels: Channels = None,
    node: Node = "",
    layer: LayerName = "",
    effective: Effective = False,
    images: Images = None,
    seed: Seed = None,
    device: Device = "auto",
    data: DataFolder = None,
    json: Json = False,
    format_: FormatOrSvg = "text",
    debug: Debug = False,
) -> None:
    """The receptive field of every layer: size, jump, first centre; and the view of one node on each map.

    With --effective the gradient of a node by each pixel: with a run's trained and initial weights, or with random
    ones.
    """
    output_format = choose_format(json, format_)
    sides, position = read_image_size(size), read_position(node, "--node")
    for option, given in (("--images", images), ("--seed", seed)):
        if given is not None and not effective:
            raise UsageError(f"{option} is for --effective", where=option, next_step="add --effective, or leave it out")
    if len(what) == 1:
        what = [str(find_run(Path(what[0])))]
    if effective:
        from cnnlab.interpret.targets import resolve_target

        resolve_target(what)  # a recipe's errors are raised before torch is loaded, which takes seconds
        from cnnlab.cli.output.console import log
        from cnnlab.context import Callbacks, RunContext
        from cnnlab.interpret.receptive_field.effective import target_effective_fields

        result = target_effective_fields(
            what,
            size=sides,
            channels=channels,
            layer=layer,
            node=position,
            images=images or 32,
            seed=seed,
            context=RunContext.of(data, device, Callbacks(log=log)),
        )
        show_output(result, output_format, optional_columns=("support",))
    else:
        from cnnlab.interpret.receptive_field.theoretical import target_receptive_fields

        fields = target_receptive_fields(what, size=sides, channels=channels, data=data, layer=layer, node=position)
        show_output(fields, output_format, optional_columns=("row", "widest path", "first centre", "inputs"))
