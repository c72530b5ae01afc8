"""The table of `cnnlab inspect`'s commands."""

from __future__ import annotations

import typer

from cnnlab.cli.inspect import mistakes


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Inside a trained network: what it gets wrong.")

    @group.callback()
    def inside() -> None:
        """Inside a trained network: what it gets wrong."""

    for module in (mistakes,):
        module.register(group)
    app.add_typer(group, name="inspect")
