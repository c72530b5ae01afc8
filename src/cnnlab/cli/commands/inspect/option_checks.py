"""Options that would do nothing are refused: a person who gives one expects something of it."""

from __future__ import annotations

from typing import NoReturn

import typer

from cnnlab.errors import UsageError


def given_options(context: typer.Context, *names: str) -> list[str]:
    """Those of the named parameters that the person gave, on the command line or in the environment."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return [name for name, source in sources.items() if source is not None and not source.name.startswith("DEFAULT")]


def refuse_option(name: str, reason: str, step: str) -> NoReturn:
    """Tell that an option would do nothing.

    Args:
        name: of the parameter.
        reason: why.
        step: what makes it do something.

    Raises:
        UsageError: always.
    """
    option = f"--{name.replace('_', '-')}"
    raise UsageError(
        f"{option} would do nothing here: {reason}", where=option, next_step=f"{step}, or leave {option} out"
    )
