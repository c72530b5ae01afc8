"""A study from end to end: a study file's content in, a StudyResult out. The page to read first.

study → plan → tasks → runs, each once → what they say → the winner again with fresh seeds → under shifts → result
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cnnlab.errors import RunError, SpecError
from cnnlab.files import write_whole
from cnnlab.spec.study import Study
from cnnlab.study.analysis import analyse, claims_judged
from cnnlab.study.confirming import confirm_winner
from cnnlab.study.course import NOBODY, Audience, Course, carry
from cnnlab.study.declaring import declare
from cnnlab.study.executors import Executor, here
from cnnlab.study.folder import kept_way, study_folder, study_name
from cnnlab.study.plan import make_plan
from cnnlab.study.reading import Reading
from cnnlab.study.results import StudyResult
from cnnlab.study.shifting import before_shifts, under_shifts
from cnnlab.study.work import Place


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

    Raises:
        SpecError, SourceError, DownloadError: before anything is run.
        RunError: the runs folder can't be written to.
    """
    folder = study_folder(runs, study_name(name))
    plan = make_plan(study, name, root=root, device=device, progress=audience.progress, kept=kept_way(folder))
    place = Place(runs.resolve(), root, plan.way.device, any_code=any_code)
    course = Course(plan, place, executor, audience, folder)
    _make(folder, study)
    changed = declare(folder, study)
    write_whole(folder / "study.toml", study.to_toml().encode())
    write_whole(folder / "way.json", plan.way.to_json(indent=2).encode())
    carry(course, plan.tasks())
    reading = Reading(plan, place.runs, course.failures, any_code)
    result = analyse(reading, spent=course.spent)
    result = before_shifts(study, result.model_copy(update={"notes": (*result.notes, *changed)}))
    write_whole(folder / "result.json", result.to_json(indent=2).encode())
    if study.confirm is not None:
        confirmation = confirm_winner(course, reading, result)
        claims = claims_judged(reading, confirmation)
        result = result.model_copy(update={"confirmation": confirmation, "claims": claims})
        write_whole(folder / "result.json", result.to_json(indent=2).encode())
    if study.shifts:
        result = under_shifts(course, reading, result)
        write_whole(folder / "result.json", result.to_json(indent=2).encode())
    return result


def _make(folder: Path, study: Study) -> None:
    """Make the study's folder, unless another study of the same name lies there."""
    kept = folder / "study.toml"
    if kept.is_file():
        with suppress(SpecError):
            before = Study.read(kept)
            if not {arm.name for arm in before.list_arms()} & {arm.name for arm in study.list_arms()}:
                what = f"another study is called {folder.name}: it has no arm of this one"
                raise RunError(what, where=str(folder), next_step="give this one another name with --name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        step = "choose another with --runs"
        raise RunError(f"a study's folder can't be made: {error.strerror}", where=str(folder), next_step=step) from None
