"""The table of `cnnlab inspect`'s commands."""

from __future__ import annotations

import typer

from cnnlab.cli.inspect import attribution


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="A look inside a network: attribution.")
    # Of one command typer would make no group.
    group.callback()(lambda: None)
    for module in (attribution,):
        module.register(group)
    app.add_typer(group, name="inspect")
