"""`cnnlab tune`: search for the best values of a recipe's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cnnlab.cli.options import (
    DataFolder,
    Debug,
    Device,
    Json,
    RunsFolder,
    Set,
    find_file,
    handle_errors,
    name_file_in_errors,
    overrides,
    refuse_option,
)
from cnnlab.cli.output.documents import Format, choose_format, show_output
from cnnlab.cli.output.figure_files import SvgFile, check_svg_path, write_svg

SearchFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="A search: a .toml file, or the name of one that comes with cnnlab.", show_default=False
    ),
]
Trials = Annotated[int | None, typer.Option(min=1, metavar="N", help="The number of trials, in place of the file's.")]
Jobs = Annotated[int, typer.Option(min=1, max=256, metavar="N", help="The number of trials at a time.")]
Name = Annotated[str, typer.Option(metavar="NAME", help="The search's name; by default its file's.")]
Storage = Annotated[
    str | None,
    typer.Option(metavar="URL", help="An Optuna database; by default a file in the runs folder.", show_default=False),
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Print the number of runs and their time; run nothing.")]

Measure = Annotated[
    bool,
    typer.Option("--measure", help="With --plan: benchmark the extreme values, in place of an estimate."),
]


def register(app: typer.Typer) -> None:
    app.command()(handle_errors(tune))


def tune(
    file: SearchFile,
    set_: Set = None,
    trials: Trials = None,
    plan: PlanOnly = False,
    measure: Measure = False,
    jobs: Jobs = 1,
    name: Name = "",
    storage: Storage = None,
    device: Device = "auto",
    data: DataFolder = None,
    runs: RunsFolder = Path("runs"),
    svg: SvgFile = None,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Search for the best values of some parameters by trials, and confirm the best trial with fresh seeds.

    Given again, it continues; with more --trials it adds the missing ones. Needs pip install 'cnnlab\\[optuna]'.
    """
    output_format = choose_format(json, format_)
    check_svg_path(svg, "trials.svg")
    if measure and not plan:
        refuse_option("measure", "only a plan estimates times", "add --plan")
    from cnnlab.cli.output.console import log, progress_reporter
    from cnnlab.config.search import Search

    known = Search.read(find_file("search", file), overrides(set_), **({} if trials is None else {"trials": trials}))
    given: dict[str, Any] = {"name": name or file.stem, "runs": runs, "data": data, "device": device}
    # After the file is read, since these load torch, which takes seconds.
    from cnnlab.api.tune import plan_tuning
    from cnnlab.api.tune import tune as run_search
    from cnnlab.cli.output.study_progress import SearchProgressBar, resumable
    from cnnlab.tuning.search import tuning_folder

    if plan:
        with progress_reporter() as shown, name_file_in_errors(file):
            planned = plan_tuning(known, callbacks=shown.callbacks(), measure=measure, **given)
        show_output(planned, output_format)
        return
    with resumable(SearchProgressBar, file) as callbacks:
        result = run_search(known, jobs=jobs, storage=storage, callbacks=callbacks, **given)
    write_svg(result, svg)
    folder = tuning_folder(runs, result.study)
    files = {"report": str(folder / "report.html"), "recipe": str(folder / "best.toml")}
    show_output(result, output_format, extra=files)
    if output_format != "json":
        log(f"report: {folder / 'report.html'}")
        if result.best is not None:
            log(f"the best trial's recipe: {folder / 'best.toml'}")
    if result.is_untested:
        raise typer.Exit(1)
