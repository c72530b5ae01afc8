"""A study from a study file to its result. The module to read first.

study → plan → tasks → runs, each once → analysis → confirmation with fresh seeds → test set → evaluation under shifts
→ result
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cnnlab.atomic_io import atomic_write
from cnnlab.config.study import Study
from cnnlab.context import LOCAL, RunContext
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.studies.analysis import analyse
from cnnlab.studies.claims import judge_study_claims
from cnnlab.studies.confirmation import confirm_winner
from cnnlab.studies.folder import make_folder, read_study_precision, study_folder, study_name
from cnnlab.studies.plan import make_plan
from cnnlab.studies.preregistration import check_study_name, preregister
from cnnlab.studies.result import UNSHIFTED, StudyResult
from cnnlab.studies.robustness import evaluate_under_shifts
from cnnlab.studies.runner import StudyRunner, run_tasks
from cnnlab.studies.test_split import evaluate_all_arms
from cnnlab.studies.worker_pool import Executor, in_process


def execute_study(
    study: Study,
    name: str,
    context: RunContext = LOCAL,
    *,
    executor: Executor = in_process,
    any_code: bool = False,
    file: Path | None = None,
) -> StudyResult:
    """Run the missing runs of a study, and analyse all; its folder is studies/`name` in the runs folder.

    Runs of other studies count; an interrupted run is resumed.

    Args:
        name: the study's name.
        context: names the runs folder, the data folder and the device; its callbacks are called.
        executor: runs the tasks.
        any_code: also accept finished runs of another version of cnnlab's code.
        file: the file that the study was read from, which tells it from another study of its name.

    Raises:
        SpecError, SourceError, DownloadError: before anything is run.
        UsageError: another study has this name.
        RunError: the runs folder can't be written to.
    """
    folder = study_folder(context.runs, study_name(name))
    check_study_name(folder, study, file)
    plan = make_plan(study, name, context, saved_precision=read_study_precision(folder))
    context = replace(context, runs=context.runs.resolve(), device=plan.study_precision.device)
    runner = StudyRunner(plan, context, executor, folder, RunIndex(context.runs, any_code=any_code))
    make_folder(folder)
    log = preregister(folder, study, file)
    for line in log.deviations():
        context.callbacks.log(f"! {line}")
    atomic_write(folder / "study.toml", study.to_toml().encode())
    atomic_write(folder / "precision.json", plan.study_precision.to_json(indent=2).encode())
    run_tasks(runner, plan.tasks())
    result = analyse(runner.results, budget_exhausted=runner.budget_exhausted)
    notes = (*result.notes, *log.deviations(), *([f"{UNSHIFTED} yet"] if study.shifts else []))
    result = result.model_copy(update={"notes": notes, "declared": log.versions[0].digest})
    result = _write_result(runner, result)
    if study.confirm is not None:
        confirmation = confirm_winner(runner, result)
        notes = (*result.notes, runner.untested_reason) if runner.untested_reason else result.notes
        result = _write_result(runner, result.model_copy(update={"confirmation": confirmation, "notes": notes}))
    if study.test == "after":
        result = _write_result(runner, evaluate_all_arms(runner, result))
    if study.shifts:
        result = _write_result(runner, evaluate_under_shifts(runner, result))
    return result


def _write_result(runner: StudyRunner, result: StudyResult) -> StudyResult:
    """Judge the study's claims by what is known so far, and write the result."""
    claims = judge_study_claims(runner.plan.study, result, runner.context.runs)
    result = result.model_copy(update={"claims": claims})
    atomic_write(runner.folder / "result.json", result.to_json(indent=2).encode())
    return result
