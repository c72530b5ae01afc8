"""Bad recipes: each is refused before anything is started, with file, key, what was received and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.architecture.layers import layers
from cnnlab.config.model import Model
from cnnlab.config.recipe import Data, Recipe, Train
from cnnlab.errors import Problem, SpecError

GOOD = {"data": {"source": "shapes"}, "model": {"layers": ["flatten", "dense(classes)"]}, "train": {}, "claims": {}}
FIGURES = (
    "'parameters', or split_metric: train, validation, test and one of loss, accuracy, top5, balanced_accuracy, "
    "macro_f1"
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
    ("key", "value", "place", "what", "allowed"),
    [
        # --- values, one of each kind
        ("train.epochs", 0, "", "'epochs' can't be 0", "a whole number from 1 to 1,000,000"),
        ("train.epochs", "3", "", "'epochs' can't be '3'", "a whole number from 1 to 1,000,000"),
        ("train.epochs", True, "", "'epochs' can't be true", "a whole number"),
        ("train.rates", 2, "", "'rates' can't be 2", "a table"),
        ("train.weights", "bst", "", "'weights' can't be 'bst'", "'best', 'last' or 'averaged'"),
        ("data.source", 3, "", "'source' can't be 3", "a text"),
        ("data.validation", float("nan"), "", "'validation' can't be nan", "a finite number from 0, below 1"),
        ("data.size", [32], "", "'size' can't be [32]", "a whole number from 1 to 1,000,000 or [height, width]"),
        ("data.size", [32, True], "", "'size' can't be [32, true]", "a whole number from 1 to 1,000,000 or ["),
        ("data.classes", ["cat", "cat"], "", "can't be ['cat', 'cat']", "two class names or more, each once"),
        ("data.classes", ["cat"], "", "'classes' can't be ['cat']", "two class names or more, each once"),
        ("model.layers", "flatten", "", "'layers' can't be 'flatten'", "a [list]"),
        *(
            ("data.normalize", value, "", "'normalize' can't be", "'data', 'weights', or [[mean, …], [std, …]]")
            for value in ("mean", [[0.5]], [[0.5], [0.0]], [[float("nan")], [1]], [[True], [True]], [[0.5] * 2] * 2)
        ),
        ("claims.test_acuracy", 0.5, "", "unknown claim 'test_acuracy'", FIGURES),
        ("claims.accuracy", 0.5, "", "unknown claim 'accuracy'", FIGURES),
        ("claims.parameters", "many", ".published", "can't be 'many'", "a finite number"),
        ("claims.parameters", "better", "", "a recipe claims numbers, by metric, and has no arms or shifts", ""),
        ("claims.parameters", float("nan"), ".published", "can't be nan", "a finite number"),
        # --- choices and rows
        ("train.optimizer", "adamm(lr=1)", "", "unknown optimizer 'adamm'", "adam, "),
        ("train.optimizer", "adam(lr=0)", ".lr", "'lr' can't be 0", "a number above 0"),
        ("train.optimizer", "sgd", "", "sgd needs 'lr'", "sgd(lr"),
        ("data.augment", ["flip", "flop"], "[1]", "unknown augmentation 'flop'", "flip"),
        ("model.layers", ["flatten", 3], "[1]", "this call can't be read (column 1)", "a name"),
        ("model.layers", ["cnov(3, 3)"], "[0]", "unknown layer 'cnov'", "conv"),
        ("model.layers", ["dropout(p)"], "[0].rate", "'p' has no value", "a number"),
        ("model.layers", ["residual([relu, conv(0, 3)])"], "[0].body[1].filters", "can't be 0", "from 1 to 1,000,000"),
        ("model.layers", [], "", "the table has no rows", ""),
        ("model.values", {"p": 0.5}, ".p", "'p' is not used in the table", ""),
        ("model.values", {"classes": 3}, ".classes", "'classes' is a reserved name", ""),
        ("model.values", {"p": float("nan")}, ".p", "'p' can't be nan", ""),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_place_and_what_is_allowed(
    key: str, value: Any, place: str, what: str, allowed: str
) -> None:
    (problem,) = _problems(_with(key, value))
    assert problem.where == key + place
    assert what in problem.what
    assert allowed in problem.allowed


def test_sections_that_are_none_or_missing_are_named() -> None:
    assert _problems({**GOOD, "claims": 3}) == (Problem("'claims' can't be 3", "claims", allowed="a table"),)
    data, model = _problems({})
    assert (data.what, data.where) == ("'data' is missing", "data")
    assert data.next_step == 'write [data] and below it source = "cifar10", or the path of a folder of images'
    assert (model.what, model.next_step[:13]) == ("'model' is missing", "write [model]")
    (source,) = _problems({**GOOD, "data": {}})
    assert (source.what, source.where) == ("'source' is missing", "data.source")
    assert source.next_step.startswith('write source = "cifar10"')


@pytest.mark.parametrize(
    ("tables", "where", "nearest", "allowed"),
    [
        ({**GOOD, "trian": {}}, "trian", "train", "claims, data, model, train, warnings"),
        (_with("train.epoch", 3), "train.epoch", "epochs", ", ".join(sorted(Train.model_fields))),
        (_with("claims.parameters", {"published": 1, "sorce": ""}), "claims.parameters.sorce", "source",
         "arm, data, images, metric, note, published, shift, smallest_difference, source, than"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_told_with_the_nearest(tables: Any, where: str, nearest: str, allowed: str) -> None:
    name = where.split(".")[-1]
    assert _problems(tables) == (Problem(f"unknown key '{name}'", where, "", allowed, f"did you mean '{nearest}'?"),)


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
            "  allowed:  a whole number from 1 to 1,000,000",
        ]
    )


@pytest.mark.parametrize(
    ("overrides", "where", "what"),
    [
        ({"train.epochs": 0}, "train.epochs", "'epochs' can't be 0"),
        ({"epochs": 3}, "epochs", "a key to set is dotted"),
        ({"data.source.": 3}, "data.source.", "in 'data.source.', 'source' is not a table"),
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
    assert (problem.allowed, problem.next_step) == (f"in {tmp_path}: lenet.toml", "did you mean 'lenet'?")
    for unlike in ("nope.toml", "no/x.toml"):
        assert _read(tmp_path / unlike).next_step.startswith("give the path of a .toml file; for images: cnnlab new")
    assert _read(tmp_path).what == "this file can't be read: Is a directory"


def test_a_file_of_100_mb_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "large.toml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    problem = _read(path)
    assert (problem.where, problem.what) == (str(path), "this file is too large for a recipe, a study or a search")
    assert problem.allowed == "up to 100,000 bytes"
    assert problem.next_step.startswith("give the path of a .toml file")


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


def test_what_is_wrong_in_the_text_is_told_with_a_step_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(b"x = 1\nx = 2\n")
    assert _read(path).next_step == "leave one of the two out"
    path.write_bytes(b'x = 1\ny = "\xe9"\n')
    assert _read(path).received == "the byte 0xe9 in line 2"


def test_a_wrong_base_is_told_in_the_file_that_names_it(tmp_path: Path) -> None:
    above, below = tmp_path / "above.toml", tmp_path / "below.toml"
    above.write_text('base = "below.toml"\n')
    missing = _read(above)
    assert (missing.what, missing.where) == ("'base' names a file that does not exist: below.toml", f"{above}: base")
    assert missing.next_step == "give its path relative to this file"
    below.write_text("[data\n")
    assert _read(above).where == str(below)
    for base in ("3", "'below.toml'"):  # no path, and a file that is its own base
        below.write_text(f"base = {base}\n")
        problem = _read(above)
        assert (problem.what, problem.where) == (f"'base' can't be {base}", f"{below}: base")
        assert problem.allowed == "the path of a recipe, at most 5 in a row"
    below.write_text('base = "a\\u0000b"\n')
    assert _read(above).what.startswith("'base' names a file that does not exist: a")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    f"{name}.{key}" for name, part in (("data", Data), ("model", Model), ("train", Train)) for key in part.model_fields
]


@given(st.sampled_from([*KEYS, "claims.parameters", "claims.test_loss"]), JUNK)
def test_any_value_at_any_key_is_taken_or_refused_at_that_key(key: str, value: Any) -> None:
    try:
        Recipe.from_tables(_with(key, value))
    except SpecError as error:
        assert all(problem.where.startswith(key.split(".")[0]) and problem.what for problem in error.problems)


@pytest.mark.parametrize(
    ("fields", "where", "what", "step"),
    [
        (
            {"average": "ema"},
            "average",
            "an average is kept, and the best weights are reported",
            'weights = "averaged"',
        ),
        ({"weights": "averaged"}, "weights", "no average is kept", 'average = "ema"'),
        ({"epochs": 3, "schedule": "warmup(4)"}, "schedule", "the warm-up takes 4 epochs, and the training 3", ""),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(fields: dict[str, Any], where: str, what: str, step: str) -> None:
    (problem,) = _problems({**GOOD, "train": fields})
    assert (problem.where, problem.what) == (f"train.{where}", what)
    assert step in problem.next_step


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
