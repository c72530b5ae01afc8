"""Study files: arms, grids and sweeps over a base; mistakes told with their places; either way round."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config.claims import Claim, ClaimSource
from cnnlab.config.recipe import Recipe
from cnnlab.config.study import FIRST_FRESH_SEED, MAX_ARMS, MAX_SEEDS, Study
from cnnlab.errors import Problem, SpecError
from cnnlab.grammar.toml_files import bundled_recipe, bundled_study

BASE = Recipe.from_tables(
    {
        "data": {"source": "shapes"},
        "model": {"layers": ["flatten", "dropout(p)", "dense(classes)"], "values": {"p": 0.1}},
        "claims": {"test_accuracy": 0.5},
        "warnings": {"off": ["leak"]},
    }
)
ARMS = {"plain": {}, "slow": {"train.optimizer": "adam(lr=1e-4)"}}
SEEDS = "how many, from 1 to 1,000, or a list of seeds below 1,000,000, each once"
FILE = """
base = "lenet.toml"
[set]
train.epochs = 3
[arms]
plain = {}
flip = { data.augment = ["flip(0.5)"] }
own = { recipe = "convnet.toml" }
"""


def _study(**keys: Any) -> Study:
    return Study(**{"base": BASE, "arms": ARMS, **keys})


def _problems(**keys: Any) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        _study(**keys)
    return caught.value.problems


def _problem(**keys: Any) -> Problem:
    (problem,) = _problems(**keys)
    return problem


def _read(tmp_path: Path, text: str, *overrides: Any, **keys: Any) -> Study:
    path = tmp_path / "question.toml"
    path.write_text(text, encoding="utf-8")
    return Study.read(path, *overrides, **keys)


def _misread(tmp_path: Path, text: str, *overrides: Any) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        _read(tmp_path, text, *overrides)
    return caught.value.problems


# --- what a study is


def test_arms_are_the_base_with_their_changes() -> None:
    study = _study()
    plain, slow = study.list_arms()
    assert (plain.name, slow.name, study.baseline) == ("plain", "slow", "plain")
    assert slow.recipe.train.optimizer.lr == 1e-4
    assert (plain.changes, plain.sweep_value) == ({}, None)
    assert plain.recipe.model == slow.recipe.model == BASE.model
    # What is said of the base is not said of its arms.
    assert (slow.recipe.claims, slow.recipe.warnings.off) == ({}, ())
    assert study.base.claims["test_accuracy"].published == 0.5


@pytest.mark.parametrize(
    ("given", "seeds"), [(1, (0,)), (3, (0, 1, 2)), ([7, 3], (7, 3)), (range(2), (0, 1)), ((5,), (5,))]
)
def test_seeds_are_a_number_or_a_list(given: Any, seeds: tuple[int, ...]) -> None:
    assert _study(seeds=given).seeds == seeds
    assert _study(baseline_seeds=given).baseline_seeds == seeds


def test_a_grid_has_every_combination_named_by_what_it_changes() -> None:
    grid = {"train.optimizer": ["adam", "sgd(0.1)"], "model.values.p": [0.0, 0.5]}
    study = _study(arms={}, grid=grid, baseline="optimizer=adam, p=0.0")
    names = [arm.name for arm in study.list_arms()]
    assert names == [
        "optimizer=adam, p=0.0", "optimizer=adam, p=0.5", "optimizer=sgd(0.1), p=0.0", "optimizer=sgd(0.1), p=0.5"
    ]  # fmt: skip
    assert study.list_arms()[3].recipe.model.values == {"p": 0.5}
    assert study.list_arms()[3].recipe.train.optimizer.kind == "sgd"
    assert Study.from_tables(tomllib.loads(study.to_toml())) == study


def test_keys_of_a_grid_with_one_last_word_are_written_in_full() -> None:
    grid = {"data.test": [0.1, 0.2], "model.values.test": [0.1, 0.2]}
    base = {**BASE.to_tables(), "model": {"layers": ["flatten", "dropout(test)", "dense(classes)"],
                                          "values": {"test": 0.0}}}  # fmt: skip
    study = Study(base=base, grid=grid, baseline="data.test=0.1, model.values.test=0.1")
    assert study.list_arms()[1].name == "data.test=0.1, model.values.test=0.2"


def test_sweep_values_name_their_arms_and_need_no_baseline() -> None:
    study = _study(arms={}, sweep={"key": "model.values.p", "values": [0, 0.25, 0.5]})
    assert [(arm.name, arm.sweep_value, arm.recipe.model.values["p"]) for arm in study.list_arms()] == [
        ("0", 0, 0), ("0.25", 0.25, 0.25), ("0.5", 0.5, 0.5)
    ]  # fmt: skip
    assert study.baseline is None
    assert Study.from_tables(tomllib.loads(study.to_toml())) == study
    assert _study(arms={}, sweep=study.sweep, baseline="0.25", confirm=3).baseline == "0.25"


def test_a_baseline_is_the_one_arm_without_changes_or_the_one_that_is_named() -> None:
    assert _study().baseline == "plain"
    assert _study(baseline="slow").baseline == "slow"
    both = {"a": {"train.epochs": 1}, "b": {"train.epochs": 2}}
    for arms in (both, {"a": {}, "b": {}}):
        problem = _problem(arms=arms)
        assert (problem.what, problem.where, problem.allowed) == ("the baseline is not named", "baseline", "a, b")
        assert 'baseline = "a"' in problem.next_step
    assert _study(arms=both, baseline="b").baseline == "b"


def test_an_arm_may_start_from_a_recipe_of_its_own() -> None:
    own = Recipe.read(bundled_recipe("convnet"))
    study = _study(arms={"plain": {}, "own": {"recipe": own, "train.epochs": 2}})
    assert study.list_arms()[1].recipe.model == own.model
    assert study.list_arms()[1].recipe.train.epochs == 2
    again = Study.from_tables(tomllib.loads(study.to_toml()))
    assert again == study
    assert again.list_arms()[1].recipe == study.list_arms()[1].recipe


def test_the_document_fills_what_the_answers_leave_out() -> None:
    study = _study(
        document={"source": "a report", "data": "cifar10", "note": "one run"},
        claims=[
            {"arm": "slow", "metric": "test_accuracy", "published": 0.5},
            {"arm": "slow", "metric": "train_loss", "published": 1.5, "source": "another", "images": 10},
            {"arm": "slow", "published": "worse", "note": "in a footnote"},
        ],
    )
    about = {"arm": "slow", "data": "cifar10"}
    assert study.claims == (
        Claim(metric="test_accuracy", published=0.5, source="a report", note="one run", **about),
        Claim(metric="train_loss", published=1.5, source="another", images=10, note="one run", **about),
        Claim(published="worse", source="a report", note="in a footnote", **about),
    )


def test_a_table_of_numbers_is_a_claim_for_each() -> None:
    numbers = {"test_accuracy": 0.5, "train_loss": {"published": 1.5, "images": 10}}
    assert _study(claims=[{"arm": "slow", "published": numbers, "note": "one run"}]).claims == (
        Claim(arm="slow", metric="test_accuracy", published=0.5, note="one run"),
        Claim(arm="slow", metric="train_loss", published=1.5, images=10, note="one run"),
    )


def test_a_stored_study_of_an_earlier_version_has_its_claims(tmp_path: Path) -> None:
    tables = tomllib.loads(_study(shifts=["invert"]).to_toml())
    old = {
        "claims": {"slow": {"test_accuracy": 0.5, "train_loss": {"published": 1.5, "images": 10}}},
        "says": [{"arm": "slow", "published": "worse"}],
        "under": [{"shift": "invert", "published": 0.3, "arm": "slow"}],
    }
    (tmp_path / "study.toml").write_text(tomli_w.dumps(tables | old), encoding="utf-8")
    (tmp_path / "result.json").touch()
    assert Study.read(tmp_path / "study.toml").claims == (
        Claim(arm="slow", metric="test_accuracy", published=0.5),
        Claim(arm="slow", metric="train_loss", published=1.5, images=10),
        Claim(arm="slow", published="worse"),
        Claim(arm="slow", shift="invert", published=0.3),
    )
    (tmp_path / "result.json").unlink()
    for key, what in (
        ("says", "'says' is called '[[claims]]' now"),
        ("under", "'under' is called '[[claims]]' now"),
        ("claims", "'claims' can't be"),
    ):
        (tmp_path / "study.toml").write_text(tomli_w.dumps(tables | {key: old[key]}), encoding="utf-8")
        with pytest.raises(SpecError, match=re.escape(what)):
            Study.read(tmp_path / "study.toml")


# --- files


def test_a_file_is_read_with_what_all_arms_share(tmp_path: Path) -> None:
    study = _read(tmp_path, FILE)
    lenet = Recipe.read(bundled_recipe("lenet"))
    plain, flip, own = (arm.recipe for arm in study.list_arms())
    assert plain.model == flip.model == lenet.model
    assert own.model == Recipe.read(bundled_recipe("convnet")).model
    assert [recipe.train.epochs for recipe in (plain, flip, own)] == [3, 3, 3]
    assert len(flip.data.augment) == 1


def test_overrides_reach_every_arm_and_are_stronger_than_the_file(tmp_path: Path) -> None:
    study = _read(tmp_path, FILE, {"train.epochs": 1, "data.limit": 100}, seeds=2)
    assert [(arm.recipe.train.epochs, arm.recipe.data.limit) for arm in study.list_arms()] == [(1, 100)] * 3
    assert study.seeds == (0, 1)
    own = _read(tmp_path, FILE + "long = { train.epochs = 9 }\n", {"train.epochs": 1})
    assert [arm.recipe.train.epochs for arm in own.list_arms()] == [1, 1, 1, 9]  # an arm's own changes are stronger
    kept = _read(tmp_path, study.to_toml(), {"train.epochs": 2})
    assert [arm.recipe.train.epochs for arm in kept.list_arms()] == [2, 2, 2]


def test_keys_with_and_without_quotes_are_the_same(tmp_path: Path) -> None:
    bare = _read(tmp_path, FILE)
    quoted = _read(tmp_path, FILE.replace("train.epochs", '"train.epochs"').replace("data.augment", '"data.augment"'))
    assert quoted == bare
    grid = 'base = "lenet.toml"\nbaseline = "epochs=1"\n[grid]\n{} = [1, 2]\n'
    assert _read(tmp_path, grid.format("train.epochs")) == _read(tmp_path, grid.format('"train.epochs"'))


def test_a_recipe_is_seen_from_the_file_first_and_then_among_cnnlabs_own(tmp_path: Path) -> None:
    assert _read(tmp_path, FILE).base.data.source == "cifar10"
    (tmp_path / "lenet.toml").write_text(BASE.to_toml(), encoding="utf-8")
    for name in ("lenet.toml", "lenet"):
        assert _read(tmp_path, FILE.replace("lenet.toml", name)).base.data.source == "shapes"
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "mine.toml").write_text(BASE.to_toml(), encoding="utf-8")
    assert _read(tmp_path, FILE.replace("lenet.toml", "deeper/mine.toml")).base.data.source == "shapes"


@pytest.mark.parametrize(
    ("base", "what", "step"),
    [
        ("", "'base' is missing", 'base = "lenet.toml"'),
        ("base = 3", "'base' is not a file's name", 'base = "lenet.toml"'),
        ('base = ""', "'base' is not a file's name", 'base = "lenet.toml"'),
        ('base = "elsewhere/lenett.toml"', "'base' names a file that does not exist", "did you mean 'lenet.toml'?"),
        ('base = "zzz"', "'base' names a file that does not exist", "give its path relative to this file"),
        ('base = "nul\\u0000.toml"', "'base' names a file that does not exist", ""),
    ],
    ids=["missing", "number", "empty", "alike", "unlike", "NUL"],
)
def test_a_base_that_is_none_is_told(tmp_path: Path, base: str, what: str, step: str) -> None:
    (problem,) = _misread(tmp_path, FILE.replace('base = "lenet.toml"', base))
    assert (problem.what, problem.where) == (what, f"{tmp_path / 'question.toml'}: base")
    assert step in problem.next_step
    assert ("lenet.toml" in problem.allowed) == ("does not exist" in what)


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("train.epochs = 3", "train.epochs = 0", "base.train.epochs", "'epochs' can't be 0"),
        ("[set]\ntrain.epochs = 3", "set = 3", "set", "this is not a table"),
        ('"convnet.toml"', '"convnett.toml"', "arms.own.recipe", "'arms.own.recipe' names a file that does not exist"),
        ("flip(0.5)", "flop(0.5)", "arms.flip.data.augment[0]", "unknown augmentation 'flop'"),
        ("[arms]", "[arms]\nflat = { x = 3 }", "arms.flat.x", "a key to set is dotted"),
        ("[arms]", "[arms]\nflat = { data.source.x = 3 }", "arms.flat.data.source.x",
         "in 'data.source.x', 'source' is not a table"),
        ("[arms]", "[arms]\nflat = { train.epoch = 3 }", "arms.flat.train.epoch", "unknown key 'epoch'"),
        ("[set]", "sedes = 3\n[set]", "sedes", "unknown key 'sedes'"),
        ("[set]", "[doses]\nkey = 'train.epochs'\n[set]", "doses", "'doses' is called 'sweep' now"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_told_with_its_place(tmp_path: Path, old: str, new: str, where: str, what: str) -> None:
    assert old in FILE
    (problem,) = _misread(tmp_path, FILE.replace(old, new))
    assert (problem.where, problem.what) == (f"{tmp_path / 'question.toml'}: {where}", what)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="this file can't be read: No such file"):
        Study.read(tmp_path / "none.toml")
    (problem,) = _misread(tmp_path, "base = lenet")
    assert problem.what.startswith("this is not TOML")
    assert problem.where == str(tmp_path / "question.toml")


def test_several_mistakes_are_told_together() -> None:
    problems = _problems(metric="accuracy", alpha=2.0, seeds=0)
    assert {problem.where for problem in problems} == {"seeds", "metric", "alpha"}


# --- what makes no study


NONE = {"arms": {}}
SWEEP = {"arms": {}, "sweep": {"key": "model.values.p", "values": [0.1, 0.2]}}
NOT_NAMED = "the baseline is not named"


def _sweep(*values: float) -> dict[str, Any]:
    return {"arms": {}, "sweep": {"key": "model.values.p", "values": list(values)}}


def _other(key: str, value: Any) -> dict[str, Any]:
    return {"arms": {"plain": {}, "other": {key: value}}}


def _claim(**keys: Any) -> dict[str, Any]:
    return {"claims": [{"arm": "slow", **keys}]}


@pytest.mark.parametrize(
    ("keys", "where", "words"),
    [
        ({"seeds": 0}, "seeds", ["'seeds' can't be 0", SEEDS]),
        ({"seeds": True}, "seeds", ["'seeds' can't be true", SEEDS]),
        ({"seeds": "five"}, "seeds", ["'five'", SEEDS]),
        ({"seeds": [1, 1]}, "seeds", ["[1, 1]", SEEDS]),
        ({"seeds": [FIRST_FRESH_SEED]}, "seeds", ["[1000000]", SEEDS]),
        ({"baseline_seeds": MAX_SEEDS + 1}, "baseline_seeds", ["1001", SEEDS]),
        ({"smallest_difference": 0.0}, "smallest_difference", ["can't be 0.0", "a number above 0, below 1"]),
        ({"alpha": float("nan")}, "alpha", ["can't be nan", "a finite number"]),
        ({"confirm": 1}, "confirm", ["can't be 1", "a whole number from 2 to 1,000"]),
        ({"metric": "test_accuracy"}, "metric", ["validation_accuracy", "the test set is sealed: `confirm` opens it"]),
        # --- arms
        (NONE, "", ["a study compares arms, and none are given", "[arms], [grid] or [sweep]", "write [arms]"]),
        ({**SWEEP, "arms": ARMS}, "", ["a study has one kind of arms", "arms, sweep"]),
        ({"arms": {"plain": {}}}, "arms", ["not arms to compare", "received: 1\n", f"from 2 to {MAX_ARMS} arms"]),
        ({**NONE, "grid": {"train.epochs": []}}, "grid", ["not arms to compare", "received: 0\n"]),
        ({**NONE, "grid": {"train.epochs": 3}}, "grid.train.epochs", ["can't be 3", "a [list]"]),
        (_sweep(*range(201)), "sweep", ["not arms to compare", "received: 201\n"]),
        # as many arms as would never be made
        ({**NONE, "grid": {f"model.values.p{key}": list(range(100)) for key in range(10)}}, "grid", [f"{100**10:,}"]),
        (_sweep(), "sweep.values", ["two numbers or more, each above the one before it"]),
        (_sweep(0.1, 0.1), "sweep.values", ["two numbers or more, each above the one before it"]),
        (_sweep(0.1, 0.1000000001), "sweep", ["two arms are the same", "received: 0.1\n", "each value once"]),
        ({**NONE, "grid": {"train.epochs": [1, 1]}, "baseline": "epochs=1"}, "grid", ["two arms are the same"]),
        ({"arms": {"plain": {}, "": {}}}, "arms", ["this can't be an arm's name", "''"]),
        ({"arms": {"plain": {}, "\x1b[31m": {}}}, "arms", ["this can't be an arm's name", "a text on one line"]),
        ({"arms": {"plain": {}, "own": {"recipe": "lenet.toml"}}}, "arms.own.recipe", ["this is not a recipe"]),
        # --- what a study sets itself
        (_other("train.seed", 3), "arms.other.train.seed", ["a study sets this itself", "seeds = …"]),
        (_other("train.test", "end"), "arms.other.train.test", ["a study sets this itself", "`confirm` opens it"]),
        (_other("claims.test_accuracy", 0.5), "arms.other.claims.test_accuracy", ["don't stand in it", "[[claims]]"]),
        ({**NONE, "grid": {"train.seed": [3, 3]}, "baseline": "x"}, "grid.train.seed", ["a study sets this itself"]),
        # --- the baseline and the published answers
        ({"baseline": "plane"}, "baseline", ["the study has no such arm", "plain, slow", "did you mean 'plain'?"]),
        ({**SWEEP, "confirm": 5}, "baseline", [NOT_NAMED, "0.1, 0.2"]),
        ({**SWEEP, "baseline_seeds": 9}, "baseline", [NOT_NAMED]),
        (_claim(published="good"), "claims[0].published", ["'better', 'worse', 'equal', 'best' or 'worst'"]),
        (_claim(), "claims[0].published", ["'published' is missing"]),
        ({"claims": ["slow is worse"]}, "claims[0]", ["this is no claim", "a table with `published`"]),
        (_claim(published=0.5), "claims[slow: 0.5].metric", ["does not name what the number is"]),
        (_claim(published="better", than="slow"), "claims[slow: better].than", ["an arm is not compared with itself"]),
        (_claim(published="best", than="plain"), "claims[slow: best].than",
         ["with all the other arms", "leave `than` out"]),
        ({**SWEEP, "claims": [{"arm": "0.1", "published": "equal"}]}, "claims[0.1: equal].than",
         ["does not name the arm that it compares with"]),
        ({**SWEEP, "claims": [{"published": "best"}]}, "claims[?: best].arm", ["the claim names no arm"]),
        (_claim(published={"test_acuracy": 0.5}), "claims[slow: test_acuracy].metric",
         ["did you mean 'test_accuracy'?"]),
        (_claim(published={"test_accuracy": 71.5}), "claims[slow: test_accuracy].metric", ["0.715 for percents"]),
    ],
)  # fmt: skip
def test_what_makes_no_study_is_refused(keys: dict[str, Any], where: str, words: list[str]) -> None:
    problem = _problem(**keys)
    assert problem.where == where
    assert all(word in f"{problem}\n" for word in words), problem


def test_answers_speak_of_arms_that_are_there() -> None:
    problems = _problems(
        claims=[
            {"arm": "slwo", "metric": "test_accuracy", "published": 0.5},
            {"arm": "fast", "published": "best"},
            {"arm": "slow", "published": "better", "than": "plian"},
        ],
    )
    assert {problem.what for problem in problems} == {"the study has no such arm"}
    assert [(problem.where, problem.received, problem.next_step) for problem in problems] == [
        ("claims[slwo: test_accuracy].arm", "slwo", "did you mean 'slow'?"),
        ("claims[fast: best].arm", "fast", ""),
        ("claims[slow: better].than", "plian", "did you mean 'plain'?"),
    ]


def test_an_arm_may_be_called_none() -> None:
    """`none` undoes a key elsewhere; here it is a name like any other."""
    arms = {"none": {"train.epochs": 1}, "plain": {}, "other": {"train.epochs": 2}}
    study = _study(arms=arms, baseline="none", claims=[{"arm": "other", "published": "better", "than": "none"}])
    assert (study.baseline, study.claims[0].than) == ("none", "none")
    assert _study(confirm="none").confirm is None


# --- either way round


@given(
    seeds=st.lists(st.integers(0, FIRST_FRESH_SEED - 1), min_size=1, max_size=8, unique=True),
    delta=st.floats(1e-6, 0.99),
    epochs=st.lists(st.integers(1, 100), min_size=2, max_size=6, unique=True),
    confirm=st.none() | st.integers(2, 50),
    vary=st.booleans(),
    published=st.floats(0, 1),
)
def test_a_study_is_read_as_it_was_written(
    seeds: list[int], delta: float, epochs: list[int], confirm: int | None, vary: bool, published: float
) -> None:
    study = _study(
        arms={f"for {number} epochs": {"train.epochs": number} for number in epochs},
        baseline=f"for {epochs[0]} epochs",
        seeds=seeds,
        smallest_difference=delta,
        confirm=confirm,
        vary_split=vary,
        budget="time(30)",
        claims=[
            {"arm": f"for {epochs[1]} epochs", "metric": "test_accuracy", "published": published, "images": 10},
            {"arm": f"for {epochs[1]} epochs", "published": "better"},
        ],
        document=ClaimSource(source='a "report"\nof two lines', note="\\"),
    )
    again = Study.from_tables(tomllib.loads(study.to_toml()))
    assert again == study
    assert again.to_toml() == study.to_toml()
    assert [arm.recipe for arm in again.list_arms()] == [arm.recipe for arm in study.list_arms()]


def test_studies_that_come_with_cnnlab_are_found() -> None:
    assert bundled_study("flip").is_file()
    assert bundled_study("flip").parent.name == "studies"
    assert not bundled_study("none").is_file()
