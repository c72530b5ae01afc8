"""The table of `cnnlab inspect`'s commands."""

from __future__ import annotations

import typer

from cnnlab.cli.commands.inspect import activations, attribution, mistakes, weights


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Inside a network: weights, activations, attribution, mistakes.")
    for module in (weights, activations, attribution, mistakes):
        module.register(group)
    app.add_typer(group, name="inspect")
