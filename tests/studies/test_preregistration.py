"""What a study declares before its first run is kept, and whatever is changed later is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnlab.config.study import Study
from cnnlab.errors import SpecError, UsageError
from cnnlab.records import PrecisionConfig
from cnnlab.reports.study.page import render_study
from cnnlab.studies.folder import read_study_precision
from cnnlab.studies.preregistration import check_study_name, make_preregistration, preregister
from cnnlab.studies.result import StudyPrecision, StudyResult

Studies = Callable[..., Study]
Carried = Callable[[Study], StudyResult]
SLOW = {"train.optimizer": "sgd(0.001)"}
AFTER = "after the first run had begun"
COUNTED = "seeds changed {}: from 0, 1 to 0, 1, 2; adding seeds until there is a verdict raises the error rate above α"


def told(folder: Path, *studies: Study) -> tuple[str, ...]:
    """What is told of the last of studies that were declared in one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return [preregister(folder, study).deviations() for study in studies][-1]


def test_a_study_is_held_to_what_it_declared_before_its_first_run(study: Studies, lab: Any) -> None:
    """It is cut in its first run and has no result yet: what is changed then is told, also when it is changed back."""

    def cut(*_: object) -> None:
        raise lab.Cut

    with pytest.raises(lab.Cut):
        lab.carry_out(study(smallest_difference=0.5), heard=cut)
    result = lab.carry_out(study(smallest_difference=0.1))
    changed = f"δ changed {AFTER}: from 0.5 to 0.1"
    assert result.notes == (changed,)
    assert f"! {changed}" in lab.said
    assert result.declared == make_preregistration(study(smallest_difference=0.5)).digest
    page = render_study(result, study_toml="", command="")
    assert changed in page
    assert result.declared in page
    back = lab.carry_out(study(smallest_difference=0.5))
    assert back.notes == (changed, f"δ changed {AFTER}: from 0.1 to 0.5")


def test_an_arm_with_another_content_is_told(study: Studies, lab: Any, carried: Carried) -> None:
    carried(study())
    result = lab.carry_out(study({"plain": {}, "slow": {"train.optimizer": "sgd(0.002)"}}))
    assert result.notes == (f"arms changed {AFTER}: slow",)


def test_the_same_arms_under_a_second_name_are_told(study: Studies, lab: Any, carried: Carried) -> None:
    carried(study())
    result = lab.carry_out(study(smallest_difference=0.3), name="another")
    told = "study 'colours' had begun to run 2 of 2 arms before this one was declared"
    assert result.notes == (told,)
    assert lab.carry_out(study()).notes == ()


def test_what_can_be_read_nowhere_is_declared_anew(study: Studies, tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "declared.json").write_text("{")
    anew = "the preregistration can't be read: a new one was made"
    assert told(tmp_path / "it", study()) == (anew,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"metric": "validation_accuracy", "smallest_difference": 0.3},
            "metric changed {}: from validation_loss to validation_accuracy; δ changed {}: from none to 0.3",
        ),
        ({"alpha": 0.1}, "α changed {}: from 0.05 to 0.1"),
        ({"baseline": "slow"}, "baseline changed {}: from plain to slow"),
        ({"confirm": 3}, "confirm changed {}: from none to 3"),
        ({"shift_difference": 0.3}, "δ under shifts changed {}: from none to 0.3"),
        ({"shifts": ["noise(0.1)", "invert"]}, "shifts changed {}: from none to noise(0.1), invert"),
        (
            {"claims": [{"arm": "slow", "published": {"test_accuracy": 0.5}}, {"arm": "slow", "published": "worse"}]},
            "published changed {}: claims, says",
        ),
        ({"vary_split": True}, "vary split changed {}: from False to True"),
        ({"arms": {"plain": {}, "late": SLOW}}, "arms changed {}: slow, late"),
        ({"arms": {"plain": {}, "slow": SLOW, "wd": {"train.batch_size": 9}}}, "arms changed {}: wd"),
        (
            {"base": {"epochs": 3}},
            "the base, or the seed that splits its data, changed {}; arms changed {}: plain, slow",
        ),
        ({"base": {"seed": 7}}, "the base, or the seed that splits its data, changed {}"),
        ({"seeds": 3, "baseline_seeds": 2}, COUNTED),
        ({"baseline_seeds": [0, 3]}, "baseline seeds changed {}: from 0, 1 to 0, 3"),
        ({"question": "Does it help?", "base": {"opened": "end"}}, ""),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_whatever_is_declared_otherwise_is_named(
    study: Studies, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    found = "; ".join(told(tmp_path / "it", study(), study(**changes)))
    assert found == said.replace("{}", AFTER)


def test_another_study_of_the_name_is_told_from_the_same_one(study: Studies, tmp_path: Path) -> None:
    """By what it declares, and by its file: an edited file is the same study, also after it was moved."""
    folder, first, second = tmp_path / "drop", tmp_path / "a" / "drop.toml", tmp_path / "b" / "drop.toml"
    for path in (folder, first.parent, second.parent):
        path.mkdir()
    edited = study(smallest_difference=0.1)
    first.write_text(study().to_toml(), encoding="utf-8")
    second.write_text(edited.to_toml(), encoding="utf-8")
    preregister(folder, study(), first)
    check_study_name(folder, study(), second)
    check_study_name(folder, edited, first)
    check_study_name(folder, edited, folder / "study.toml")
    with pytest.raises(UsageError, match=r"another study is called drop: it was read from .*a/drop\.toml") as refused:
        check_study_name(folder, edited, second)
    assert "give this one another name with --name" in str(refused.value)
    first.unlink()
    check_study_name(folder, edited, second)
    preregister(folder, edited, second)
    first.write_text(study().to_toml(), encoding="utf-8")
    with pytest.raises(UsageError, match=r"another study is called drop: it was read from .*b/drop\.toml"):
        check_study_name(folder, study(alpha=0.1), first)


@pytest.mark.parametrize("which", ["both in Python", "first in a file", "second in a file", "the first file is gone"])
def test_where_no_file_tells_two_studies_apart_their_content_does(study: Studies, tmp_path: Path, which: str) -> None:
    """Names of arms are not enough: one arm's recipe has to be the same."""
    folder, first, second = tmp_path / "drop", tmp_path / "first.toml", tmp_path / "second.toml"
    folder.mkdir()
    for path in (first, second):
        path.write_text(study().to_toml(), encoding="utf-8")
    preregister(folder, study(), first if which.startswith(("first", "the")) else None)
    if which == "the first file is gone":
        first.unlink()
    file = second if which.startswith(("second", "the")) else None
    other, base = {"plain": {}, "slow": SLOW}, {"epochs": 3}
    with pytest.raises(UsageError, match="another study is called drop: it shares no arm with this one") as is_:
        check_study_name(folder, study(other, base), file)
    assert ("--name" if file else 'name="…"') in str(is_.value)
    check_study_name(folder, study({"plain": {}, "late": {"train.batch_size": 9}}), file)
    check_study_name(folder, study({"plain": {}, "short": {"train.epochs": 2}}, base), file)


def test_a_study_folder_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    config = PrecisionConfig(precision="fp32", memory_format="contiguous")
    precision = StudyPrecision(precision_config=config, device="cpu", speeds={})
    (tmp_path / "way.json").write_text(precision.to_json().replace('"precision_config"', '"way"'), encoding="utf-8")
    assert read_study_precision(tmp_path) == precision
    text = 'base = "lenet.toml"\n[sweep]\nkey = "train.batch_size"\nvalues = [16, 32]\n'
    (tmp_path / "new.toml").write_text(text, encoding="utf-8")
    (tmp_path / "study.toml").write_text(text.replace("[sweep]", "[doses]"), encoding="utf-8")
    new = Study.read(tmp_path / "new.toml")
    (tmp_path / "result.json").touch()
    assert Study.read(tmp_path / "study.toml") == new
    (tmp_path / "result.json").unlink()
    with pytest.raises(SpecError, match="'doses' is called 'sweep' now"):
        Study.read(tmp_path / "study.toml")
