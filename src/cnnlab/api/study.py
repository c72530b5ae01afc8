"""Run a study, plan it, and write its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cnnlab.config.study import Study
from cnnlab.context import NO_CALLBACKS, Callbacks, RunContext
from cnnlab.reports.study import plan as plan
from cnnlab.reports.study import view as view
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.studies.folder import read_study_precision, study_folder, study_name
from cnnlab.studies.forecast import forecast
from cnnlab.studies.plan import make_plan
from cnnlab.studies.preregistration import check_study_name
from cnnlab.studies.result import PlanSummary, StudyResult
from cnnlab.studies.study import execute_study
from cnnlab.studies.worker_pool import Executor, in_process


def run_study(
    study: Study | str | Path,
    *,
    name: str = "",
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    executor: Executor = in_process,
    any_code: bool = False,
    callbacks: Callbacks = NO_CALLBACKS,
    file: Path | None = None,
) -> StudyResult:
    """Run a study and write its report; finished runs are not repeated.

    Args:
        study: a study, or the path of its file.
        name: by default the file's name. Its folder is `runs`/studies/`name`.
        runs: the folder of run folders.
        data: where catalogue data lives; by default the cache folder.
        device: auto, cpu, cuda or mps.
        executor: how runs are executed: `cnnlab.studies.worker_pool.processes(2)` runs two at a time.
        any_code: also accept finished runs of another version of cnnlab's code.
        callbacks: called for progress.
        file: the file that a `Study` was read from; a study of its name from another file is refused.

    Returns:
        The result, which a notebook shows; `report.html` is in the study's folder.

    Raises:
        SpecError, SourceError, DownloadError: before anything is run.
        UsageError: another study has this name.
        RunError: the runs folder can't be written to.
    """
    known, called = Study.open(study, name)
    result = execute_study(
        known,
        called,
        RunContext.of(data, device, callbacks, runs),
        executor=executor,
        any_code=any_code,
        file=file if isinstance(study, Study) else Path(study),
    )
    # Behind the study, since it loads Matplotlib, which a plan does without.
    from cnnlab.api.report import write_study_report

    write_study_report(study_folder(Path(runs), result.study), result)
    return result


def plan_study(
    study: Study | str | Path,
    *,
    name: str = "",
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    any_code: bool = False,
    callbacks: Callbacks = NO_CALLBACKS,
    file: Path | None = None,
    measure: bool = False,
) -> PlanSummary:
    """Plan a study: its runs, their time, and the differences that its seeds find. Nothing is trained.

    Other arguments and errors are those of `run_study`.

    Args:
        measure: time one step of each network; else times are estimated from multiply-adds and kept benchmarks.
    """
    known, called = Study.open(study, name)
    context = replace(RunContext.of(data, device, callbacks, runs), download=False)
    folder = study_folder(context.runs, study_name(called))
    check_study_name(folder, known, file if isinstance(study, Study) else Path(study))
    saved = read_study_precision(folder)
    planned = make_plan(known, called, context, saved_precision=saved, quick=True, measure=measure)
    return forecast(planned, RunIndex(context.runs, any_code=any_code), measured=measure)
