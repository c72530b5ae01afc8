"""`cnnlab new`: write a recipe for a folder of images. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnlab.cli.options import Debug, Json, handle_errors

NewFile = Annotated[Path, typer.Argument(metavar="FILE", help="The recipe to write: a .toml file.", show_default=False)]
SourceFolder = Annotated[
    str, typer.Option("--source", metavar="DIR", help="A folder or archive of class folders.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]


def register(app: typer.Typer) -> None:
    app.command()(handle_errors(new))


def new(file: NewFile, source: SourceFolder, force: Force = False, json: Json = False, debug: Debug = False) -> None:
    """Look at a folder of images and write a recipe for it, with the reasons for its choices."""
    from cnnlab.atomic_io import atomic_write
    from cnnlab.cli.output.console import log, show_json
    from cnnlab.data.recipe_template import recipe_template, summarize_source
    from cnnlab.data.sources.image_folder import open_folder
    from cnnlab.errors import UsageError
    from cnnlab.render.formatting import escape_control

    text = recipe_template(summarize_source(open_folder(source)))
    if file.exists() and not force:
        raise UsageError(
            "this file is there already",
            where=str(file),
            received="a name that is taken",
            allowed="a new file, or --force to replace it",
            next_step=f"choose another name, or: cnnlab new {file} --source {source} --force",
        )
    atomic_write(file, text.encode(), next_step="choose another file")
    if json:
        show_json({"file": str(file), "source": source})
    else:
        print(escape_control(text), end="")
        log(f"Written to {file}. Next: cnnlab describe {file}, then: cnnlab train {file}")
