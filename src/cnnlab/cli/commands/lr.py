"""`cnnlab lr`: a learning-rate range test of a recipe."""

from __future__ import annotations

from typing import Annotated

import typer

from cnnlab.cli.options import (
    DataFolder,
    Debug,
    Device,
    Json,
    RecipeFile,
    Seed,
    Set,
    handle_errors,
    name_file_in_errors,
    overrides,
    read_recipe,
)
from cnnlab.cli.output.documents import Format, choose_format, show_output
from cnnlab.cli.output.figure_files import SvgFile, check_svg_path, write_svg
from cnnlab.errors import RunError

Low = Annotated[float, typer.Option("--from", metavar="RATE", help="The first learning rate.")]
High = Annotated[float, typer.Option("--to", metavar="RATE", help="The last learning rate.")]
Steps = Annotated[int, typer.Option(metavar="N", help="Steps from the first rate to the last: 10 to 10,000.")]


def register(app: typer.Typer) -> None:
    app.command()(handle_errors(lr))


def lr(
    recipe: RecipeFile,
    set_: Set = None,
    seed: Seed = None,
    low: Low = 1e-6,
    high: High = 1.0,
    steps: Steps = 200,
    device: Device = "auto",
    data: DataFolder = None,
    svg: SvgFile = None,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Find a learning rate: train for some steps while it rises, and see where the loss falls and where it diverges.

    The training split alone is read, and no run folder is made.
    """
    output_format = choose_format(json, format_)
    check_svg_path(svg, "rates.svg")
    known = read_recipe(recipe, overrides(set_, seed), data)
    from cnnlab.api.lr_finder import lr_range
    from cnnlab.cli.output.console import progress_reporter
    from cnnlab.training.lr_finder.view import headline

    with progress_reporter() as shown, name_file_in_errors(recipe):

        def on_step(done: int, total: int, loss: float) -> None:
            shown("range test", done, total, "steps", f"loss {loss:.3f}")

        result = lr_range(
            known,
            low=low,
            high=high,
            steps=steps,
            name=recipe.stem,
            data=data,
            device=device,
            on_step=on_step,
            callbacks=shown.callbacks(),
        )
    write_svg(result, svg)
    extra = {
        "suggestion": result.suggestion,
        "limit": result.limit,
        "verdict": result.verdict,
        "summary": headline(result),
        "answer": headline(result),  # the name of earlier versions
        "ended": result.stopped_at_lr,
        "set": result.suggested and f"train.optimizer={result.suggested}",
    }
    show_output(result, output_format, extra=extra)
    if result.suggestion is None:
        raise RunError(f"no rate can be suggested: {result.reading.trouble}", next_step=result.reading.advice)
