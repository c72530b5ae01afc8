"""`cnnlab theory receptive`."""

from __future__ import annotations

import typer


def register(group: typer.Typer) -> None:
    """Not there yet."""
