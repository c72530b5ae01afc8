"""The second stage: what must be true before the test set is opened, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cnnlab.errors import RunError
from cnnlab.records import Result
from cnnlab.report.study_headline import headline
from cnnlab.runs.folder import list_runs
from cnnlab.runs.ledger import LEDGER
from cnnlab.spec.study import Study
from cnnlab.study.folder import read_result, study_folder

Studies = Callable[..., Study]
ARMS = {"plain": {"train.optimizer": "sgd(1e-9)"}, "fast": {}}


@pytest.fixture
def confirmable(study: Studies) -> Callable[..., Study]:
    def make(**fields: Any) -> Study:
        given = {"seeds": 3, "confirm": 2, "metric": "validation_accuracy", "base": {"epochs": 4}, **fields}
        return study(given.pop("arms", ARMS), **given)

    return make


def test_nothing_is_opened_while_a_run_of_the_first_stage_has_failed(
    confirmable: Callable[..., Study], lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = {**ARMS, "broken": {"train.batch_size": 9}}
    from cnnlab.study import work

    def failing(recipe: Any, **options: Any) -> Any:
        if recipe.train.batch_size == 9:
            raise OSError(28, "No space left on device")
        return ran(recipe, **options)

    ran = work.run
    monkeypatch.setattr(work, "run", failing)
    result = lab.carry_out(confirmable(arms=arms))
    assert (result.complete, result.confirmation) == (False, None)
    assert "nothing is confirmed: the first stage is not complete" in lab.said
    assert not (lab.runs / LEDGER).exists()


def test_an_arm_of_which_runs_diverged_is_not_chosen(confirmable: Callable[..., Study], lab: Any) -> None:
    """Its survivors have the best mean."""
    arms = {**ARMS, "lucky": {"train.optimizer": "sgd(0.05, momentum=0.9)", "train.epochs": 5}}
    study = confirmable(arms=arms, seeds=4)
    lab.carry_out(study.model_copy(update={"confirm": None}))
    folder = lab.run_of("lucky", 3)
    content = json.loads((folder.path / "result.json").read_text())
    content |= {"status": "diverged", "train": None, "validation": None}
    (folder.path / "result.json").write_text(json.dumps(content))
    for seed in range(3):
        better = lab.run_of("lucky", seed)
        found = better.result()
        raised = found.validation.model_copy(update={"accuracy": 1.0})
        better.write("result.json", found.model_copy(update={"validation": raised}).to_json())
    result = lab.carry_out(study)
    assert result.arm("lucky").sample.mean == 1.0
    assert result.confirmation.winner == "fast"
    assert "not chosen from, since runs of them failed: lucky" in lab.said


def test_each_look_at_the_test_set_is_told(confirmable: Callable[..., Study], lab: Any) -> None:
    first = lab.carry_out(confirmable())
    assert first.confirmation.looks == 1
    assert "opened once" in headline(first)
    second = lab.carry_out(confirmable(confirm=3))
    assert second.confirmation.looks == len((lab.runs / LEDGER).read_text().splitlines()) == 2
    assert "which has been looked at 2 times here" in headline(second)
    assert "opened once" not in headline(second)


def test_the_second_stage_spends_the_same_budget(confirmable: Callable[..., Study], lab: Any) -> None:
    lab.carry_out(confirmable(confirm=None))
    images = sum(round(one.result().seconds * one.result().images_per_second) for one in list_runs(lab.runs))
    result = lab.carry_out(confirmable(budget=f"images({images})"))
    assert result.complete
    assert result.confirmation is None
    assert "not confirmed: the budget was spent first" in lab.said
    assert len(list_runs(lab.runs)) == 6
    assert not (lab.runs / LEDGER).exists()


def test_a_test_set_that_can_not_be_scored_leaves_the_first_stage_standing(
    confirmable: Callable[..., Study], lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: Any, **__: Any) -> Result:
        raise RunError("the weights are damaged")

    monkeypatch.setattr("cnnlab.study.confirming.open_test", unreadable)
    result = lab.carry_out(confirmable())
    assert result.confirmation is None
    assert any("not confirmed: the test set could not be scored: the weights are damaged" in said for said in lab.said)
    assert read_result(study_folder(lab.runs, "colours")) == result


def test_a_damaged_run_has_failed_and_is_named(study: Studies, lab: Any) -> None:
    lab.carry_out(study())
    folder = lab.run_of("slow", 1)
    (folder.path / "result.json").write_text("{")
    result = lab.carry_out(study())
    assert [seed.status for seed in result.arm("slow").seeds] == ["finished", "failed"]
    assert f"{folder.name}: result.json is damaged" in result.arm("slow").seeds[1].message


def test_another_study_of_the_same_name_is_refused(study: Studies, lab: Any) -> None:
    lab.carry_out(study(seeds=1))
    other = study({"one": {}, "two": {"train.optimizer": "sgd(0.01)"}}, baseline="one", seeds=1)
    with pytest.raises(RunError, match="another study is called colours: it has no arm of this one"):
        lab.carry_out(other)


def test_whatever_is_raised_in_a_run_is_its_end_alone(
    study: Studies, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: Any, **__: Any) -> Any:
        raise ValueError("no such thing")

    monkeypatch.setattr("cnnlab.study.work.run", wrong)
    result = lab.carry_out(study())
    assert {seed.message for arm in result.arms for seed in arm.seeds} == {"ValueError: no such thing"}


def test_what_is_declared_otherwise_after_a_result_is_told(study: Studies, lab: Any) -> None:
    arms = {"plain": {}, "slow": {"train.optimizer": "sgd(0.001)"}, "slower": {"train.optimizer": "sgd(0.0001)"}}
    assert lab.carry_out(study(arms, seeds=1, smallest_difference=0.01)).notes == ()
    assert lab.carry_out(study(arms, seeds=1, smallest_difference=0.01)).notes == ()
    del arms["slower"]
    result = lab.carry_out(study(arms, seeds=2, smallest_difference=0.5))
    assert result.notes == (
        "δ was changed after results had been seen: it was 0.01, and is 0.5",
        "left out after results had been seen: slower",
        "1 seeds an arm were declared, and 2 are used: where seeds are added until a verdict comes, more verdicts are "
        "wrong than α says",
    )
