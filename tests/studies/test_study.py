"""A study from end to end in one process: what is run, what is kept, and what the tables say."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.data.loader import ImageLoader
from cnnlab.errors import RunError
from cnnlab.storage.run_folder import RunFolder, list_runs
from cnnlab.studies.folder import read_result, study_folder
from cnnlab.studies.plan import StudyPlan, make_plan
from cnnlab.studies.result import StudyResult

Studies = Callable[..., Study]
Tables = Callable[..., str]
Carried = Callable[[Study], StudyResult]


def test_every_run_is_made_once_and_its_figure_stands_in_the_table(study: Studies, lab: Any) -> None:
    result = lab.carry_out(study())
    lab.assert_each_once(4)
    assert lab.planned == [(4, 4)]
    assert lab.counts() == {"done": 4}
    assert [arm.name for arm in result.arms] == ["plain", "slow"]
    for arm in result.arms:
        for seed in arm.seeds:
            own = RunFolder(lab.runs / seed.run).result()
            assert seed.value == own.validation.loss
            assert (seed.train, seed.seconds, seed.status) == (own.train.loss, own.seconds, "finished")
        assert arm.sample.values == tuple(seed.value for seed in arm.seeds)
    assert result.complete
    assert read_result(study_folder(lab.runs, "colours")) == result


def test_an_arm_of_a_study_is_the_run_that_its_recipe_makes_alone(
    study: Studies, recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], lab: Any, carried: Carried
) -> None:
    """A study changes the seed and where the test set is shut; with the split of the base's seed it changes no more."""
    carried(study())
    alone = trained(recipe(opened="sealed", seed=1, split_seed=0))
    ours = lab.run_of("plain", 1)
    assert [one.validation for one in ours.epochs()] == [one.validation for one in alone.epochs()]
    assert ours.result().validation == alone.result().validation


def test_the_same_study_again_runs_nothing_and_says_the_same(study: Studies, lab: Any, carried: Carried) -> None:
    first = carried(study())
    again = lab.carry_out(study())
    assert (lab.planned, lab.outcomes, again) == ([(4, 0)], [], first)


def test_an_interrupted_study_goes_on_within_the_run(study: Studies, lab: Any, table: Tables, tmp_path: Path) -> None:
    """The first epoch of the run that was cut is kept, time and all; it is not trained again."""
    long = study(base={"epochs": 4})
    straight = lab.carry_out(long)
    lab.runs = tmp_path / "cut"
    left = [4 * 4 + 6]  # the second run's second epoch: a run has 24 images, and an epoch three steps

    def cut(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise lab.Cut

    with pytest.raises(lab.Cut):
        lab.carry_out(long, heard=cut)
    [half] = [folder for folder in list_runs(lab.runs) if folder.result() is None]
    kept = half.epochs()
    assert 0 < len(kept) < 4
    resumed = lab.carry_out(long)
    assert lab.planned == [(4, 3)]
    assert half.epochs()[: len(kept)] == kept
    assert table(resumed) == table(straight)
    lab.assert_each_once(4, epochs=4)


def test_a_folder_without_a_run_in_it_is_taken(study: Studies, lab: Any, carried: Carried, table: Tables) -> None:
    """What a process leaves that is killed before its run is written down, also for another study of the same run."""
    straight = carried(study())
    begun = lab.run_of("slow", 1)
    (begun.path / "recipe.toml").unlink()
    (begun.path / "result.json").unlink()
    (begun.path / "metrics.jsonl").unlink()
    again = lab.carry_out(study(), name="another")
    assert lab.planned == [(4, 1)]
    lab.assert_each_once(4)
    before = "study 'colours' had begun to run 2 of 2 arms before this one was declared"
    assert again.notes == (before,)
    again = again.model_copy(update={"study": "colours", "notes": ()})
    assert table(again) == table(straight)


def test_arms_that_are_one_experiment_are_run_once_and_named(study: Studies, lab: Any) -> None:
    arms = {"plain": {}, "same": {"train.epochs": 2}, "slow": {"train.optimizer": "sgd(0.001)"}}
    result = lab.carry_out(study(arms))
    lab.assert_each_once(4)
    assert [arm.same_as for arm in result.arms] == ["", "plain", ""]
    assert result.arm("same").seeds == result.arm("plain").seeds
    assert result.notes == ("'same' and 'plain' are one experiment under two names: it was run and counted once",)
    assert result.trials == 2
    assert [one.a for one in result.ablation.comparisons] == ["slow"]


def test_a_diverged_arm_stays_in_the_tables(study: Studies, lab: Any) -> None:
    arms = {"plain": {}, "wild": {"train.optimizer": "sgd(1e30)"}, "slow": {"train.optimizer": "sgd(0.001)"}}
    result = lab.carry_out(study(arms))
    wild = result.arm("wild")
    assert [(seed.status, seed.value) for seed in wild.seeds] == [("diverged", None)] * 2
    assert (wild.sample.failures, wild.sample.n) == (2, 0)
    read = read_result(study_folder(lab.runs, "colours"))
    assert all(math.isnan(value) for value in read.arm("wild").sample.values)
    assert any(note.startswith("'wild': the loss stopped being a number") for note in result.notes)
    assert result.complete
    assert [one.verdict for one in result.ablation.comparisons if one.a == "wild"] == ["no verdict"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "the memory is full: no more can be allocated"),
        pytest.param(
            RuntimeError("DefaultCPUAllocator: can't allocate memory"), "the memory is full: ", marks=pytest.mark.full
        ),
        pytest.param(OSError(28, "No space left"), "OSError: [Errno 28] No space left", marks=pytest.mark.full),
    ],
    ids=["memory", "torch's memory", "disk"],
)
def test_a_run_that_fails_is_shown_and_the_others_go_on(
    study: Studies, lab: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    arms = {"plain": {}, "large": {"train.batch_size": 9}}
    with monkeypatch.context() as patch:
        patch.setattr(ImageLoader, "train_batches", _failing(ImageLoader.train_batches, 9, 1, error))
        result = lab.carry_out(study(arms))
    assert lab.counts() == {"done": 2, "failed": 2}
    assert list(lab.failures()) == [("large", 0), ("large", 1)]
    large = result.arm("large")
    assert [(seed.status, seed.value) for seed in large.seeds] == [("failed", None)] * 2
    assert all(seed.message.startswith(said) for seed in large.seeds)
    assert large.sample.failures == 2
    assert not result.complete
    assert result.arm("plain").sample.n == 2
    half = lab.run_of("large", 0)
    kept = half.epochs()
    assert (half.recipe().train.batch_size, len(kept)) == (9, 1)
    mended = lab.carry_out(study(arms))
    assert lab.planned == [(4, 2)]
    assert (mended.complete, mended.arm("large").sample.n, mended.notes) == (True, 2, ())
    assert half.epochs()[:1] == kept


def _failing(
    training: Callable[..., Iterator[Any]], size: int, when: int, error: Exception
) -> Callable[..., Iterator[Any]]:
    """In an epoch, batches of this size can't be had."""

    def fail(self: ImageLoader, batch_size: int, seed: int, epoch: int, *arguments: Any, **named: Any) -> Iterator[Any]:
        for batch in training(self, batch_size, seed, epoch, *arguments, **named):
            if (batch_size, epoch) == (size, when):
                raise error
            yield batch

    return fail


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "red"), "the data or the backbone here is not that"),
        pytest.param(shutil.rmtree, "no data is found by this name", marks=pytest.mark.full),
    ],
    ids=["a class is gone", "all is gone"],
)
def test_data_that_changes_in_the_course_fails_its_arm_alone(
    study: Studies, lab: Any, colours: Path, tmp_path: Path, harm: Callable[[Path], object], message: str
) -> None:
    """Nothing is filed as a run of data that it was not trained on."""
    other = shutil.copytree(colours, tmp_path / "other")
    left = [harm]

    def heard(*_: object) -> None:
        if left:
            left.pop()(other)

    result = lab.carry_out(study({"plain": {}, "other": {"data.source": str(other)}}), heard=heard)
    assert list(lab.failures()) == [("other", 0), ("other", 1)]
    assert all(message in text for text in lab.failures().values()), lab.failures()
    assert [seed.status for seed in result.arm("plain").seeds] == ["finished"] * 2
    assert [note.partition(":")[0] for note in result.notes] == ["'other'"]


def test_a_spent_budget_ends_the_study_and_is_said(study: Studies, lab: Any) -> None:
    """Arms of one size: the first seed of both, and no run of the second."""
    result = lab.carry_out(study(budget="images(60)", confirm=2))
    assert lab.counts() == {"done": 2}
    assert [[seed.status for seed in arm.seeds] for arm in result.arms] == [["finished", "not run"]] * 2
    assert result.notes == ("2 runs have not been made: the budget was spent first",)
    assert (result.complete, result.confirmation) == (False, None)
    again = lab.carry_out(study(budget="images(60)", confirm=2))
    assert (lab.counts(), again.notes) == ({}, result.notes)
    more = lab.carry_out(study())
    assert (lab.planned, more.complete) == ([(4, 2)], True)


def _change_code(patch: pytest.MonkeyPatch) -> None:
    for module in ("runs.environment", "studies.plan"):
        patch.setattr(f"cnnlab.{module}.code_hash", lambda: "0123456789abcdef")


def test_code_that_changes_in_the_course_makes_no_run(
    study: Studies, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a worker starts after an update."""
    monkeypatch.setattr("cnnlab.studies.tasks.environment_digest", lambda _device: "0123456789abcdef")
    lab.carry_out(study())
    said = "cnnlab's code, torch or the device here is not that with which the study was planned"
    assert {*lab.failures().values()} == {said}
    assert list_runs(lab.runs) == []


def test_data_that_changes_after_the_plan_makes_no_run(
    study: Studies, lab: Any, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the data is open since it was planned."""
    source = shutil.copytree(colours, tmp_path / colours.name)

    def plan_then_change(*args: Any, **options: Any) -> StudyPlan:
        plan = make_plan(*args, **options)
        (image, *_) = sorted(source.rglob("*.png"))
        image.write_bytes(image.read_bytes() + b"0")
        return plan

    monkeypatch.setattr("cnnlab.studies.study.make_plan", plan_then_change)
    lab.carry_out(
        study({"plain": {"data.source": str(source)}, "slow": {"train.epochs": 1, "data.source": str(source)}})
    )
    expected = "the data or the backbone here is not that with which the study was planned"
    assert {*lab.failures().values()} == {expected}
    assert list_runs(lab.runs) == []


def test_runs_of_other_code_count_only_when_asked(
    study: Studies, lab: Any, carried: Carried, table: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = carried(study())
    _change_code(monkeypatch)
    taken = lab.carry_out(study(), any_code=True)
    assert (lab.planned, table(taken)) == ([(4, 0)], table(first))
    lab.carry_out(study())
    assert (lab.planned, lab.counts()) == ([(4, 4)], {"done": 4})
    assert len(list_runs(lab.runs)) == 8


@pytest.mark.full
def test_runs_of_two_codes_in_one_table_are_named(
    study: Studies, lab: Any, carried: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried(study())
    _change_code(monkeypatch)
    result = lab.carry_out(study(seeds=3), any_code=True)
    assert lab.planned == [(6, 2)]
    note, added, *_ = result.notes
    assert added.startswith("seeds changed after the first run had begun: from 0, 1")
    assert note.startswith("not all runs were made alike: cnnlab's code 0123456789abcdef, torch ")


def test_one_way_of_computing_for_all_arms(study: Studies, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 is right for one network only, and the formats differ: neither may make two arms differ."""
    from cnnlab.records import PrecisionConfig

    found = iter([("bf16", "channels_last"), ("fp32", "contiguous"), ("bf16", "channels_last")])

    def tried(*_: object) -> PrecisionConfig:
        precision, memory_format = next(found)
        return PrecisionConfig(precision=precision, memory_format=memory_format, reason="tried", tried={})

    monkeypatch.setattr("cnnlab.studies.precision.benchmark_precision", tried)
    arms = {"plain": {}, "large": {"train.batch_size": 9}, "larger": {"train.batch_size": 10}}
    result = lab.carry_out(study(arms, base={"precision": "auto"}, seeds=1))
    ways = {
        (folder.precision_config().precision, folder.precision_config().memory_format) for folder in list_runs(lab.runs)
    }
    assert ways == {("fp32", "channels_last")} == {(result.precision, result.memory_format)}


@pytest.mark.parametrize("vary", [pytest.param(False, marks=pytest.mark.full), True])
def test_the_split_varies_with_the_seed_only_when_asked(study: Studies, lab: Any, vary: bool) -> None:
    result = lab.carry_out(study(vary_split=vary))
    splits = {arm.name: [RunFolder(lab.runs / seed.run).data().split_hash for seed in arm.seeds] for arm in result.arms}
    assert splits["plain"] == splits["slow"]
    assert len(set(splits["plain"])) == (2 if vary else 1)
    assert len({RunFolder(lab.runs / seed.run).data().test_set for arm in result.arms for seed in arm.seeds}) == 1


def test_a_runs_folder_that_can_not_be_made_is_told(study: Studies, lab: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lab.runs = tmp_path / "file" / "runs"
    with pytest.raises(RunError, match="the folder can't be created"):
        lab.carry_out(study())
