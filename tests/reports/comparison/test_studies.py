"""Studies side by side: what they share, what differs, and nothing judged between them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy import stats
from typer.testing import CliRunner

import cnnlab
from cnnlab.api.compare import compare_studies
from cnnlab.cli.main import app
from cnnlab.errors import RunError, UsageError
from cnnlab.reports.comparison.result import ComparedStudies
from cnnlab.studies.result import StudyResult

Make = Callable[..., StudyResult]


@pytest.fixture
def pair(make_study: Make) -> tuple[StudyResult, StudyResult]:
    first = make_study({"plain": 0.0, "flips": 0.012, "dropout": -0.02}, study="first", delta=0.002)
    second = make_study({"plain": 0.0, "flips": 0.012, "warm-up": 0.0}, study="second", delta=0.01, seed=1, planned=12)
    return first, second


def test_arms_of_one_name_stand_together_with_their_own_studys_verdict(pair: tuple[StudyResult, StudyResult]) -> None:
    found = compare_studies(pair)
    assert [(one.arm, one.study) for one in found.arms] == [
        ("plain", "first"), ("plain", "second"), ("flips", "first"), ("flips", "second"),
    ]  # fmt: skip
    for one in found.arms:
        result = next(result for result in pair if result.study == one.study)
        values = result.arm(one.arm).sample.values
        truth = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (one.low, one.high) == pytest.approx((truth.low, truth.high))
        compared = {each.a: each for each in result.ablation.comparisons}.get(one.arm)
        assert one.verdict == (compared.verdict if compared else None)
        assert one.difference == (compared.difference if compared else None)


def test_what_differs_between_the_studies_is_said(pair: tuple[StudyResult, StudyResult]) -> None:
    notes = "\n".join(compare_studies(pair).notes)
    assert "different smallest differences of interest: first: 0.002, second: 0.01." in notes
    assert "Only in first: dropout." in notes
    assert "Only in second: warm-up." in notes
    assert "second is not complete" in notes
    assert "first is not complete" not in notes
    assert "different data" not in notes
    assert "no verdict on arms of different studies" in notes


def test_every_form(pair: tuple[StudyResult, StudyResult]) -> None:
    found = cnnlab.compare_studies(pair)
    assert ComparedStudies.from_json(found.to_json()) == found
    texts = [str(one.text).strip() for one in ElementTree.fromstring(found.svg()).iter() if one.tag.endswith("text")]
    assert {"plain", "flips", "dropout", "warm-up"} <= set(texts)
    assert "Studies first, second" in found.document().to_markdown()
    assert "<img" in found._repr_html_()


def test_studies_without_a_common_axis_are_refused(make_study: Make) -> None:
    accuracy = make_study(runs=2)
    for other in (make_study(runs=2, metric="validation_loss"), make_study(sweep=(0.0, 0.1, 0.2, 0.3))):
        with pytest.raises(UsageError, match=r"(?s)no axis in common.*augmentation: validation_accuracy, arms"):
            compare_studies([accuracy, other])
    assert compare_studies([accuracy, make_study(runs=2, metric="train_accuracy")]).svg()
    for count in (0, 1, 6):
        with pytest.raises(UsageError, match=rf"(?s)holds a few studies.*received: {count}.*from 2 to 5 studies"):
            compare_studies([accuracy] * count)


def test_folders_of_studies_on_the_command_line(pair: tuple[StudyResult, StudyResult], tmp_path: Path) -> None:
    folders = []
    for result in pair:
        folder = tmp_path / "studies" / result.study
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(result.to_json())
        (folder / "study.toml").write_text("")
        folders.append(str(folder))

    def ask(*options: str, code: int = 0) -> str:
        answer = CliRunner().invoke(app, ["compare", *folders, *options])
        assert answer.exit_code == code, answer.stderr
        return answer.stdout if code == 0 else answer.stderr

    found = compare_studies(folders)
    assert found == compare_studies(pair)
    assert ask("--json", "--svg", str(tmp_path / "both.svg")).startswith("{")
    assert (tmp_path / "both.svg").read_text() == found.svg()
    assert ask("--format=markdown") == found.document().to_markdown()
    for words in ([str(tmp_path)], ["--delta", "0.1"]):
        assert "studies are compared with studies, by the rules" in ask(*words, code=2)
    with pytest.raises(RunError, match="there is no result of cnnlab study here"):
        compare_studies([tmp_path, folders[0]])
