"""`cnnlab train`: train a recipe and write its report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnlab.cli.options import (
    DataFolder,
    Debug,
    Device,
    Json,
    RunsFolder,
    Seed,
    Set,
    handle_errors,
    name_file_in_errors,
    overrides,
    read_recipe,
)
from cnnlab.errors import CnnlabError, UsageError
from cnnlab.render.formatting import sanitize

if TYPE_CHECKING:
    from cnnlab.storage.run_folder import RunFolder

MaybeRecipe = Annotated[
    Path | None, typer.Argument(metavar="[RECIPE]", help="A recipe: a .toml file.", show_default=False)
]
Resume = Annotated[
    Path | None, typer.Option(metavar="RUN", help="Go on with a run that was cut off.", show_default=False)
]


def register(app: typer.Typer) -> None:
    app.command()(handle_errors(train))


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
    """Train a recipe, or resume a run, and write the report.

    Several processes share each batch under torchrun: torchrun --nproc-per-node 2 -m cnnlab train RECIPE
    """
    if (recipe is None) == (resume is None):
        raise UsageError("train takes a recipe, or --resume and a run", allowed="cnnlab train RECIPE | --resume RUN")
    if resume is not None and (set_ or seed is not None):
        raise UsageError("a resumed run keeps its recipe", where="--set", next_step="leave --set and --seed out")
    from cnnlab.storage.run_folder import RunFolder

    if resume is not None:
        RunFolder.open(resume)
    known = read_recipe(recipe, overrides(set_, seed), data) if recipe is not None else None
    # Imported after the recipe is read, since they load torch, which takes seconds.
    from cnnlab.api import train as api_train
    from cnnlab.cli.output.console import progress_reporter
    from cnnlab.cli.output.progress_bars import RunProgressBar
    from cnnlab.distributed import is_main_process

    with progress_reporter() as shown:
        bar = RunProgressBar(shown)
        callbacks = bar.callbacks()
        with resumable(bar.started, data, device):
            if resume is not None:
                folder = api_train.resume(resume, data=data, device=device, callbacks=callbacks)
            else:
                assert recipe is not None
                assert known is not None
                with name_file_in_errors(recipe):
                    folder = api_train.train(
                        known, file=recipe, runs=runs, data=data, device=device, callbacks=callbacks
                    )
    if is_main_process():
        show_result(folder, json)


@contextmanager
def resumable(started_runs: Sequence[RunFolder], data: Path | None = None, device: str = "auto") -> Iterator[None]:
    """Print how to resume the run in `started_runs`, if there is one, when the block raises.

    Args:
        data, device: as given to the command, since a run does not record them.
    """
    try:
        yield
    except BaseException:
        # A run that can't be read can't be resumed; that error must not hide the first one.
        with suppress(CnnlabError, OSError):
            for folder in started_runs:
                print(f"\n{sanitize(_resume_command(folder, data, device))}", file=sys.stderr)
        raise


def _resume_command(folder: RunFolder, data: Path | None, device: str) -> str:
    from cnnlab.distributed import launch_command
    from cnnlab.storage.checkpoints import completed_epochs
    from cnnlab.storage.run_folder import RunFolder

    path = shlex.quote(str(RunFolder.open(folder.path).path))
    options = f" --data {shlex.quote(str(data.resolve()))}" if data is not None else ""
    options += f" --device {device}" if device != "auto" else ""
    if folder.result() is not None:
        return f"the run has finished; write its report with: cnnlab report {path}"
    epochs = completed_epochs(folder.path)
    start = f"from the end of epoch {epochs}" if epochs else "from the start"
    return f"{start}, go on with: {launch_command()} train --resume {path}{options}"


def show_result(folder: Any, json: bool) -> None:
    """Print the final figures of a run and the path of its report.

    Exit 1 if the run diverged, or if its recipe opens a test split that could not be read.
    """
    from cnnlab.cli.output.console import log, show, show_json
    from cnnlab.cli.output.text_tables import rich_table
    from cnnlab.render import formatting
    from cnnlab.reports.run.tables import final_table

    result = folder.result()
    page = folder.path / "report.html"
    if json:
        show_json({**result.model_dump(), "run": str(folder.path), "report": str(page)})
    else:
        ended = (
            f"{result.status} after {formatting.format_epoch(result.epochs)} epoch{'' if result.epochs == 1 else 's'}"
        )
        weights = f"weights of epoch {formatting.format_epoch(result.selected_epoch)}"
        show(rich_table(final_table(result, folder.data()), f"{result.parameters:,} parameters, {ended}; {weights}"))
        if result.message:
            show(f"! {result.message}")
        show(f"report: {page}")
    if result.status == "diverged":
        raise typer.Exit(1)
    if folder.recipe().train.test != "sealed" and "test" in folder.data().splits and result.test is None:
        log(f"the training is kept; once its test images can be read: cnnlab test {shlex.quote(str(folder.path))}")
        raise typer.Exit(1)
