"""`cnnlab study`: compare recipes over several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from cnnlab.errors import UsageError

if TYPE_CHECKING:
    from cnnlab.studies.worker_pool import Executor

StudyFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="A study: a .toml file, or the name of one that comes with cnnlab.", show_default=False
    ),
]
Seeds = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="The number of seeds of each arm, in place of the file's.")
]
PlanOnly = Annotated[
    bool,
    typer.Option("--plan", help="Print the runs, their time and what the seeds detect; run nothing."),
]
Measure = Annotated[
    bool,
    typer.Option("--measure", help="With --plan: time a step of each network, in place of an estimate."),
]
Jobs = Annotated[int, typer.Option(min=1, max=256, metavar="N", help="The number of runs at a time.")]
ExecutorName = Annotated[
    Literal["processes", "ray"], typer.Option("--executor", help="Run on this machine, or on a Ray cluster.")
]
Address = Annotated[
    str, typer.Option(metavar="ADDRESS", help="The Ray cluster's address; by default RAY_ADDRESS, or this machine.")
]
Name = Annotated[str, typer.Option(metavar="NAME", help="The study's name; by default its file's.")]
AnyCode = Annotated[bool, typer.Option("--any-code", help="Also accept finished runs of another version of cnnlab.")]

# Columns that are left out in a narrow terminal.
OPTIONAL_COLUMNS = ("minutes", "parameters", "changes", "95 % interval", "p, permuted")


def register(app: typer.Typer) -> None:
    app.command()(handle_errors(study))


def study(
    file: StudyFile,
    set_: Set = None,
    seeds: Seeds = None,
    plan: PlanOnly = False,
    measure: Measure = False,
    jobs: Jobs = 1,
    executor: ExecutorName = "processes",
    address: Address = "",
    name: Name = "",
    any_code: AnyCode = False,
    device: Device = "auto",
    data: DataFolder = None,
    runs: RunsFolder = Path("runs"),
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Run a study: every arm with every seed, the comparisons with the baseline, and a report.

    Given again, it continues; runs of other studies are not repeated.
    """
    output_format = choose_format(json, format_)
    from cnnlab.config.study import Study

    if measure and not plan:
        refuse_option("measure", "only a plan estimates times", "add --plan")
    keys = {} if seeds is None else {"seeds": seeds}
    file = find_file("study", file)
    known = Study.read(file, overrides(set_), **keys)
    # After the file is read, since these load torch, which takes seconds.
    from cnnlab.api.study import plan_study, run_study
    from cnnlab.cli.output.console import log, progress_reporter
    from cnnlab.cli.output.study_progress import StudyProgressBar, resumable
    from cnnlab.reports.study.view import arms_json
    from cnnlab.studies.folder import study_folder

    carrier = _make_executor(executor, jobs, address)
    given: dict[str, Any] = {"name": name or file.stem, "runs": runs, "data": data, "device": device, "file": file}
    if plan:
        with progress_reporter() as shown, name_file_in_errors(file):
            planned = plan_study(known, any_code=any_code, callbacks=shown.callbacks(), measure=measure, **given)
        show_output(planned, output_format)
        return
    with resumable(StudyProgressBar, file) as callbacks:
        result = run_study(known, executor=carrier, any_code=any_code, callbacks=callbacks, **given)
    page = study_folder(runs, result.study) / "report.html"
    fields = {"arms": arms_json(result), "report": str(page)}
    show_output(result, output_format, OPTIONAL_COLUMNS, extra=fields)
    if output_format != "json":
        log(f"report: {page}")
    if result.is_untested:
        raise typer.Exit(1)


def _make_executor(executor: str, jobs: int, address: str) -> Executor:
    if executor == "ray":
        from cnnlab.studies.ray_cluster import ray_cluster

        return ray_cluster(address or None, jobs=jobs)
    if address:
        step = "give --executor ray, or leave --address out"
        raise UsageError("only a Ray cluster has an address", where="--address", received=address, next_step=step)
    from cnnlab.studies.worker_pool import in_process, processes

    return processes(jobs) if jobs > 1 else in_process
