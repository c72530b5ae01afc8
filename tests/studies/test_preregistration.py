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
COUNTED = (
    "the seeds were changed {{}}: from 2 an arm, 2 of the baseline to {}; adding seeds until there is a verdict "
    "raises the error rate above α"
)


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
    changed = f"δ was changed {AFTER}: from 0.5 to 0.1"
    assert result.notes == (changed,)
    assert f"! {changed}" in lab.said
    assert result.declared == make_preregistration(study(smallest_difference=0.5)).digest
    page = render_study(result, study_toml="", command="")
    assert changed in page
    assert result.declared in page
    back = lab.carry_out(study(smallest_difference=0.5))
    assert back.notes == (changed, f"δ was changed {AFTER}: from 0.1 to 0.5")


def test_an_arm_with_another_content_is_told(study: Studies, lab: Any, carried: Carried) -> None:
    carried(study())
    result = lab.carry_out(study({"plain": {}, "slow": {"train.optimizer": "sgd(0.002)"}}))
    assert result.notes == (f"the recipes of these arms were changed {AFTER}: slow",)


def test_the_same_arms_under_a_second_name_are_told(study: Studies, lab: Any, carried: Carried) -> None:
    carried(study())
    result = lab.carry_out(study(smallest_difference=0.3), name="another")
    told = "study 'colours' had begun to run all of these arms before this one was declared, with δ none, here 0.3"
    assert result.notes == (told,)
    assert lab.carry_out(study()).notes == ()


@pytest.mark.parametrize("left", ["", "{"], ids=["of an earlier version", "damaged"])
def test_what_can_not_be_read_is_taken_from_the_study_that_the_folder_keeps(
    study: Studies, tmp_path: Path, left: str
) -> None:
    """So another study is refused, and a change is told; in a folder beside it, too."""
    folder, edited = tmp_path / "drop", study(smallest_difference=0.1)
    folder.mkdir()
    (folder / "study.toml").write_text(study().to_toml(), encoding="utf-8")
    if left:
        (folder / "declared.json").write_text(left)
    other = study({"one": {}, "two": SLOW}, {"epochs": 3}, baseline="one")
    with pytest.raises(UsageError, match="another study is called drop"):
        check_study_name(folder, other)
    beside = "study 'drop' had begun to run all of these arms before this one was declared"
    assert told(tmp_path / "beside", study()) == (beside,)
    check_study_name(folder, edited)
    unread = "the preregistration can't be read: study.toml in the folder was used in its place"
    assert preregister(folder, study()).versions == (make_preregistration(study()),)
    assert preregister(folder, edited).deviations()[-2:] == (unread, f"δ was changed {AFTER}: from none to 0.1")


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
            "the metric was changed {}: from 'validation_loss' to 'validation_accuracy'; "
            "δ was changed {}: from none to 0.3",
        ),
        ({"alpha": 0.1}, "α was changed {}: from 0.05 to 0.1"),
        ({"baseline": "slow"}, "the baseline was changed {}: from 'plain' to 'slow'"),
        ({"confirm": 3}, "confirm was changed {}: from none to 3"),
        ({"shift_difference": 0.3}, "δ under shifts was changed {}: from none to 0.3"),
        (
            {"shifts": ["noise(0.1)", "invert"]},
            "the list of shifts was changed {}: from none to 'noise(0.1)', 'invert'",
        ),
        (
            {"claims": [{"arm": "slow", "published": {"test_accuracy": 0.5}}, {"arm": "slow", "published": "worse"}]},
            "the published claims were changed {}: claims, says",
        ),
        ({"vary_split": True}, "vary_split was changed {}: from False to True"),
        ({"arms": {"plain": {}, "late": SLOW}}, "an arm got another name {}: 'slow' is called 'late'"),
        ({"arms": {"plain": {}, "slow": SLOW, "wd": {"train.batch_size": 9}}}, "added {}: wd"),
        ({"arms": {"plain": {}, "wd": {"train.batch_size": 9}}}, "left out {}: slow; added {}: wd"),
        (
            {"base": {"epochs": 3}},
            "the recipes of these arms were changed {} (the base is another recipe): plain, slow",
        ),
        ({"base": {"seed": 7}}, "the base was changed {}, or the seed that splits its data"),
        ({"seeds": 3}, COUNTED.format("3 an arm, 3 of the baseline")),
        ({"baseline_seeds": [0, 3]}, COUNTED.format("2 an arm, 2 of the baseline (0, 3)")),
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
    """Names of arms are not enough: the base has to be the same, too, or one arm's recipe."""
    folder, first, second = tmp_path / "drop", tmp_path / "first.toml", tmp_path / "second.toml"
    folder.mkdir()
    for path in (first, second):
        path.write_text(study().to_toml(), encoding="utf-8")
    preregister(folder, study(), first if which.startswith(("first", "the")) else None)
    if which == "the first file is gone":
        first.unlink()
    file = second if which.startswith(("second", "the")) else None
    other, base = {"plain": {}, "slow": SLOW}, {"epochs": 3}
    with pytest.raises(UsageError, match="another study is called drop, and shares no arm with this one") as is_:
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
    assert Study.read_stored(tmp_path / "study.toml") == Study.read(tmp_path / "new.toml")
    with pytest.raises(SpecError, match="'doses' is called 'sweep' now"):
        Study.read(tmp_path / "study.toml")
