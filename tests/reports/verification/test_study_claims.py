"""A study's file against the result that is kept of it: what is claimed now, by what was found then."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cnnlab.api.verify import verify
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.context import RunContext
from cnnlab.errors import RunError
from cnnlab.reports.verification.result import ClaimVerification
from cnnlab.runs.verify.recompute import verify_run
from cnnlab.storage.run_folder import RunFolder
from cnnlab.studies.result import StudyResult
from cnnlab.studies.study import execute_study

ARMS: dict[str, Any] = {"plain": {"train.optimizer": "sgd(1e-9)"}, "fast": {}}


@pytest.fixture(scope="module")
def made_of(recipe: Callable[..., Recipe]) -> Callable[..., Study]:
    """Makes a study with a certain winner; arguments are its fields, those in `base` of its recipe."""

    def make(base: Any = (), arms: Any = ARMS, **fields: Any) -> Study:
        made = recipe(("flatten", "dense(classes)"), **{"epochs": 3, "opened": "sealed", **dict(base)})
        known = {"baseline": "plain", "baseline_seeds": 5, "seeds": 5, "confirm": 2, **fields}
        return Study(base=made, arms=arms, **known)

    return make


@pytest.fixture(scope="module")
def carried(made_of: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResult]:
    """The runs folder of a real study, to be read only, and what the study found."""
    runs = tmp_path_factory.mktemp("carried") / "runs"
    return runs, execute_study(made_of(), "drop", RunContext(runs=runs, device="cpu"))


@pytest.fixture
def runs(carried: tuple[Path, StudyResult], tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(carried[0], tmp_path / "runs"))


@pytest.fixture
def file(made_of: Callable[..., Study], tmp_path: Path) -> Callable[..., Path]:
    """Writes the study's file."""

    def write(**fields: Any) -> Path:
        path = tmp_path / "drop.toml"
        path.write_text(made_of(**fields).to_toml())
        return path

    return write


def of_fast(published: Any) -> list[dict[str, Any]]:
    return [{"arm": "fast", "published": published}]


def verdicts(found: ClaimVerification) -> dict[tuple[str, str], str]:
    return {(claim.of, claim.name): claim.verdict for claim in found.claims}


def test_a_claim_is_judged_as_the_file_has_it_now(
    file: Callable[..., Path], runs: Path, carried: tuple[Path, StudyResult]
) -> None:
    """Nothing was claimed when the study was carried out."""
    values = [RunFolder(runs / seed.run).result().validation.loss for seed in carried[1].arm("plain").seeds]
    half = stats.t.ppf(0.975, 4) * np.std(values, ddof=1) * np.sqrt(1 + 1 / 5)
    for far, verdict in ((0.99, "reproduced"), (1.01, "differs")):
        published = float(np.mean(values) + far * half)
        loss = {"published": published, "smallest_difference": 2 * half}
        (claim,) = verify(file(claims=[{"arm": "plain", "published": {"validation_loss": loss}}]), runs=runs).claims
        assert (claim.of, claim.verdict, claim.n) == ("plain", verdict, 5)
        assert (claim.low, claim.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    assert verify(file(), runs=runs).claims == ()
    assert verify(runs / "studies" / "drop").claims == ()


def test_figures_that_are_not_the_studys_metric_are_those_of_its_runs(
    file: Callable[..., Path], runs: Path, carried: tuple[Path, StudyResult]
) -> None:
    result = carried[1]
    numbers = {"validation_loss": 0.1, "test_accuracy": 0.5, "parameters": float(result.arm("fast").parameters)}
    found = verify(file(claims=of_fast(numbers)), runs=runs)
    losses = [RunFolder(runs / seed.run).result().validation.loss for seed in result.arm("fast").seeds]
    by_name = {claim.name: claim for claim in found.claims}
    assert by_name["validation_loss"].measured == pytest.approx(np.mean(losses))
    assert by_name["parameters"].verdict == "equal"
    # Of the test set only the second stage speaks.
    fresh = [seed.value for seed in result.confirmation.runs]
    assert (by_name["test_accuracy"].n, by_name["test_accuracy"].verdict) == (2, "not enough evidence")
    assert by_name["test_accuracy"].measured == pytest.approx(np.mean(fresh))
    assert not any("no longer" in note for note in found.notes)


def test_without_its_run_folders_a_study_knows_what_its_result_has_kept(
    file: Callable[..., Path], runs: Path, carried: tuple[Path, StudyResult]
) -> None:
    for folder in runs.glob("drop-*"):
        shutil.rmtree(folder)
    result = carried[1]
    figures = {"validation_accuracy": 0.3, "train_accuracy": 0.3, "validation_loss": 0.3, "test_accuracy": 0.3}
    found = verify(file(claims=of_fast({**figures, "parameters": 1.0})), runs=runs)
    by_name = {claim.name: claim for claim in found.claims}
    arm = result.arm("fast")
    assert by_name["validation_accuracy"].measured == pytest.approx(arm.sample.mean)
    assert by_name["train_accuracy"].measured == pytest.approx(arm.train.mean)
    assert by_name["test_accuracy"].measured == pytest.approx(result.confirmation.comparison.mean_a)
    assert (by_name["validation_accuracy"].n, by_name["test_accuracy"].n) == (5, 2)
    assert (by_name["validation_loss"].verdict, by_name["parameters"].verdict) == ("not measured", "not equal")
    assert any(note.startswith("7 of its runs are no longer in") for note in found.notes)


def test_words_are_judged_as_the_file_has_them_now(
    file: Callable[..., Path], runs: Path, carried: tuple[Path, StudyResult]
) -> None:
    assert carried[1].ablation.comparisons[0].verdict == "better"
    for published, answer in (("better", "holds"), ("worse", "contradicted")):
        (word,) = verify(file(claims=of_fast(published)), runs=runs).claims
        assert (word.of, word.than, word.verdict) == ("fast", "plain", answer)
        assert (word.measured, word.n) == (carried[1].ablation.comparisons[0].difference, 5)
    # Also the smallest difference that matters is that of the file.
    (word,) = verify(file(claims=of_fast("equal"), smallest_difference=0.99), runs=runs).claims
    assert word.verdict == "holds"


def test_a_claim_of_other_data_and_one_of_few_images_are_not_judged(
    file: Callable[..., Path], made_of: Callable[..., Study], runs: Path
) -> None:
    claim = {"published": 0.3, "data": "cifar10"}
    found = verify(file(claims=of_fast({"validation_accuracy": claim})), runs=runs)
    assert verdicts(found) == {("fast", "validation_accuracy"): "other data"}
    few = {"base": {"limit": 12}, "confirm": None}
    shutil.rmtree(runs / "studies" / "drop")  # of another base, it would be another study
    execute_study(made_of(**few), "drop", RunContext(runs=runs, device="cpu"))
    found = verify(file(claims=of_fast({"validation_accuracy": 0.3}), **few), runs=runs)
    assert verdicts(found) == {("fast", "validation_accuracy"): "shortened"}


@pytest.mark.full
def test_a_study_that_was_made_smaller_by_hand_is_the_same_one_and_shortened(
    file: Callable[..., Path], runs: Path
) -> None:
    longer = {"base": {"epochs": 9}, "confirm": None}
    written = file(**longer, claims=[*of_fast({"validation_accuracy": 0.3}), *of_fast("better")])
    study = Study.read(written, {"train.epochs": 3})
    execute_study(study, "drop", RunContext(runs=runs, device="cpu"))
    found = verify(written, runs=runs)
    assert [claim.verdict for claim in found.claims] == ["shortened", "shortened"]
    with pytest.raises(RunError, match="of another study"):
        verify(file(base={"epochs": 9, "batch_size": 4}, confirm=None), runs=runs)


@pytest.mark.parametrize(
    ("fields", "where", "was", "now"),
    [
        ({"base": {"epochs": 9}}, "base", "train.epochs=3", "train.epochs=9"),
        ({"base": {"source": "/elsewhere/colours"}}, "base", "data.source=", 'data.source="/elsewhere/colours"'),
        ({"base": {"seed": 4}}, "base", "train.seed=0", "train.seed=4"),
        ({"metric": "validation_loss"}, "metric", "validation_accuracy", "validation_loss"),
        ({"vary_split": True}, "vary_split", "False", "True"),
        ({"arms": {**ARMS, "new": {"train.epochs": 5}}}, "arms", "plain, fast", "plain, fast, new"),
        ({"arms": {**ARMS, "fast": {"train.batch_size": 4}}}, "arms.fast", "train.batch_size=8", "train.batch_size=4"),
        ({"base": {"size": 12}}, "base", "no data.size", "data.size=[12, 12]"),
    ],
)
def test_the_result_of_another_study_answers_nothing_of_this_one(
    file: Callable[..., Path], runs: Path, fields: Any, where: str, was: str, now: str
) -> None:
    with pytest.raises(RunError) as caught:
        verify(file(claims=of_fast({"validation_accuracy": 0.3}), **fields), runs=runs)
    (problem,) = caught.value.problems
    assert problem.what == "the result here is of another study than this file"
    assert problem.where == f"{runs / 'studies' / 'drop'}: {where}"
    assert problem.received.startswith(was)
    assert problem.allowed == now
    assert "run it: cnnlab study" in problem.next_step


def test_a_study_that_was_changed_and_cut_off_has_no_result_yet(
    file: Callable[..., Path], made_of: Callable[..., Study], runs: Path
) -> None:
    """Its folder says what it is, and still holds the result of what it was."""
    kept = runs / "studies" / "drop" / "study.toml"
    for fields, where in (
        ({"arms": {**ARMS, "new": {"train.epochs": 5}}}, "arms"),
        ({"metric": "validation_loss"}, "metric"),
    ):
        kept.write_text(made_of(**fields).to_toml())
        with pytest.raises(RunError, match="of another study") as caught:
            verify(file(**fields), runs=runs)
        assert caught.value.problems[0].where.startswith(f"{kept.parent}: {where}")
    kept.write_text("[torn")
    with pytest.raises(RunError, match="the study of the result here can't be read"):
        verify(file(), runs=runs)


def test_a_file_and_data_that_were_moved_are_the_same_study(
    made_of: Callable[..., Study], colours: Path, runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "drop.toml"
    moved.write_text(made_of(base={"source": colours.name}).to_toml())
    assert verify(moved, runs=runs).subject == "study drop"


def test_other_seeds_than_the_files_are_told(file: Callable[..., Path], runs: Path) -> None:
    notes = verify(file(seeds=9), runs=runs).notes
    assert "It was run with 5 seeds, and the file asks for 9." in notes


def test_a_run_that_confirmed_a_study_has_its_opening_in_the_ledger(
    carried: tuple[Path, StudyResult], runs: Path
) -> None:
    for seed in (carried[1].confirmation.runs[0], carried[1].confirmation.baseline_runs[1]):
        found = verify_run(runs / seed.run, RunContext(device="cpu"))
        assert found.holds
        assert not any("the ledger" in note for note in found.notes)
