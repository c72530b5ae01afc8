"""The `cnnlab` command and its subcommands, in the order in which a user meets them."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cnnlab.cli.commands import (
    compare,
    data,
    describe,
    doctor,
    lr,
    new,
    predict,
    quickstart,
    report,
    runs,
    shift,
    study,
    test,
    train,
    tune,
    verify,
)
from cnnlab.cli.commands.inspect import activations, attribution, mistakes, weights
from cnnlab.cli.commands.theory import convolve, receptive, sizes, translate
from cnnlab.cli.options import handle_errors
from cnnlab.errors import UsageError


class Commands(TyperGroup):
    """The commands; if the value of an option is refused, the message repeats it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            # From pydantic, with which typer reads some values: a sentence without the value.
            problems: list[Any] = getattr(error.__cause__, "errors", list)()
            if problems:
                error.message += f"; received {problems[0]['input']!r}"
            raise


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A laboratory for convolutional image classifiers: from a table of layers to a report that can be repeated.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from cnnlab.version import __version__

        print(f"cnnlab {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""
    if context.invoked_subcommand != "train":
        handle_errors(_refuse_processes)()


def _refuse_processes() -> None:
    from cnnlab.distributed import launched_by_torchrun

    if launched_by_torchrun() and os.environ["WORLD_SIZE"] != "1":
        raise UsageError(
            "only 'train' works in several processes", where="torchrun", next_step="start it without torchrun"
        )


inspect = typer.Typer(no_args_is_help=True, help="Inside a network: weights, activations, attribution, mistakes.")
for module in (weights, activations, attribution, mistakes):
    module.register(inspect)

theory = typer.Typer(
    no_args_is_help=True, help="Arithmetic step by step: convolution, sizes, receptive fields, translation."
)
for module in (convolve, sizes, receptive, translate):
    module.register(theory)

for module in (quickstart, new):
    module.register(app)
app.add_typer(theory, name="theory")
for module in (describe, data, lr, train, study, tune, compare, verify):
    module.register(app)
app.add_typer(inspect, name="inspect")
for module in (shift, test, predict, report, runs, doctor):
    module.register(app)


def run() -> None:
    """The entry point of the `cnnlab` command."""
    # A console may not support UTF-8 (LANG=C); a × must not end the program.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app()
