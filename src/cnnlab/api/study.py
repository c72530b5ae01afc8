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
from cnnlab.studies.plan_summary import PlanSummary
from cnnlab.studies.preregistration import check_study_name
from cnnlab.studies.result import StudyResult
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
    """Carry out a study and write its report; what was done before is not done again.

    Args:
        study: a study, or the path of its file.
        name: what it is called; by default the file's name. Its folder is `runs`/studies/`name`.
        runs: the folder in which run folders are made.
        data: where catalogue data lives; by default the cache folder.
        device: auto, cpu, cuda or mps.
        executor: who carries the runs out: `cnnlab.studies.worker_pool.processes(2)` does two side by side.
        any_code: also take finished runs that another version of cnnlab's code made.
        callbacks: called while the study goes on.
        file: that a study which is given as an object was read from; a study of its name from another one is refused.

    Returns:
        The result, which a notebook shows; `report.html` is in the study's folder.

    Raises:
        SpecError, SourceError, DownloadError: before anything is run.
        UsageError: another study has this name.
        RunError: the runs folder can't be written to.
    """
    known = study if isinstance(study, Study) else Study.read(study)
    called = name or ("study" if isinstance(study, Study) else Path(study).stem)
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
) -> PlanSummary:
    """What `run_study` would do: runs, time, and the differences that its seeds can find. Nothing is trained.

    Args and errors are those of `run_study`.
    """
    known = study if isinstance(study, Study) else Study.read(study)
    called = name or ("study" if isinstance(study, Study) else Path(study).stem)
    context = replace(RunContext.of(data, device, callbacks, runs), download=False)
    folder = study_folder(context.runs, study_name(called))
    check_study_name(folder, known, file if isinstance(study, Study) else Path(study))
    saved = read_study_precision(folder)
    planned = make_plan(known, called, context, saved_precision=saved, quick=True)
    return forecast(planned, RunIndex(context.runs, any_code=any_code))
