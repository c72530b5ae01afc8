"""`cnnlab describe`: what a table of layers is, before anything is trained. Loads no torch."""

from __future__ import annotations

import typer

from cnnlab.cli.options import DataFolder, Debug, Json, RecipeFile, Set, about_file, guarded, overrides


def register(app: typer.Typer) -> None:
    app.command()(guarded(describe))


def describe(
    recipe: RecipeFile,
    set_: Set = None,
    data: DataFolder = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Every layer's shape, parameters, formula and receptive field, before training."""
    from cnnlab.cli.console import show, show_json
    from cnnlab.cli.terminal import drawn
    from cnnlab.data.dataset import facts
    from cnnlab.paper import words
    from cnnlab.report.tables import layer_table
    from cnnlab.spec.overview import overview
    from cnnlab.spec.recipe import Recipe

    read = Recipe.read(recipe, overrides(set_))
    known = facts(read.data, data)
    with about_file(recipe):
        trace = read.model.trace((known.channels, known.height, known.width), len(known.classes))
    table = overview(trace)
    if json:
        show_json(
            {
                "parameters": table.parameters,
                "trainable": table.parameters,
                "macs": table.macs,
                "input": trace.input,
                "classes": known.classes,
                "layers": [record.model_dump() for record in table.layers],
                "warnings": [warning.model_dump() for warning in table.warnings],
            }
        )
        return
    image = f"{words.sizes(trace.input)} images of {read.data.source}, {len(known.classes)} classes"
    show(drawn(layer_table(table), f"{recipe}: {image}", spare=("jump", "share", "multiply-adds")))
    for warning in table.warnings:
        show(f"! {warning.name}: {warning.message}")
