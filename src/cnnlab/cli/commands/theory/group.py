"""The table of `cnnlab theory`'s commands."""

from __future__ import annotations

import typer

from cnnlab.cli.commands.theory import convolve, receptive, sizes, translate


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Worked answers: convolution, sizes, receptive fields, translation.")
    for module in (convolve, sizes, receptive, translate):
        module.register(group)
    app.add_typer(group, name="theory")
