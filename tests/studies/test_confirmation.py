"""The second stage: what must be true before the test set is opened, and what is told of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnlab.config.study import FIRST_FRESH_SEED, Study
from cnnlab.context import RunContext
from cnnlab.errors import RunError
from cnnlab.records import RunResult
from cnnlab.reports.study.view import confirmation_title
from cnnlab.storage.run_folder import list_runs
from cnnlab.storage.test_ledger import LEDGER, openings
from cnnlab.studies import plan
from cnnlab.studies.folder import read_result, study_folder
from cnnlab.studies.tasks import exclusive

Studies = Callable[..., Study]
ARMS = {"plain": {"train.optimizer": "sgd(1e-9)"}, "fast": {}}


@pytest.fixture(scope="session")
def confirmable(study: Studies) -> Callable[..., Study]:
    """Makes a study with a certain winner: the baseline learns nothing."""

    def make(**fields: Any) -> Study:
        base = {"epochs": 4, **fields.pop("base", {})}
        given = {"seeds": 3, "confirm": 2, "metric": "validation_accuracy", **fields}
        return study(given.pop("arms", ARMS), base=base, **given)

    return make


@pytest.fixture
def staged(confirmable: Callable[..., Study], carried: Callable[[Study], Any], lab: Any) -> Any:
    """The lab, in which the runs of the first stage have been made already."""
    carried(confirmable(confirm=None))
    return lab


def test_the_winner_is_confirmed_with_fresh_seeds_and_the_test_set_is_opened_once(
    confirmable: Callable[..., Study], staged: Any
) -> None:
    result = staged.carry_out(confirmable())
    found = result.confirmation
    assert (found.winner, found.baseline, found.metric) == ("fast", "plain", "test_accuracy")
    assert found.seeds == (FIRST_FRESH_SEED, FIRST_FRESH_SEED + 1)
    folders = {folder.name: folder for folder in list_runs(staged.runs)}
    assert len(folders) == 6 + 4
    fresh = [seed.run for seed in (*found.runs, *found.baseline_runs)]
    assert {name for name in folders if folders[name].result().test is not None} == {*fresh}
    assert {name for name in folders if (folders[name].path / "predictions-test.npz").exists()} == {*fresh}
    for record in (*found.runs, *found.baseline_runs):
        assert record.value == folders[record.run].result().test.accuracy
    [line] = openings(staged.runs, folders[fresh[0]].data().test_set)
    assert (line.run, line.purpose) == ("study colours", "confirmation with 4 runs")
    assert found.comparison.mean_a == pytest.approx(np.mean([seed.value for seed in found.runs]))
    assert found.comparison.verdict == "no verdict"  # two runs an arm only describe


def test_a_confirmed_study_again_opens_nothing(confirmable: Callable[..., Study], staged: Any) -> None:
    first = staged.carry_out(confirmable())
    ledger = (staged.runs / LEDGER).read_bytes()
    assert staged.carry_out(confirmable()) == first
    assert (staged.runs / LEDGER).read_bytes() == ledger
    assert staged.outcomes == []


def test_a_second_stage_that_was_cut_opens_nothing_until_all_its_runs_are_there(
    confirmable: Callable[..., Study], staged: Any
) -> None:
    """A run of the second stage fails: the test set stays shut, and the next call confirms."""

    def cut(task: Any, *_: object) -> None:
        if task.seed == FIRST_FRESH_SEED + 1:
            raise RuntimeError("cut")

    result = staged.carry_out(confirmable(), heard=cut)
    assert result.confirmation is None
    assert "not confirmed: some of its runs are missing" in staged.said
    assert "nothing is confirmed: some of its runs are missing" in result.notes
    assert result.is_untested
    assert not (staged.runs / LEDGER).exists()
    assert staged.carry_out(confirmable()).confirmation is not None
    assert len((staged.runs / LEDGER).read_text().splitlines()) == 1


@pytest.mark.full
def test_one_process_at_a_time_opens_a_test_set(confirmable: Callable[..., Study], staged: Any) -> None:
    """The same study may be at its second stage in another process."""
    test_set = plan.make_plan(confirmable(), "colours", RunContext(device="cpu")).test_set
    ours = threading.Thread(target=staged.carry_out, args=(confirmable(),))
    with exclusive(staged.runs, f"test-{test_set}", print):
        ours.start()
        ends = time.monotonic() + 600
        while len(staged.outcomes) < 4 and time.monotonic() < ends:
            time.sleep(0.05)
        time.sleep(0.5)
        assert len(staged.outcomes) == 4
        assert not (staged.runs / LEDGER).exists()
    ours.join(600)
    assert len((staged.runs / LEDGER).read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("fields", "said", "untested"),
    [
        ({"seeds": 2}, "no arm has three finished runs", False),
        ({"baseline": "fast"}, "the baseline 'fast' has the best mean", False),
        ({"base": {"test": 0.0}}, "the data has no test split", True),
    ],
    ids=["few seeds", "the baseline wins", "no test part"],
)
def test_what_can_not_be_confirmed_is_said(
    confirmable: Callable[..., Study], staged: Any, fields: dict[str, Any], said: str, untested: bool
) -> None:
    """What was asked for and is not to be had is noted, and no success; that nothing is worth it is an answer."""
    result = staged.carry_out(confirmable(**fields), name="another")
    assert result.confirmation is None
    assert any(said in words for words in staged.said)
    assert result.is_untested is untested
    assert (f"nothing is confirmed: {said}" in result.notes) is untested
    assert not (staged.runs / LEDGER).exists()


def test_nothing_is_opened_while_a_run_of_the_first_stage_has_failed(
    confirmable: Callable[..., Study], staged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = {**ARMS, "broken": {"train.batch_size": 9}}
    from cnnlab.studies import tasks

    def failing(recipe: Any, **options: Any) -> Any:
        if recipe.train.batch_size == 9:
            raise OSError(28, "No space left on device")
        return ran(recipe, **options)

    ran = tasks.run
    monkeypatch.setattr(tasks, "run", failing)
    result = staged.carry_out(confirmable(arms=arms))
    assert (result.complete, result.confirmation) == (False, None)
    assert "nothing is confirmed: the first stage is not complete" in staged.said
    assert result.is_untested
    assert not (staged.runs / LEDGER).exists()


@pytest.mark.full
def test_an_arm_of_which_runs_diverged_is_not_chosen(confirmable: Callable[..., Study], staged: Any) -> None:
    """Its survivors have the best mean."""
    arms = {**ARMS, "lucky": {"train.optimizer": "sgd(0.05, momentum=0.9)", "train.epochs": 5}}
    study = confirmable(arms=arms, seeds=4)
    staged.carry_out(study.model_copy(update={"confirm": None}))
    folder = staged.run_of("lucky", 3)
    content = json.loads((folder.path / "result.json").read_text())
    content |= {"status": "diverged", "train": None, "validation": None}
    (folder.path / "result.json").write_text(json.dumps(content))
    for seed in range(3):
        better = staged.run_of("lucky", seed)
        found = better.result()
        raised = found.validation.model_copy(update={"accuracy": 1.0})
        better.write("result.json", found.model_copy(update={"validation": raised}).to_json())
    result = staged.carry_out(study)
    assert result.arm("lucky").sample.mean == 1.0
    assert result.confirmation.winner == "fast"
    assert "not eligible, since runs of them failed: lucky" in staged.said


def test_each_look_at_the_test_set_is_told(confirmable: Callable[..., Study], staged: Any) -> None:
    first = staged.carry_out(confirmable())
    assert first.confirmation.looks == 1
    assert "opened once" in confirmation_title(first.confirmation)
    second = staged.carry_out(confirmable(confirm=3))
    assert second.confirmation.looks == len((staged.runs / LEDGER).read_text().splitlines()) == 2
    assert "opened 2 times so far" in confirmation_title(second.confirmation)


def test_the_second_stage_spends_the_same_budget(confirmable: Callable[..., Study], staged: Any) -> None:
    images = sum(round(one.result().seconds * one.result().images_per_second) for one in list_runs(staged.runs))
    result = staged.carry_out(confirmable(budget=f"images({images})"))
    assert result.complete
    assert result.confirmation is None
    assert not result.is_untested
    assert "not confirmed: the budget was spent first" in staged.said
    assert len(list_runs(staged.runs)) == 6
    assert not (staged.runs / LEDGER).exists()


def test_a_test_set_that_can_not_be_scored_leaves_the_first_stage_standing(
    confirmable: Callable[..., Study], staged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: Any, **__: Any) -> RunResult:
        raise RunError("the weights are damaged")

    monkeypatch.setattr("cnnlab.studies.test_split.open_test", unreadable)
    result = staged.carry_out(confirmable())
    assert result.confirmation is None
    assert any(
        "not confirmed: the test set could not be scored: the weights are damaged" in said for said in staged.said
    )
    assert result.is_untested
    assert "the test set could not be scored: the weights are damaged" in result.notes
    assert read_result(study_folder(staged.runs, "colours")) == result
    monkeypatch.undo()
    again = staged.carry_out(confirmable())
    assert again.confirmation is not None
    assert not again.is_untested


def test_a_damaged_run_has_failed_and_is_named(study: Studies, lab: Any, carried: Callable[[Study], Any]) -> None:
    carried(study())
    folder = lab.run_of("slow", 1)
    (folder.path / "result.json").write_text("{")
    result = lab.carry_out(study())
    assert [seed.status for seed in result.arm("slow").seeds] == ["finished", "failed"]
    message = result.arm("slow").seeds[1].message
    assert message.startswith(folder.name)
    assert "result.json is damaged" in message


def test_whatever_is_raised_in_a_run_is_its_end_alone(
    study: Studies, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: Any, **__: Any) -> Any:
        raise ValueError("no such thing")

    monkeypatch.setattr("cnnlab.studies.tasks.run", wrong)
    result = lab.carry_out(study())
    assert {seed.message for arm in result.arms for seed in arm.seeds} == {"ValueError: no such thing"}


def test_after_every_choice_the_test_set_is_opened_once_for_all_arms(
    confirmable: Callable[..., Study], staged: Any
) -> None:
    claims = [
        {"arm": "fast", "published": {"test_accuracy": 0.9, "best_validation_accuracy": 0.8}},
        {"arm": "plain", "published": {"test_accuracy": [0.0, 1.0]}},
    ]
    result = staged.carry_out(confirmable(confirm=None, test="after", claims=claims))
    folders = {folder.name: folder for folder in list_runs(staged.runs)}
    assert all(folder.result().test is not None for folder in folders.values())
    [line] = openings(staged.runs, next(iter(folders.values())).data().test_set)
    assert (line.run, line.purpose) == ("study colours", "figures of 6 runs")
    assert (result.tested, result.is_untested) == (True, False)
    assert [note for note in result.notes if "on the test set when all were trained; it was opened 1 time" in note]
    test, best, in_range = result.claims
    own = [folders[seed.run] for seed in result.arm("fast").seeds]
    assert test.values == tuple(folder.result().test.accuracy for folder in own)
    assert best.values == tuple(max(point.validation.accuracy for point in folder.epochs()) for folder in own)
    assert (in_range.n, in_range.difference, in_range.published) == (3, 0.0, (0.0, 1.0))
    assert staged.carry_out(confirmable(confirm=None, test="after", claims=claims)) == result
    assert len(openings(staged.runs, folders[own[0].name].data().test_set)) == 1
    more = staged.carry_out(confirmable(confirm=None, test="after", claims=claims, seeds=4))
    assert [note for note in more.notes if "it was opened 2 times so far" in note]


def test_no_arm_is_tested_while_runs_are_missing(confirmable: Callable[..., Study], staged: Any) -> None:
    def cut(*_: object) -> None:
        raise RuntimeError("cut")

    result = staged.carry_out(confirmable(confirm=None, test="after", seeds=4), heard=cut)
    assert (result.tested, result.is_untested) == (False, True)
    assert "the test set could not be scored: runs are missing" in result.notes
    assert not any(folder.result().test for folder in list_runs(staged.runs) if folder.result())
