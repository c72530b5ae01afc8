"""A study from end to end: a study file's content in, a StudyResult out. The page to read first.

study → plan → tasks → runs, each once → what they say → the winner again with fresh seeds → under shifts → result
"""

from __future__ import annotations

from pathlib import Path

from cnnlab.atomic_io import write_whole
from cnnlab.config.study import Study
from cnnlab.errors import RunError
from cnnlab.studies.analysis import Reading, analyse, claims_judged
from cnnlab.studies.confirmation import confirm_winner
from cnnlab.studies.folder import kept_way, study_folder, study_name
from cnnlab.studies.plan import make_plan
from cnnlab.studies.preregistration import check_name, declare
from cnnlab.studies.result import StudyResult
from cnnlab.studies.robustness import before_shifts, under_shifts
from cnnlab.studies.runner import NOBODY, Audience, Course, carry
from cnnlab.studies.tasks import Place
from cnnlab.studies.worker_pool import Executor, here


def carry_out_study(
    study: Study,
    name: str,
    *,
    runs: Path = Path("runs"),
    root: Path | None = None,
    device: str = "auto",
    executor: Executor = here,
    any_code: bool = False,
    audience: Audience = NOBODY,
    file: Path | None = None,
) -> StudyResult:
    """Do what a study still needs, and say what came out. Its folder is `runs`/studies/`name`.

    Runs that were made before count, whatever study made them; one that was cut off is gone on with.

    Args:
        name: what the study is called.
        runs: where run folders live.
        root: where catalogue data lives; None: the cache folder.
        device: auto, cpu, cuda or mps.
        executor: who carries the tasks out.
        any_code: also take finished runs that another version of cnnlab's code made.
        file: that the study was read from, by which it is told from another one of its name.

    Raises:
        SpecError, SourceError, DownloadError: before anything is run.
        RunError: another study has this name, or the runs folder can't be written to.
    """
    folder = study_folder(runs, study_name(name))
    check_name(folder, study, file)
    plan = make_plan(study, name, root=root, device=device, progress=audience.progress, kept=kept_way(folder))
    place = Place(runs.resolve(), root, plan.way.device, any_code=any_code)
    course = Course(plan, place, executor, audience, folder)
    _make(folder)
    declared = declare(folder, study, file)
    for line in declared.told():
        audience.say(f"! {line}")
    write_whole(folder / "study.toml", study.to_toml().encode())
    write_whole(folder / "way.json", plan.way.to_json(indent=2).encode())
    carry(course, plan.tasks())
    reading = Reading(plan, place.runs, course.failures, any_code)
    result = analyse(reading, spent=course.spent)
    notes = (*result.notes, *declared.told())
    result = result.model_copy(update={"notes": notes, "declared": declared.versions[0].digest})
    result = before_shifts(study, result)
    write_whole(folder / "result.json", result.to_json(indent=2).encode())
    if study.confirm is not None:
        confirmation = confirm_winner(course, reading, result)
        claims = claims_judged(reading, confirmation)
        notes = (*result.notes, course.untested) if course.untested else result.notes
        result = result.model_copy(update={"confirmation": confirmation, "claims": claims, "notes": notes})
        write_whole(folder / "result.json", result.to_json(indent=2).encode())
    if study.shifts:
        result = under_shifts(course, reading, result)
        write_whole(folder / "result.json", result.to_json(indent=2).encode())
    return result


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        step = "choose another with --runs"
        raise RunError(f"a study's folder can't be made: {error.strerror}", where=str(folder), next_step=step) from None
