"""`cnnlab train`: a recipe in, a trained network and a report out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cnnlab.cli.options import DataFolder, Debug, Device, Json, RunsFolder, Seed, Set, guarded, overrides
from cnnlab.errors import UsageError

MaybeRecipe = Annotated[
    Path | None, typer.Argument(metavar="[RECIPE]", help="A recipe: a .toml file.", show_default=False)
]
Resume = Annotated[
    Path | None, typer.Option(metavar="RUN", help="Go on with a run that was cut off.", show_default=False)
]


def register(app: typer.Typer) -> None:
    app.command()(guarded(train))


def train(
    recipe: MaybeRecipe = None,
    resume: Resume = None,
    set_: Set = None,
    seed: Seed = None,
    device: Device = "auto",
    data: DataFolder = None,
    runs: RunsFolder = Path("runs"),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a recipe, or go on with a run, and write the report."""
    if (recipe is None) == (resume is None):
        raise UsageError("train takes a recipe, or --resume and a run", allowed="cnnlab train RECIPE | --resume RUN")
    if resume is not None and (set_ or seed is not None):
        raise UsageError("a resumed run keeps its recipe", where="--set", next_step="leave --set and --seed out")
    from cnnlab.api import write_report
    from cnnlab.cli.console import progressing
    from cnnlab.cli.watching import Watching
    from cnnlab.runs.folder import RunFolder
    from cnnlab.runs.run import resume_run, run
    from cnnlab.spec.recipe import Recipe

    with progressing() as shown:
        listener = Watching(shown).listener()
        made: list[RunFolder] = []
        try:
            if resume is not None:
                folder = resume_run(resume, root=data, device=device, listener=listener)
            else:
                assert recipe is not None
                known = Recipe.read(recipe, overrides(set_, seed))
                folder = run(
                    known, name=recipe.stem, runs=runs, root=data, device=device, listener=listener, begun=made.append
                )
        except (KeyboardInterrupt, SystemExit):
            path = resume or (made[0].path if made else None)
            if path is not None:
                print(f"\ngo on with: cnnlab train --resume {path}", file=sys.stderr)
            raise
        write_report(folder, listener.say)
    show_result(folder, json)


def show_result(folder: Any, json: bool) -> None:
    """The final figures of a run, and where its report is."""
    from cnnlab.cli.console import show, show_json
    from cnnlab.cli.terminal import drawn
    from cnnlab.report.tables import final_table

    result = folder.result()
    page = folder.path / "report.html"
    if json:
        show_json({**result.model_dump(), "run": str(folder.path), "report": str(page)})
        return
    heading = f"{result.parameters:,} parameters, {result.status} after {result.epochs:g} epochs"
    show(drawn(final_table(result, folder.data()), f"{heading}; weights of epoch {result.selected_epoch:g}"))
    if result.message:
        show(f"! {result.message}")
    show(f"report: {page}")
