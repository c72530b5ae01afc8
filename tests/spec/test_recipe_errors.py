"""Bad recipes: each is refused before anything is started, with file, key, what was received and what is allowed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab.errors import Problem, SpecError
from cnnlab.spec.files import read_tables
from cnnlab.spec.layers import layers
from cnnlab.spec.model import Model
from cnnlab.spec.recipe import Data, Recipe, Train

GOOD = {"data": {"source": "shapes"}, "model": {"layers": ["flatten", "dense(classes)"]}, "train": {}, "claims": {}}
FIGURES = (
    "'parameters', or part_metric: train, validation, test and one of loss, accuracy, top5, balanced_accuracy, macro_f1"
)


def _problems(tables: dict[str, Any]) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        Recipe.from_tables(tables)
    return caught.value.problems


def _with(key: str, value: Any) -> dict[str, Any]:
    """The good recipe with one value changed."""
    section, name = key.split(".")
    return {**GOOD, section: {**GOOD[section], name: value}}


def _read(path: Path) -> Problem:
    with pytest.raises(SpecError) as caught:
        Recipe.read(path)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("key", "value", "shown", "allowed"),
    [
        ("train.epochs", 0, "0", "greater than or equal to 1"),
        ("train.epochs", -3, "-3", "greater than or equal to 1"),
        ("train.epochs", 10**9, "1000000000", "less than or equal to 1000000"),
        ("train.epochs", 1.0, "1.0", "a whole number"),
        ("train.epochs", "3", "'3'", "a whole number"),
        ("train.epochs", True, "true", "a whole number"),
        ("train.epochs", float("nan"), "nan", "a whole number"),
        ("train.batch_size", 0, "0", "greater than or equal to 1"),
        ("train.seed", -1, "-1", "greater than or equal to 0"),
        ("train.validations_per_epoch", 1001, "1001", "less than or equal to 1000"),
        ("train.accumulate", 0, "0", "greater than or equal to 1"),
        ("train.clip", 0, "0", "greater than 0"),
        ("train.clip", "norm", "'norm'", "a number"),
        ("train.decay", "norms", "'norms'", "'all' or 'weights'"),
        ("train.rates", 2, "2", "a table"),
        ("train.weights", "bst", "'bst'", "'best', 'last' or 'averaged'"),
        ("train.test", "never", "'never'", "'end', 'sealed' or 'curve'"),
        ("train.precision", "fp16", "'fp16'", "'auto', 'fp32' or 'bf16'"),
        ("train.choose", "f1", "'f1'", "'loss', 'accuracy', 'top5', 'balanced_accuracy' or 'macro_f1'"),
        ("data.source", 3, "3", "a text"),
        ("data.validation", 1.0, "1.0", "less than 1"),
        ("data.validation", -0.1, "-0.1", "greater than or equal to 0"),
        ("data.validation", float("nan"), "nan", "a finite number"),
        ("data.test", float("inf"), "inf", "a finite number"),
        ("data.size", 0, "0", "a whole number from 1 or [height, width]"),
        ("data.size", [32], "[32]", "a whole number from 1 or [height, width]"),
        ("data.size", [32, True], "[32, true]", "a whole number from 1 or [height, width]"),
        ("data.channels", 2, "2", "1 or 3"),
        ("data.classes", ["cat"], "['cat']", "two class names or more, each once"),
        ("data.classes", ["cat", "cat"], "['cat', 'cat']", "two class names or more, each once"),
        ("data.classes", "cat", "'cat'", "a [list]"),
        ("data.limit", True, "true", "a whole number"),
        ("data.interpolation", "cubic", "'cubic'", "'nearest', 'bilinear' or 'bicubic'"),
        ("data.augment", "flip", "'flip'", "a [list]"),
        ("model.init", "he", "'he'", "'default', 'xavier', 'kaiming', 'orthogonal' or 'dirac'"),
        ("model.layers", "flatten", "'flatten'", "a [list]"),
        ("model.values", [1], "[1]", "a table"),
    ],
)
def test_a_wrong_value_is_shown_with_its_key_and_what_is_allowed(
    key: str, value: Any, shown: str, allowed: str
) -> None:
    (problem,) = _problems(_with(key, value))
    assert (problem.where, problem.what, problem.allowed) == (key, f"'{key.split('.')[1]}' can't be {shown}", allowed)


@pytest.mark.parametrize(
    "value",
    ["mean", [], [[0.5]], [[0.5], [0.0]], [[0.5], [-1]], [[float("nan")], [1]], [[0.5], [float("inf")]], ["1", "2"],
     [["0.5"], ["0.5"]], [[True], [True]], [[0.5, 0.5], [1, 1]], [[0.5, 0.5, 0.5], [1]], 3, [3, 4]],
)  # fmt: skip
def test_a_normalisation_that_is_none_is_refused(value: Any) -> None:
    (problem,) = _problems(_with("data.normalize", value))
    assert problem.where == "data.normalize"
    assert problem.allowed == (
        "'data', 'weights', or [[mean, …], [std, …]]: one number a channel, of pixels from 0 to 1, each std above 0"
    )


@pytest.mark.parametrize("section", ["data", "model", "train", "claims"])
def test_a_section_that_is_no_table_is_refused(section: str) -> None:
    (problem,) = _problems({**GOOD, section: 3})
    assert (problem.where, problem.what, problem.allowed) == (section, f"'{section}' can't be 3", "a table")


def test_missing_keys_are_named() -> None:
    assert _problems({}) == (Problem("'data' is missing", "data"), Problem("'model' is missing", "model"))
    assert _problems({**GOOD, "data": {}}) == (Problem("'source' is missing", "data.source"),)


@pytest.mark.parametrize(
    ("tables", "where", "nearest", "allowed"),
    [
        ({**GOOD, "trian": {}}, "trian", "train", "claims, data, model, train, warnings"),
        (_with("train.epoch", 3), "train.epoch", "epochs", ", ".join(sorted(Train.model_fields))),
        (_with("data.valdation", 0.1), "data.valdation", "validation", ", ".join(sorted(Data.model_fields))),
        (_with("model.layer", []), "model.layer", "layers", ", ".join(sorted(Model.model_fields))),
        (_with("claims.parameters", {"published": 1, "sorce": ""}), "claims.parameters.sorce", "source",
         "data, images, note, published, source"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_told_with_the_nearest(tables: Any, where: str, nearest: str, allowed: str) -> None:
    name = where.split(".")[-1]
    assert _problems(tables) == (Problem(f"unknown key '{name}'", where, "", allowed, f"did you mean '{nearest}'?"),)


def test_an_unknown_key_like_no_other_has_no_hint() -> None:
    (problem,) = _problems(_with("train.zzz", 3))
    assert problem.next_step == ""


@pytest.mark.parametrize("name", ["test_acuracy", "parameter", "tests_loss", "accuracy"])
def test_an_unknown_claim_is_refused(name: str) -> None:
    (problem,) = _problems({**GOOD, "claims": {"test_loss": 1.0, name: 0.5}})
    assert (problem.where, problem.what, problem.allowed) == (f"claims.{name}", f"unknown claim '{name}'", FIGURES)
    assert problem.next_step.startswith("did you mean '")


@pytest.mark.parametrize("value", ["many", True, float("nan"), [1]])
def test_a_claim_is_a_number(value: Any) -> None:
    (problem,) = _problems(_with("claims.parameters", value))
    assert problem.where == "claims.parameters.published"
    assert problem.allowed in ("a number", "a finite number")


@pytest.mark.parametrize(
    ("key", "value", "where", "what"),
    [
        ("train.optimizer", "adamm(lr=1)", "train.optimizer", "unknown optimizer 'adamm'"),
        ("train.optimizer", 5, "train.optimizer", "a call is a text"),
        ("train.optimizer", "adam(lr=0)", "train.optimizer.lr", "'lr' can't be 0"),
        ("train.optimizer", "adam(lr=1e999)", "train.optimizer.lr", "'lr' can't be inf"),
        ("train.optimizer", "sgd", "train.optimizer", "sgd needs 'lr'"),
        ("train.optimizer", "torch.load('x')", "train.optimizer", "this character has no meaning here (column 6)"),
        ("train.schedule", "plateau(factor=2)", "train.schedule.factor", "'factor' can't be 2"),
        ("train.stop", "early(patience=0)", "train.stop.patience", "'patience' can't be 0"),
        ("data.augment", ["flip", "flop"], "data.augment[1]", "unknown augmentation 'flop'"),
        ("data.augment", ["crop(padding=-4)"], "data.augment[0].padding", "'padding' can't be -4"),
        ("data.augment", [3], "data.augment[0]", "a call is a text"),
        ("model.layers", ["flatten", 3], "model.layers[1]", "this call can't be read (column 1)"),
        ("model.layers", ["cnov(3, 3)"], "model.layers[0]", "unknown layer 'cnov'"),
        ("model.layers", ["os.system('ls')"], "model.layers[0]", "this character has no meaning here (column 3)"),
        ("model.layers", ["__class__"], "model.layers[0]", "unknown layer '__class__'"),
        ("model.layers", ["dropout(1)"], "model.layers[0].rate", "'rate' can't be 1"),
        ("model.layers", ["dropout(p)"], "model.layers[0].rate", "'p' has no value"),
        ("model.layers", ["residual([relu, conv(0, 3)])"], "model.layers[0].body[1].filters", "'filters' can't be 0"),
        ("model.layers", [], "model.layers", "the table has no rows"),
        ("model.layers", ["f(" * 21], "model.layers[0]", "nested too deeply (column 42)"),
        ("model.layers", ["x" * 20_001], "model.layers[0]", "this call is too long"),
        ("model.values", {"p": 0.5}, "model.values.p", "'p' is not used in the table"),
        ("model.values", {"classes": 3}, "model.values.classes", "'classes' has a meaning already"),
        ("model.values", {"relu": 3}, "model.values.relu", "'relu' has a meaning already"),
        ("model.values", {"p": [1]}, "model.values.p", "'p' can't be [1]"),
        ("model.values", {"p": float("nan")}, "model.values.p", "'p' can't be nan"),
    ],
)
def test_a_wrong_choice_or_row_is_told_at_its_place(key: str, value: Any, where: str, what: str) -> None:
    (problem,) = _problems(_with(key, value))
    assert (problem.where, problem.what) == (where, what)


def test_an_unused_value_is_told_with_the_nearest_name() -> None:
    (problem, missing) = _problems({**GOOD, "model": {"layers": ["dropout(rate1)"], "values": {"rate": 0.5}}})
    assert missing.what == "'rate' is not used in the table" or problem.what == "'rate' is not used in the table"
    unused = next(found for found in (problem, missing) if "not used" in found.what)
    assert unused.allowed == "the table's names: rate1"
    assert unused.next_step == "did you mean 'rate1'?"


THREE_MISTAKES = """
[data]
source = "shapes"
valdation = 0.1
[model]
layers = ["conv(32, 5)", "flaten", "dense(classes)"]
[train]
epochs = -1
"""


def test_all_mistakes_of_a_file_are_told_in_one_error(tmp_path: Path) -> None:
    path = tmp_path / "three.toml"
    path.write_text(THREE_MISTAKES)
    with pytest.raises(SpecError) as caught:
        Recipe.read(path)
    assert str(caught.value) == "\n".join(
        [
            "3 problems",
            f"{path}: data.valdation: unknown key 'valdation'",
            f"  allowed:  {', '.join(sorted(Data.model_fields))}",
            "  next:     did you mean 'validation'?",
            f"{path}: model.layers[1]: unknown layer 'flaten'",
            "  received: flaten",
            f"  allowed:  {', '.join(sorted(layers.kinds))}",
            "  next:     did you mean 'flatten'?",
            f"{path}: train.epochs: 'epochs' can't be -1",
            "  allowed:  greater than or equal to 1",
        ]
    )


@pytest.mark.parametrize(
    ("overrides", "where", "what"),
    [
        ({"train.epochs": 0}, "train.epochs", "'epochs' can't be 0"),
        ({"train.epoch": 3}, "train.epoch", "unknown key 'epoch'"),
        ({"epochs": 3}, "epochs", "a key to set is dotted"),
        (
            {"train.epochs.first": 3},
            "train.epochs.first",
            "'train.epochs.first' leads through 'epochs', which is not a table",
        ),
        ({"data.source.": 3}, "data.source.", "'data.source.' leads through 'source', which is not a table"),
    ],
)
def test_a_wrong_override_is_told_with_file_and_key(tmp_path: Path, overrides: Any, where: str, what: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[data]\nsource = "x"\n[model]\nlayers = ["flatten"]\n[train]\nepochs = 1\n')
    with pytest.raises(SpecError) as caught:
        Recipe.read(path, overrides)
    (problem,) = caught.value.problems
    assert (problem.where, problem.what) == (f"{path}: {where}", what)


def test_a_missing_file_is_told_with_the_recipes_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "lenet.toml").touch()
    problem = _read(tmp_path / "lent.toml")
    assert problem.where == str(tmp_path / "lent.toml")
    assert problem.what == "this file can't be read: No such file or directory"
    assert (problem.allowed, problem.next_step) == (f"in {tmp_path}: lenet.toml", "did you mean 'lenet.toml'?")
    assert (
        _read(tmp_path / "no" / "x.toml").next_step
        == "give the path of a .toml file; for images: cnnlab new FILE --source PATH"
    )


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    assert _read(tmp_path).what == "this file can't be read: Is a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.touch(mode=0o000)
    assert _read(path).what == "this file can't be read: Permission denied"


def test_a_file_of_100_mb_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "large.toml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    problem = _read(path)
    assert (problem.where, problem.what) == (str(path), "this file is too large for a recipe")
    assert problem.allowed == "up to 100,000 bytes"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless file here")
def test_an_endless_file_is_refused() -> None:
    assert _read(Path("/dev/zero")).what == "this file is too large for a recipe"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"[data\n", "this is not TOML: Expected ']' at the end of a table declaration (at line 1, column 6)"),
        (b"x = 1\nx = 2\n", "this is not TOML: Cannot overwrite a value (at line 2, column 6)"),
        (b"<html>", "this is not TOML: Invalid statement (at line 1, column 1)"),
        (b"a = \x00", "this is not TOML: "),
        (b"\xff\xfe[\x00", "this file is not UTF-8 text"),
        (b"a = " + b"[" * 90_000, "this is not TOML: "),
        (b"a = " + b"[" * 30 + b"]" * 30, "tables and lists are nested too deeply"),
        (b"[train]\nepochs" + b".a" * 900 + b" = 1", "tables and lists are nested too deeply"),
        (b"a = " + b"9" * 5000, "this is not TOML: "),
        (b"a" + b".a" * 40_000 + b" = 1", "a line has too many dots"),
    ],
    ids=["cut", "twice", "HTML", "NUL", "UTF-16", "open lists", "deep list", "deep key", "huge number", "deepest key"],
)
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    problem = _read(path)
    assert problem.where.startswith(str(path))
    assert problem.what.startswith(what)
    assert len(problem.what) < 300


def test_what_is_nested_as_deep_as_any_recipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("a = " + "[" * 18 + "1" + "]" * 18 + "\n")
    assert "unknown key 'a'" in str(_problems(read_tables(path)))


def test_a_wrong_base_is_told_in_the_file_that_names_it(tmp_path: Path) -> None:
    above, below = tmp_path / "above.toml", tmp_path / "below.toml"
    above.write_text('base = "below.toml"\n')
    assert _read(above) == Problem(
        "'base' names a file that is not there: below.toml",
        f"{above}: base",
        next_step="give its path as seen from this file",
    )
    below.write_text("[data\n")
    assert _read(above).where == str(below)
    below.write_text("base = 3\n")
    assert _read(above) == Problem(
        "'base' can't be 3", f"{below}: base", allowed="the path of a recipe, at most 5 in a row"
    )
    below.write_text('base = "a\\u0000b"\n')
    assert _read(above).what.startswith("'base' names a file that is not there: a")


def test_a_recipe_that_is_its_own_base_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('base = "r.toml"\n')
    assert _read(path) == Problem(
        "'base' can't be 'r.toml'", f"{path}: base", allowed="the path of a recipe, at most 5 in a row"
    )


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    f"{name}.{key}" for name, part in (("data", Data), ("model", Model), ("train", Train)) for key in part.model_fields
]


@settings(deadline=None, print_blob=True, max_examples=200)
@given(st.sampled_from([*KEYS, "claims.parameters", "claims.test_loss"]), JUNK)
def test_any_value_at_any_key_is_taken_or_refused_at_that_key(key: str, value: Any) -> None:
    try:
        Recipe.from_tables(_with(key, value))
    except SpecError as error:
        assert all(problem.where.startswith(key.split(".")[0]) and problem.what for problem in error.problems)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"average": "ema"},
            Problem(
                "an average is kept, and the best weights are reported",
                "train.average",
                "ema",
                next_step='set weights = "averaged", or average = "never"',
            ),
        ),
        (
            {"weights": "averaged"},
            Problem("no average is kept", "train.weights", '"averaged"', next_step='set average = "ema" or "swa"'),
        ),
        (
            {"epochs": 3, "schedule": "warmup(4)"},
            Problem("the warm-up takes 4 epochs, and the training 3", "train.schedule", allowed="up to 3"),
        ),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(fields: dict[str, Any], problem: Problem) -> None:
    assert _problems({**GOOD, "train": fields}) == (problem,)


def test_the_nearest_word_is_told_where_words_are_allowed() -> None:
    (problem,) = _problems({**GOOD, "model": {"layers": ["dense(classes)"], "init": "kaming"}})
    assert problem.next_step == "did you mean 'kaiming'?"
    (problem,) = _problems({**GOOD, "model": {"layers": ["dense(clases)"]}})
    assert problem.next_step.startswith("did you mean 'classes'? otherwise write a value, or name it in [model]")


def test_a_toml_mistake_is_shown_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[model]\nlayers = ["conv(16, 3)", relu]\n')
    problem = _read(path)
    assert problem.received == 'layers = ["conv(16, 3)", relu]'
    assert problem.next_step.startswith("put every text in quotes")


@pytest.mark.parametrize(
    ("asked", "hint"), [("lenett.toml", "did you mean 'lenet.toml'?"), ("nope.toml", "give the path")]
)
def test_only_a_file_that_is_really_alike_is_suggested(asked: str, hint: str, tmp_path: Path) -> None:
    for name in ("lenet.toml", "up.toml"):
        (tmp_path / name).write_text("")
    assert _read(tmp_path / asked).next_step.startswith(hint)
