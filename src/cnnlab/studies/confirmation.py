"""The second stage of a study: the winner and the baseline with fresh seeds, and one look at the test set."""

from __future__ import annotations

from collections.abc import Sequence

from cnnlab.errors import CnnlabError
from cnnlab.runs.callbacks import Listener
from cnnlab.runs.final_evaluation import open_test
from cnnlab.stats.ranking import rank
from cnnlab.storage.test_ledger import note_opening, openings
from cnnlab.studies.analysis import Reading, confirmed
from cnnlab.studies.plan import Task
from cnnlab.studies.result import UNCONFIRMED, UNTESTED, Confirmation, StudyResult
from cnnlab.studies.runner import Course, carry
from cnnlab.studies.tasks import alone


def confirm_winner(course: Course, reading: Reading, result: StudyResult) -> Confirmation | None:
    """The arm with the best mean against the baseline, with fresh seeds, on the test set.

    None where there is nothing to confirm, or it can't be done; that is said, and the latter kept in the course.
    """
    study = course.plan.study
    arms = [arm for arm in result.arms if not arm.same_as]
    # The mean of the runs that were lucky enough to end is no arm's mean.
    failing = [arm.name for arm in arms if arm.sample.failures]
    ranking = rank([arm.sample for arm in arms if not arm.sample.failures], higher_is_better=study.higher_is_better)
    reason = ""
    if study.baseline is None:
        reason = "the study has no baseline"
    elif not result.complete:
        reason = "the first stage is not complete"
        if not course.spent:
            course.untested = f"{UNCONFIRMED}: {reason}"
    elif ranking.winner is None:
        reason = "no arm has three finished runs and none that failed"
    elif ranking.winner.name == study.baseline:
        reason = f"the baseline '{study.baseline}' has the best mean"
    if reason or ranking.winner is None:
        course.audience.say(f"{UNCONFIRMED}: {reason}")
        return None
    if failing:
        course.audience.say(f"not chosen from, since runs of them failed: {', '.join(failing)}")
    return confirm(course, reading, ranking.winner.name)


def confirm(course: Course, reading: Reading, name: str) -> Confirmation | None:
    """Run an arm and the baseline with fresh seeds, and open the test set once for all these runs; then compare.

    None where there is no test set, or a run could not be made or scored; that is said, and why is kept in the course.
    """
    plan, study, say = course.plan, course.plan.study, course.audience.say
    if study.baseline is None or study.confirm is None:
        return None
    if not plan.test_set:
        course.untested = f"{UNCONFIRMED}: the data has no test part"
        say(course.untested)
        return None
    arms = {arm.name: arm for arm in plan.fresh((name, study.baseline), study.confirm)}
    winner, baseline = arms[name], arms[study.baseline]
    tasks = [task for pair in zip(winner.tasks, baseline.tasks, strict=True) for task in pair]
    say(f"confirming '{winner.name}' against '{baseline.name}' with {study.confirm} fresh seeds each")
    if not carry(course, tasks):
        why = "the budget was spent first" if course.spent else "some of its runs have not been made"
        say(f"not confirmed: {why}")
        if not course.spent:
            course.untested = f"{UNCONFIRMED}: {why}"
        return None
    try:
        with alone(course.place.runs, f"test-{plan.test_set}", say):  # the same study may be at work elsewhere
            _open_together(course, tasks)
    except (CnnlabError, OSError) as error:
        say(f"not confirmed: {UNTESTED}: {error}")
        course.untested = f"{UNTESTED}: {error.problems[0] if isinstance(error, CnnlabError) else error}".partition(
            "\n"
        )[0]
        return None
    reading.read((winner, baseline), course.listing())
    return confirmed(reading, winner, baseline, len(openings(course.place.runs, plan.test_set)))


def _open_together(course: Course, tasks: Sequence[Task]) -> None:
    """Score the runs on the test set: one opening, written down before the first look."""
    place, plan, listing = course.place, course.plan, course.listing()
    found = [one for task in tasks if (one := listing.finished(task.id)) is not None]
    shut = [one.folder for one in found if one.result.test is None and one.result.train is not None]
    if not shut:
        return
    note_opening(place.runs, f"study {plan.name}", plan.test_set, f"confirmation with {len(shut)} runs")
    for folder in shut:
        listener = Listener(progress=course.audience.progress)
        open_test(
            folder.path, root=place.root, device=place.device, listener=listener, noted=True, opener=plan.shelf.open
        )
