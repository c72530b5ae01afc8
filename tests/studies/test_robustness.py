"""A study that tests its networks under shifts: one look, answers that are kept, and what is published of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cnnlab.api.report import write_study_report
from cnnlab.api.verify import verify
from cnnlab.config.study import Study
from cnnlab.errors import SpecError
from cnnlab.stats.defaults import SMALLEST_DIFFERENCE
from cnnlab.storage.test_ledger import LEDGER
from cnnlab.studies.folder import SHIFTED, read_result, read_shifted_example, study_folder
from cnnlab.studies.result import StudyResult

Studies = Callable[..., Study]
FIELDS: dict[str, Any] = {
    "shifts": ["invert", "translation(1)"],
    "claims": [
        {"shift": "invert", "published": "worse"},
        {"shift": "translation(1)", "published": 0.9, "arm": "slow", "source": "a book"},
    ],
}


@pytest.fixture
def five(carried: Callable[[Study], StudyResult], study: Studies) -> Study:
    """A study under shifts whose runs have been made already: enough seeds for a verdict."""
    carried(study(seeds=5, base={"epochs": 1}))
    return study(seeds=5, base={"epochs": 1}, **FIELDS)


def looks(runs: Path) -> list[dict[str, str]]:
    path = runs / LEDGER
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_all_networks_are_tested_at_one_look_and_once(five: Study, lab: Any) -> None:
    result = lab.carry_out(five)
    found = result.shifted
    # The baseline is the second, so that differences are arm − baseline.
    slow, plain = found.groups
    assert (slow.name, plain.name) == ("slow", "plain")
    differences = [slow.accuracy - plain.accuracy]
    differences += [one.accuracy - other.accuracy for one, other in zip(slow.rows, plain.rows, strict=True)]
    assert [each.difference for each in found.between] == pytest.approx(differences)
    assert [group.n for group in found.groups] == [5, 5]
    (look,) = looks(lab.runs)
    assert look["run"].startswith("study ")
    assert look["purpose"] == "shifts of 10 runs"
    # Again: nothing is looked at, and the answers are the same.
    assert lab.carry_out(five).shifted == found
    assert looks(lab.runs) == [look]
    # An answer that is lost or damaged is made again, with a look of its own.
    kept = sorted((study_folder(lab.runs, "colours") / SHIFTED).glob("*.npz"))
    assert len(kept) == 10
    kept[0].write_bytes(kept[0].read_bytes()[:40])
    assert lab.carry_out(five).shifted == found
    assert [each["purpose"] for each in looks(lab.runs)] == ["shifts of 10 runs", "shifts of 1 runs"]


def test_what_is_published_is_judged_and_shown(five: Study, lab: Any) -> None:
    result = lab.carry_out(five)
    word, figure = result.claims
    slow, plain = result.shifted.groups
    row = plain.rows[0]
    expected = {"worse": "holds", "practically equal": "contradicted", "better": "contradicted"}
    assert word.verdict == expected.get(row.effect.verdict, "not enough evidence")
    assert (word.of, word.shift, figure.of) == ("plain", "invert", "slow")
    values = next(row for row in slow.rows if row.call == "translation(1)").values
    low, high = stats.t.interval(0.95, 4, np.mean(values), np.std(values, ddof=1) * np.sqrt(1 + 1 / 5))
    narrow = (high - low) / 2 <= result.shifted.delta
    inside = "reproduced" if narrow else "not enough evidence"
    assert figure.verdict == (inside if low <= 0.9 <= high else "differs")
    assert figure.source == "a book"
    folder = study_folder(lab.runs, "colours")
    page = write_study_report(folder).read_text(encoding="utf-8")
    assert "Accuracy under shifts" in page
    assert "a book" in page
    assert read_result(folder).claims == result.claims
    assert verify(folder).claims == result.claims


def test_what_can_not_be_tested_is_said_and_leaves_answers_open(
    study: Studies, lab: Any, carried: Callable[[Study], StudyResult]
) -> None:
    carried(study())
    asked = study(**FIELDS)
    folder = study_folder(lab.runs, "colours")
    (folder / SHIFTED).write_text("in the way")
    result = lab.carry_out(asked)
    assert result.shifted is None
    assert result.is_untested
    assert [each.verdict for each in result.claims] == ["not enough evidence", "not measured"]
    assert any("its networks have not been tested under its shifts" in note for note in result.notes)
    assert any(said.startswith("nothing is tested under shifts") for said in lab.said)
    (folder / SHIFTED).unlink()
    again = lab.carry_out(asked)
    assert again.shifted is not None
    assert not again.is_untested
    assert not any("not been tested" in note for note in again.notes)


def test_a_loss_has_no_say_in_what_matters_of_accuracies(
    study: Studies, lab: Any, carried: Callable[[Study], StudyResult]
) -> None:
    carried(study())
    result = lab.carry_out(study(smallest_difference=0.3, **FIELDS))
    assert result.shifted.delta == SMALLEST_DIFFERENCE
    # Two seeds give no verdict.
    assert {each.verdict for each in result.claims} == {"not enough evidence"}
    own = study(smallest_difference=0.3, shift_difference=0.05, **FIELDS)
    assert lab.carry_out(own).shifted.delta == 0.05


def test_a_page_shows_the_image_of_its_own_shifts(
    study: Studies, lab: Any, carried: Callable[[Study], StudyResult]
) -> None:
    carried(study())
    lab.carry_out(study(shifts=["rotation(90)"]))
    result = lab.carry_out(study(shifts=["invert"]))
    assert len(list((study_folder(lab.runs, "colours") / SHIFTED).glob("*.npz"))) == 8
    example = read_shifted_example(study_folder(lab.runs, "colours"), result)
    assert (example[1] == 255 - example[0]).all()


def test_a_file_keeps_it(study: Studies, tmp_path: Path) -> None:
    asked = study(**FIELDS, document={"source": "a paper", "data": "cifar10"})
    assert [each.source for each in asked.claims] == ["a paper", "a book"]
    (tmp_path / "again.toml").write_text(asked.to_toml(), encoding="utf-8")
    assert Study.read(tmp_path / "again.toml") == asked


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"shifts": ["rotate"]}, "unknown shift 'rotate'"),
        ({"shifts": [], "claims": [{"shift": "invert", "published": "worse"}]}, "does not test under this shift"),
        ({"claims": [{"shift": "invert", "published": "best"}]}, "a network is compared with itself"),
        ({"claims": [{"shift": "invert", "published": "worse", "arm": "plian"}]}, "did you mean 'plain'?"),
        ({"claims": [{"shift": "jpeg(0)", "published": "worse"}]}, "quality"),
        ({"shifts": ["jpeg"], "claims": [{"shift": "jpeg", "published": "worse"}]}, "this stands for 5 strengths"),
    ],
)
def test_what_can_not_be_judged_is_refused(study: Studies, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as caught:
        study(**{**FIELDS, **fields})
    assert told in str(caught.value)
