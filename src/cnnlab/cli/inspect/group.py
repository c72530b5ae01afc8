"""The table of `cnnlab inspect`'s commands."""

from __future__ import annotations

import typer

from cnnlab.cli.inspect import weights


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Looking into a network.")
    for module in (weights,):
        module.register(group)
    app.add_typer(group, name="inspect")
